//! Stream headers, theirs and ours (RFC 6120 §4.7, §4.8).

use couplet_proto::Jid;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::escape::{self, Sink};
use couplet_proto::xmpp::ns;

use super::error::Failure;
use super::negotiation::{Negotiation, Step};
use super::{Next, Outcome, Reply, features};
use crate::framing::Header;

/// RFC 5646 §4.4.1: room for every language tag in use.
const LANG_BYTES_MAX: usize = 35;

/// Checks the client's header; answers with ours and the features.
///
/// The client's `id` means nothing (RFC 6120 §4.7.3).
pub(super) fn accept(
    negotiation: &mut Negotiation,
    theirs: &Header,
    reply: &mut Reply<'_>,
) -> Outcome {
    negotiation.domain = theirs.to.as_deref().and_then(|to| served(to, reply));
    check(negotiation, theirs)?;
    negotiation.lang = theirs.lang.as_deref().and_then(language);
    write(negotiation, theirs.from.as_deref(), reply);
    features::write(negotiation, reply);
    negotiation.step = Step::Choice;
    Ok(Next::Stay)
}

/// Writes our header; `client` is the client's `from`, to be answered in `to`.
pub(super) fn write(negotiation: &mut Negotiation, client: Option<&str>, reply: &mut Reply<'_>) {
    // RFC 6120 §4.9.1.3: where the host is missing or unknown, one of ours speaks.
    let domain = negotiation.domain.as_ref();
    let from = domain.or(reply.setup.domains.first());
    let from = from.map_or("", Jid::as_str).to_owned();
    let out = &mut *reply.out;
    out.put("<?xml version='1.0'?><stream:stream");
    escape::named_attribute(out, "xmlns", ns::CLIENT);
    escape::named_attribute(out, "xmlns:stream", ns::STREAM);
    escape::named_attribute(out, "id", &negotiation.draw_id());
    escape::named_attribute(out, "from", &from);
    // §4.7.2: the bare address; one that is none is not repeated.
    if let Some(client) = client.and_then(|text| Jid::parse(text).ok()) {
        escape::named_attribute(out, "to", client.bare());
    }
    escape::named_attribute(out, "version", "1.0");
    escape::named_attribute(out, "xml:lang", "en");
    out.put(">");
    negotiation.is_open = true;
}

fn check(negotiation: &Negotiation, theirs: &Header) -> Result<(), Failure> {
    if !theirs.stream_ns_ok || theirs.content_ns != ns::CLIENT {
        return Err(Failure::new(StreamCondition::InvalidNamespace));
    }
    let Some(domain) = &negotiation.domain else {
        return Err(Failure::new(StreamCondition::HostUnknown));
    };
    if !theirs.version.as_deref().is_some_and(is_supported) {
        return Err(Failure::new(StreamCondition::UnsupportedVersion).with_text("this is XMPP 1.0"));
    }
    let Some(identity) = &negotiation.identity else {
        return Ok(());
    };
    // Credentials proved to one host are worth nothing to another.
    if identity.account.domain() != domain.as_str() {
        return Err(Failure::new(StreamCondition::NotAuthorized)
            .with_text("authenticated for another host"));
    }
    let from = theirs.from.as_deref().map(Jid::parse);
    match from {
        Some(Ok(from)) if from.is_same_bare(&identity.account) => Ok(()),
        Some(_) => Err(Failure::new(StreamCondition::InvalidFrom)),
        None => Ok(()),
    }
}

/// The virtual host of this name.
fn served(to: &str, reply: &Reply<'_>) -> Option<Jid> {
    let to = Jid::parse(to).ok()?;
    reply.setup.domains.contain(&to).then_some(to)
}

/// RFC 6120 §4.7.5: any version from 1.0 on; the answer is always 1.0. No version means the
/// protocol before XMPP, which has no features to negotiate.
fn is_supported(version: &str) -> bool {
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u32>().ok(),
        false => None,
    };
    version.split_once('.').is_some_and(|(major, minor)| {
        number(major).is_some_and(|major| major >= 1) && number(minor).is_some()
    })
}

/// A language tag worth stamping on stanzas; nothing where it is not one.
fn language(tag: &str) -> Option<ByteStr> {
    let is_tag = !tag.is_empty()
        && tag.len() <= LANG_BYTES_MAX
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match tag {
        "en" => Some(ByteStr::from_static("en")),
        _ => is_tag.then(|| ByteStr::from(tag)),
    }
}

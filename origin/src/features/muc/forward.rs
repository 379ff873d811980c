//! Requests to occupants (XEP-0045 §17.4): passed on so that neither side learns who the other is.
//!
//! Nothing is remembered of a request under way: the id it is passed on with names the asker's
//! session, by a code that only the room can make and compare, and the nick that was asked. So the
//! answer finds its way after the room has another owner, too.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::message;
use super::room::Room;
use crate::hooks::{Ctx, Reply};

/// Bytes of a code: 128 bits cannot be guessed.
const CODE_BYTES: usize = 16;

/// Characters that takes in an id.
const CODE_CHARS: usize = 22;

/// What an id is for: one for the one is none for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request to an occupant; the nick is that of whom it asks.
    Request,
    /// An invitation; the nick is that of whoever invites.
    Invitation,
}

// === impl Purpose ===

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "iq",
            Self::Invitation => "invite",
        }
    }
}

/// A request for an occupant.
pub(super) fn asked(
    ctx: &mut Ctx<'_>,
    room: Option<&mut Room>,
    stanza: &Stanza,
) -> Result<Reply, StanzaError> {
    // XEP-0410 §3.2: by this a client knows that it is not in the room, or that there is none.
    let room = room.ok_or(Condition::NotAcceptable)?;
    let payload = stanza.first().ok_or(Condition::BadRequest)?;
    let Some(asker) = room.occupants.get(stanza.sender()).cloned() else {
        let is_disco = payload.has_ns(ns::DISCO_INFO) || payload.has_ns(ns::DISCO_ITEMS);
        return Err(match is_disco {
            // §6.6.
            true => Condition::BadRequest.into(),
            false => Condition::NotAcceptable.into(),
        });
    };
    let nick = stanza.to.as_ref().and_then(Jid::resource);
    let nick = nick.unwrap_or_default();
    let is_get = stanza.type_ == Type::Get;
    if is_get && *nick == *asker.nick && payload.is("ping", ns::PING) {
        // XEP-0410 §3.3: the room knows the answer.
        return Ok(Reply::Empty);
    }
    let target = room.occupants.first_of_nick(nick);
    let target = target.ok_or(Condition::ItemNotFound)?.jid.clone();
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if !room.pace.may_write(&asker.jid, ctx.now.mono, per_second) {
        return Err(message::too_fast());
    }
    let id = stanza.id.as_deref().unwrap_or_default();
    let sealed = sealed(room, Purpose::Request, (&asker.jid, &target), nick, id);
    // The account answers for its user's card, as it does without a room (XEP-0054 §3.3).
    let is_of_account = is_get && payload.is("vCard", ns::VCARD);
    let mut passed = Stanza::new(Kind::Iq, stanza.type_);
    passed.id = Some(sealed.into());
    passed.from = room.occupant_jid(&asker.nick);
    passed.lang = stanza.lang.clone();
    passed.payload = stanza.payload.clone();
    ctx.route(passed.to(match is_of_account {
        true => target.to_bare(),
        false => target,
    }));
    Ok(Reply::Later)
}

/// The answer to a request that was passed on; anything else is nobody's.
pub(super) fn answered(ctx: &mut Ctx<'_>, room: &Room, stanza: &Stanza) {
    let id = stanza.id.as_deref().unwrap_or_default();
    let asker = stanza.to.as_ref().and_then(Jid::resource);
    let asker = asker.unwrap_or_default();
    let found = opened(room, Purpose::Request, stanza.sender(), Some(asker), id);
    let Some((nick, (asker, id))) = parts(id).map(|(_, nick, _)| nick).zip(found) else {
        return;
    };
    let mut answer = Stanza::new(Kind::Iq, stanza.type_)
        .to(asker)
        .id(id.to_owned());
    answer.from = room.occupant_jid(nick);
    answer.lang = stanza.lang.clone();
    answer.payload = match stanza.type_ {
        Type::Error => nameless(&stanza.payload),
        _ => stanza.payload.clone(),
    };
    if answer.from.is_some() {
        ctx.route(answer);
    }
}

/// An error without what names its sender: who has answered, and where it is now.
fn nameless(payload: &Payload) -> Payload {
    let elements = payload.children().map(|child| {
        let element = child.element();
        if !element.is("error", ns::CLIENT) {
            return element;
        }
        let children = element.children().map(|child| match child.name() {
            "gone" | "redirect" => Element::new(child.name().to_owned(), ns::STANZAS),
            _ => child.clone(),
        });
        Element::new("error", ns::CLIENT)
            .attr_opt("type", element.get("type"))
            .children_from(children)
    });
    Payload::from_elements(&elements.collect::<Vec<_>>())
}

/// An id by which an answer from `target` finds the session of `asker` again, whose nick or whose
/// target's nick is `nick`, and the id it has given.
pub(super) fn sealed(
    room: &Room,
    purpose: Purpose,
    (asker, target): (&Jid, &Jid),
    nick: &str,
    id: &str,
) -> String {
    let code = mac(room, purpose, (asker, target), nick, id);
    let code = URL_SAFE_NO_PAD.encode(&code.finalize().into_bytes()[..CODE_BYTES]);
    format!("{code}{}.{nick}{id}", nick.len())
}

/// Who has asked, and under which id, if `sealed` was made by this room for it and `target`. It is
/// looked for under the nick `asker`, or under the one that is sealed.
pub(super) fn opened<'a>(
    room: &Room,
    purpose: Purpose,
    target: &Jid,
    asker: Option<&str>,
    sealed: &'a str,
) -> Option<(Jid, &'a str)> {
    let (code, nick, id) = parts(sealed)?;
    let mut sessions = room.occupants.of_nick(asker.unwrap_or(nick)).iter();
    let is_it = |asker: &&Jid| {
        let mac = mac(room, purpose, (asker, target), nick, id);
        code.len() == CODE_BYTES && mac.verify_truncated_left(&code).is_ok()
    };
    Some((sessions.find(is_it)?.clone(), id))
}

/// A sealed id: code, nick and the asker's own id.
fn parts(id: &str) -> Option<(Vec<u8>, &str, &str)> {
    let (code, rest) = (id.get(..CODE_CHARS)?, id.get(CODE_CHARS..)?);
    let (bytes, rest) = rest.split_once('.')?;
    let bytes: usize = bytes.parse().ok()?;
    let code = URL_SAFE_NO_PAD.decode(code).ok()?;
    Some((code, rest.get(..bytes)?, rest.get(bytes..)?))
}

fn mac(
    room: &Room,
    purpose: Purpose,
    (asker, target): (&Jid, &Jid),
    nick: &str,
    id: &str,
) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(&room.secret);
    let mut mac = mac.expect("a key of any length will do");
    // No part can hold the separator, so that none passes for two, nor for an occupant id's.
    for part in [purpose.name(), asker.as_str(), target.bare(), nick, id] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac
}

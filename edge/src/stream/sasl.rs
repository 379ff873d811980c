//! SASL (RFC 6120 §6): the frame around an exchange that runs on the origin.
//!
//! The edge looks into the first message only for the account, which decides where it goes; it
//! holds no verifier and judges no password. A username that cannot be one goes the same way as
//! an unknown one, so that both look and cost the same to whoever is guessing.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use couplet_proto::link::frame::{Authenticate, Channel, ToEdge, ToOrigin};
use couplet_proto::xmpp::error::SaslCondition;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};
use sha2::{Digest, Sha256};

use super::event::Action;
use super::mechanism::{self, Claim, Mechanism};
use super::negotiation::{Exchange, Identity, Negotiation, Step, hex};
use super::{Next, Outcome, Reply, unexpected};

/// So much is repeated of the name of a mechanism that does not exist; a real one has 20 at most.
const MECHANISM_CHARS_MAX: usize = 64;

/// The mechanisms offered on this stream as it stands now.
pub(super) fn offered(negotiation: &Negotiation) -> impl Iterator<Item = &'static Mechanism> {
    let is_encrypted = negotiation.secured.is_some();
    let has_binding = negotiation
        .secured
        .as_ref()
        .is_some_and(|secured| !secured.bindings.is_empty());
    mechanism::ALL.iter().filter(move |mechanism| {
        (is_encrypted || !mechanism.needs_tls) && (has_binding || !mechanism.needs_binding)
    })
}

/// A SASL element from a client that is not authenticated yet.
pub(super) fn element(
    negotiation: &mut Negotiation,
    element: &Element,
    reply: &mut Reply<'_>,
) -> Outcome {
    match (element.name(), &negotiation.step) {
        ("auth", Step::Choice) => begin(negotiation, element, reply),
        ("response", Step::AwaitInitial(mechanism)) => {
            let mechanism = *mechanism;
            match decode(element) {
                Ok(data) => start(negotiation, mechanism, data.unwrap_or_default(), reply),
                Err(condition) => fail(negotiation, condition, None, reply),
            }
        }
        ("response", Step::AwaitResponse(exchange)) => {
            let exchange = exchange.clone();
            match decode(element) {
                Ok(data) => {
                    respond(negotiation, exchange, data.unwrap_or_default(), reply);
                    Ok(Next::Stay)
                }
                Err(condition) => {
                    abort(exchange, reply);
                    fail(negotiation, condition, None, reply)
                }
            }
        }
        ("abort", step) => {
            if let Step::AwaitResponse(exchange) = step {
                abort(exchange.clone(), reply);
            }
            fail(negotiation, SaslCondition::Aborted, None, reply)
        }
        // RFC 6120 §6.4: an exchange is over before the next begins.
        ("auth", _) => unexpected(element),
        ("response", _) => fail(negotiation, SaslCondition::MalformedRequest, None, reply),
        _ => unexpected(element),
    }
}

/// What the origin says about the exchange under way.
pub(super) fn answer(
    negotiation: &mut Negotiation,
    frame: ToEdge,
    reply: &mut Reply<'_>,
) -> Outcome {
    let Step::AwaitOrigin(exchange) = &negotiation.step else {
        return Ok(Next::Stay);
    };
    let exchange = exchange.clone();
    match frame {
        ToEdge::Challenge { data, .. } => {
            let challenge = Element::new("challenge", ns::SASL);
            reply.element(&with_data(challenge, Some(&data)));
            negotiation.step = Step::AwaitResponse(exchange);
            Ok(Next::Stay)
        }
        ToEdge::Authenticated {
            account,
            data,
            token,
            ..
        } if account == exchange.account => {
            let success = Element::new("success", ns::SASL);
            reply.element(&with_data(success, data.as_ref()));
            reply.actions.push(Action::Authenticated);
            negotiation.identity = Some(Identity { account, token });
            negotiation.failures = 0;
            negotiation.restart();
            Ok(Next::Stay)
        }
        ToEdge::Refused {
            condition, text, ..
        } => fail(negotiation, condition, text, reply),
        _ => {
            tracing::error!(account = %exchange.account, "authenticated as somebody else");
            fail(
                negotiation,
                SaslCondition::TemporaryAuthFailure,
                None,
                reply,
            )
        }
    }
}

/// The origin of the exchange cannot be reached any more: the client may begin another.
pub(super) fn give_up(negotiation: &mut Negotiation, reply: &mut Reply<'_>) -> Outcome {
    // No fault of the client's, so it does not count as one.
    say_failure(
        negotiation,
        SaslCondition::TemporaryAuthFailure,
        None,
        reply,
    );
    let step = std::mem::replace(&mut negotiation.step, Step::Choice);
    if let Step::AwaitOrigin(exchange) = step {
        abort(exchange, reply);
    }
    Ok(Next::Stay)
}

/// Tells the origin that an exchange is given up.
pub(super) fn abort(exchange: Exchange, reply: &mut Reply<'_>) {
    let frame = ToOrigin::Abort {
        connection: reply.connection,
        account: exchange.account,
    };
    reply.actions.push(Action::Up(exchange.slot, frame));
}

fn begin(negotiation: &mut Negotiation, auth: &Element, reply: &mut Reply<'_>) -> Outcome {
    let name = auth.get("mechanism").unwrap_or_default();
    let known = Mechanism::from_name(name);
    negotiation.wanted = match known {
        Some(known) => Cow::Borrowed(known.name),
        None => Cow::Owned(name.chars().take(MECHANISM_CHARS_MAX).collect()),
    };
    let chosen = known.filter(|known| offered(negotiation).any(|offered| offered == *known));
    let condition = match (chosen, known) {
        _ if negotiation.needs_tls(reply) => SaslCondition::EncryptionRequired,
        (Some(mechanism), _) => match decode(auth) {
            Ok(Some(data)) => return start(negotiation, mechanism, data, reply),
            Ok(None) => {
                // RFC 6120 §6.4.2: all our mechanisms begin with the client, so we ask.
                reply.element(&Element::new("challenge", ns::SASL));
                negotiation.step = Step::AwaitInitial(mechanism);
                return Ok(Next::Stay);
            }
            Err(condition) => condition,
        },
        // §6.5.4: it would be offered on a stream with TLS.
        (None, Some(known)) if known.needs_tls && negotiation.secured.is_none() => {
            SaslCondition::EncryptionRequired
        }
        (None, _) => SaslCondition::InvalidMechanism,
    };
    fail(negotiation, condition, None, reply)
}

/// Sends the initial response to the account's slot.
fn start(
    negotiation: &mut Negotiation,
    mechanism: &'static Mechanism,
    initial: Bytes,
    reply: &mut Reply<'_>,
) -> Outcome {
    let claim = mechanism.claim(&initial);
    let (Some(claim), Some(domain)) = (claim, &negotiation.domain) else {
        return fail(negotiation, SaslCondition::MalformedRequest, None, reply);
    };
    let account = account(&claim, domain);
    // RFC 6120 §6.3.8: nobody acts for somebody else here.
    if let Some(authzid) = &claim.authzid
        && Jid::parse(authzid).ok().as_ref() != Some(&account)
    {
        return fail(negotiation, SaslCondition::InvalidAuthzid, None, reply);
    }
    let request = Authenticate {
        account: account.clone(),
        mechanism: mechanism.name.into(),
        channel: channel(negotiation),
        initial,
    };
    let frame = ToOrigin::Authenticate(reply.connection, Box::new(request));
    let slot = reply.up(&account, frame);
    negotiation.step = Step::AwaitOrigin(Exchange { account, slot });
    Ok(Next::Stay)
}

fn respond(negotiation: &mut Negotiation, exchange: Exchange, data: Bytes, reply: &mut Reply<'_>) {
    let frame = ToOrigin::Respond {
        connection: reply.connection,
        account: exchange.account.clone(),
        data,
    };
    reply.actions.push(Action::Up(exchange.slot, frame));
    negotiation.step = Step::AwaitOrigin(exchange);
}

/// Writes a failure (RFC 6120 §6.5). The client may try again, but not for ever.
fn fail(
    negotiation: &mut Negotiation,
    condition: SaslCondition,
    text: Option<&'static str>,
    reply: &mut Reply<'_>,
) -> Outcome {
    say_failure(negotiation, condition, text, reply);
    negotiation.count_failure(reply)
}

fn say_failure(
    negotiation: &mut Negotiation,
    condition: SaslCondition,
    text: Option<&'static str>,
    reply: &mut Reply<'_>,
) {
    let mechanism = std::mem::take(&mut negotiation.wanted);
    reply.actions.push(Action::LoginFailed {
        condition,
        mechanism,
    });
    let text = text.map(|text| {
        Element::new("text", ns::SASL)
            .attr("xml:lang", "en")
            .text(text)
    });
    let failure = Element::new("failure", ns::SASL)
        .child(Element::new(condition.name(), ns::SASL))
        .children_from(text);
    reply.element(&failure);
}

/// The account a claim is about.
fn account(claim: &Claim<'_>, domain: &Jid) -> Jid {
    let named = Jid::from_parts(Some(&claim.username), domain.as_str(), None);
    named.unwrap_or_else(|_| {
        // No account can have this name. One that nobody has stands in for it; should somebody
        // register it, a login under the impossible name is still only a login as himself.
        let local = hex(&Sha256::digest(claim.username.as_bytes()));
        Jid::from_parts(Some(&local), domain.as_str(), None).expect("digits and letters")
    })
}

/// What the origin must know about the connection.
fn channel(negotiation: &Negotiation) -> Channel {
    let bindings = negotiation
        .secured
        .as_ref()
        .map(|secured| secured.bindings.clone());
    Channel {
        is_encrypted: negotiation.secured.is_some(),
        bindings: bindings.unwrap_or_default(),
        peer: Some(negotiation.peer),
        offered: offered(negotiation).map(|offered| offered.name).collect(),
    }
}

/// The decoded content; `None` where there is none. RFC 6120 §6.4.2: `=` is an empty message.
fn decode(element: &Element) -> Result<Option<Bytes>, SaslCondition> {
    if element.children().next().is_some() {
        return Err(SaslCondition::MalformedRequest);
    }
    match element.content().as_str() {
        "" => Ok(None),
        "=" => Ok(Some(Bytes::new())),
        text => match STANDARD.decode(text) {
            Ok(data) => Ok(Some(data.into())),
            Err(_) => Err(SaslCondition::IncorrectEncoding),
        },
    }
}

fn with_data(element: Element, data: Option<&Bytes>) -> Element {
    match data {
        None => element,
        Some(data) if data.is_empty() => element.text("="),
        Some(data) => element.text(STANDARD.encode(data)),
    }
}

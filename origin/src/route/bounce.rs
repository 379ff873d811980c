//! Bounce: the only place that turns a condition into an error stanza.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use crate::hooks::Ctx;
use crate::metrics;

/// Answers `stanza` with an error, where RFC 6120 §8.3.1 allows one: never an error for an error,
/// nor for the answer to an IQ.
pub fn bounce(ctx: &mut Ctx<'_>, stanza: &Stanza, error: impl Into<StanzaError>) {
    let error = error.into();
    if let Some(reply) = reply(stanza, &error) {
        ctx.route_shared(Arc::new(reply));
    }
}

/// As [`bounce`], for a room: the error comes from whom the stanza was for, and says that the room
/// has answered (RFC 6120 §8.3.1, XEP-0045 §7.2). `children` of the stanza come before it.
pub fn bounce_by(
    ctx: &mut Ctx<'_>,
    stanza: &Stanza,
    error: &StanzaError,
    room: &Jid,
    children: &[Element],
) {
    if let Some(mut reply) = reply(stanza, error) {
        let error = error.to_element().attr("by", room.as_str());
        reply.payload = Payload::from_elements(children.iter().chain([&error]));
        ctx.route_shared(Arc::new(reply));
    }
}

/// The error stanza that answers `stanza`, if one may.
pub fn reply(stanza: &Stanza, error: &StanzaError) -> Option<Stanza> {
    let may = match stanza.kind {
        _ if stanza.type_ == Type::Error => false,
        Kind::Iq => stanza.is_request(),
        Kind::Message | Kind::Presence => true,
    };
    if !may || stanza.from.is_none() || stanza.to.is_none() {
        return None;
    }
    metrics::stanza_error(error.condition);
    Some(stanza.error(error))
}

/// Nobody serves the domain that `stanza` is for (RFC 6120 §10.4).
pub fn no_such_host(stanza: &Stanza) -> Option<Stanza> {
    // RFC 6121 §4.4.2 ff.: an unavailable presence or a probe that finds nobody is no error.
    if matches!(stanza.type_, Type::Unavailable | Type::Probe) {
        return None;
    }
    reply(stanza, &Condition::RemoteServerNotFound.into())
}

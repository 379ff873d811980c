//! Resource binding (RFC 6120 §7) and the session that RFC 6121 made a formality.

use couplet_proto::link::frame::{Bind, ToOrigin};
use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::event::Action;
use super::negotiation::{Identity, Negotiation, Step};
use super::session::Session;
use super::{Next, Outcome, Reply};

/// Whether a stanza asks to bind.
pub(super) fn is_bind(stanza: &Stanza) -> bool {
    is_request(stanza, "bind", ns::BIND)
}

/// RFC 3921 §3: whether a stanza asks for a session.
pub(super) fn is_session(stanza: &Stanza) -> bool {
    is_request(stanza, "session", ns::SESSION)
}

/// An authenticated client asks for a resource.
pub(super) fn request(
    negotiation: &mut Negotiation,
    stanza: &Stanza,
    reply: &mut Reply<'_>,
) -> Outcome {
    let Some(identity) = &negotiation.identity else {
        return Ok(Next::Stay);
    };
    match wanted(stanza, &identity.account) {
        Ok(resource) => {
            let bind = bind_frame(identity, resource, negotiation, reply);
            let account = identity.account.clone();
            reply.up(&account, bind);
            let mut request = Stanza::new(stanza.kind, stanza.type_);
            request.id.clone_from(&stanza.id);
            negotiation.step = Step::Binding(Box::new(request));
            Ok(Next::Stay)
        }
        Err(condition) => {
            reply.stanza(&stanza.error(&condition.into()));
            reply.actions.push(Action::Answered(condition));
            negotiation.count_failure(reply)
        }
    }
}

/// The origin has bound the resource.
pub(super) fn bound(
    negotiation: &mut Negotiation,
    session: SessionId,
    jid: Jid,
    reply: &mut Reply<'_>,
) -> Next {
    let bind = Element::new("bind", ns::BIND).text_child("jid", jid.as_str());
    if let Step::Binding(request) = &negotiation.step {
        reply.stanza(&request.result(Some(&bind)));
    }
    reply.actions.push(Action::Bound {
        session,
        jid: jid.clone(),
    });
    let slot = (reply.slot_of)(&jid);
    Next::Bind(Session::new(session, slot, jid, negotiation.lang.take()))
}

/// The origin has not (RFC 6120 §7.6.2, §7.7.2). The client may ask again.
pub(super) fn refused(
    negotiation: &mut Negotiation,
    error: &StanzaError,
    reply: &mut Reply<'_>,
) -> Outcome {
    if let Step::Binding(request) = &negotiation.step {
        reply.stanza(&request.error(error));
    }
    negotiation.count_failure(reply)
}

fn is_request(stanza: &Stanza, name: &str, ns: &str) -> bool {
    stanza.kind == Kind::Iq
        && stanza.is_request()
        && stanza.first().is_some_and(|child| child.is(name, ns))
}

/// The resource asked for, if any; refused here where it cannot be one (§7.7.2.1).
fn wanted(stanza: &Stanza, account: &Jid) -> Result<Option<Box<str>>, Condition> {
    let mut children = stanza.payload.children();
    let (Some(bind), None, Type::Set) = (children.next(), children.next(), stanza.type_) else {
        return Err(Condition::BadRequest);
    };
    let resource = bind.element().find_own("resource").map(Element::content);
    let Some(resource) = resource else {
        return Ok(None);
    };
    match account.with_resource(&resource) {
        Ok(_) => Ok(Some(resource.into())),
        Err(_) => Err(Condition::BadRequest),
    }
}

fn bind_frame(
    identity: &Identity,
    resource: Option<Box<str>>,
    negotiation: &Negotiation,
    reply: &Reply<'_>,
) -> ToOrigin {
    let bind = Bind {
        account: identity.account.clone(),
        resource,
        token: identity.token,
        peer: Some(negotiation.peer),
    };
    ToOrigin::Bind(reply.connection, Box::new(bind))
}

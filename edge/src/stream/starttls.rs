//! STARTTLS (RFC 6120 §5).
//!
//! What follows `<starttls/>` in the same segment was not protected and is thrown away unread
//! (CVE-2011-0411 and its kin): the stream waits, so nothing of it is framed, and
//! [`Action::StartTls`] discards it.

use couplet_proto::Element;
use couplet_proto::xmpp::ns;

use super::event::{Action, Secured};
use super::negotiation::{Negotiation, Step};
use super::{Next, Outcome, Reply};

/// The client asks for TLS.
pub(super) fn request(negotiation: &mut Negotiation, reply: &mut Reply<'_>) -> Outcome {
    let is_offered = matches!(negotiation.step, Step::Choice)
        && negotiation.secured.is_none()
        && negotiation.identity.is_none()
        && reply.setup.offers_tls;
    if !is_offered {
        return refuse(reply);
    }
    reply.element(&Element::new("proceed", ns::TLS));
    reply.actions.push(Action::StartTls);
    negotiation.step = Step::Handshake;
    Ok(Next::Stay)
}

/// The handshake is done. All that was learnt before it is forgotten (RFC 6120 §5.4.3.3).
pub(super) fn secured(negotiation: &mut Negotiation, secured: Secured) {
    let is_direct = matches!(negotiation.step, Step::AwaitHeader) && negotiation.secured.is_none();
    if !is_direct && !matches!(negotiation.step, Step::Handshake) {
        tracing::warn!("a TLS handshake nobody asked for");
        return;
    }
    negotiation.secured = Some(secured);
    negotiation.domain = None;
    negotiation.lang = None;
    negotiation.restart();
}

/// RFC 6120 §5.4.2.2: the failure, then the end of the stream.
pub(super) fn refuse(reply: &mut Reply<'_>) -> Outcome {
    reply.element(&Element::new("failure", ns::TLS));
    Ok(Next::Close)
}

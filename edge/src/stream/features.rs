//! Stream features: what a client may do next (RFC 6120 §4.3.2).

use couplet_proto::Element;
use couplet_proto::xmpp::escape::Sink;
use couplet_proto::xmpp::ns;

use super::event::Setup;
use super::negotiation::Negotiation;
use super::{Reply, sasl};

/// Writes the features of a stream as it stands now.
pub(super) fn write(negotiation: &Negotiation, reply: &mut Reply<'_>) {
    let features = match negotiation.identity {
        Some(_) => after_authentication(reply.setup),
        None => before_authentication(negotiation, reply),
    };
    reply.out.put("<stream:features>");
    features.iter().for_each(|feature| reply.element(feature));
    reply.out.put("</stream:features>");
}

fn before_authentication(negotiation: &Negotiation, reply: &Reply<'_>) -> Vec<Element> {
    let mut features = Vec::new();
    let setup = reply.setup;
    if negotiation.secured.is_none() && setup.offers_tls {
        let starttls = Element::new("starttls", ns::TLS);
        let required = setup.require_tls.then(|| Element::new("required", ns::TLS));
        features.push(starttls.children_from(required));
    }
    if negotiation.needs_tls(reply) {
        // RFC 6120 §5.3.1: what must come first stands alone.
        return features;
    }
    let mechanisms = sasl::offered(negotiation).fold(
        Element::new("mechanisms", ns::SASL),
        |mechanisms, mechanism| mechanisms.text_child("mechanism", mechanism.name),
    );
    features.push(mechanisms);
    let bindings = negotiation
        .secured
        .iter()
        .flat_map(|secured| &secured.bindings);
    let bindings: Vec<Element> = bindings
        .map(|(name, _)| Element::new("channel-binding", ns::CHANNEL_BINDING).attr("type", *name))
        .collect();
    if !bindings.is_empty() {
        features.push(
            Element::new("sasl-channel-binding", ns::CHANNEL_BINDING).children_from(bindings),
        );
    }
    if setup.registration_open {
        features.push(Element::new("register", ns::REGISTER_FEATURE));
    }
    features
}

fn after_authentication(setup: &Setup) -> Vec<Element> {
    let mut limits = Element::new("limits", ns::STREAM_LIMITS)
        .text_child("max-bytes", setup.after_auth.bytes.to_string());
    if let Some(idle_secs) = setup.idle_secs {
        limits = limits.text_child("idle-seconds", idle_secs.to_string());
    }
    let mut features = vec![
        Element::new("bind", ns::BIND),
        // Clients older than RFC 6121 insist on it, others need not.
        Element::new("session", ns::SESSION).child(Element::new("optional", ns::SESSION)),
        Element::new("ver", ns::ROSTER_VERSIONING),
        Element::new("sub", ns::PRE_APPROVAL),
        limits,
        Element::new("sm", ns::STREAM_MANAGEMENT),
    ];
    if let Some(caps) = &setup.caps {
        features.push(
            Element::new("c", ns::CAPS)
                .attr("hash", "sha-1")
                .attr("node", caps.node.as_str())
                .attr("ver", caps.ver.as_str()),
        );
    }
    features
}

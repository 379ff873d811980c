//! What a test says.

use std::sync::OnceLock;

use couplet_proto::link::frame::{Authenticate, Channel};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::PASSWORD;
use crate::auth::Credentials;

/// An address.
pub(crate) fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("a valid address")
}

/// A request to authenticate over TLS without channel binding.
pub(crate) fn authenticate(account: &Jid, mechanism: &str, initial: Vec<u8>) -> Box<Authenticate> {
    Box::new(Authenticate {
        account: account.clone(),
        mechanism: mechanism.into(),
        initial: initial.into(),
        channel: Channel {
            is_encrypted: true,
            bindings: Vec::new(),
            peer: None,
            offered: vec!["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"],
        },
    })
}

/// What the edge would make of a client's words.
pub(crate) fn stanza(xml: &str) -> Stanza {
    let element = Element::parse(xml, ns::CLIENT).expect("canonical");
    let kind = Kind::from_name(element.name()).expect("a stanza");
    let type_ = Type::from_attribute(kind, element.get("type")).expect("a type");
    let mut stanza = Stanza::new(kind, type_);
    stanza.id = element.get("id").map(Into::into);
    stanza.to = element.get("to").map(jid);
    stanza.payload = Payload::from_elements(element.children());
    stanza
}

/// Derived once: it takes milliseconds.
pub(super) fn credentials() -> &'static Credentials {
    static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        Credentials::derive(PASSWORD, 4096, [3; 16], [4; 16]).expect("a fit password")
    })
}

//! XEP-0334: Message Processing Hints. Which messages are worth keeping.

use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Child;
use couplet_proto::{Stanza, Type};

use crate::hooks::{Feature, Spec};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "hints",
    spec: Spec::new("XEP-0334", "Message Processing Hints", "1.0.0"),
    disco: &[ns::HINTS],
    ..Feature::EMPTY
};

/// Whether a message is kept for an absent receiver: XEP-0160, "Handling of Message Types", and
/// what the sender wishes (§4.2, §4.4).
pub fn is_kept(message: &Stanza) -> bool {
    if !matches!(message.type_, Type::Normal | Type::Chat) || has(message, "no-store") {
        return false;
    }
    has(message, "store") || message.payload.children().any(is_worth_keeping)
}

fn has(message: &Stanza, hint: &str) -> bool {
    message.payload.find(hint, ns::HINTS).is_some()
}

/// Not a chat state, and not what only accompanies something else.
fn is_worth_keeping(child: Child<'_>) -> bool {
    let accompanies = [ns::CHAT_STATES, ns::HINTS, ns::STANZA_ID, ns::DELAY];
    !child.is("thread", ns::CLIENT) && !accompanies.iter().any(|ns| child.has_ns(ns))
}

//! XEP-0334: Message Processing Hints. What decides by them is `offline`.

use couplet_proto::Stanza;
use couplet_proto::xmpp::ns;

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

/// §4.2: not to be kept, not even until the receiver comes.
pub fn forbids_storing(message: &Stanza) -> bool {
    message.payload.find("no-store", ns::HINTS).is_some()
}

/// §4.4: to be kept even if it looks as if it need not.
pub fn asks_for_storing(message: &Stanza) -> bool {
    message.payload.find("store", ns::HINTS).is_some()
}

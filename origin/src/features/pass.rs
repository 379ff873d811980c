//! XEP-0085, XEP-0153, XEP-0184: what clients do among themselves; the server lets it through.

use crate::hooks::{Feature, Spec};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "pass",
    spec: Spec::new("XEP-0085", "Chat State Notifications", "2.1")
        .note("passed on; a message that holds nothing else is not kept"),
    also: &[
        Spec::new("XEP-0153", "vCard-Based Avatars", "1.1.1")
            .note("passed on with presence; the picture is in the vCard"),
        Spec::new("XEP-0184", "Message Delivery Receipts", "1.4.0").note("passed on, and kept"),
    ],
    ..Feature::EMPTY
};

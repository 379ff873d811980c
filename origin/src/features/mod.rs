//! THE LIST. One file per extension.
//!
//! To add one: its file, its `mod` line here, its word in `registry!`, both alphabetical. The
//! file has `FEATURE` (what it does), `PerAccount` and `PerSession` (what it remembers; `()` when
//! nothing), then the handlers. Nothing else in the router changes.

use crate::hooks::Feature;

/// From the words in the list: the features, and one slot for each in every account and session.
macro_rules! registry {
    ($($feature:ident,)*) => {
        /// Every feature, in the order of the list.
        pub static FEATURES: &[&Feature] = &[$(&$feature::FEATURE,)*];

        /// What the features keep for an account: one field for each.
        #[derive(Debug, Default)]
        #[expect(missing_docs, reason = "each field is its feature's PerAccount")]
        pub struct AccountSlots { $(pub $feature: $feature::PerAccount,)* }

        /// What the features keep for a session: one field for each.
        #[derive(Debug, Default)]
        #[expect(missing_docs, reason = "each field is its feature's PerSession")]
        pub struct SessionSlots { $(pub $feature: $feature::PerSession,)* }
    };
}

pub mod caps;

pub mod contact;

pub mod disco;

pub mod hints;

pub mod last_activity;

pub mod muc;

pub mod offline;

pub mod pass;

pub mod ping;

pub mod private;

pub mod recipients;

pub mod register;

pub mod roster;

pub mod stanza_id;

pub mod time;

pub mod vcard;

pub mod version;

registry! {
    caps,
    contact,
    disco,
    hints,
    last_activity,
    muc,
    offline,
    pass,
    ping,
    private,
    recipients,
    register,
    roster,
    stanza_id,
    time,
    vcard,
    version,
}

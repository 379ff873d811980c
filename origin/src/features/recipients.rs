//! XEP-0205, "Multiple Recipients": how many strangers a session may write to.

use std::hash::BuildHasher;

use couplet_proto::Element;
use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::xmpp::ns;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashSet;

use super::roster;
use crate::hooks::{Ctx, Feature, Flow, Message, Spec, Stage};

/// Nothing is remembered.
pub type PerAccount = ();

/// To which strangers the session has written of late; nothing while it has written to none.
pub type PerSession = Option<Box<Window>>;

/// The strangers of one minute.
#[derive(Debug)]
pub struct Window {
    /// When it began, in monotonic milliseconds.
    began: u64,
    /// The hashes of their bare addresses.
    strangers: HashSet<u64, FixedState>,
    hasher: RandomState,
}

/// How long a window lasts, in milliseconds.
const WINDOW_MS: u64 = 60_000;

pub(super) static FEATURE: Feature = Feature {
    name: "recipients",
    spec: Spec::new(
        "XEP-0205",
        "Best Practices to Discourage Denial of Service Attacks",
        "1.0.2",
    ),
    sent: &[(Stage::Screen, count)],
    ..Feature::EMPTY
};

// === impl Window ===

impl Window {
    fn new(began: u64) -> Self {
        Self {
            began,
            strangers: HashSet::default(),
            hasher: RandomState::default(),
        }
    }

    /// Whether one more message to this address is within `most` strangers.
    fn admits(&mut self, stranger: &str, most: usize, now: u64) -> bool {
        if now.saturating_sub(self.began) >= WINDOW_MS {
            *self = Self::new(now);
        }
        let hash = self.hasher.hash_one(stranger);
        if self.strangers.contains(&hash) {
            return true;
        }
        let has_room = self.strangers.len() < most;
        if has_room {
            self.strangers.insert(hash);
        }
        has_room
    }
}

fn count(ctx: &mut Ctx<'_>, message: &mut Message) -> Result<Flow, StanzaError> {
    let Some(to) = message.stanza.to.as_ref() else {
        return Ok(Flow::Continue);
    };
    let is_known = to.is_same_bare(&ctx.account.jid)
        || roster::item(ctx.account, to).is_some_and(|item| item.is_listed);
    if is_known {
        return Ok(Flow::Continue);
    }
    let most = ctx.shared.config.limits.recipients_per_minute;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let now = ctx.now.mono;
    let Some(session) = ctx.session() else {
        return Ok(Flow::Continue);
    };
    let window = session
        .slots
        .recipients
        .get_or_insert_with(|| Box::new(Window::new(now)));
    match window.admits(to.bare(), most, now) {
        true => Ok(Flow::Continue),
        false => Err(StanzaError::from(Condition::UnexpectedRequest)
            .with_type(ErrorType::Wait)
            .with_application(Element::new("too-many-stanzas", ns::ERRORS))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_once_a_minute() {
        let mut window = Window::new(5);
        assert!(window.admits("a@x", 2, 10));
        assert!(window.admits("b@x", 2, 10));
        assert!(window.admits("a@x", 2, 10));
        assert!(!window.admits("c@x", 2, 60_000));
        assert!(window.admits("c@x", 2, 60_005));
    }
}

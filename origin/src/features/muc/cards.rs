//! Cards: presences of a large room as those who enter are shown them, kept for a moment.
//!
//! When a room fills, everybody who enters is shown everybody: composed anew each time, that is
//! work for the square of its size, and the rooms of the same shard wait meanwhile. So each is
//! composed once, until it changes or nobody enters any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use couplet_proto::{Jid, Stanza};

use super::affiliation::Role;
use super::occupant::Occupant;

/// Nicks from which on it is worth the memory.
pub(super) const WORTH_IT: usize = 100;

/// How long they are kept after somebody has entered, in milliseconds.
const KEPT_MS: u64 = 10_000;

/// Presences by nick.
#[derive(Debug, Default)]
pub(super) struct Cards {
    by_nick: BTreeMap<Box<str>, Card>,
    /// When they are forgotten, in monotonic milliseconds.
    until: u64,
}

#[derive(Debug)]
struct Card {
    /// Of which session it is, and in which role.
    jid: Jid,
    role: Role,
    /// With the real address, and without.
    with: Option<Arc<Stanza>>,
    without: Option<Arc<Stanza>>,
}

// === impl Cards ===

impl Cards {
    /// The presence of an occupant, with its real address or without; composed if it is not known.
    pub(super) fn of(
        &mut self,
        occupant: &Occupant,
        has_address: bool,
        compose: impl FnOnce() -> Arc<Stanza>,
    ) -> Arc<Stanza> {
        let card = self.by_nick.entry(occupant.nick.clone());
        let card = card.or_insert_with(|| Card::new(occupant));
        if card.jid != occupant.jid || card.role != occupant.role {
            *card = Card::new(occupant);
        }
        let stanza = match has_address {
            true => &mut card.with,
            false => &mut card.without,
        };
        stanza.get_or_insert_with(compose).clone()
    }

    /// Whoever has this nick is not what it was.
    pub(super) fn forget(&mut self, nick: &str) {
        self.by_nick.remove(nick);
    }

    /// They are used now: when somebody is to look whether they still are. `None` when somebody
    /// does already.
    pub(super) fn used(&mut self, now: u64) -> Option<u64> {
        let is_looked_at = self.until > 0;
        self.until = now + KEPT_MS;
        (!is_looked_at).then_some(self.until)
    }

    /// Forgets them if it is time; else when to look again.
    pub(super) fn look(&mut self, now: u64) -> Option<u64> {
        if self.until > now {
            return Some(self.until);
        }
        *self = Self::default();
        None
    }
}

// === impl Card ===

impl Card {
    fn new(occupant: &Occupant) -> Self {
        Self {
            jid: occupant.jid.clone(),
            role: occupant.role,
            with: None,
            without: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use couplet_proto::xmpp::payload::Payload;
    use couplet_proto::{Kind, Type};

    use super::*;

    #[test]
    fn they_are_forgotten_when_nobody_enters_any_more() {
        let mut cards = Cards::default();
        let occupant = Occupant {
            jid: Jid::parse("a@x/r").expect("an address"),
            nick: "A".into(),
            role: Role::Participant,
            presence: Payload::default(),
            since: 0,
        };
        let mut composed = 0;
        let mut look = |cards: &mut Cards| {
            cards.of(&occupant, true, || {
                composed += 1;
                Arc::new(Stanza::new(Kind::Presence, Type::Available))
            });
            composed
        };
        assert_eq!((look(&mut cards), look(&mut cards)), (1, 1));
        // One looks whether they are used; no matter how many enter.
        let at = 1000 + KEPT_MS;
        assert_eq!((cards.used(1000), cards.used(1500)), (Some(at), None));
        assert_eq!(cards.look(at), Some(at + 500));
        assert_eq!(look(&mut cards), 1);
        assert_eq!(cards.look(at + 500), None);
        assert_eq!(look(&mut cards), 2);
        cards.forget("A");
        assert_eq!(look(&mut cards), 3);
    }
}

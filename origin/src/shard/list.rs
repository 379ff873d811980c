//! List: the sessions of a shard, for an operator.

use std::collections::BinaryHeap;

use super::residents::Place;
use super::state::Shard;
use crate::admin::{Listed, Listing, SessionState};
use crate::session::{At, Session};

impl Shard {
    /// The sessions asked for, in order of their addresses, and how much there is in all.
    pub(super) fn list(&mut self, listing: &Listing) -> Listed {
        let mut listed = Listed {
            sessions: Vec::new(),
            total: self.sessions.len(),
            exchanges: self.login.len(),
        };
        if listing.max == 0 {
            return listed;
        }
        let places: Vec<Place> = match &listing.account {
            Some(account) => self.residents.find(account.bare()).into_iter().collect(),
            None => {
                let mut places: Vec<Place> = self.sessions.values().copied().collect();
                places.sort_unstable();
                places.dedup();
                places
            }
        };
        // Only a page of them is kept, however many there are.
        let mut page: BinaryHeap<SessionState> = BinaryHeap::new();
        for place in places {
            let Some(resident) = self.residents.get_mut(place) else {
                continue;
            };
            for session in &resident.account.sessions {
                let is_there = |domain: &str| session.jid.domain() == domain;
                if !listing.domain.as_deref().is_none_or(is_there) {
                    continue;
                }
                let is_after = |after: &str| session.jid.as_str() > after;
                if !listing.after.as_deref().is_none_or(is_after) {
                    continue;
                }
                let is_in_page = page.len() < listing.max
                    || page.peek().is_some_and(|last| session.jid < last.jid);
                if is_in_page {
                    page.push(state(session, resident.slot));
                }
                if page.len() > listing.max {
                    page.pop();
                }
            }
        }
        listed.sessions = page.into_sorted_vec();
        listed
    }
}

fn state(session: &Session, slot: couplet_proto::slot::Slot) -> SessionState {
    SessionState {
        jid: session.jid.clone(),
        slot,
        edge: match session.at {
            At::Edge(edge, _) => Some(edge),
            At::Nowhere(_) => None,
        },
        bound: session.bound,
        is_available: session.presence.is_some(),
        is_resumable: session
            .managed
            .as_ref()
            .is_some_and(|managed| managed.resume_secs > 0),
    }
}

//! Watching: what an operator who looks on at an account is shown; see [`crate::onlook`].

use couplet_proto::Stanza;
use couplet_proto::link::frame::ToEdge;

use rand::Rng;

use super::event::{WatchRequest, Work};
use super::residents::Resident;
use super::state::Shard;
use super::tenure::Tenure;
use crate::admin::Error;
use crate::onlook::{Refused, WATCHED_MAX, Way};

impl Shard {
    /// An operator looks on.
    pub(super) fn watch(&mut self, request: WatchRequest) {
        let WatchRequest { watch, reply } = request;
        let slot = self.slot_of(&watch.jid);
        let answer = match self.tenures.of(slot) {
            Tenure::Active(..) => {
                let rng = &mut self.rng;
                let draw = || rng.next_u64();
                let watched = self.watches.ask(&watch, slot, draw, self.now);
                watched.map_err(|refused| match refused {
                    Refused::Closed => Error::NotWatched,
                    Refused::Enough => Error::WatchedEnough(WATCHED_MAX),
                })
            }
            _ => Err(Error::Moving),
        };
        // Whoever asked may have given up.
        let _ = reply.send(answer);
    }

    /// A handler runs for this.
    #[inline]
    pub(super) fn watch_work(&mut self, resident: &Resident, work: &Work) {
        if self.watches.is_empty() {
            return;
        }
        let Work::Stanza {
            session, stanza, ..
        } = work
        else {
            return;
        };
        if let Some(known) = resident.account.session(*session) {
            self.watches.note(Way::Sent, &known.jid, stanza, self.now);
        }
    }

    /// A client is told something, and perhaps its last stanza.
    pub(super) fn watch_last(&mut self, body: &ToEdge) {
        if let ToEdge::Deliver(delivery) = body
            && !self.watches.is_empty()
            && let Some(to) = &delivery.stanza.to
        {
            let stanza = &delivery.stanza;
            self.watches.note(Way::Delivered, to, stanza, self.now);
        }
    }

    /// A stanza for the account went to none of its clients.
    pub(super) fn watch_handled(&mut self, resident: &Resident, stanza: &Stanza) {
        let jid = &resident.account.jid;
        let to = stanza.to.as_ref().unwrap_or(jid);
        self.watches.note(Way::Handled, to, stanza, self.now);
    }
}

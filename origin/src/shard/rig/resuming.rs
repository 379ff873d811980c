//! What tests of resumption do: enable, lose, resume, attach, and move slots.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Attach, Detached, Resume, ToEdge, ToOrigin, Unacked};
use couplet_proto::slot::Slot;

use super::{Client, EDGE, EPOCH, Event, Rig, SEED};
use crate::shard::event::Change;

// === impl Rig ===

impl Rig {
    /// A client enables stream management; what it resumes by.
    pub(crate) fn enable(&mut self, client: &Client) -> String {
        let enable = ToOrigin::Enable {
            session: client.session,
            number: client.sent,
            resume_secs: Some(0),
        };
        self.up(&client.jid.to_bare(), enable);
        match self.next_frame(client.connection) {
            ToEdge::Enabled { id: Some(id), .. } => id.into(),
            other => panic!("{other:?}"),
        }
    }

    /// A client's connection breaks.
    pub(crate) fn lose(&mut self, client: &Client) {
        let frame = ToOrigin::Detach {
            session: client.session,
            connection: client.connection,
            reason: Detached::Lost,
        };
        self.forget_connection(client);
        self.up(&client.jid.to_bare(), frame);
    }

    /// The edge dies, with everything it holds.
    pub(crate) fn lose_edge(&mut self) {
        self.inboxes.clear();
        for shard in 0..self.shards.len() {
            self.events
                .push_back((shard, Event::EdgeGone(EDGE, Vec::new())));
        }
        self.run();
    }

    /// A client comes back by another connection; what it is told first.
    pub(crate) fn resume(&mut self, client: &mut Client, previous: &str, h: u32) -> ToEdge {
        let account = client.jid.to_bare();
        let (connection, token) = self.prove(&account);
        let resume = Resume {
            account: account.clone(),
            token,
            previous: previous.into(),
            h,
            peer: None,
        };
        client.connection = connection;
        self.up(&account, ToOrigin::Resume(connection, Box::new(resume)));
        self.next_frame(connection)
    }

    /// What its edge keeps of a client: brought to an owner.
    pub(crate) fn attachment(&self, client: &Client, unacked: Vec<Unacked>) -> Attach {
        let inbox = &self.inboxes[&client.connection];
        Attach {
            session: client.session,
            connection: client.connection,
            jid: client.jid.clone(),
            epoch: EPOCH,
            state: inbox.kept.clone(),
            taken: inbox.taken,
            received: inbox.delivered,
            acked: inbox.delivered - unacked.len() as u64,
            unacked,
            seen: Vec::new(),
            peer: None,
        }
    }

    /// The slot of an account changes its owner, who knows only the store.
    pub(crate) fn move_slot(&mut self, account: &str, epoch: Epoch) {
        let slot = Slot::of(SEED, &super::jid(account));
        let shard = self.shard_of(slot);
        for change in [Change::Lose, Change::Take(epoch, vec![EDGE])] {
            self.events.push_back((shard, Event::Tenure(slot, change)));
        }
        self.epochs.insert(slot, epoch);
        for shard in 0..self.shards.len() {
            let slots = [slot].into();
            self.events.push_back((shard, Event::Rerouted(slots)));
        }
        self.run();
    }

    /// The same frame twice, or once more after a move.
    pub(crate) fn repeat(&mut self, client: &Client, epoch: Epoch, xml: &str) {
        let frame = ToOrigin::Stanza {
            entered: 0,
            session: client.session,
            number: client.sent,
            stanza: std::sync::Arc::new(super::stanza(xml)),
        };
        self.up_at(&client.jid.to_bare(), epoch, frame);
    }

    fn forget_connection(&mut self, client: &Client) {
        self.inboxes.remove(&client.connection);
    }
}

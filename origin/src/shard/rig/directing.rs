//! What an operator orders.

use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::frame::{Password, Register, ToEdge, ToOrigin};
use couplet_proto::link::id::ConnectionId;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::stanza::{Kind, Stanza, Type};
use tokio::sync::oneshot;

use super::{Event, Rig, SEED, jid};
use crate::admin::{Action, Error, Kicked, Request};
use crate::directives::{AddedDomain, Ban, Directives, Target};

// === impl Rig ===

impl Rig {
    /// Kicks a session or all of an account; what is said once that is durable.
    pub(crate) fn kick(&mut self, address: &str) -> Option<Result<usize, Error>> {
        let mut said = self.ask_to_kick(address);
        self.run();
        said.try_recv().ok()
    }

    /// As [`Rig::kick`], for a test that holds commits.
    pub(crate) fn ask_to_kick(&mut self, address: &str) -> oneshot::Receiver<Result<usize, Error>> {
        let (address, (reply, said)) = (jid(address), oneshot::channel());
        let account = address.to_bare();
        let action = Action::Kick(address.is_full().then_some(address));
        let shard = self.shard_of(Slot::of(SEED, &account));
        let request = Box::new(Request { action, reply });
        self.events
            .push_back((shard, Event::Admin(account, request)));
        self.run();
        said
    }

    /// Kicks sessions of a domain, at most so many in each shard.
    pub(crate) fn kick_some(&mut self, domain: &str, max: usize) -> Kicked {
        let mut all = Kicked::default();
        for shard in 0..self.shards.len() {
            let (reply, mut kicked) = oneshot::channel();
            let event = Event::Kick(jid(domain), max, reply);
            self.events.push_back((shard, event));
            self.run();
            let some = kicked.try_recv().expect("answered");
            all.ended += some.ended;
            all.are_left |= some.are_left;
        }
        all
    }

    /// These accounts are banned and these domains added, and nothing else.
    pub(crate) fn direct(&mut self, banned: &[&str], domains: &[&str]) {
        let board = Arc::clone(&self.shared.board);
        let mut directives = Directives {
            version: board.directives().version + 1,
            ..Directives::default()
        };
        for account in banned {
            directives.ban(Ban {
                target: Target::parse(account).expect("a target"),
                reason: "".into(),
                by: "".into(),
                is_confined: false,
                since: self.now.unix,
                until: Some(self.now.unix + 60_000),
            });
        }
        for domain in domains {
            directives.add(AddedDomain {
                domain: jid(domain),
                by: "".into(),
                since: 0,
            });
        }
        board.post(directives);
        for shard in 0..self.shards.len() {
            self.events.push_back((shard, Event::Directed));
        }
        self.run();
    }

    /// A stranger asks for an account; the answer.
    pub(crate) fn register(&mut self, account: &Jid) -> String {
        let connection = self.connection();
        self.ask_to_register(connection, account);
        self.registered(connection)
    }

    /// A stranger asks for an account.
    pub(crate) fn ask_to_register(&mut self, connection: ConnectionId, account: &Jid) {
        let request = Register {
            account: account.clone(),
            password: Password("secret".into()),
            peer: None,
            request: Arc::new(Stanza::new(Kind::Iq, Type::Set).id("r")),
        };
        self.up(account, ToOrigin::Register(connection, Box::new(request)));
    }

    /// What such a stranger was answered.
    pub(crate) fn registered(&mut self, connection: ConnectionId) -> String {
        match self.next_frame(connection) {
            ToEdge::Registered { answer, .. } => answer.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

//! What a test may delay or break, beyond commits.

use std::collections::VecDeque;

use couplet_proto::Jid;
use couplet_proto::link::frame::{AuthToken, Bind, ToEdge, ToOrigin};
use couplet_proto::link::id::ConnectionId;
use couplet_proto::slot::Slot;
use tokio::sync::oneshot;

use super::words::authenticate;
use super::{Event, PASSWORD, Rig, SEED};
use crate::admin::{Action, Request};
use crate::auth::Credentials;

/// What a test may delay or break.
#[derive(Default)]
pub(crate) struct Faults {
    /// Whether answers wait for the test.
    pub(crate) holds_answers: bool,
    /// Whether no account can be read.
    pub(crate) fails_loads: bool,
    answers: VecDeque<(usize, Event)>,
}

// === impl Rig ===

impl Rig {
    /// Brings an answer to its shard, now or when the test wants.
    pub(super) fn give(&mut self, answer: (usize, Event)) {
        match self.faults.holds_answers {
            true => self.faults.answers.push_back(answer),
            false => self.events.push_back(answer),
        }
    }

    /// Gives every answer that is held back; says how many there were.
    pub(crate) fn answer(&mut self) -> usize {
        self.faults.holds_answers = false;
        let held = std::mem::take(&mut self.faults.answers);
        let count = held.len();
        self.events.extend(held);
        self.run();
        count
    }

    /// Makes an account while everything runs, as an operator does.
    pub(crate) fn create(&mut self, account: &Jid) {
        let (reply, _) = oneshot::channel();
        // A new account has new salts.
        let made = Credentials::derive(PASSWORD, 4096, [5; 16], [6; 16]);
        let action = Action::Add(Box::new(made.expect("a fit password")));
        let request = Box::new(Request { action, reply });
        let shard = self.shard_of(Slot::of(SEED, account));
        self.events
            .push_back((shard, Event::Admin(account.clone(), request)));
        self.run();
    }

    /// Authenticates without binding.
    pub(crate) fn prove(&mut self, account: &Jid) -> (ConnectionId, AuthToken) {
        let connection = self.connection();
        let initial = format!("\0{}\0{PASSWORD}", account.local().unwrap_or_default());
        let request = authenticate(account, "PLAIN", initial.into_bytes());
        self.up(account, ToOrigin::Authenticate(connection, request));
        match self.next_frame(connection) {
            ToEdge::Authenticated { token, .. } => (connection, token),
            other => panic!("{other:?}"),
        }
    }

    /// Binds with what was proven.
    pub(crate) fn bind(&mut self, account: &Jid, proof: (ConnectionId, AuthToken)) -> ToEdge {
        let (connection, token) = proof;
        let bind = Bind {
            account: account.clone(),
            resource: None,
            token,
            peer: None,
        };
        self.up(account, ToOrigin::Bind(connection, Box::new(bind)));
        self.next_frame(connection)
    }
}

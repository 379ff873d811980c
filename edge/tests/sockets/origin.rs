//! An origin that lets everybody in, remembers what it is told, and can be made to refuse.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{AuthToken, Detached, Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::link::{Downlink, Refused, Uplink, Waiting};
use couplet_proto::slot::{Seed, Slot};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::stanza::Type;
use couplet_proto::{Element, Jid, Kind, Stanza};
use tokio::sync::Notify;

use crate::PATIENCE;

const SEED: Seed = Seed([7; 16]);

pub(crate) struct Origin {
    down: Arc<dyn Downlink>,
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
}

/// What has happened, and how the origin behaves.
pub(crate) struct State {
    pub(crate) frames: Vec<ToOrigin>,
    pub(crate) bound: Vec<Bound>,
    /// Whether the edge's frames are taken.
    pub(crate) has_room: bool,
    /// Whether nobody owns any slot any more.
    pub(crate) is_gone: bool,
    /// Whether stanzas take effect at once.
    pub(crate) takes_stanzas: bool,
    /// Whether a request to authenticate is answered.
    pub(crate) answers_auth: bool,
    /// Whether a request to bind is answered.
    pub(crate) answers_bind: bool,
}

#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) connection: ConnectionId,
    pub(crate) session: SessionId,
    pub(crate) jid: Jid,
}

impl Origin {
    pub(crate) fn new(down: Arc<dyn Downlink>) -> Self {
        Self {
            down,
            state: Mutex::new(State {
                frames: Vec::new(),
                bound: Vec::new(),
                has_room: true,
                is_gone: false,
                takes_stanzas: true,
                answers_auth: true,
                answers_bind: true,
            }),
            changed: Notify::new(),
            started: Instant::now(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("whole")
    }

    /// Changes how the origin behaves.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    /// Waits until `check` finds what it looks for.
    pub(crate) async fn wait<T>(&self, what: &str, check: impl Fn(&State) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = check(&self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    /// The session of this account's only client.
    pub(crate) fn session_of(&self, account: &str) -> Bound {
        let state = self.state();
        let mut found = state
            .bound
            .iter()
            .filter(|bound| bound.jid.bare() == account);
        found.next().expect("bound").clone()
    }

    /// Sends frames, at the first epoch.
    pub(crate) fn send(&self, frames: impl IntoIterator<Item = ToEdge>) {
        self.send_at(Epoch(1), frames);
    }

    pub(crate) fn send_at(&self, epoch: Epoch, frames: impl IntoIterator<Item = ToEdge>) {
        let frame = |body| Frame {
            slot: Slot::new(0).expect("a slot"),
            epoch,
            body,
        };
        self.down.send(&mut frames.into_iter().map(frame).collect());
    }

    /// A message with this text for that session.
    pub(crate) fn message(bound: &Bound, text: &str) -> ToEdge {
        let stanza = Stanza::new(Kind::Message, Type::Chat)
            .to(bound.jid.clone())
            .child(&Element::new("body", ns::CLIENT).text(text));
        ToEdge::Deliver {
            connections: [bound.connection].into_iter().collect(),
            stanza: Arc::new(stanza),
            entered: 1,
        }
    }

    /// Everything a session has sent has taken effect.
    pub(crate) fn take(&self, bound: &Bound, number: u64) {
        let connection = bound.connection;
        self.send([ToEdge::Taken { connection, number }]);
    }

    /// Asks a client for its next SASL message.
    pub(crate) fn challenge(&self, connection: ConnectionId) {
        let data = "r=xy".into();
        self.send([ToEdge::Challenge { connection, data }]);
    }

    /// Waits until the session is detached, and says how.
    pub(crate) async fn detached(&self, session: SessionId) -> Detached {
        self.wait("detach", |state| state.detaches(session).first().copied())
            .await
    }

    fn answer(&self, frame: &ToOrigin) -> Option<ToEdge> {
        match frame {
            ToOrigin::Authenticate(connection, request) => {
                let is_answered = self.state().answers_auth;
                is_answered.then(|| ToEdge::Authenticated {
                    connection: *connection,
                    account: request.account.clone(),
                    data: None,
                    token: AuthToken(1),
                })
            }
            ToOrigin::Bind(connection, request) => {
                let resource = request.resource.as_deref().unwrap_or("drawn");
                let jid = format!("{}/{resource}", request.account);
                let mut state = self.state();
                let bound = Bound {
                    connection: *connection,
                    session: SessionId(1000 + state.bound.len() as u64),
                    jid: Jid::parse(&jid).expect("an address"),
                };
                state.bound.push(bound.clone());
                state.answers_bind.then(|| bound.answer())
            }
            ToOrigin::Stanza {
                session, number, ..
            } => {
                let state = self.state();
                let bound = state.bound.iter().find(|bound| bound.session == *session)?;
                let (connection, number) = (bound.connection, *number);
                state
                    .takes_stanzas
                    .then_some(ToEdge::Taken { connection, number })
            }
            _ => None,
        }
    }
}

impl Bound {
    /// The frame that tells the client.
    pub(crate) fn answer(&self) -> ToEdge {
        ToEdge::Bound {
            connection: self.connection,
            session: self.session,
            jid: self.jid.clone(),
        }
    }
}

impl State {
    /// How often and how the session was detached.
    pub(crate) fn detaches(&self, wanted: SessionId) -> Vec<Detached> {
        let detach = |frame: &ToOrigin| match frame {
            ToOrigin::Detach { session, reason } if *session == wanted => Some(*reason),
            _ => None,
        };
        self.frames.iter().filter_map(detach).collect()
    }

    /// The numbers of a session's stanzas, in the order they came.
    pub(crate) fn numbers(&self, wanted: SessionId) -> Vec<u64> {
        let number = |frame: &ToOrigin| match frame {
            ToOrigin::Stanza {
                session, number, ..
            } if *session == wanted => Some(*number),
            _ => None,
        };
        self.frames.iter().filter_map(number).collect()
    }
}

impl Uplink for Origin {
    fn slot_of(&self, account: &Jid) -> Slot {
        Slot::of(SEED, account)
    }

    fn try_send(&self, _slot: Slot, frame: ToOrigin) -> Result<(), Refused> {
        if self.state().is_gone {
            return Err(Refused::Gone(frame));
        }
        if !self.state().has_room {
            return Err(Refused::Full(frame));
        }
        let answer = self.answer(&frame);
        self.set(|state| state.frames.push(frame));
        self.send(answer);
        Ok(())
    }

    fn room(&self, _slot: Slot) -> Waiting<'_> {
        Box::pin(async {
            loop {
                let changed = self.changed.notified();
                if self.state().has_room {
                    return;
                }
                changed.await;
            }
        })
    }

    fn now_ms(&self) -> Option<u64> {
        u64::try_from(self.started.elapsed().as_millis()).ok()
    }
}

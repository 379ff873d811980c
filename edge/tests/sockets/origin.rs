//! An origin that lets everybody in, remembers what it is told, and can be made to refuse.

use std::sync::{Arc, Mutex, MutexGuard};

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{AuthToken, Delivery, Detached, Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId, Source};
use couplet_proto::link::{Downlink, Refused, Route, Uplink, Waiting};
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
    /// Whether owners may be lost, as in a cluster.
    is_cluster: bool,
}

/// The way to the owner of every slot at first.
pub(crate) const FIRST: Route = Route {
    epoch: Epoch(1),
    link: 1,
};

/// The way to the next owner.
pub(crate) const SECOND: Route = Route {
    epoch: Epoch(2),
    link: 2,
};

/// What has happened, and how the origin behaves.
pub(crate) struct State {
    pub(crate) frames: Vec<ToOrigin>,
    /// The way each of them came.
    pub(crate) ways: Vec<Route>,
    /// The way to the owner of every slot.
    pub(crate) route: Option<Route>,
    /// A former way that still leads somewhere.
    pub(crate) former: Option<Route>,
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
    pub(crate) fn new(down: Arc<dyn Downlink>, is_cluster: bool) -> Self {
        Self {
            down,
            state: Mutex::new(State {
                frames: Vec::new(),
                ways: Vec::new(),
                route: Some(FIRST),
                former: None,
                bound: Vec::new(),
                has_room: true,
                is_gone: false,
                takes_stanzas: true,
                answers_auth: true,
                answers_bind: true,
            }),
            changed: Notify::new(),
            is_cluster,
        }
    }

    /// All slots have another owner, or none; the edge is told.
    pub(crate) fn reroute(&self, route: Option<Route>) {
        self.set(|state| state.route = route);
        self.down.rerouted(&Slot::all().collect::<Vec<_>>());
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

    /// Sends frames, as the owner there is.
    pub(crate) fn send(&self, frames: impl IntoIterator<Item = ToEdge>) {
        let route = self.state().route;
        self.send_at(route.unwrap_or(FIRST).epoch, frames);
    }

    pub(crate) fn send_at(&self, epoch: Epoch, frames: impl IntoIterator<Item = ToEdge>) {
        let frame = |body| Frame {
            slot: Slot::new(0).expect("a slot"),
            epoch,
            body,
        };
        let _ = self.down.send(&mut frames.into_iter().map(frame).collect());
    }

    /// A message with this text for that session.
    pub(crate) fn message(bound: &Bound, text: &str) -> ToEdge {
        let stanza = Stanza::new(Kind::Message, Type::Chat)
            .to(bound.jid.clone())
            .child(&Element::new("body", ns::CLIENT).text(text));
        bound.deliver(Arc::new(stanza), None)
    }

    /// The same, sent by somebody's session as the stanza of this number.
    pub(crate) fn message_of(bound: &Bound, text: &str, number: u64) -> ToEdge {
        let source = Source {
            session: SessionId(1),
            number,
            part: 0,
        };
        let mut message = Self::message(bound, text);
        if let ToEdge::Deliver(delivery) = &mut message {
            delivery.source = Some(source);
        }
        message
    }

    /// Waits until the session's client has so many of the stanzas delivered.
    pub(crate) async fn acked(&self, wanted: SessionId, wanted_count: u64) {
        let is_it = |frame: &ToOrigin| {
            matches!(frame, ToOrigin::Acked { session, count }
                if *session == wanted && *count == wanted_count)
        };
        let check = |state: &State| state.frames.iter().any(is_it).then_some(());
        self.wait("acknowledgement", check).await;
    }

    /// Waits for a request of this kind, and says which connection made it.
    pub(crate) async fn asked(
        &self,
        what: &str,
        is_it: impl Fn(&ToOrigin) -> Option<ConnectionId>,
    ) -> ConnectionId {
        let check = |state: &State| state.frames.iter().find_map(&is_it);
        self.wait(what, check).await
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

    fn answers(&self, frame: &ToOrigin) -> Vec<ToEdge> {
        match frame {
            ToOrigin::Answer {
                session,
                number,
                answer,
            } => {
                let bound = self.state().bound_as(*session);
                let connection = bound.connection;
                let number = *number;
                let taken = ToEdge::Taken { connection, number };
                vec![bound.deliver(Arc::clone(answer), None), taken]
            }
            ToOrigin::Enable { session, .. } => {
                let bound = self.state().bound_as(*session);
                vec![ToEdge::Enabled {
                    connection: bound.connection,
                    id: Some("x".into()),
                    max_secs: 300,
                }]
            }
            frame => self.answer(frame).into_iter().collect(),
        }
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
                let (connection, number) = (state.bound_as(*session).connection, *number);
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

    /// A stanza for the client.
    pub(crate) fn deliver(&self, stanza: Arc<Stanza>, source: Option<Source>) -> ToEdge {
        ToEdge::Deliver(Delivery {
            connections: [self.connection].into_iter().collect(),
            stanza,
            source,
            log: None,
            entered: 1,
        })
    }
}

impl State {
    /// The session of this id.
    fn bound_as(&self, session: SessionId) -> Bound {
        let mut known = self.bound.iter();
        let found = known.find(|bound| bound.session == session);
        found.expect("a session that was bound").clone()
    }

    /// What came by one way, each frame in a word or two.
    pub(crate) fn on(&self, way: Route) -> Vec<String> {
        let all = self.frames.iter().zip(&self.ways);
        let on_it = all.filter(|(_, by)| **by == way);
        on_it.map(|(frame, _)| describe(frame)).collect()
    }
    /// How often and how the session was detached.
    pub(crate) fn detaches(&self, wanted: SessionId) -> Vec<Detached> {
        let detach = |frame: &ToOrigin| match frame {
            ToOrigin::Detach {
                session, reason, ..
            } if *session == wanted => Some(*reason),
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

    fn route(&self, _slot: Slot) -> Option<Route> {
        self.state().route
    }

    fn try_send(&self, _slot: Slot, route: Route, frame: ToOrigin) -> Result<(), Refused> {
        {
            let state = self.state();
            if state.is_gone {
                return Err(Refused::Gone(frame));
            }
            let of_exchange = matches!(frame, ToOrigin::Respond { .. } | ToOrigin::Abort { .. });
            let is_there =
                state.route == Some(route) || (of_exchange && state.former == Some(route));
            if !is_there {
                return Err(Refused::Moved(frame));
            }
            if !state.has_room {
                return Err(Refused::Full(frame));
            }
        }
        if matches!(&frame, ToOrigin::Expect(sessions) if sessions.is_empty()) {
            return Ok(());
        }
        let answers = self.answers(&frame);
        self.set(|state| {
            state.frames.push(frame);
            state.ways.push(route);
        });
        self.send(answers);
        Ok(())
    }

    fn may_lose_owners(&self) -> bool {
        self.is_cluster
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
}

/// A frame in a word or two.
fn describe(frame: &ToOrigin) -> String {
    match frame {
        ToOrigin::Authenticate(..) => "authenticate".to_owned(),
        ToOrigin::Respond { .. } => "respond".to_owned(),
        ToOrigin::Abort { .. } => "abort".to_owned(),
        ToOrigin::Register(..) => "register".to_owned(),
        ToOrigin::Bind(..) => "bind".to_owned(),
        ToOrigin::Resume(..) => "resume".to_owned(),
        ToOrigin::Enable { number, .. } => format!("enable {number}"),
        ToOrigin::Stanza { number, .. } => format!("stanza {number}"),
        ToOrigin::Answer { number, .. } => format!("answer {number}"),
        ToOrigin::Acked { count, .. } => format!("acked {count}"),
        // With nobody to expect it is not recorded.
        ToOrigin::Expect(sessions) => format!("expect {}", sessions.len()),
        ToOrigin::Attach(attach) => format!(
            "attach {} {} {} {}",
            attach.taken,
            attach.received,
            attach.acked,
            attach.unacked.len()
        ),
        ToOrigin::Detach { reason, .. } => format!("detach {reason:?}"),
    }
}

//! What a handler may see and ask for.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use couplet_proto::link::frame::{Delivery, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
use couplet_proto::trace::Tracer;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::{Jid, Kind, Stanza, Type};
use rand::Rng;
use rand::rngs::StdRng;

use super::pipeline::Pipeline;
use super::{Ask, Asked, OnAnswer, Reply};
use crate::auth::{PlainCheck, Throttle, Tokens};
use crate::clock::Now;
use crate::config::Config;
use crate::session::outbox::Entry;
use crate::session::{Account, At, Session};
use crate::store::{Log, LogId, Table, Write};

/// What every handler of a process shares.
#[derive(Debug)]
pub struct Shared {
    /// The operator's choices.
    pub config: Config,
    /// The domains served, prepared.
    pub domains: Vec<Jid>,
    /// The domains of rooms, prepared.
    pub services: Vec<Jid>,
    /// Who takes part where.
    pub pipeline: Pipeline,
    /// Who failed to log in how often of late.
    pub throttle: Throttle,
    /// When the process started, in milliseconds since 1970 (XEP-0012 on the server).
    pub started_unix: u64,
    /// Whether owners of slots and edges may die without each other: then what either would ask
    /// for is kept.
    pub is_clustered: bool,
    /// Makes and checks the proofs of authentication.
    pub tokens: Tokens,
    /// Hears what is done with stanzas that are followed, once there is somebody.
    pub tracer: Arc<OnceLock<Arc<dyn Tracer>>>,
    /// How many accounts operators look on at.
    pub watched: Arc<AtomicUsize>,
}

/// What a handler asks the engine to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// A change of this account that must become durable.
    Write(Write),
    /// A stanza for whomever its `to` names, and when it entered in monotonic milliseconds (0
    /// when it did not come from a client).
    Route(Arc<Stanza>, u64),
    /// A stanza for a session of this account, and when it entered.
    Deliver(SessionId, Entry, u64),
    /// Stanzas for sessions of other accounts.
    Fan(Fan),
    /// The address is called again at this time, in monotonic milliseconds.
    WakeAt(u64),
    /// A session of this account now has its connection here; what it was delivered after this
    /// number goes there once more, and the edge hears what of its stanzas is taken.
    Reached(SessionId, EdgeId, ConnectionId, u64),
    /// Stream management of a session of this account is on.
    Enabled(SessionId),
    /// Whoever waits for this handler waits until the edge of a session has all that it was sent
    /// so far.
    Follow(SessionId),
    /// A session of this account goes on at an edge, which is told so; when it has that, the
    /// former connection is closed.
    Resumed(EdgeId, ToEdge, Option<(EdgeId, ConnectionId)>),
    /// Something else for an edge.
    ToEdge(EdgeId, ToEdge),
    /// A question; its answer runs the continuation on this account.
    Ask(Ask, Asked, OnAnswer),
    /// A password to compare: milliseconds of CPU, so it runs elsewhere.
    Verify(EdgeId, ConnectionId, PlainCheck),
    /// What is routed from here on comes of the end of this session; or no longer.
    Ending(Option<SessionId>),
    /// A session of this account has begun.
    Opened(SessionId),
    /// This session of this account is gone for good.
    Ended(Box<Session>),
    /// A session of this account has lost its connection and is over at this time, in monotonic
    /// milliseconds.
    Sleeps(SessionId, u64),
    /// A session of this account changes its presence too fast, or cannot be given what waits: it
    /// is looked at a second from now.
    Paced(SessionId),
    /// Something that was waited for has been done.
    Pay(u64),
    /// An operator's request has taken effect.
    Reply(crate::admin::Answering),
}

/// The same stanzas for many sessions of other accounts, as a room sends them, or for many
/// accounts, as presence goes: what it costs on the way grows with the nodes that hold them, not
/// with their number.
#[derive(Debug, Clone)]
pub struct Fan {
    /// The stanzas, in order; `from` is set and `to` is not: it is written where the session is.
    pub stanzas: Arc<[Arc<Stanza>]>,
    /// The full addresses of the sessions, or the bare ones of the accounts; each once, and not of
    /// both kinds. An account does with a stanza what it does with any.
    pub to: Arc<[Jid]>,
    /// What the first stanza comes from, if that is the same for whoever sends it again; numbers
    /// grow by one with each stanza, and who has had one has had all before it. For accounts it is
    /// what any stanza of the handler would come from.
    pub source: Option<Source>,
    /// Names the list of receivers where it is much the same each time: then links carry only its
    /// changes; 0: it has no name.
    pub list: u64,
    /// When it entered, in monotonic milliseconds; 0 when it did not come from a client.
    pub entered: u64,
}

/// One handler's view: the account it runs on, and what it may do.
pub struct Ctx<'a> {
    /// This moment.
    pub now: Now,
    /// Config and pipeline.
    pub shared: &'a Shared,
    /// The account the handler runs on.
    pub account: &'a mut Account,
    /// The session in whose name it runs, if any.
    session: Option<SessionId>,
    /// What the stanza it handles comes from, if it was routed here.
    pub(crate) source: Option<Source>,
    /// Everybody has what this room has sent up to this number; `None` while that is not known.
    pub(crate) arrived: Option<u64>,
    effects: &'a mut Vec<Effect>,
    rng: &'a mut StdRng,
}

// === impl Shared ===

impl Shared {
    /// Whether this domain is served here.
    pub fn is_local(&self, domain: &str) -> bool {
        self.domains.iter().any(|known| known.as_str() == domain)
    }

    /// Whether this is the domain of rooms that are served here.
    pub fn is_service(&self, domain: &str) -> bool {
        self.services.iter().any(|known| known.as_str() == domain)
    }

    /// Whether somebody here answers for this domain.
    pub fn serves(&self, domain: &str) -> bool {
        self.is_local(domain) || self.is_service(domain)
    }
}

// === impl Ctx ===

impl<'a> Ctx<'a> {
    /// A view on `account`; effects are pushed to `effects`.
    pub fn new(
        now: Now,
        shared: &'a Shared,
        account: &'a mut Account,
        session: Option<SessionId>,
        effects: &'a mut Vec<Effect>,
        rng: &'a mut StdRng,
    ) -> Self {
        Self {
            now,
            shared,
            account,
            session,
            source: None,
            arrived: None,
            effects,
            rng,
        }
    }

    /// The session in whose name this runs: the sender of a request or message, if it is one of
    /// this account's.
    pub fn session(&mut self) -> Option<&mut Session> {
        let id = self.session?;
        self.account.session_mut(id)
    }

    /// Whether the stanza under way, of a session of this account, may have been handled by a
    /// former owner who died before it had sent all that follows.
    pub(crate) fn is_doubtful(&self) -> bool {
        let source = self
            .source
            .filter(|source| Some(source.session) == self.session);
        source.is_some_and(|source| {
            let session = self.account.session(source.session);
            session.is_some_and(|session| session.progress.is_doubtful(source.number))
        })
    }

    /// Its id.
    pub fn session_id(&self) -> Option<SessionId> {
        self.session
    }

    /// Runs what follows in the name of another session, or none.
    pub fn set_session(&mut self, session: Option<SessionId>) {
        self.session = session;
    }

    /// Sets a value of this account. What is sent after this waits until it is durable.
    pub fn put(&mut self, table: Table, key: &str, value: Bytes) {
        let key = key.into();
        self.write(Write::Put { table, key, value });
    }

    /// Removes a value of this account.
    pub fn delete(&mut self, table: Table, key: &str) {
        let key = key.into();
        self.write(Write::Delete { table, key });
    }

    /// Adds an entry to a log of this account and says where it stands.
    pub fn append(&mut self, log: Log, value: Bytes) -> LogId {
        let id = self.reserve_log_id();
        self.write(Write::Append { log, id, value });
        id
    }

    /// A place for an entry in a log of this account, behind all that were given before.
    pub fn reserve_log_id(&mut self) -> LogId {
        let base = self.rng.next_u32() >> 1;
        self.account.next_log_id(self.now, base)
    }

    /// Removes the entries of a log up to and including `through`.
    pub fn truncate(&mut self, log: Log, through: LogId) {
        self.write(Write::Truncate { log, through });
    }

    /// Makes a change durable.
    pub fn write(&mut self, write: Write) {
        self.effects.push(Effect::Write(write));
    }

    /// Sends a stanza to whomever its `to` names; `from` must be set.
    pub fn route(&mut self, stanza: Stanza) {
        self.route_shared(Arc::new(stanza));
    }

    /// As [`Ctx::route`], for a stanza that is already shared.
    pub fn route_shared(&mut self, stanza: Arc<Stanza>) {
        debug_assert!(stanza.from.is_some() && stanza.to.is_some(), "{stanza}");
        let own = stanza
            .to
            .as_ref()
            .and_then(|to| self.account.session_of(to));
        match own {
            // An answer to a session of this account needs no routing; a presence or message
            // does, for the rules that apply to its receiver.
            Some(session) if stanza.kind == Kind::Iq => self.deliver(session, stanza),
            _ => self.effects.push(Effect::Route(stanza, 0)),
        }
    }

    /// Sends a stanza to a session of this account.
    pub fn deliver(&mut self, session: SessionId, stanza: Arc<Stanza>) {
        self.deliver_entry(session, Entry::plain(stanza), 0);
    }

    /// Sends the stanza under way to a session of this account, as it came.
    pub fn pass(&mut self, session: SessionId, stanza: Arc<Stanza>) {
        let entry = Entry {
            source: self.source,
            ..Entry::plain(stanza)
        };
        self.deliver_entry(session, entry, 0);
    }

    /// Sends the message under way, which entered at a known time, to sessions of this account.
    pub fn deliver_message(&mut self, sessions: &[SessionId], stanza: &Arc<Stanza>, entered: u64) {
        // One of them that ends without it need not worry while another has it.
        let twins = (sessions.len() > 1).then(Default::default);
        for session in sessions {
            let entry = Entry {
                stanza: stanza.clone(),
                source: self.source,
                log: None,
                twins: twins.clone(),
            };
            self.deliver_entry(*session, entry, entered);
        }
    }

    /// Sends a last stanza to a session of this account that ends now.
    pub fn deliver_last(&mut self, session: SessionId, stanza: Arc<Stanza>) {
        let at = self.account.session(session).map(Session::whereabouts);
        let Some(At::Edge(edge, connection)) = at else {
            return;
        };
        let delivery = Delivery {
            connections: smallvec::smallvec![connection],
            stanza,
            source: None,
            log: None,
            entered: 0,
        };
        self.effects
            .push(Effect::ToEdge(edge, ToEdge::Deliver(delivery)));
    }

    /// Sends a stanza to a session of this account, with all that is known of it.
    pub fn deliver_entry(&mut self, session: SessionId, entry: Entry, entered: u64) {
        if self.account.session(session).is_some() {
            self.effects.push(Effect::Deliver(session, entry, entered));
        }
    }

    /// Sends stanzas to sessions of other accounts.
    pub fn fan(&mut self, fan: Fan) {
        if !fan.to.is_empty() && !fan.stanzas.is_empty() {
            self.effects.push(Effect::Fan(fan));
        }
    }

    /// Has the service's `alarm` called for this address at a time, in monotonic milliseconds; to
    /// within a second. Forgotten when the address leaves memory.
    pub fn wake_at(&mut self, at: u64) {
        self.effects.push(Effect::WakeAt(at));
    }

    /// Pushes any effect: for the engine's own steps.
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Sends a new IQ set from this account to one of its sessions: a push.
    pub fn push(&mut self, session: SessionId, payload: &couplet_proto::Element) {
        let id = self.random_id();
        let Some(to) = self
            .account
            .session(session)
            .map(|session| session.jid.clone())
        else {
            return;
        };
        let stanza = Stanza::new(Kind::Iq, Type::Set)
            .id(id)
            .from(self.account.jid.clone())
            .to(to)
            .child(payload);
        self.deliver(session, Arc::new(stanza));
    }

    /// Ends the stream of a session. The session itself ends when the edge reports it gone.
    pub fn close(
        &mut self,
        session: SessionId,
        condition: StreamCondition,
        text: Option<&'static str>,
    ) {
        let at = self.account.session(session).map(Session::whereabouts);
        let Some(At::Edge(edge, connection)) = at else {
            return;
        };
        let close = ToEdge::Close {
            connection,
            condition,
            text,
        };
        self.effects.push(Effect::ToEdge(edge, close));
    }

    /// Asks for something that is not in memory; `then` goes on with it.
    ///
    /// `request` is the IQ that `then` answers, if there is one.
    pub fn ask(&mut self, ask: Ask, request: Option<&Arc<Stanza>>, then: OnAnswer) -> Reply {
        let asked = Asked {
            request: request.cloned(),
            session: self.session,
            connection: None,
        };
        self.effects.push(Effect::Ask(ask, asked, then));
        Reply::Later
    }

    /// A random id that cannot be guessed: 96 bits in hexadecimal.
    pub fn random_id(&mut self) -> String {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u32());
        format!("{high:016x}{low:08x}")
    }

    /// Randomness for keys and salts.
    pub fn rng(&mut self) -> &mut StdRng {
        self.rng
    }
}

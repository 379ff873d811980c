//! The contract between router and features. Read this before writing a feature.
//!
//! A feature is data: a constant that lists which functions take part where. Handlers are
//! synchronous; they change memory and push effects through [`Ctx`]. What must wait (a value that
//! is not in memory, a page of a log, a key derivation) is asked with [`Ctx::ask`] and goes on in
//! a continuation.
//!
//! Write first, then answer: what a handler sends **after** its first write is released when that
//! write is durable; what it sends before does not wait.

pub mod context;

pub mod pipeline;

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::frame::Password;
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::xmpp::error::StanzaError;
use couplet_proto::xmpp::form::Form;
use couplet_proto::xmpp::payload::Child;
use couplet_proto::{Element, Jid, Stanza, Type};

pub use self::context::Ctx;
use crate::auth::Credentials;
use crate::config::Config;
use crate::session::AccountSlots;
pub use crate::session::{OnKeep, OnRestore};
use crate::store::{Log, LogId, Snapshot, Span, Table};

/// What one extension does. A field left empty costs nothing at run time.
pub struct Feature {
    /// Config key, metric label, log field.
    pub name: &'static str,
    /// Which document, at which version: the README's table.
    pub spec: Spec,
    /// Further documents it implements.
    pub also: &'static [Spec],
    /// What service discovery on the server advertises (XEP-0030).
    pub disco: &'static [&'static str],
    /// What service discovery on an account advertises.
    pub disco_account: &'static [&'static str],
    /// A form for service discovery on the server (XEP-0128); `None` when there is nothing to say.
    pub form: Option<OnForm>,
    /// The requests it answers; one owner for each key.
    pub iq: &'static [(IqKey, OnIq)],
    /// Steps on the account of a message's sender.
    pub sent: &'static [(Stage, OnMessage)],
    /// Steps on the account of a message's recipient.
    pub received: &'static [(Stage, OnMessage)],
    /// A session of the account became available, changed its presence or became unavailable.
    pub presence: Option<OnPresence>,
    /// A session was bound.
    pub opened: Option<OnSession>,
    /// A session is gone for good; it is still in the account.
    pub closed: Option<OnSession>,
    /// The tables it keeps; checked for ids used twice.
    pub tables: &'static [Table],
    /// The logs it keeps; checked for ids used twice.
    pub logs: &'static [Log],
    /// Fills its slot from what is stored, when the account is activated.
    pub load: Option<OnLoad>,
    /// A client has acknowledged messages of a log that the feature delivered.
    pub acknowledged: Option<OnAcknowledged>,
    /// Writes down what a session must not forget when another origin goes on with it.
    pub keep: Option<OnKeep>,
    /// Reads it.
    pub restore: Option<OnRestore>,
    /// Takes what is for addresses of the services, which are no accounts.
    pub service: Option<Service>,
}

/// What answers for the addresses of a service: the rooms of a domain, and the domain itself.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// A stanza for such an address, which `ctx.account` is; and when it entered.
    pub received: OnService,
    /// A time has come that the address asked for with [`Ctx::wake_at`].
    pub alarm: OnAlarm,
}

/// The document a feature implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// `XEP-0199`, `RFC 6121`.
    pub document: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The version implemented; empty for an RFC.
    pub version: &'static str,
    /// What is left out, or how it is meant, in a few words.
    pub note: &'static str,
}

/// Which requests a handler answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IqKey {
    /// Get or set.
    pub type_: Type,
    /// Asked of whom.
    pub target: Target,
    /// Namespace of the request's child.
    pub ns: &'static str,
    /// Name of the request's child.
    pub name: &'static str,
}

/// Whom a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The sender's own account. Anyone else who asks gets `forbidden`.
    Account,
    /// Any account, whoever asks: the handler decides what to tell.
    AnyAccount,
    /// A session of any account. The handler stands before it, and says whether the request
    /// [passes](Reply::Pass) to the client.
    Resource,
    /// The server. Runs on the sender's account.
    Host,
}

/// The steps a message takes through one account, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// May it pass at all?
    Screen,
    /// What the server adds or removes.
    Stamp,
    /// What is kept. The commit lies behind this stage.
    Archive,
    /// The router chooses resources here; a feature may take the message before it does.
    Deliver,
    /// Who else gets it.
    Copy,
    /// Nobody was there to take it.
    Absent,
}

/// Whose account a message walks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The sender's.
    Sent,
    /// The recipient's.
    Received,
}

/// Writes a form from the operator's choices.
pub type OnForm = fn(&Config) -> Option<Form>;
/// Answers a request.
pub type OnIq = fn(&mut Ctx<'_>, &Iq<'_>) -> Result<Reply, StanzaError>;
/// Takes part in a message's way.
pub type OnMessage = fn(&mut Ctx<'_>, &mut Message) -> Result<Flow, StanzaError>;
/// Sees a session's presence change.
pub type OnPresence = fn(&mut Ctx<'_>, &PresenceChange);
/// Sees a session begin or end: `ctx.session()` is the one.
pub type OnSession = fn(&mut Ctx<'_>);
/// Fills the feature's slot.
pub type OnLoad = fn(&Jid, &Snapshot, &mut AccountSlots) -> Result<(), String>;
/// Hears up to which place of its log the client of `ctx.session()` has everything, and how many
/// entries more that are.
pub type OnAcknowledged = fn(&mut Ctx<'_>, LogId, u64);
/// Takes a stanza for an address of a service.
pub type OnService = fn(&mut Ctx<'_>, Arc<Stanza>, u64);
/// Sees a time come.
pub type OnAlarm = fn(&mut Ctx<'_>);
/// Goes on with what was asked for.
pub type OnAnswer = fn(&mut Ctx<'_>, Answer, &Asked) -> Result<Reply, StanzaError>;

/// A request under way: the stanza and its one child.
#[derive(Debug, Clone, Copy)]
pub struct Iq<'a> {
    /// The whole stanza; `from` and `to` are set.
    pub stanza: &'a Arc<Stanza>,
    /// Its child.
    pub payload: Child<'a>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An empty result.
    Empty,
    /// A result with this child.
    Payload(Element),
    /// [`Ctx::ask`] was called: its continuation answers. Or the handler has answered itself.
    Later,
    /// The session it is for answers. Only for [`Target::Resource`].
    Pass,
}

/// Whether a message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the next step.
    Continue,
    /// It has been taken care of, or must silently disappear.
    Stop,
}

/// A message on its way through an account.
#[derive(Debug, Clone)]
pub struct Message {
    /// The stanza; `from` and `to` are set.
    pub stanza: Arc<Stanza>,
    /// When it entered, in monotonic milliseconds.
    pub entered: u64,
}

/// A session's presence changed.
#[derive(Debug, Clone)]
pub struct PresenceChange {
    /// Whether it is available now.
    pub is_available: bool,
    /// Whether it was before.
    pub was_available: bool,
    /// Its priority now; 0 when unavailable.
    pub priority: i8,
    /// The presence, as it was broadcast.
    pub stanza: Arc<Stanza>,
}

/// What a handler may ask for that is not in memory.
#[derive(Debug, Clone)]
pub enum Ask {
    /// One value of a table of this account.
    Value(Table, Box<str>),
    /// Entries of a log of this account, at most so many: of those in the span the ones that come
    /// first in its order.
    Log(Log, Span, usize),
    /// The entries of a log of this account at these places, in their order, as far as they are
    /// there.
    Entries(Log, Box<[LogId]>),
    /// The keys of a password: takes milliseconds of CPU, so it runs elsewhere.
    Derive(Password),
}

/// What comes back.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Ask::Value`].
    Value(Option<Bytes>),
    /// To [`Ask::Log`] and [`Ask::Entries`].
    Log(Vec<(LogId, Bytes)>),
    /// To [`Ask::Derive`]; `None` when the password cannot be prepared.
    Derived(Option<Box<Credentials>>),
    /// The store did not answer. Where there is a request this is not seen: the request is
    /// refused.
    Failed,
}

/// On whose behalf something was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request that led to it, if any: a [`Reply`] answers it.
    pub request: Option<Arc<Stanza>>,
    /// The session in whose name the handler ran; it may be gone by now.
    pub session: Option<SessionId>,
    /// The connection that waits for the answer while it has no session: a registration.
    pub connection: Option<(EdgeId, ConnectionId)>,
}

// === impl Feature ===

impl Feature {
    /// Takes part nowhere: the base of every feature's constant.
    pub const EMPTY: Self = Self {
        name: "",
        spec: Spec {
            document: "",
            title: "",
            version: "",
            note: "",
        },
        also: &[],
        disco: &[],
        disco_account: &[],
        form: None,
        iq: &[],
        sent: &[],
        received: &[],
        presence: None,
        opened: None,
        closed: None,
        tables: &[],
        logs: &[],
        load: None,
        acknowledged: None,
        keep: None,
        restore: None,
        service: None,
    };
}

// === impl Spec ===

impl Spec {
    /// A XEP: `xep("XEP-0199", "XMPP Ping", "2.0.1")`.
    pub const fn new(document: &'static str, title: &'static str, version: &'static str) -> Self {
        Self {
            document,
            title,
            version,
            note: "",
        }
    }

    /// With a note for the README's table.
    #[must_use]
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

// === impl Iq ===

impl Iq<'_> {
    /// Who asks.
    pub fn from(&self) -> &Jid {
        self.stanza.sender()
    }

    /// The request's child as a tree.
    pub fn element(&self) -> Element {
        self.payload.element()
    }
}

// === impl Message ===

impl Message {
    /// Who sent it.
    pub fn from(&self) -> &Jid {
        self.stanza.sender()
    }

    /// The stanza to change; copied first if it is shared, its payload never.
    pub fn edit(&mut self) -> &mut Stanza {
        Arc::make_mut(&mut self.stanza)
    }
}

/// A get that `target` answers.
pub const fn get(target: Target, ns: &'static str, name: &'static str) -> IqKey {
    IqKey {
        type_: Type::Get,
        target,
        ns,
        name,
    }
}

/// A set that `target` answers.
pub const fn set(target: Target, ns: &'static str, name: &'static str) -> IqKey {
    IqKey {
        type_: Type::Set,
        target,
        ns,
        name,
    }
}

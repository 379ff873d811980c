//! Forward: an origin asks another one what only that one can tell or do.
//!
//! Operators ask any origin. What concerns an account is done by the owner of its slot; sessions
//! are listed by each for itself. Between origins it goes over the link, as JSON like the port for
//! operators.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_origin::admin::{Error, Listing};
use couplet_origin::cluster::{Answering, Operator, Report};
use couplet_origin::store::Owner;
use couplet_origin::{Admin, Origin};
use couplet_proto::Jid;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::{Seed, Slot};
use serde::{Deserialize, Serialize};

use super::{onlook, view};
use crate::admin::{
    self, Access, AskNode, AskSessions, AskTrace, Backend, Health, NodeTold, Refusal, Session,
    Traced,
};
use crate::config::Role;

/// How often the owner of an account is looked for, and how long until it is again: a slot that
/// moves or whose owner has died is owned again soon.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(300);

/// What an origin asks another.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Asked {
    /// To make an account, with this password.
    Add(String, String),
    /// To give it another password.
    SetPassword(String, String),
    /// To remove it.
    Remove(String),
    /// Its sessions.
    Sessions(AskSessions),
    /// How many sessions it holds.
    Count,
    /// What passes an account.
    Trace(AskTrace),
    /// What concerns the node itself.
    Node(AskNode),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answered {
    /// It is done.
    Done,
    /// The slot is another's.
    NotMine,
    /// Sessions in order of their addresses.
    Sessions(Vec<Session>),
    /// A number of sessions.
    Count(u64),
    /// Stanzas that have passed.
    Traced(Traced),
    /// What the node says of itself.
    Node(NodeTold),
    /// It will not be done.
    Refused(Refusal),
}

/// What is asked of an origin, here or by way of another.
#[derive(Clone)]
pub(super) struct Desk {
    origin: Arc<Origin>,
    admin: Admin,
    access: Arc<Access>,
    seed: Seed,
    name: String,
    me: NodeId,
}

// === impl Desk ===

impl Desk {
    /// Of the origin of this name, which is the process `me`.
    pub(super) fn new(
        origin: Arc<Origin>,
        access: Arc<Access>,
        seed: Seed,
        name: String,
        me: NodeId,
    ) -> Self {
        Self {
            access,
            admin: origin.admin(),
            origin,
            seed,
            name,
            me,
        }
    }

    /// What this origin knows.
    pub(super) async fn report(&self) -> Result<Report, Refusal> {
        let report = self.origin.report().await;
        report.ok_or_else(|| Refusal::Unavailable("this origin is stopping".to_owned()))
    }

    /// Has something done by the owner of an account, wherever that is.
    pub(super) async fn owner_of(&self, account: &Jid, asked: Asked) -> Result<(), Refusal> {
        let is_done = |answered| (answered == Answered::Done).then_some(());
        self.told_by_owner(account, &asked, is_done).await
    }

    /// What passes an account, told by its owner.
    pub(super) async fn trace(&self, ask: AskTrace) -> Result<Traced, Refusal> {
        let wrong = |_| Refusal::Malformed(format!("{:?} is not an address", ask.jid));
        let jid = Jid::parse(&ask.jid).map_err(wrong)?;
        let traced = |answered| match answered {
            Answered::Traced(traced) => Some(traced),
            _ => None,
        };
        self.told_by_owner(&jid, &Asked::Trace(ask), traced).await
    }

    /// Asks the owner of an account, wherever that is, until it answers as it should.
    async fn told_by_owner<T>(
        &self,
        account: &Jid,
        asked: &Asked,
        wanted: impl Fn(Answered) -> Option<T>,
    ) -> Result<T, Refusal> {
        let slot = Slot::of(self.seed, account);
        for _ in 0..TRIES {
            match self.try_owner(slot, asked).await? {
                Some(Answered::Refused(refusal)) => return Err(refusal),
                Some(answered) => match wanted(answered) {
                    Some(told) => return Ok(told),
                    None => tokio::time::sleep(PAUSE).await,
                },
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        let text = format!(
            "slot {} has no owner that can be reached: try again",
            slot.number()
        );
        Err(Refusal::Unavailable(text))
    }

    async fn try_owner(&self, slot: Slot, asked: &Asked) -> Result<Option<Answered>, Refusal> {
        match self.owner(slot).await? {
            Some(owner) => Ok(self.ask_any(&owner.node, asked).await),
            None => Ok(None),
        }
    }

    async fn owner(&self, slot: Slot) -> Result<Option<Owner>, Refusal> {
        let report = self.report().await?;
        let whereabouts = report.slots.get(slot.index());
        Ok(whereabouts.and_then(|slot| slot.owner.clone()))
    }

    /// Asks an origin, which may be this one; `None` when it does not answer.
    pub(super) async fn ask_any(&self, node: &NodeId, asked: &Asked) -> Option<Answered> {
        if *node == self.me {
            return Some(self.carry_out(asked.clone()).await);
        }
        let question = serde_json::to_vec(asked).ok()?;
        let answer = self.origin.ask(node, question.into()).await?;
        serde_json::from_slice(&answer).ok()
    }

    /// Does here what is asked.
    pub(super) async fn carry_out(&self, asked: Asked) -> Answered {
        match self.try_carry_out(asked).await {
            Ok(answered) => answered,
            Err(refusal) => Answered::Refused(refusal),
        }
    }

    async fn try_carry_out(&self, asked: Asked) -> Result<Answered, Refusal> {
        let done = match asked {
            Asked::Add(jid, password) => match self.own(&jid).await? {
                Some(jid) => self.admin.account_add(jid, password).await,
                None => return Ok(Answered::NotMine),
            },
            Asked::SetPassword(jid, password) => match self.own(&jid).await? {
                Some(jid) => self.admin.account_set_password(jid, password).await,
                None => return Ok(Answered::NotMine),
            },
            Asked::Remove(jid) => match self.own(&jid).await? {
                Some(jid) => self.admin.account_remove(jid).await,
                None => return Ok(Answered::NotMine),
            },
            Asked::Node(question) => {
                let told = admin::here(self, &self.access, question).await?;
                return Ok(Answered::Node(told));
            }
            Asked::Sessions(ask) => return Ok(Answered::Sessions(self.sessions(&ask).await?)),
            Asked::Count => {
                let counted = self.admin.sessions(Listing::default()).await?;
                return Ok(Answered::Count(counted.total as u64));
            }
            Asked::Trace(ask) => {
                let traced = match self.own(&ask.jid).await? {
                    Some(_) => onlook::look(&self.admin, &ask).await?,
                    None => None,
                };
                return Ok(traced.map_or(Answered::NotMine, Answered::Traced));
            }
        };
        match done {
            Ok(()) => Ok(Answered::Done),
            // Not yet, or not any more.
            Err(Error::Moving) => Ok(Answered::NotMine),
            Err(error) => Err(error.into()),
        }
    }

    /// The account, if its slot is this origin's.
    async fn own(&self, jid: &str) -> Result<Option<Jid>, Refusal> {
        let wrong = |_| Refusal::Malformed(format!("{jid:?} is not an address"));
        let jid = Jid::parse(jid).map_err(wrong)?;
        let owner = self.owner(Slot::of(self.seed, &jid)).await?;
        let is_own = owner.is_some_and(|owner| owner.node == self.me);
        Ok(is_own.then_some(jid))
    }

    async fn sessions(&self, ask: &AskSessions) -> Result<Vec<Session>, Refusal> {
        let listed = self.admin.sessions(view::listing(ask)?).await?;
        let edge = |edge| self.origin.edge_name(edge);
        let sessions = listed.sessions.iter();
        Ok(sessions
            .map(|session| view::session(session, &self.name, edge))
            .collect())
    }
}

impl Backend for Desk {
    fn name(&self) -> &str {
        &self.name
    }

    async fn ask_node(&self, node: &str, question: AskNode) -> Result<NodeTold, Refusal> {
        let report = self.report().await?;
        let mut nodes = report.nodes.iter();
        // Of one that was started again both may be known for a moment.
        let meant = nodes.find(|it| !it.is_dead && *it.member.name == *node);
        let Some(meant) = meant else {
            return Err(Refusal::Unknown(format!("there is no origin {node:?}")));
        };
        let asked = Asked::Node(question);
        match self.ask_any(&meant.member.node, &asked).await {
            Some(Answered::Node(told)) => Ok(told),
            Some(Answered::Refused(refusal)) => Err(refusal),
            _ => Err(Refusal::Unavailable(format!(
                "the origin {node} does not answer"
            ))),
        }
    }

    fn is_ready(&self) -> bool {
        self.origin.is_ready()
    }

    async fn health(&self) -> Health {
        let report = self.report().await.ok();
        let counted = self.admin.sessions(Listing::default()).await.ok();
        let is_draining = |report: &Report| view::is_draining(report, &self.me);
        Health {
            is_draining: report.as_ref().is_some_and(is_draining),
            slots: report.as_ref().map(|report| view::owned(report, &self.me)),
            sessions: counted.map(|counted| counted.total as u64),
            ..view::health(Role::Origin, &self.name, self.is_ready())
        }
    }

    async fn drain(&self, undo: bool) -> Result<String, Refusal> {
        self.origin.set_draining(!undo);
        let name = &self.name;
        Ok(if undo {
            format!("the origin {name} takes its share of the slots again")
        } else {
            format!(
                "the origin {name} gives its slots away; `couplet ctl nodes` shows how many are \
                 left. It goes on running until it gets SIGTERM"
            )
        })
    }
}

impl Operator for Desk {
    fn answer(&self, question: Bytes) -> Answering<'_> {
        Box::pin(async move {
            let answered = match serde_json::from_slice(&question) {
                Ok(asked) => self.carry_out(asked).await,
                // It is of another version.
                Err(_) => Answered::Refused(Refusal::Malformed(
                    "another origin asks what this one does not know".to_owned(),
                )),
            };
            serde_json::to_vec(&answered).unwrap_or_default().into()
        })
    }
}

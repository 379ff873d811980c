//! Origin: accounts, on Redis, among other origins.
//!
//! ```text
//! start:  store → links are listened for → member of the cluster → admin port → ready with the
//!         first slots
//! stop:   slots move to others → commits are finished → the cluster is left → links end
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use couplet_link::Credentials;
use couplet_origin::admin::Listing;
use couplet_origin::cluster::{Report, plan};
use couplet_origin::config::Cluster as Settings;
use couplet_origin::store::redis::{OpenError, Options, Redis};
use couplet_origin::store::{self, Member, Registry, Store};
use couplet_origin::{Admin, LinkSettings, Links, Origin};
use couplet_proto::Jid;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::wire::hello::Role;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::forward::{Answered, Asked, Desk};
use super::{Running, Start, accounts, joined, link, open_admin, view};
use crate::admin::{self, Accounts, Backend, Cluster, Health, PAGE_MAX, Refusal};
use crate::{certificate, config};

/// How long until Redis is asked again when it is not there at the start.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How long the origin may take to finish its commits once its slots are gone.
const FINISH_SECS_MAX: Duration = Duration::from_secs(15);

/// An origin under way.
pub(super) struct Server {
    origin: Arc<Origin>,
    links: Option<Links>,
    credentials: Option<Arc<Credentials>>,
    /// The admin port, the upkeep of the metrics, the watch over certificates; they end when this
    /// is dropped.
    tasks: JoinSet<()>,
}

/// What the admin port asks.
struct Operated {
    origin: Arc<Origin>,
    desk: Arc<Desk>,
    admin: Admin,
    registry: Arc<dyn Registry>,
    lease_ms: u64,
}

// === impl Server ===

impl Server {
    /// Starts the origin. It has no slots yet when this returns.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let Start {
            settings,
            access,
            metrics,
            sampling,
            ..
        } = start;
        let credentials = link::credentials(&settings.link, Role::Origin)?;
        let certificates = link::watched(&settings.link, Role::Origin);
        let name = settings.node.clone();
        let node = NodeId(format!("{name}/{:016x}", link::incarnation()?).into());
        let listeners = link::listen(&settings.link, credentials.clone()).await?;
        let bound = listeners.addresses();
        let advertised = link::advertised(&settings.link, bound[0])?;
        let store = Arc::new(open(&settings.redis, &node).await?);

        let me = node.clone();
        let member = member(&settings, node, &advertised);
        let cluster = Settings {
            moves_max: settings.cluster.moves,
            ..Settings::default()
        };
        let seed = store.seed();
        let shared: Arc<dyn Store> = Arc::<Redis>::clone(&store);
        let registry: Arc<dyn Registry> = store;
        let origin = Origin::start_clustered(
            settings.origin,
            cluster,
            shared,
            Arc::clone(&registry),
            member,
        )?;
        let origin = Arc::new(origin);
        if let Some(sampling) = sampling {
            origin.follow(sampling.tracer);
        }
        let desk = Arc::new(Desk::new(Arc::clone(&origin), seed, name, me));
        origin.answer_with(Arc::<Desk>::clone(&desk));
        let links = origin.link(LinkSettings {
            listeners,
            credentials: credentials.clone(),
            lanes: settings.link.lanes,
        });
        let operated = Operated {
            origin: Arc::clone(&origin),
            desk,
            admin: origin.admin(),
            registry,
            lease_ms: cluster.lease_ms,
        };
        let admin = origin.admin();
        let router = admin::router(operated, metrics.clone(), access);
        let mut tasks = JoinSet::new();
        let address = open_admin(settings.admin.listen, router, &mut tasks).await?;
        tasks.spawn(metrics.keep());
        tasks.spawn(certificate::watch(
            certificates.into_iter().collect(),
            Vec::new(),
        ));
        tracing::info!(link = joined(&bound), advertised, admin = %address, "started");
        let token_file = settings.admin.token_file.as_deref();
        accounts::welcome(&admin, address, token_file, settings.log.format).await;
        Ok(Self {
            origin,
            links,
            credentials,
            tasks,
        })
    }
}

impl Running for Server {
    fn reload(&self) {
        link::reload(self.credentials.as_deref());
    }

    async fn stop(self, deadline: Duration) {
        self.origin.drain(deadline).await;
        if tokio::time::timeout(FINISH_SECS_MAX, self.origin.stop())
            .await
            .is_err()
        {
            tracing::error!("the origin did not finish in time");
        }
        // Not before: by the links everybody learns that the slots are gone.
        if let Some(links) = self.links {
            links.stop().await;
        }
        drop(self.tasks);
    }
}

/// What the others are told of this origin.
fn member(settings: &config::Settings, node: NodeId, advertised: &str) -> Member {
    Member {
        node,
        name: settings.node.as_str().into(),
        address: advertised.into(),
        weight: settings.cluster.weight,
        group: settings.cluster.group.as_str().into(),
        is_draining: false,
    }
}

/// Opens the store, as soon as Redis is there.
async fn open(redis: &config::Redis, node: &NodeId) -> Result<Redis> {
    let url = redis.url.as_ref().context("store.url is missing")?;
    let options = Options {
        ca_file: redis.ca.clone(),
        key_prefix: redis.key_prefix.clone(),
        in_flight: redis.in_flight,
        response_timeout: redis.response_timeout,
        connect_timeout: redis.connect_timeout,
        ..Options::new(url)
    };
    loop {
        match Redis::open(options.clone(), node.clone()).await {
            Err(OpenError::Store(error @ store::Error::Unavailable(_))) => {
                tracing::warn!(%error, "waiting for the store");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

// === impl Operated ===

impl Backend for Operated {
    fn is_ready(&self) -> bool {
        self.origin.is_ready()
    }

    async fn health(&self) -> Health {
        let report = self.desk.report().await.ok();
        let counted = self.admin.sessions(Listing::default()).await.ok();
        let own = |report: &Report| view::owned(report, self.desk.me());
        Health {
            is_draining: report
                .as_ref()
                .is_some_and(|report| view::is_draining(report, self.desk.me())),
            slots: report.as_ref().map(own),
            sessions: counted.map(|counted| counted.total as u64),
            ..view::health(config::Role::Origin, self.desk.name(), self.is_ready())
        }
    }

    async fn drain(&self, undo: bool) -> Result<String, Refusal> {
        self.origin.set_draining(!undo);
        let text = if undo {
            "this origin takes its share of the slots again"
        } else {
            "this origin gives its slots away; `couplet ctl nodes` shows how many are left. It \
             goes on running until it gets SIGTERM"
        };
        Ok(text.to_owned())
    }
}

impl Accounts for Operated {
    fn domains(&self) -> Vec<String> {
        let domains = self.admin.domains().iter();
        domains.map(|domain| domain.as_str().to_owned()).collect()
    }

    async fn add(&self, account: Jid, password: String) -> Result<(), Refusal> {
        let asked = Asked::Add(account.as_str().to_owned(), password);
        self.desk.owner_of(&account, asked).await
    }

    async fn remove(&self, account: Jid) -> Result<(), Refusal> {
        let asked = Asked::Remove(account.as_str().to_owned());
        self.desk.owner_of(&account, asked).await
    }

    async fn set_password(&self, account: Jid, password: String) -> Result<(), Refusal> {
        let asked = Asked::SetPassword(account.as_str().to_owned(), password);
        self.desk.owner_of(&account, asked).await
    }

    async fn list(
        &self,
        domain: Jid,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<Jid>, Refusal> {
        Ok(self
            .admin
            .account_list(&domain, after.as_deref(), max)
            .await?)
    }

    async fn backup(&self, _: PathBuf) -> Result<(), Refusal> {
        let text =
            "an origin keeps nothing itself: everything is in Redis, and can be copied there";
        Err(Refusal::Conflict(text.to_owned()))
    }
}

impl Cluster for Operated {
    async fn nodes(&self) -> Result<Vec<admin::Node>, Refusal> {
        let report = self.desk.report().await?;
        let count = async |node: &plan::Node| {
            let id = &node.member.node;
            match self.desk.ask_any(id, &Asked::Count).await {
                Some(Answered::Count(count)) => Some(count),
                _ => None,
            }
        };
        let rows = report
            .nodes
            .iter()
            .map(async |node| view::node(node, self.lease_ms, count(node).await));
        Ok(join_all(rows).await)
    }

    async fn slots(&self) -> Result<Vec<admin::Slots>, Refusal> {
        Ok(view::slots(&self.desk.report().await?))
    }

    async fn sessions(&self, ask: admin::AskSessions) -> Result<Vec<admin::Session>, Refusal> {
        let report = self.desk.report().await?;
        let meant = report.nodes.iter().filter(|node| {
            !node.is_dead
                && ask
                    .node
                    .as_ref()
                    .is_none_or(|name| **name == *node.member.name)
        });
        let meant: Vec<_> = meant.collect();
        if let Some(name) = ask.node.as_ref().filter(|_| meant.is_empty()) {
            return Err(Refusal::Unknown(format!("there is no origin {name:?}")));
        }
        let asked = Asked::Sessions(ask.clone());
        let answers = meant.iter().map(async |node| {
            match self.desk.ask_any(&node.member.node, &asked).await {
                Some(Answered::Sessions(sessions)) => Ok(sessions),
                Some(Answered::Refused(refusal)) => Err(refusal),
                _ => {
                    let name = &node.member.name;
                    let text = format!("the origin {name} does not say which sessions it holds");
                    Err(Refusal::Unavailable(text))
                }
            }
        });
        let answers: Result<Vec<_>, _> = join_all(answers).await.into_iter().collect();
        let mut sessions: Vec<_> = answers?.into_iter().flatten().collect();
        sessions.sort_by(|a, b| a.jid.cmp(&b.jid));
        // While a slot moves, both of its owners may know a session.
        sessions.dedup_by(|a, b| a.jid == b.jid);
        sessions.truncate(ask.max.unwrap_or(PAGE_MAX));
        Ok(sessions)
    }

    async fn trace(&self, ask: admin::AskTrace) -> Result<admin::Traced, Refusal> {
        self.desk.trace(ask).await
    }

    async fn pins(&self) -> Result<Vec<admin::Pin>, Refusal> {
        let pins = self.registry.pins().await.map_err(unavailable)?;
        Ok(pins.iter().map(view::pin).collect())
    }

    async fn set_pins(&self, pins: Vec<admin::Pin>) -> Result<(), Refusal> {
        let pins: Result<Vec<_>, _> = pins.iter().map(view::stored).collect();
        self.registry.set_pins(pins?).await.map_err(unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: store::Error) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

//! Serve: edge and origin in one process, on the embedded store.
//!
//! ```text
//! start:  store → certificate → origin → admin port → edge (now clients can log in)
//! stop:   edge drains → origin finishes its commits → store closes
//! ```
//!
//! The edge comes last and leaves first: while it accepts, there is somebody behind it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use couplet_edge::Edge;
use couplet_edge::stream::Caps;
use couplet_origin::admin::Listing;
use couplet_origin::store::Store;
use couplet_origin::store::embedded::Embedded;
use couplet_origin::{Admin, Origin};
use couplet_proto::Jid;
use couplet_proto::slot::SLOTS;
use tokio::task::{JoinSet, spawn_blocking};

use super::{
    Running, Start, accounts, joined, onlook, open_admin, ready_for_clients, reload_certificates,
    view,
};
use crate::admin::{self, Accounts, AskNode, Backend, Cluster, Health, NodeTold, Refusal};
use crate::{certificate, config, folder};

/// How long the origin may take to finish its commits once the edge has drained.
const FINISH_SECS_MAX: Duration = Duration::from_secs(15);

/// A server under way.
pub(super) struct Server {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    store: Arc<Embedded>,
    /// The admin port, the upkeep of the metrics, the watch over certificates; they end when this
    /// is dropped.
    tasks: JoinSet<()>,
}

/// What the admin port asks.
#[derive(Clone)]
struct Operated {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    admin: Admin,
    data: PathBuf,
    node: String,
}

// === impl Server ===

impl Server {
    /// Starts everything.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let Start {
            mut settings,
            access,
            metrics,
            sampling,
            ..
        } = start;
        let data = settings.data.clone();
        tracing::info!(data = %data.display(), "opening the store");
        folder::make(&data)
            .with_context(|| format!("the data folder {} cannot be made", data.display()))?;
        let (folder, options) = (data.clone(), settings.embedded);
        let store = spawn_blocking(move || Embedded::open(&folder, options)).await??;
        let store = Arc::new(store);
        // After the store: it holds the lock of the folder the certificate is written to.
        ready_for_clients(&mut settings)?;

        let caps = couplet_origin::server_caps(&settings.origin);
        settings.edge.caps = caps.map(|(node, ver)| Caps { node, ver });
        let shared: Arc<dyn Store> = Arc::<Embedded>::clone(&store);
        let origin = Arc::new(Origin::start(settings.origin, shared).await?);
        let (certificates, domains) = (
            settings.edge.certificates.clone(),
            settings.edge.domains.clone(),
        );
        let edge = Arc::new(Edge::since(settings.edge, origin.started())?);
        if let Some(sampling) = sampling {
            origin.follow(Arc::clone(&sampling.tracer));
            edge.follow(sampling);
        }
        let operated = Operated {
            edge: Arc::clone(&edge),
            origin: Arc::clone(&origin),
            admin: origin.admin(),
            data,
            node: settings.node,
        };
        let router = admin::router(operated.clone(), metrics.clone(), access);
        let mut tasks = JoinSet::new();
        let address = open_admin(settings.admin.listen, router, &mut tasks).await?;
        tasks.spawn(metrics.keep());
        tasks.spawn(certificate::watch(certificates, domains));

        let bound = edge.start(origin.attach(edge.downlink())).await?;
        tracing::info!(
            c2s = joined(&bound.plain),
            c2s_tls = joined(&bound.direct_tls),
            admin = %address,
            "ready",
        );
        let token_file = settings.admin.token_file.as_deref();
        accounts::welcome(&operated.admin, address, token_file, settings.log.format).await;
        Ok(Self {
            edge,
            origin,
            store,
            tasks,
        })
    }
}

impl Running for Server {
    fn reload(&self) {
        reload_certificates(&self.edge);
    }

    async fn stop(self, deadline: Duration) {
        self.edge.drain(deadline).await;
        if tokio::time::timeout(FINISH_SECS_MAX, self.origin.stop())
            .await
            .is_err()
        {
            tracing::error!("the origin did not finish in time");
        }
        let Self {
            edge,
            origin,
            store,
            tasks,
        } = self;
        drop((tasks, edge, origin));
        // Closing waits for the disk.
        if spawn_blocking(move || drop(store)).await.is_err() {
            tracing::error!("the store did not close in good order");
        }
    }
}

// === impl Operated ===

impl Backend for Operated {
    fn name(&self) -> &str {
        &self.node
    }

    async fn ask_node(&self, node: &str, _: AskNode) -> Result<NodeTold, Refusal> {
        Err(Refusal::Unknown(format!("there is no node {node:?}")))
    }

    fn is_ready(&self) -> bool {
        self.edge.is_ready() && self.origin.is_ready()
    }

    async fn health(&self) -> Health {
        let counted = self.admin.sessions(Listing::default()).await.ok();
        Health {
            slots: Some(u32::from(SLOTS)),
            sessions: counted.map(|counted| counted.total as u64),
            connections: Some(self.edge.connections() as u64),
            ..view::health(config::Role::Serve, &self.node, self.is_ready())
        }
    }

    async fn drain(&self, _: bool) -> Result<String, Refusal> {
        let text = "this is `couplet serve`, the only node: nothing can move elsewhere. To stop \
                    it in good order, send it SIGTERM";
        Err(Refusal::Conflict(text.to_owned()))
    }
}

impl Accounts for Operated {
    fn domains(&self) -> Vec<String> {
        let domains = self.admin.domains().iter();
        domains.map(|domain| domain.as_str().to_owned()).collect()
    }

    async fn add(&self, account: Jid, password: String) -> Result<(), Refusal> {
        Ok(self.admin.account_add(account, password).await?)
    }

    async fn remove(&self, account: Jid) -> Result<(), Refusal> {
        Ok(self.admin.account_remove(account).await?)
    }

    async fn set_password(&self, account: Jid, password: String) -> Result<(), Refusal> {
        Ok(self.admin.account_set_password(account, password).await?)
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

    async fn backup(&self, to: PathBuf) -> Result<(), Refusal> {
        self.admin.backup(&to).await?;
        let (from, to) = (self.data.join("tls"), to.join("tls"));
        let copied = spawn_blocking(move || folder::copy(&from, &to)).await;
        match copied {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Refusal::Unavailable(format!(
                "the store is copied, but not the self-signed certificate: {error}"
            ))),
            Err(error) => Err(Refusal::Unavailable(error.to_string())),
        }
    }
}

impl Cluster for Operated {
    async fn nodes(&self) -> Result<Vec<admin::Node>, Refusal> {
        let counted = self.admin.sessions(Listing::default()).await?;
        Ok(vec![view::alone(&self.node, counted.total)])
    }

    async fn slots(&self) -> Result<Vec<admin::Slots>, Refusal> {
        Ok(vec![view::all_slots(&self.node)])
    }

    async fn sessions(&self, ask: admin::AskSessions) -> Result<Vec<admin::Session>, Refusal> {
        if ask.node.as_ref().is_some_and(|node| *node != self.node) {
            return Ok(Vec::new());
        }
        let listed = self.admin.sessions(view::listing(&ask)?).await?;
        // There is one edge, and it is this process.
        let edge = |_| Some(self.node.clone());
        let sessions = listed.sessions.iter();
        Ok(sessions
            .map(|session| view::session(session, &self.node, edge))
            .collect())
    }

    async fn trace(&self, ask: admin::AskTrace) -> Result<admin::Traced, Refusal> {
        let traced = onlook::look(&self.admin, &ask).await?;
        // Its slots never move; they may be being opened.
        traced.ok_or_else(|| Refusal::Unavailable("not ready: try again".to_owned()))
    }

    async fn pins(&self) -> Result<Vec<admin::Pin>, Refusal> {
        Err(alone())
    }

    async fn set_pins(&self, _: Vec<admin::Pin>) -> Result<(), Refusal> {
        Err(alone())
    }
}

fn alone() -> Refusal {
    let text = "this is `couplet serve`, the only node: there is nothing to hold slots to";
    Refusal::Conflict(text.to_owned())
}

//! Edge: clients' connections, and links to every origin.
//!
//! ```text
//! start:  certificate → admin port → links; with the first origin: clients (now they can log in)
//! stop:   not ready → clients are sent away → links end
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use couplet_edge::{Edge, Remote, RemoteSettings};
use couplet_link::Credentials;
use couplet_link::config::Entry;
use couplet_proto::link::Uplink;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::wire::hello::Role;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{
    Running, Start, joined, link, open_admin, ready_for_clients, reload_certificates, view,
};
use crate::admin::{self, AskNode, Backend, Health, NodeTold, Refusal};
use crate::{certificate, config};

/// An edge under way.
pub(super) struct Server {
    edge: Arc<Edge>,
    credentials: Option<Arc<Credentials>>,
    /// The admin port, the upkeep of the metrics, the watch over certificates; they end when this
    /// is dropped.
    tasks: JoinSet<()>,
}

/// What the admin port asks.
struct Operated {
    edge: Arc<Edge>,
    /// There is none until an origin has answered.
    links: Arc<OnceLock<Arc<Remote>>>,
    leave: Arc<Notify>,
    node: String,
    is_draining: AtomicBool,
}

// === impl Server ===

impl Server {
    /// Starts the edge, once there is an origin.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let Start {
            mut settings,
            access,
            metrics,
            sampling,
            leave,
        } = start;
        ready_for_clients(&mut settings)?;
        let credentials = link::credentials(&settings.link, Role::Edge)?;
        let mut certificates = settings.edge.certificates.clone();
        certificates.extend(link::watched(&settings.link, Role::Edge));
        let domains = settings.edge.domains.clone();
        let edge = Arc::new(Edge::new(settings.edge)?);
        if let Some(sampling) = sampling {
            edge.follow(sampling);
        }
        let links = Arc::new(OnceLock::new());
        let operated = Operated {
            edge: Arc::clone(&edge),
            links: Arc::clone(&links),
            leave,
            node: settings.node.clone(),
            is_draining: AtomicBool::new(false),
        };
        let router = admin::edge_router(operated, metrics.clone(), access);
        let mut tasks = JoinSet::new();
        let address = open_admin(settings.admin.listen, router, &mut tasks).await?;
        tasks.spawn(metrics.keep());
        tasks.spawn(certificate::watch(certificates, domains));

        let origins = settings.link.origins.iter();
        let to_origins = RemoteSettings {
            node: NodeId(settings.node.into()),
            incarnation: link::incarnation()?,
            // What is none has been refused with the configuration.
            origins: origins.filter_map(|text| Entry::parse(text)).collect(),
            lanes: settings.link.lanes,
            credentials: credentials.clone(),
            clock: edge.clock(),
        };
        tracing::info!(admin = %address, "waiting for an origin");
        let remote = Arc::new(Remote::start(to_origins, edge.downlink()).await);
        // Before clients are let in: it may be that some are not to be.
        remote.ruled().await;
        let uplink: Arc<dyn Uplink> = Arc::<Remote>::clone(&remote);
        let _ = links.set(remote);
        let bound = edge.start(uplink).await?;
        tracing::info!(
            c2s = joined(&bound.plain),
            c2s_tls = joined(&bound.direct_tls),
            admin = %address,
            "ready",
        );
        Ok(Self {
            edge,
            credentials,
            tasks,
        })
    }
}

impl Running for Server {
    fn reload(&self) {
        reload_certificates(&self.edge);
        link::reload(self.credentials.as_deref());
    }

    async fn stop(self, deadline: Duration) {
        self.edge.drain(deadline).await;
        drop(self.tasks);
    }
}

// === impl Operated ===

impl Backend for Operated {
    fn name(&self) -> &str {
        &self.node
    }

    async fn ask_node(&self, _: &str, _: AskNode) -> Result<NodeTold, Refusal> {
        let text = "this is an edge: it answers for itself only; ask the port of that node";
        Err(Refusal::Conflict(text.to_owned()))
    }

    fn is_ready(&self) -> bool {
        // Cut off from every origin it could only make clients wait.
        let is_linked = self.links.get().is_some_and(|links| links.reachable() > 0);
        is_linked && self.edge.is_ready()
    }

    async fn health(&self) -> Health {
        let origins = self.links.get().map_or(0, |links| links.origins());
        Health {
            is_draining: self.is_draining.load(Ordering::Relaxed),
            connections: Some(self.edge.connections() as u64),
            origins: Some(origins as u64),
            ..view::health(config::Role::Edge, &self.node, self.is_ready())
        }
    }

    async fn drain(&self, undo: bool) -> Result<String, Refusal> {
        if undo {
            let text = "an edge that leaves sends its clients away and ends: start it again";
            return Err(Refusal::Conflict(text.to_owned()));
        }
        self.is_draining.store(true, Ordering::Relaxed);
        self.leave.notify_one();
        Ok("this edge sends its clients away and ends".to_owned())
    }
}

//! A cluster of real processes on free loopback ports: Redis, origins, edges, and where a case
//! wants to cut it, a path between two of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::admin;
use crate::deadline::{PATIENCE, until};
use crate::harness::process::{Process, free_address};
use crate::proxy::Proxy;
use crate::redis::Redis;

/// What a cluster consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) origins: usize,
    /// Origins that have an address and do not run yet.
    pub(crate) spare_origins: usize,
    pub(crate) edges: usize,
    pub(crate) cut: Cut,
}

/// Where the path that can be cut lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Nowhere,
    /// Between the first edge and the first origin.
    EdgeToOrigin,
    /// Between the other origins and the first one.
    OriginsToOrigin,
}

/// A cluster under way.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) redis: Redis,
    pub(crate) origins: Vec<Node>,
    pub(crate) edges: Vec<Node>,
    pub(crate) proxy: Option<Proxy>,
}

/// One node, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    role: &'static str,
    /// `o1` or `e1`.
    pub(crate) name: String,
    folder: PathBuf,
    /// Where clients connect, at an edge.
    pub(crate) clients: SocketAddr,
    /// Where other nodes connect, at an origin.
    pub(crate) link: SocketAddr,
    pub(crate) admin: SocketAddr,
    process: Option<Process>,
}

// === impl Layout ===

impl Default for Layout {
    fn default() -> Self {
        Self {
            origins: 3,
            spare_origins: 0,
            edges: 2,
            cut: Cut::Nowhere,
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts everything in `folder`, where logs stay, and waits until all are ready.
    pub(crate) async fn start(folder: &Path, layout: Layout) -> Self {
        let redis = Redis::start(folder).await;
        let count = layout.origins + layout.spare_origins;
        let mut origins: Vec<_> = (1..=count)
            .map(|number| Node::new(folder, "origin", number))
            .collect();
        let mut edges: Vec<_> = (1..=layout.edges)
            .map(|number| Node::new(folder, "edge", number))
            .collect();
        let proxy = match layout.cut {
            Cut::Nowhere => None,
            Cut::EdgeToOrigin | Cut::OriginsToOrigin => Some(Proxy::to(origins[0].link).await),
        };
        let first_by = |place: Cut| match &proxy {
            Some(proxy) if layout.cut == place => proxy.address,
            _ => origins[0].link,
        };
        let links = |first: SocketAddr| {
            let others = origins.iter().skip(1).map(|it| it.link);
            let all: Vec<_> = std::iter::once(first).chain(others).collect();
            format!(
                "{:?}",
                all.iter().map(ToString::to_string).collect::<Vec<_>>()
            )
        };
        for (index, edge) in edges.iter().enumerate() {
            let is_cut = index == 0;
            let first = if is_cut {
                first_by(Cut::EdgeToOrigin)
            } else {
                origins[0].link
            };
            edge.configure(&edge_config(edge, &links(first)));
        }
        for (index, origin) in origins.iter().enumerate() {
            let advertised = match index {
                0 => first_by(Cut::OriginsToOrigin),
                _ => origin.link,
            };
            origin.configure(&origin_config(origin, advertised, &redis.url()));
        }
        for node in origins.iter_mut().take(layout.origins).chain(&mut edges) {
            node.spawn();
        }
        for node in origins.iter_mut().take(layout.origins).chain(&mut edges) {
            node.await_ready().await;
        }
        Self {
            redis,
            origins,
            edges,
            proxy,
        }
    }

    /// The path that can be cut.
    pub(crate) fn path(&self) -> &Proxy {
        self.proxy.as_ref().expect("the layout has one")
    }

    /// Every node that has written that it panicked.
    pub(crate) fn panics(&self) -> Vec<String> {
        let nodes = self.origins.iter().chain(&self.edges);
        nodes
            .filter_map(|node| {
                let log = node.log();
                let line = log.lines().find(|line| line.contains("panicked"))?;
                Some(format!("{}: {line}", node.name))
            })
            .collect()
    }
}

fn edge_config(edge: &Node, origins: &str) -> String {
    let clients = edge.clients;
    format!(
        "c2s.listen = [\"{clients}\"]\nc2s.tls_listen = []\nc2s.require_tls = false\n\
         link.origins = {origins}\n"
    )
}

fn origin_config(origin: &Node, advertised: SocketAddr, store: &str) -> String {
    let link = origin.link;
    format!(
        "store.url = \"{store}\"\nlink.listen = \"{link}\"\nlink.advertise = \"{advertised}\"\n\
         auth.scram_iterations = 4096\nlimits.offline_messages = 100000\n\
         muc.messages_per_occupant = 1000\n"
    )
}

/// The program under test.
pub(crate) fn program() -> String {
    // Another build of it, for instance an optimised one.
    std::env::var("COUPLET").unwrap_or_else(|_| env!("CARGO_BIN_EXE_couplet").to_owned())
}

// === impl Node ===

impl Node {
    fn new(folder: &Path, role: &'static str, number: usize) -> Self {
        let name = format!("{}{number}", &role[..1]);
        let folder = folder.join(&name);
        fs::create_dir_all(&folder).expect("a writable folder");
        Self {
            role,
            name,
            folder,
            clients: free_address(),
            link: free_address(),
            admin: free_address(),
            process: None,
        }
    }

    fn configure(&self, own: &str) {
        let level = std::env::var("CLUSTER_LOG").unwrap_or_else(|_| "info".to_owned());
        let (name, admin) = (&self.name, self.admin);
        let text = format!(
            "domains = [\"localhost\"]\nnode = \"{name}\"\nadmin.listen = \"{admin}\"\n\
             log.level = \"{level}\"\nlink.insecure = true\n{own}"
        );
        fs::write(self.folder.join("config.toml"), text).expect("a writable folder");
    }

    /// Starts it (again).
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(program());
        command.args([self.role, "--config", "config.toml"]);
        command.current_dir(&self.folder);
        self.process = Some(Process::spawn(command, &self.folder.join("log"), None));
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn await_ready(&mut self) {
        let (name, admin) = (self.name.clone(), self.admin);
        let process = self.process.as_mut().expect("it runs");
        let mut is_gone = false;
        until(&format!("{name} is ready"), PATIENCE, async || {
            is_gone = process.ended().is_some();
            is_gone || admin::is_ready(admin).await
        })
        .await;
        assert!(!is_gone, "{name} does not start: {}", self.log());
    }

    /// Starts it (again) and waits until it is ready.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        self.await_ready().await;
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Tells it to stop, as an operator would, and waits until it has.
    pub(crate) async fn drain(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.end().await
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let mut status = None;
        until(&format!("{name} has drained"), PATIENCE, async || {
            status = self.process.as_mut().and_then(Process::ended);
            status.is_some()
        })
        .await;
        self.process = None;
        status.expect("it has ended")
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

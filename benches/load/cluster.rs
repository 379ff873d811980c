//! Edges, origins and a Redis on loopback, all our children.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::args::Args;
use crate::process::{self, Watched};
use crate::server::{add_accounts, await_ready, end, free_addresses, metrics};
use crate::wire::Target;

/// How long Redis may take to answer.
const READY: Duration = Duration::from_secs(10);

/// A cluster to measure.
pub(crate) struct Cluster {
    /// Where and as whom to log in.
    pub(crate) target: Target,
    origins: Vec<Node>,
    edges: Vec<Node>,
    /// Killed when dropped.
    _redis: Child,
    /// Removed with everything in it when dropped, after everything else.
    _folder: TempDir,
}

/// One of our processes.
struct Node {
    admin: SocketAddr,
    command: Command,
    child: Child,
}

// === impl Cluster ===

impl Cluster {
    /// Starts one and waits until every node is ready.
    pub(crate) async fn start(args: &Args, origins: usize, edges: usize) -> Result<Self> {
        Self::start_with(args, origins, edges, &[]).await
    }

    /// The same with further settings of the origins.
    pub(crate) async fn start_with(
        args: &Args,
        origins: usize,
        edges: usize,
        settings: &[String],
    ) -> Result<Self> {
        // Each session is a socket here and one at an edge.
        process::check_open_files(args.sessions() + 200)?;
        let folder = TempDir::with_prefix("couplet-load-")?;
        let [store] = free_addresses()?;
        let redis = start_redis(args, folder.path(), store).await?;
        let links = (0..origins).map(|_| free_addresses::<1>());
        let links: Vec<[SocketAddr; 1]> = links.collect::<Result<_>>()?;
        let listed: Vec<String> = links.iter().map(|[link]| link.to_string()).collect();
        let listed = format!("{listed:?}");
        let mut cluster = Self {
            target: Target {
                addresses: Vec::new(),
                domain: args.domain.clone(),
                user_pattern: args.user_pattern.clone(),
                password: args.password.clone(),
                tls: None,
            },
            origins: Vec::new(),
            edges: Vec::new(),
            _redis: redis,
            _folder: folder,
        };
        let folder = cluster._folder.path().to_owned();
        for (number, [link]) in (1..).zip(&links) {
            let mut own = vec![
                format!("store.url=\"redis://{store}\""),
                format!("link.listen=\"{link}\""),
                format!("link.advertise=\"{link}\""),
                "auth.scram_iterations=4096".to_owned(),
            ];
            own.extend_from_slice(settings);
            let node = Node::start(args, &folder, "origin", number, &own)?;
            cluster.origins.push(node);
        }
        for number in 1..=edges {
            let [clients] = free_addresses()?;
            let own = [
                format!("c2s.listen=[\"{clients}\"]"),
                "c2s.tls_listen=[]".to_owned(),
                "c2s.require_tls=false".to_owned(),
                format!("link.origins={listed}"),
            ];
            let node = Node::start(args, &folder, "edge", number, &own)?;
            cluster.target.addresses.push(clients);
            cluster.edges.push(node);
        }
        cluster.await_ready().await?;
        Ok(cluster)
    }

    /// Makes the accounts of users `0..count`.
    pub(crate) async fn add_accounts(&self, count: usize) -> Result<()> {
        let origin = self.origins.first().context("no origin")?;
        add_accounts(&self.target, Some(origin.admin), count).await
    }

    /// Every process but Redis.
    pub(crate) fn watched(&self) -> Watched {
        let nodes = self.origins.iter().chain(&self.edges);
        let pids: Vec<u32> = nodes.filter_map(|node| node.child.id()).collect();
        Watched::new(&pids)
    }

    /// How many frames a message between nodes has carried since they started, on average.
    pub(crate) async fn mean_batch(&self) -> Result<f64> {
        let (mut frames, mut messages) = (0.0, 0.0);
        for node in self.origins.iter().chain(&self.edges) {
            let metrics = metrics(node.admin).await?;
            frames += sent(&metrics, "couplet_link_frames_total");
            messages += sent(&metrics, "couplet_link_messages_total");
        }
        Ok(frames / messages)
    }

    /// Bytes of the messages that origins have sent to edges.
    pub(crate) async fn bytes_to_edges(&self) -> Result<f64> {
        let mut bytes = 0.0;
        for origin in &self.origins {
            bytes += sent(
                &metrics(origin.admin).await?,
                "couplet_link_bytes_total{peer=\"edge\"",
            );
        }
        Ok(bytes)
    }

    /// How many slots have been moved within so many seconds, for each bound the origins know that
    /// run. The last is all of them.
    pub(crate) async fn slot_pauses(&mut self) -> Result<Vec<(f64, f64)>> {
        let mut pauses: Vec<(f64, f64)> = Vec::new();
        for node in &mut self.origins {
            if node.child.id().is_none() {
                continue;
            }
            let metrics = metrics(node.admin).await?;
            for (place, bucket) in buckets(&metrics, "couplet_slot_pause_seconds").enumerate() {
                match pauses.get_mut(place) {
                    Some(known) => known.1 += bucket.1,
                    None => pauses.push(bucket),
                }
            }
        }
        Ok(pauses)
    }

    /// Starts every node again, so that no account is in memory.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        for node in self.origins.iter_mut().chain(&mut self.edges) {
            node.child = node.command.spawn()?;
        }
        self.await_ready().await
    }

    /// Ends every node the way an operator would, edges first.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for node in self.edges.iter_mut().chain(&mut self.origins) {
            // One of the origins may have been ended before.
            if node.child.id().is_some() {
                end(&mut node.child).await?;
            }
        }
        Ok(())
    }

    /// Ends an origin the way an operator would, and waits until it has ended.
    pub(crate) async fn drain_origin(&mut self, index: usize) -> Result<()> {
        end(&mut self.origins[index].child).await
    }

    /// Kills an origin with SIGKILL.
    pub(crate) async fn kill_origin(&mut self, index: usize) -> Result<()> {
        Ok(self.origins[index].child.kill().await?)
    }

    async fn await_ready(&mut self) -> Result<()> {
        for node in self.origins.iter_mut().chain(&mut self.edges) {
            await_ready(&mut node.child, node.admin).await?;
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    fn start(
        args: &Args,
        folder: &Path,
        role: &str,
        number: usize,
        own: &[String],
    ) -> Result<Self> {
        let name = format!("{role}{number}");
        let folder = folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        let [admin] = free_addresses()?;
        let every = [
            format!("domains=[\"{}\"]", args.domain),
            format!("node=\"{name}\""),
            format!("admin.listen=\"{admin}\""),
            "link.insecure=true".to_owned(),
            "log.level=\"error\"".to_owned(),
        ];
        let mut command = process::shell(&args.server_cores);
        command.arg(env!("CARGO_BIN_EXE_couplet")).arg(role);
        for setting in every.iter().chain(own).chain(&args.set) {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.current_dir(folder);
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        let child = command.spawn()?;
        Ok(Self {
            admin,
            command,
            child,
        })
    }
}

/// The buckets of a histogram: bound and count of what is not above it.
fn buckets(metrics: &str, name: &str) -> impl Iterator<Item = (f64, f64)> {
    let prefix = format!("{name}_bucket{{");
    let lines = metrics
        .lines()
        .filter(move |line| line.starts_with(&prefix));
    lines.filter_map(|line| {
        let (labels, count) = line.rsplit_once(' ')?;
        let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
        Some((bound.parse().ok()?, count.parse().ok()?))
    })
}

/// The sum of a counter over everything that was sent.
fn sent(metrics: &str, counter: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(counter));
    let sent = lines.filter(|line| line.contains("direction=\"out\""));
    sent.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// A Redis that writes its file as installations do, once a second.
async fn start_redis(args: &Args, folder: &Path, address: SocketAddr) -> Result<Child> {
    let port = address.port().to_string();
    let log = File::create(folder.join("redis.log"))?;
    let mut command = process::shell(&args.server_cores);
    command.args(["redis-server", "--bind", "127.0.0.1", "--port", &port]);
    command.args(["--save", "", "--appendonly", "yes"]);
    command.stdin(Stdio::null()).stdout(log).current_dir(folder);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let child = command.spawn()?;
    let deadline = Instant::now() + READY;
    while TcpStream::connect(address).await.is_err() {
        ensure!(Instant::now() < deadline, "Redis does not answer");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

//! The server that is measured: our own release binary as a child, or one that runs already.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::process::{self, Watched};
use crate::wire::{Connection, Target, tls_connector};

/// How long the server may take to become ready, and to end.
const READY: Duration = Duration::from_secs(30);
/// How many accounts are added at once, so that the store commits them in groups.
const ADDED_AT_ONCE: usize = 16;

/// A server to measure.
pub(crate) struct Server {
    /// Its process.
    pid: u32,
    /// Where and as whom to log in.
    pub(crate) target: Target,
    own: Option<Own>,
}

/// What belongs to a server we started.
struct Own {
    child: Child,
    admin: SocketAddr,
    command: Command,
    /// Removed with everything in it when dropped.
    _folder: TempDir,
}

// === impl Server ===

impl Server {
    /// Starts our own server, or takes the one that was named.
    pub(crate) async fn start(args: &Args, is_tls: bool) -> Result<Self> {
        process::check_open_files(args.sessions() + 100)?;
        let tls = is_tls.then(tls_connector).transpose()?;
        let target = |address| Target {
            addresses: vec![address],
            domain: args.domain.clone(),
            user_pattern: args.user_pattern.clone(),
            password: args.password.clone(),
            tls,
        };
        if let (Some(address), Some(pid)) = (args.target, args.pid) {
            return Ok(Self {
                pid,
                target: target(address),
                own: None,
            });
        }
        let folder = TempDir::with_prefix("couplet-load-")?;
        let [plain, direct, admin] = free_addresses()?;
        let mut command = command(args, folder.path(), plain, direct, admin);
        let child = command.spawn()?;
        let pid = child.id().context("the server has ended")?;
        let mut own = Own {
            child,
            admin,
            command,
            _folder: folder,
        };
        own.await_ready().await?;
        Ok(Self {
            pid,
            target: target(if is_tls { direct } else { plain }),
            own: Some(own),
        })
    }

    /// Makes the accounts users `0..count` need. Afterwards none of them is in memory.
    pub(crate) async fn add_accounts(&mut self, args: &Args, count: usize) -> Result<()> {
        let admin = match &self.own {
            Some(own) => Some(own.admin),
            None if args.register => None,
            None => return Ok(()),
        };
        add_accounts(&self.target, admin, count).await?;
        self.restart().await
    }

    /// The process to watch.
    pub(crate) fn watched(&self) -> Watched {
        Watched::new(&[self.pid])
    }

    /// Starts our own server again, so that no account is in memory; one that ran before is left
    /// alone.
    async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        own.child = own.command.spawn()?;
        self.pid = own.child.id().context("the server has ended")?;
        own.await_ready().await
    }

    /// Ends our own server the way an operator would; one that ran before is left alone.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        end(&mut own.child).await
    }
}

// === impl Own ===

impl Own {
    async fn await_ready(&mut self) -> Result<()> {
        await_ready(&mut self.child, self.admin).await
    }
}

/// Waits until a process of ours says that it is ready.
pub(crate) async fn await_ready(child: &mut Child, admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status}");
        }
        if let Ok((200, _)) = request(admin, "GET", "/readyz", "").await {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the server did not get ready");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a process of ours the way an operator would and waits until it has ended.
pub(crate) async fn end(child: &mut Child) -> Result<()> {
    let pid = child.id().context("the server has ended")?;
    let mut signal = Command::new("kill");
    signal.arg(pid.to_string()).status().await?;
    let status = timeout(READY, child.wait())
        .await
        .context("the server did not end")??;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

/// Makes the accounts of users `0..count`: through an admin port, or in-band.
pub(crate) async fn add_accounts(
    target: &Target,
    admin: Option<SocketAddr>,
    count: usize,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(ADDED_AT_ONCE));
    let mut tasks = JoinSet::new();
    for index in 0..count {
        let permit = room.clone().acquire_owned().await?;
        let target = target.clone();
        tasks.spawn(async move {
            let added = match admin {
                Some(admin) => add_account(admin, &target, index).await,
                None => Connection::register(&target, index).await,
            };
            drop(permit);
            added
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The command that runs our own server.
fn command(
    args: &Args,
    folder: &Path,
    plain: SocketAddr,
    direct: SocketAddr,
    admin: SocketAddr,
) -> Command {
    let settings = [
        format!("data=\"{}\"", folder.join("data").display()),
        format!("domains=[\"{}\"]", args.domain),
        format!("c2s.listen=[\"{plain}\"]"),
        format!("c2s.tls_listen=[\"{direct}\"]"),
        "c2s.require_tls=false".to_owned(),
        format!("admin.listen=\"{admin}\""),
        "auth.scram_iterations=4096".to_owned(),
        "log.level=\"error\"".to_owned(),
    ];
    let mut command = process::shell(&args.server_cores);
    command.arg(env!("CARGO_BIN_EXE_couplet")).arg("serve");
    for setting in settings.iter().chain(&args.set) {
        command.args(["--set", setting]);
    }
    // It says how to add an account, and the table is to be read.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.current_dir(folder);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// Loopback addresses nobody listens at.
pub(crate) fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    // All are held until the last is found, so that they differ.
    let mut held = Vec::with_capacity(COUNT);
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); COUNT];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

async fn add_account(admin: SocketAddr, target: &Target, index: usize) -> Result<()> {
    let jid = format!("{}@{}", target.user(index), target.domain);
    let body = serde_json::json!({ "jid": jid, "password": target.password }).to_string();
    let (status, text) = request(admin, "POST", "/api/v1/accounts", &body).await?;
    ensure!((200..300).contains(&status), "{jid}: {status} {text}");
    Ok(())
}

/// What a node says for Prometheus.
pub(crate) async fn metrics(admin: SocketAddr) -> Result<String> {
    let (status, text) = request(admin, "GET", "/metrics", "").await?;
    ensure!(status == 200, "metrics: {status} {text}");
    Ok(text)
}

/// One HTTP request on a connection of its own: status and everything after the header.
async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         couplet-ctl: load\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    let (_, rest) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((status, rest.to_owned()))
}

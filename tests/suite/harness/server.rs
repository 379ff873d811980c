//! The real server as a process of its own, on free ports and an empty data folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Client, PATIENCE, unique};
use super::process::{Process, free_address};

/// The password of every account that does not say otherwise.
pub(crate) const PASSWORD: &str = "swordfish";

/// A server process; it is killed with SIGKILL when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where clients connect.
    pub(crate) c2s: SocketAddr,
    /// Where clients connect with TLS from the first byte on.
    pub(crate) tls: SocketAddr,
    /// Where the operator connects.
    pub(crate) admin: SocketAddr,
    settings: Vec<String>,
    folder: TempDir,
    process: Option<Process>,
}

// === impl Server ===

impl Server {
    /// Starts a server with these settings, `key=value` in TOML, besides those of every test.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), settings)
    }

    /// The same in a folder that has something in it.
    pub(crate) fn start_in(folder: TempDir, settings: &[&str]) -> Self {
        let mut settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        for (key, default) in DEFAULTS {
            let is_set = settings.iter().any(|setting| {
                let name = setting.split('=').next().unwrap_or_default();
                name.trim() == *key
            });
            if !is_set {
                settings.push(format!("{key}={default}"));
            }
        }
        let data = folder.path().join("data");
        settings.push(format!("data={:?}", data.display().to_string()));
        let mut server = Self {
            c2s: free_address(),
            tls: free_address(),
            admin: free_address(),
            settings,
            folder,
            process: None,
        };
        server.run();
        server
    }

    /// The server that tests share which need nothing special.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// Runs the process and waits until clients can log in; another program may take a port
    /// between its choice and its use, so a start that fails is tried again on others.
    pub(crate) fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        for _ in 0..3 {
            let mut process = self.spawn();
            if self.is_ready_before(Instant::now() + PATIENCE, &mut process) {
                self.process = Some(process);
                return;
            }
            drop(process);
            self.c2s = free_address();
            self.tls = free_address();
            self.admin = free_address();
        }
        panic!("the server does not start: {}", self.log());
    }

    fn spawn(&self) -> Process {
        let words = self.command("serve");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let folder = self.folder.path();
        Process::spawn(command, &folder.join("log"), Some(folder))
    }

    /// The command line of `couplet` with all settings.
    pub(crate) fn command(&self, role: &str) -> Vec<String> {
        let mut words = vec![env!("CARGO_BIN_EXE_couplet").to_owned(), role.to_owned()];
        let addresses = [
            format!("c2s.listen=[\"{}\"]", self.c2s),
            format!("c2s.tls_listen=[\"{}\"]", self.tls),
            format!("admin.listen=\"{}\"", self.admin),
        ];
        for setting in self.settings.iter().chain(&addresses) {
            words.push("--set".to_owned());
            words.push(setting.clone());
        }
        words
    }

    fn is_ready_before(&self, deadline: Instant, process: &mut Process) -> bool {
        while Instant::now() < deadline {
            if self.http("/readyz").is_some_and(|(code, _)| code == 200) {
                return true;
            }
            if process.ended().is_some() {
                return false;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        false
    }

    /// Asks the operator's port; status and body, `None` when nobody answers.
    pub(crate) fn http(&self, path: &str) -> Option<(u16, String)> {
        fetch(self.admin, path)
    }

    /// Runs `couplet ctl` with these words against this server, `input` at its standard input.
    pub(crate) fn ctl(&self, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .args(["ctl", "--server", &format!("http://{}", self.admin)])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that reads no input may be gone before it is written.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    /// Adds an account.
    pub(crate) fn add_account(&self, jid: &str, password: &str) {
        let output = self.ctl(&["account", "add", jid, "--password", password], "");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "adding {jid}: {errors}");
    }

    /// Adds an account of a name not used before and returns its bare address.
    pub(crate) fn new_account(&self, name: &str) -> String {
        let jid = format!("{}@montague.lit", unique(name));
        self.add_account(&jid, PASSWORD);
        jid
    }

    /// A session of a new account.
    pub(crate) fn new_client(&self, name: &str) -> Client {
        let jid = self.new_account(name);
        Client::login(self.c2s, &jid, PASSWORD)
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = process.ended() {
                return status;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        panic!("the server does not end: {}", self.log());
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Bytes of memory the process holds.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    /// Everything the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder that holds the data folder and may hold more.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// What every test server is told; a test's own setting of the same key comes first.
const DEFAULTS: &[(&str, &str)] = &[
    (
        "domains",
        r#"["montague.lit", "capulet.lit", "verona.lit"]"#,
    ),
    ("c2s.require_tls", "false"),
    ("auth.scram_iterations", "4096"),
    ("registration.per_hour_per_address", "100000"),
    ("log.level", "\"info\""),
];

/// Asks an operator's port; status and body, `None` when nobody answers.
pub(crate) fn fetch(admin: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(admin).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let code = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((code, body))
}

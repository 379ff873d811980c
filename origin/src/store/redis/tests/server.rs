//! A real Redis for a test: on a free port, in a folder of its own, gone when the test ends.
//!
//! It needs `redis-server` and `redis-cli` on the path.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything a server is asked for may take.
pub(super) const IN_TIME: Duration = Duration::from_secs(30);

/// Between two looks at what is waited for.
pub(super) const BETWEEN: Duration = Duration::from_millis(20);

/// How often it is tried with another port, when somebody else was quicker.
const PORTS_MAX: usize = 10;

/// What every server is started with: each write is on the disk before its answer.
const DURABLE: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
];

/// A running server.
pub(super) struct Server {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

// === impl Server ===

impl Server {
    /// A server that keeps what it acknowledged.
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    pub(super) fn start_with(arguments: &[&str]) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        arguments.splice(0..0, DURABLE.iter().map(ToString::to_string));
        Self::run(arguments)
    }

    /// A server with these arguments alone. `PORT` in them becomes its port, `FOLDER` its folder.
    pub(super) fn run(arguments: Vec<String>) -> Self {
        let mut server = Self {
            child: None,
            port: 0,
            folder: tempfile::tempdir().expect("a folder"),
            arguments,
        };
        for _ in 0..PORTS_MAX {
            server.port = free_port();
            if server.begin() {
                return server;
            }
        }
        panic!("no server started with {:?}", server.arguments);
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a loss of power would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// Starts it again on the same port and folder, and waits until it is there.
    pub(super) fn restart(&mut self) {
        assert!(self.begin(), "it starts again");
    }

    /// Starts it again, and does not wait until it has its data.
    pub(super) fn restart_loading(&mut self) {
        let mut child = self
            .command()
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let started = Instant::now();
        while !self.ask(&["PING"]).contains("LOADING") {
            assert!(child.try_wait().expect("waits").is_none(), "it has ended");
            assert!(started.elapsed() < IN_TIME, "it is never seen loading");
            std::thread::sleep(BETWEEN);
        }
        self.child = Some(child);
    }

    /// Stops it in the middle of whatever it does, or lets it go on.
    pub(super) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        let signalled = Command::new("kill")
            .args([name, &child.id().to_string()])
            .status();
        assert!(signalled.expect("there is a kill").success());
    }

    /// What it answers to a command, errors too.
    pub(super) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]).args(command);
        let output = cli.output().expect("there is a redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().into()
    }

    /// Waits until a replica has all that was written so far. `key` is one this server may have.
    pub(super) fn replicate(&self, key: &str) {
        // It waits for what its own connection wrote, and so for all before that.
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()])
            .stdin(Stdio::piped());
        let mut cli = cli
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a redis-cli");
        let mut input = cli.stdin.take().expect("its input");
        write!(input, "SET {key}:mark 1\nWAIT 1 10000\n").expect("written");
        drop(input);
        let output = cli.wait_with_output().expect("ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.trim(), "OK\n1");
    }

    /// Waits until the answer to a command contains `text`.
    pub(super) fn until(&self, command: &[&str], text: &str) {
        let started = Instant::now();
        loop {
            let answer = self.ask(command);
            if answer.contains(text) {
                return;
            }
            assert!(started.elapsed() < IN_TIME, "{command:?} answers {answer}");
            std::thread::sleep(BETWEEN);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        let folder = self.folder.path().to_str().expect("a path in UTF-8");
        let fill = |text: &String| text.replace("PORT", &port).replace("FOLDER", folder);
        let mut arguments: Vec<String> = self.arguments.iter().map(fill).collect();
        if !arguments.iter().any(|argument| argument == "--port") {
            arguments.extend(["--port".into(), port.clone()]);
        }
        arguments.extend(["--dir".into(), folder.into()]);
        command.args(arguments).current_dir(folder);
        command
    }

    /// Whether it came up; not if its port is taken.
    fn begin(&mut self) -> bool {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: Debian's package has its name");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (ready, is_ready) = sync_channel(1);
        std::thread::spawn(move || {
            // All of it is read, or the server would wait for that.
            for line in output.lines().map_while(Result::ok) {
                if line.contains("eady to accept connections") || line.contains("Sentinel ID is") {
                    let _ = ready.try_send(());
                }
            }
        });
        match is_ready.recv_timeout(IN_TIME) {
            Ok(()) => {
                self.child = Some(child);
                true
            }
            Err(RecvTimeoutError::Disconnected) => {
                child.wait().expect("ended");
                false
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().expect("killed");
                panic!("redis-server does not come up");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port nobody listens on now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

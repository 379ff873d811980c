//! A program of ours as a process that does not outlive the tests, and ports for it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A process and a shell that kills it should this one end without doing so. It is killed with
/// SIGKILL when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
}

// === impl Process ===

impl Process {
    /// Starts it; what it writes is appended to `log`. Should we be killed, the folder `doomed`
    /// is removed when there is one.
    pub(crate) fn spawn(mut command: Command, log: &Path, doomed: Option<&Path>) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a writable folder");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the program is there");
        // The pipe closes however this process ends; then the shell reads the end of file.
        let pid = child.id().to_string();
        let script = "trap '' TERM INT HUP; read _; kill -9 $0; [ -z \"$1\" ] || rm -rf \"$1\"";
        let watchdog = Command::new("sh")
            .args(["-c", script, &pid])
            .arg(doomed.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self { child, watchdog }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &command]).status();
        assert!(status.expect("a shell").success(), "{command}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: afterwards the id may belong to another process.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free loopback port below those the kernel gives to outgoing connections.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 61 % 20_000).expect("small");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % 20_000;
        let port = 12_000 + (start + step) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

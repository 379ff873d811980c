//! The scripts: one for each act that must happen as a whole.
//!
//! A script is sent by its hash, and as a whole where Redis does not know it yet: after a start,
//! a fail-over or `SCRIPT FLUSH`. All of its keys are of one hash tag and all of them are named.

use std::sync::LazyLock;

use ::redis::{Cmd, cmd};
use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::clock::Validity;
use super::hex;

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

/// What a script is called with.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) keys: Vec<String>,
    /// The first two arguments, of what may only be done while it is waited for.
    pub(super) validity: Option<Validity>,
    pub(super) arguments: Vec<Bytes>,
}

pub(super) static COMMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/commit.lua")));
pub(super) static TIME: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/time.lua")));
pub(super) static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/take.lua")));
pub(super) static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/publish.lua")));
pub(super) static MEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/mend.lua")));
pub(super) static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/open.lua")));
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/beat.lua")));
pub(super) static LEAVE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/leave.lua")));
pub(super) static PIN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/pin.lua")));
pub(super) static DIRECT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/direct.lua")));

// === impl Script ===

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = hex(&Sha1::digest(source));
        Self { source, hash }
    }

    /// The command that names the script by its hash.
    pub(super) fn by_hash(&self, call: &Call) -> Cmd {
        call.command("EVALSHA", &self.hash)
    }

    /// The command that carries the whole script.
    pub(super) fn in_full(&self, call: &Call) -> Cmd {
        call.command("EVAL", self.source)
    }
}

// === impl Call ===

impl Call {
    pub(super) fn new<const N: usize>(keys: [String; N]) -> Self {
        Self {
            keys: keys.into(),
            validity: None,
            arguments: Vec::new(),
        }
    }

    /// The same with one more argument.
    pub(super) fn with(mut self, argument: impl Into<Bytes>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds an argument.
    pub(super) fn push(&mut self, argument: impl Into<Bytes>) {
        self.arguments.push(argument.into());
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        if let Some(Validity { from, until }) = self.validity {
            command.arg(from).arg(until);
        }
        for argument in &self.arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

//! A Redis of our own, with its append-only file, and just enough of its protocol to look inside
//! and to forge what only a fault could write.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::deadline::{PATIENCE, until};
use crate::harness::process::{Process, free_address};

/// A Redis server, running or not.
#[derive(Debug)]
pub(crate) struct Redis {
    address: SocketAddr,
    folder: PathBuf,
    process: Option<Process>,
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(String),
    Number(i64),
    Error(String),
    Nothing,
    List(Vec<Answer>),
}

// === impl Redis ===

impl Redis {
    /// Starts one on a free port, empty.
    pub(crate) async fn start(folder: &Path) -> Self {
        let folder = folder.join("redis");
        std::fs::create_dir_all(&folder).expect("a writable folder");
        let mut redis = Self {
            address: free_address(),
            folder,
            process: None,
        };
        redis.run().await;
        redis
    }

    /// Starts it (again, with what it kept) and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.current_dir(&self.folder);
        let port = self.address.port().to_string();
        // Every write reaches the disk before its answer: what is promised is promised for that.
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        let log = self.folder.join("log");
        self.process = Some(Process::spawn(command, &log, None));
        let pong = Answer::Text("PONG".to_owned());
        until("Redis answers", PATIENCE, async || {
            self.ask(&["PING"]).is_ok_and(|answer| answer == pong)
        })
        .await;
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Sends one command on a connection of its own.
    pub(crate) fn ask(&self, words: &[&str]) -> io::Result<Answer> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        socket.write_all(request.as_bytes())?;
        read(&mut BufReader::new(socket))
    }

    /// The answer to a command that has to work, as a list of texts.
    pub(crate) fn texts(&self, words: &[&str]) -> Vec<String> {
        let answer = self.ask(words);
        let answer = answer.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut texts = Vec::new();
        answer.collect(&mut texts);
        texts
    }
}

// === impl Answer ===

impl Answer {
    fn collect(self, into: &mut Vec<String>) {
        match self {
            Self::Text(text) => into.push(text),
            Self::Number(number) => into.push(number.to_string()),
            Self::Nothing => {}
            Self::List(list) => list.into_iter().for_each(|it| it.collect(into)),
            Self::Error(error) => panic!("Redis: {error}"),
        }
    }
}

/// Reads one answer (RESP2); what is not text is shown as well as it can be.
fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.strip_suffix("\r\n");
    let Some((sort, rest)) = line.and_then(|line| line.split_at_checked(1)) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let number = || rest.parse::<i64>().map_err(io::Error::other);
    Ok(match sort {
        "+" => Answer::Text(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Number(number()?),
        "$" | "*" if number()? < 0 => Answer::Nothing,
        "$" => {
            let length = usize::try_from(number()?).map_err(io::Error::other)?;
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            Answer::Text(String::from_utf8_lossy(&bytes[..length]).into_owned())
        }
        "*" => {
            let answers = (0..number()?).map(|_| read(from));
            Answer::List(answers.collect::<io::Result<_>>()?)
        }
        _ => return Err(io::Error::other(format!("{sort}{rest}"))),
    })
}

/// What is checked before any case relies on it.
pub(crate) const CHECKS: &[(&str, fn())] = &[("answers_of_redis_are_read", || {
    let answers: &[(&str, Answer)] = &[
        ("+PONG\r\n", Answer::Text("PONG".to_owned())),
        ("-ERR no\r\n", Answer::Error("ERR no".to_owned())),
        (":-3\r\n", Answer::Number(-3)),
        ("$-1\r\n", Answer::Nothing),
        ("$4\r\na\r\nb\r\n", Answer::Text("a\r\nb".to_owned())),
        (
            "*2\r\n:1\r\n$0\r\n\r\n",
            Answer::List(vec![Answer::Number(1), Answer::Text(String::new())]),
        ),
    ];
    for (bytes, expected) in answers {
        let read = read(&mut bytes.as_bytes()).expect("whole");
        assert_eq!(&read, expected, "{bytes:?}");
        assert!(self::read(&mut &bytes.as_bytes()[..bytes.len() - 3]).is_err());
    }
})];

//! One connection of the checking client: log in, bind or resume, send, read.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::client::{header, unique};
use crate::harness::reading::{Incoming, Reading};
use crate::harness::sasl::{self, Binding, Scram};
use crate::harness::tree::Tree;
use crate::tally::{self, Tally};

/// XEP-0198.
pub(crate) const SM: &str = "urn:xmpp:sm:3";

/// The domain of all users.
pub(crate) const DOMAIN: &str = "localhost";

/// The password of all users.
pub(crate) const PASSWORD: &str = "swordfish";

/// How long a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a step of a login may take: a slot may be without an owner meanwhile.
const STEP: Duration = Duration::from_secs(12);

/// The server has ended the stream without a complaint.
const CLOSED: &str = "stream closed";

/// Why a connection ended or a step failed, in words.
pub(crate) type Cause = String;

/// A connection to one edge.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    reading: Reading,
    features: Tree,
    /// What was sent, read as the edge reads it.
    written: Reading,
    tally: Tally,
}

/// What `<enabled/>` says.
#[derive(Debug, Clone)]
pub(crate) struct Enabled {
    pub(crate) id: String,
}

/// The answer to `<resume/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// The session goes on; the server has handled so many.
    Resumed(u32),
    /// It does not; the server may know how many it has handled.
    Failed(Option<u32>),
}

// === impl Stream ===

impl Stream {
    /// Connects and authenticates; the features after it have been read.
    pub(crate) async fn log_in(edge: SocketAddr, user: &str) -> Result<Self, Cause> {
        let connecting = timeout(CONNECT, TcpStream::connect(edge));
        let socket = match connecting.await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(format!("connecting: {error}")),
            Err(_) => return Err("connecting: nothing came".to_owned()),
        };
        socket.set_nodelay(true).map_err(|it| it.to_string())?;
        let mut stream = Self {
            socket,
            reading: Reading::default(),
            features: Tree::default(),
            written: Reading::default(),
            tally: Tally::default(),
        };
        let own = stream.socket.local_addr();
        stream.tally.port = own.map_err(|it| it.to_string())?.port();
        stream.open().await?;
        stream.authenticate(user).await?;
        stream.open().await?;
        Ok(stream)
    }

    async fn open(&mut self) -> Result<(), Cause> {
        self.reading = Reading::default();
        self.send(&header(DOMAIN)).await?;
        self.features = self.step("features").await?;
        Ok(())
    }

    /// SCRAM with SHA-256, or SHA-1 where there is nothing better.
    async fn authenticate(&mut self, user: &str) -> Result<(), Cause> {
        let offer = self.features.to_string();
        let names = ["SCRAM-SHA-256", "SCRAM-SHA-1"];
        let offered = |name: &&&str| offer.contains(&format!(">{name}<"));
        let Some(mechanism) = names.iter().find(offered) else {
            return Err(format!("no mechanism in {offer}"));
        };
        let nonce = unique("nonce");
        let mut scram = Scram::new(mechanism, user, PASSWORD, &Binding::None, &nonce);
        let first = sasl::encode(scram.first().as_bytes());
        self.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{first}</auth>"
        ))
        .await?;
        let challenge = self.step("challenge").await?;
        let last = scram.last(&sasl::decode(&challenge.text));
        let last = sasl::encode(last.as_bytes());
        self.send(&format!(
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{last}</response>"
        ))
        .await?;
        let success = self.step("success").await?;
        if scram.is_server_proved(&sasl::decode(&success.text)) {
            Ok(())
        } else {
            Err("a false server".to_owned())
        }
    }

    /// Binds a resource; the full address.
    pub(crate) async fn bind(&mut self, resource: &str) -> Result<String, Cause> {
        self.send(&format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ))
        .await?;
        let answer = self.step("iq").await?;
        let jid = answer.child("bind").and_then(|bind| bind.child("jid"));
        jid.map(|jid| jid.text.clone())
            .ok_or_else(|| format!("not bound: {answer}"))
    }

    /// Enables stream management with resumption. Whatever the server sends before its answer is
    /// not counted by either side, and given to `early`.
    pub(crate) async fn enable(&mut self, early: &mut Vec<Tree>) -> Result<Enabled, Cause> {
        if !self.features.children.iter().any(|it| it.is("sm", SM)) {
            return Err(format!("no stream management in {}", self.features));
        }
        self.send(&format!("<enable xmlns='{SM}' resume='true'/>"))
            .await?;
        loop {
            let answer = self.next_step().await?;
            match answer.name.as_str() {
                "enabled" if matches!(answer.get("resume"), Some("true" | "1")) => {
                    let id = answer.get("id").unwrap_or_default().to_owned();
                    return Ok(Enabled { id });
                }
                "message" | "presence" | "iq" => early.push(answer),
                _ => return Err(format!("not enabled: {answer}")),
            }
        }
    }

    /// Asks for a former session, of which `h` stanzas have come.
    pub(crate) async fn resume(&mut self, previous: &str, h: u32) -> Result<Resumption, Cause> {
        self.ask_to_resume(previous, h).await?;
        self.resumption().await
    }

    /// The question alone.
    pub(crate) async fn ask_to_resume(&mut self, previous: &str, h: u32) -> Result<(), Cause> {
        self.send(&format!(
            "<resume xmlns='{SM}' previd='{previous}' h='{h}'/>"
        ))
        .await
    }

    /// The answer alone.
    pub(crate) async fn resumption(&mut self) -> Result<Resumption, Cause> {
        let answer = self.next_step().await?;
        let h = answer.get("h").and_then(|h| h.parse().ok());
        match (answer.name.as_str(), h) {
            ("resumed", Some(h)) => Ok(Resumption::Resumed(h)),
            ("failed", h) => Ok(Resumption::Failed(h)),
            _ => Err(format!("neither resumed nor failed: {answer}")),
        }
    }

    /// Sends text as it is.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Cause> {
        let sent = self.socket.write_all(text.as_bytes()).await;
        sent.map_err(|error| format!("writing: {error}"))?;
        self.written.push(text.as_bytes());
        self.tally.bytes_sent += text.len() as u64;
        while let Some(element) = self.written.next() {
            self.tally.sent += u64::from(tally::is_stanza(&element));
        }
        Ok(())
    }

    /// Ends the stream in good order: reads what comes until the server has ended it too.
    pub(crate) async fn close(mut self) -> Result<(), Cause> {
        self.send("</stream:stream>").await?;
        loop {
            match self.next_step().await {
                Ok(_) => {}
                Err(cause) if cause == CLOSED => {
                    self.tally.is_whole = true;
                    return Ok(());
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// The next element of the stream. Cancelled, it loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Tree, Cause> {
        let mut buffer = [0; 4096];
        loop {
            let next = self.reading.next();
            if next.as_ref().is_some_and(tally::is_stanza) {
                self.tally.received += 1;
            }
            match next {
                Some(Incoming::Element(tree)) if tree.name == "error" => {
                    let condition = tree.condition().unwrap_or("no condition");
                    return Err(format!("stream error: {condition}"));
                }
                Some(Incoming::Element(tree)) => return Ok(tree),
                Some(Incoming::Header(_)) => continue,
                Some(Incoming::End) => return Err(CLOSED.to_owned()),
                Some(Incoming::Eof) | None => {}
            }
            match self.socket.read(&mut buffer).await {
                Ok(0) => return Err("end of file".to_owned()),
                Ok(count) => {
                    self.tally.bytes_received += count as u64;
                    self.reading.push(&buffer[..count]);
                }
                Err(error) => return Err(format!("reading: {error}")),
            }
        }
    }

    /// The next element within the time of a step.
    pub(crate) async fn next_step(&mut self) -> Result<Tree, Cause> {
        let next = timeout(STEP, self.next()).await;
        next.unwrap_or_else(|_| Err("nothing came".to_owned()))
    }

    /// The next element, which must have this name.
    async fn step(&mut self, name: &str) -> Result<Tree, Cause> {
        let next = self.next_step().await;
        let next = next.map_err(|cause| format!("waiting for {name}: {cause}"))?;
        if next.name == name {
            Ok(next)
        } else {
            Err(format!("{name} expected: {next}"))
        }
    }
}

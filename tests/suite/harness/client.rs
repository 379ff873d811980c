//! A plain XMPP client: it sends what it is told and reads what comes, with a deadline.
//!
//! It knows nothing of the server's code, so what it misunderstands the server did wrong.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::reading::{Incoming, Reading};
use super::sasl::{self, Binding, Scram};
use super::tls;
use super::tree::Tree;

/// How long anything that must happen may take; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A client's connection and what came over it.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    reading: Reading,
    /// Read while waiting for something else; `next` gives these first.
    aside: VecDeque<Tree>,
    /// The full address once bound.
    pub(crate) jid: String,
    /// The domain of the stream.
    pub(crate) domain: String,
    /// What the server offers on the current stream.
    pub(crate) features: Tree,
    /// Whether the connection ended by a reset, or TLS without its good-bye.
    was_cut: bool,
    /// Every byte that came since the last TLS handshake, for messages about failures.
    transcript: String,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<tls::Stream>),
}

// === impl Client ===

impl Client {
    /// Connects without encryption.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// Connects without encryption from another address of this machine.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        let source = SocketAddr::new(source, 0);
        socket.bind(&source.into()).expect("an address of ours");
        socket.connect(&address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a TCP socket");
        let patience = Some(PATIENCE);
        socket.set_write_timeout(patience).expect("a TCP socket");
        Self {
            transport: Transport::Plain(socket),
            reading: Reading::default(),
            aside: VecDeque::new(),
            jid: String::new(),
            domain: String::new(),
            features: Tree::default(),
            was_cut: false,
            transcript: String::new(),
        }
    }

    /// Connects with TLS from the first byte on.
    pub(crate) fn connect_tls(address: SocketAddr, wish: &tls::Wish) -> io::Result<Self> {
        Self::connect(address).secured(wish)
    }

    /// Connects, logs in and binds.
    pub(crate) fn login(address: SocketAddr, jid: &str, password: &str) -> Self {
        let mut client = Self::connect(address);
        client.enter(jid, password);
        client
    }

    /// Logs in and binds over this connection; `jid` may name a resource to ask for.
    pub(crate) fn enter(&mut self, jid: &str, password: &str) {
        let (bare, resource) = match jid.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (jid, None),
        };
        let (user, domain) = bare.split_once('@').expect("an account");
        if self.domain.is_empty() {
            self.open(domain);
        }
        if let Err(failure) = self.authenticate("SCRAM-SHA-1", user, password, &Binding::None) {
            panic!("{jid} cannot log in: {failure}");
        }
        self.open(domain);
        if let Err(refusal) = self.bind(resource) {
            panic!("{jid} cannot bind: {refusal}");
        }
    }

    /// The connection over TLS from here on.
    pub(crate) fn secured(self, wish: &tls::Wish) -> io::Result<Self> {
        let Transport::Plain(socket) = self.transport else {
            panic!("TLS already");
        };
        socket.set_read_timeout(Some(PATIENCE))?;
        let stream = wish.handshake(socket)?;
        Ok(Self {
            transport: Transport::Tls(Box::new(stream)),
            reading: Reading::default(),
            ..self
        })
    }

    /// Asks for STARTTLS on an open stream and shakes hands.
    pub(crate) fn start_tls(mut self, wish: &tls::Wish) -> Self {
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        let answer = self.next();
        assert!(
            answer.is("proceed", "urn:ietf:params:xml:ns:xmpp-tls"),
            "{answer}"
        );
        assert!(self.reading.is_empty(), "plaintext after <proceed/>");
        self.secured(wish).expect("a TLS handshake")
    }

    /// The TLS connection underneath.
    pub(crate) fn tls(&self) -> &tls::Stream {
        match &self.transport {
            Transport::Tls(stream) => stream,
            Transport::Plain(_) => panic!("no TLS"),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => &stream.sock,
        }
    }

    /// The port this end of the connection has.
    pub(crate) fn port(&self) -> u16 {
        self.socket().local_addr().expect("connected").port()
    }

    /// Sends text as it is.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes())
            .unwrap_or_else(|error| panic!("{error}; so far: {}", self.transcript));
    }

    /// Sends bytes as they are; the server may have hung up before it read them all.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write_all(bytes),
            Transport::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Opens a stream to `domain` and reads the server's header and features.
    pub(crate) fn open(&mut self, domain: &str) -> Tree {
        self.send(&header(domain));
        domain.clone_into(&mut self.domain);
        let header = self.expect_header();
        self.features = self.next();
        assert_eq!(self.features.name, "features", "{}", self.features);
        header
    }

    /// Reads the server's stream header.
    pub(crate) fn expect_header(&mut self) -> Tree {
        match self.incoming() {
            Incoming::Header(header) => header,
            other => panic!("no header but {other:?}; so far: {}", self.transcript),
        }
    }

    /// The mechanisms the server offers.
    pub(crate) fn mechanisms(&self) -> Vec<String> {
        self.features
            .child("mechanisms")
            .map_or_else(Vec::new, |list| {
                let offered = list
                    .children
                    .iter()
                    .filter(|child| child.name == "mechanism");
                offered.map(|mechanism| mechanism.text.clone()).collect()
            })
    }

    /// Runs a whole SASL exchange; the failure element if it failed.
    pub(crate) fn authenticate(
        &mut self,
        mechanism: &str,
        user: &str,
        password: &str,
        binding: &Binding,
    ) -> Result<(), Tree> {
        if mechanism == "PLAIN" {
            let answer = self.auth(mechanism, format!("\0{user}\0{password}").as_bytes());
            return finish(answer).map(|_| ());
        }
        let mut scram = Scram::new(mechanism, user, password, binding, &unique("nonce"));
        let challenge = self.auth(mechanism, scram.first().as_bytes());
        if challenge.name != "challenge" {
            return Err(challenge);
        }
        let last = scram.last(&sasl::decode(&challenge.text));
        self.send(&format!(
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>",
            sasl::encode(last.as_bytes())
        ));
        let success = finish(self.next())?;
        let proof = sasl::decode(&success.text);
        assert!(scram.is_server_proved(&proof), "a false server: {proof}");
        Ok(())
    }

    /// Sends `<auth/>` with an initial response and returns the answer.
    pub(crate) fn auth(&mut self, mechanism: &str, initial: &[u8]) -> Tree {
        self.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{}</auth>",
            sasl::encode(initial)
        ));
        self.next()
    }

    /// Binds a resource; the error stanza if it was refused.
    pub(crate) fn bind(&mut self, resource: Option<&str>) -> Result<(), Tree> {
        let wish = resource.map_or_else(String::new, |name| {
            format!("<resource>{}</resource>", quick_xml::escape::escape(name))
        });
        let id = unique("bind");
        self.send(&format!(
            "<iq type='set' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wish}\
             </bind></iq>"
        ));
        let answer = self.next();
        assert_eq!(answer.get("id"), Some(id.as_str()), "{answer}");
        if answer.get("type") != Some("result") {
            return Err(answer);
        }
        let bound = answer.child("bind").and_then(|bind| bind.child("jid"));
        self.jid.clone_from(&bound.expect("RFC 6120 §7.6.1").text);
        Ok(())
    }

    /// The bare address of the session.
    pub(crate) fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Sends `stanza` (which must carry `id`) and returns its answer; what comes before waits.
    pub(crate) fn ask(&mut self, id: &str, stanza: &str) -> Tree {
        self.send(stanza);
        self.answer_to(id)
    }

    /// Waits for the answer to the request `id`; what comes before waits for `next`.
    pub(crate) fn answer_to(&mut self, id: &str) -> Tree {
        self.wait_for(|tree| {
            let is_answer = matches!(tree.get("type"), Some("result" | "error"));
            tree.name == "iq" && is_answer && tree.get("id") == Some(id)
        })
    }

    /// Waits for an element that `fits`; what comes before waits for `next`.
    pub(crate) fn wait_for(&mut self, fits: impl Fn(&Tree) -> bool) -> Tree {
        if let Some(index) = self.aside.iter().position(&fits) {
            return self.aside.remove(index).expect("just found");
        }
        loop {
            let tree = self.next_fresh();
            if fits(&tree) {
                return tree;
            }
            self.aside.push_back(tree);
        }
    }

    /// Asks the server for life signs on behalf of `to`; any answer will do.
    pub(crate) fn ping(&mut self, to: &str) {
        let id = unique("ping");
        self.send(&ping(&id, to));
        self.answer_to(&id);
    }

    /// Asserts that the session works: a ping of its own account is answered.
    pub(crate) fn is_alive(&mut self) {
        let own = self.bare().to_owned();
        self.ping(&own);
    }

    /// The next element, from those set aside or from the stream.
    pub(crate) fn next(&mut self) -> Tree {
        match self.aside.pop_front() {
            Some(tree) => tree,
            None => self.next_fresh(),
        }
    }

    /// What was set aside while waiting for answers.
    pub(crate) fn take_aside(&mut self) -> Vec<Tree> {
        self.aside.drain(..).collect()
    }

    fn next_fresh(&mut self) -> Tree {
        match self.incoming() {
            Incoming::Element(tree) => tree,
            other => panic!("no element but {other:?}; so far: {}", self.transcript),
        }
    }

    /// Reads whatever comes next on the stream.
    pub(crate) fn incoming(&mut self) -> Incoming {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(incoming) = self.reading.next() {
                return incoming;
            }
            match self.fill(deadline) {
                Ok(0) => return Incoming::Eof,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    panic!("nothing came in {PATIENCE:?}; so far: {}", self.transcript)
                }
                Err(_) => {
                    self.was_cut = true;
                    return Incoming::Eof;
                }
            }
        }
    }

    /// Whether the connection ended as TCP and TLS want it.
    pub(crate) fn is_closed_in_order(&self) -> bool {
        !self.was_cut
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        self.socket().set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.transport {
            Transport::Plain(socket) => socket.read(&mut buffer)?,
            Transport::Tls(stream) => stream.read(&mut buffer)?,
        };
        self.reading.push(&buffer[..count]);
        self.transcript
            .push_str(&String::from_utf8_lossy(&buffer[..count]));
        Ok(count)
    }

    /// Reads to the end of the connection; the stream error if there was one.
    pub(crate) fn read_to_end(&mut self) -> Option<Tree> {
        let mut error = None;
        let mut rest = self.take_aside().into_iter();
        loop {
            let incoming = match rest.next() {
                Some(tree) => Incoming::Element(tree),
                None => self.incoming(),
            };
            match incoming {
                Incoming::Element(tree) if tree.is("error", STREAM) => error = Some(tree),
                Incoming::Eof => return error,
                _ => {}
            }
        }
    }

    /// Asserts that the server ends the stream with `condition` and closes the connection.
    pub(crate) fn ends_with(&mut self, condition: &str) {
        let error = self.read_to_end();
        let found = error.as_ref().and_then(Tree::condition);
        let transcript = &self.transcript;
        assert_eq!(found, Some(condition), "so far: {transcript}");
        assert!(
            transcript.ends_with("</stream:stream>"),
            "the stream is closed too: {transcript}"
        );
    }

    /// Says good-bye and waits until the server has done so too.
    pub(crate) fn close(mut self) {
        self.send("</stream:stream>");
        while !matches!(self.incoming(), Incoming::End | Incoming::Eof) {}
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(self) {
        // The server may have cut it first; either way it is gone.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Everything that came so far.
    pub(crate) fn transcript(&self) -> &str {
        &self.transcript
    }
}

/// RFC 6120 §4.8.1: the namespace of streams.
pub(crate) const STREAM: &str = "http://etherx.jabber.org/streams";

/// A client's stream header.
pub(crate) fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}' \
         to='{domain}' version='1.0'>"
    )
}

/// A ping (XEP-0199).
pub(crate) fn ping(id: &str, to: &str) -> String {
    format!("<iq type='get' id='{id}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

/// A word that this process has not used before.
pub(crate) fn unique(word: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{word}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn finish(answer: Tree) -> Result<Tree, Tree> {
    if answer.name == "success" {
        Ok(answer)
    } else {
        Err(answer)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

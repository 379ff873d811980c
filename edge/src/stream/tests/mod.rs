//! Every order of steps, allowed and refused, as scripts.
//!
//! A line is one thing that happens. What the client sends goes through the real framer.
//!
//! ```text
//! > xml      the client sends
//! * event    secured [binding…], deadline, silent, shutdown, banned, gone, lost, ping ID,
//!            origin-gone, settled N, delivered N, ask
//! v frame    the origin answers
//! < xml      the server has said exactly this since the last line that made something happen
//! ! action   then this must be done
//! . state    waiting, ready, closed, bound
//! ```
//!
//! **Invariant:** whatever is said or done stands in the script; nothing is left over.

mod acknowledging;
mod authentication;
mod binding;
mod disorder;
mod opening;
mod registration;
mod resuming;
mod session;
mod words;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use couplet_proto::link::frame::{AuthToken, Detached, ResumeError, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::{Seed, Slot};
use couplet_proto::xmpp::error::{Condition, SaslCondition, StanzaError, StreamCondition};
use couplet_proto::{Jid, Stanza};

use self::words::{binding, describe, frame};
use super::{Action, Actions, Caps, Event, Secured, Setup, Stream};
use crate::framing::{Budget, Framer};
use crate::rules::Domains;

/// Our header, its id replaced.
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' id='?' from='localhost' version='1.0' \
     xml:lang='en'>";
/// What a client opens with.
const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";
/// The features of a stream with TLS and both bindings.
const ON_TLS: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>\
     <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>\
     <mechanism>PLAIN</mechanism></mechanisms>\
     <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>\
     <channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/>\
     </sasl-channel-binding></stream:features>";
/// The features of a stream that needs TLS first.
const TLS_FIRST: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>\
     <required/></starttls></stream:features>";
/// The features after authentication.
const AUTHENTICATED: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
     <session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>\
     <ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/>\
     <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>262144</max-bytes>\
     <idle-seconds>300</idle-seconds></limits><sm xmlns='urn:xmpp:sm:3'/></stream:features>";

/// Opening of most scripts: a secure stream that awaits the client's choice.
const SECURE: &str = "* secured tls-exporter tls-server-end-point
     > OPEN
     < HEADER ON_TLS";

/// A whole login as `juliet@localhost`, until the resource is to be bound.
const LOGIN: &str = "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>
     ! up authenticate juliet@localhost PLAIN AGp1bGlldABz
     v authenticated juliet@localhost
     < <success xmlns='SASL'/>
     ! authenticated
     > OPEN
     < HEADER AUTHENTICATED";

/// The bind after it.
const BIND: &str = "> <iq type='set' id='b'><bind xmlns='BINDING'/></iq>
     ! up bind juliet@localhost
     v bound juliet@localhost/balcony
     < <iq type='result' id='b'><bind xmlns='BINDING'><jid>juliet@localhost/balcony</jid></bind>\
     </iq>
     ! bound juliet@localhost/balcony";

const SASL_FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>";

/// A stream with its framer, and what they have produced.
struct Player {
    setup: Arc<Setup>,
    stream: Stream,
    framer: Framer,
    /// Bytes the stream did not want yet.
    unread: Vec<u8>,
    out: BytesMut,
    done: Vec<String>,
}

fn setup() -> Setup {
    Setup {
        domains: Arc::new(Domains::new(
            ["localhost", "capulet.lit"].map(|domain| Jid::parse(domain).expect("valid")),
        )),
        offers_tls: true,
        require_tls: true,
        registration_open: false,
        auth_failures: 3,
        after_auth: Budget::AFTER_AUTH,
        idle_secs: Some(300),
        location: None,
        see_other_host: Arc::default(),
        caps: None,
    }
}

/// Plays scripts one after the other on one stream.
fn play(setup: Setup, scripts: &[&str]) {
    let mut player = Player::new(setup);
    for line in scripts.iter().flat_map(|script| script.lines()) {
        let line = expand(line.trim());
        if !line.is_empty() {
            player.line(&line);
        }
    }
    player.expect_nothing("the end");
}

/// Names in scripts stand for what is too long to read.
fn expand(line: &str) -> String {
    [
        ("HEADER", HEADER),
        ("OPEN", OPEN),
        ("ON_TLS", ON_TLS),
        ("TLS_FIRST", TLS_FIRST),
        ("AUTHENTICATED", AUTHENTICATED),
        ("'SM'", "'urn:xmpp:sm:3'"),
        ("'SASL'", "'urn:ietf:params:xml:ns:xmpp-sasl'"),
        ("'TLS'", "'urn:ietf:params:xml:ns:xmpp-tls'"),
        ("'BINDING'", "'urn:ietf:params:xml:ns:xmpp-bind'"),
        ("'SESSION'", "'urn:ietf:params:xml:ns:xmpp-session'"),
        ("'STANZAS'", "'urn:ietf:params:xml:ns:xmpp-stanzas'"),
        ("'STREAMS'", "'urn:ietf:params:xml:ns:xmpp-streams'"),
    ]
    .iter()
    .fold(line.to_owned(), |line, (name, text)| {
        line.replace(name, text)
    })
}

/// The stream error of this condition and the end of the stream; `text` if it has one.
fn error(condition: &str, text: &str) -> String {
    let text = match text {
        "" => String::new(),
        text => format!("<text xmlns='STREAMS' xml:lang='en'>{text}</text>"),
    };
    format!(
        "<stream:error><{condition} xmlns='STREAMS'/>{text}</stream:error></stream:stream>
         ! close {condition}
         . closed"
    )
}

// === impl Player ===

impl Player {
    fn new(setup: Setup) -> Self {
        let setup = Arc::new(setup);
        let mut framer = Framer::new(Budget::BEFORE_AUTH);
        framer.count_total(true);
        Self {
            stream: Stream::new(
                setup.clone(),
                ConnectionId(7),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                1,
            ),
            setup,
            framer,
            unread: Vec::new(),
            out: BytesMut::new(),
            done: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let (mark, rest) = line.split_once(' ').expect("a mark and a text");
        if matches!(mark, ">" | "*" | "v") {
            self.expect_nothing(line);
        }
        match mark {
            ">" => self.feed(rest.as_bytes()),
            "*" => self.happen(rest),
            "v" => self.step(Event::FromOrigin(frame(rest))),
            "<" => {
                let said = self.said();
                let expected = rest.replace("> <", "><");
                assert_eq!(said, expected, "said, before {line:?}");
            }
            "!" => {
                assert!(!self.done.is_empty(), "nothing was done, but {line:?}");
                assert_eq!(self.done.remove(0), rest);
            }
            "." => self.check_state(rest),
            _ => panic!("what is {line:?}?"),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.read();
    }

    /// Frames what is unread for as long as the stream wants it, as a connection does.
    fn read(&mut self) {
        while !self.stream.is_waiting() && !self.stream.is_closed() {
            let unread = std::mem::take(&mut self.unread);
            let mut rest = unread.as_slice();
            let event = match self.framer.next(&mut rest) {
                Ok(Some(item)) => Event::Item(item),
                Ok(None) => return,
                Err(error) => Event::Broken(error),
            };
            self.unread = rest.to_vec();
            self.step(event);
        }
    }

    fn happen(&mut self, event: &str) {
        let mut words = event.split(' ');
        let event = match words.next().expect("a word") {
            "secured" => Event::Secured(Secured {
                bindings: words.map(binding).collect(),
            }),
            "deadline" => Event::Deadline,
            "silent" => Event::Silent,
            "shutdown" => Event::Shutdown,
            "banned" => Event::Banned,
            "gone" => Event::ClientGone(Detached::Closed),
            "lost" => Event::ClientGone(Detached::Lost),
            "ping" => Event::Ping(words.next().expect("an id")),
            "origin-gone" => Event::OriginGone,
            "settled" => {
                let number = words.next().expect("a number").parse().expect("a number");
                return self.stream.settled(number, &mut self.out);
            }
            "delivered" => {
                let count = words.next().expect("a number").parse().expect("a number");
                return self.stream.delivered(count);
            }
            "ask" => {
                self.stream.ask(&mut self.out);
                return;
            }
            word => panic!("what is {word:?}?"),
        };
        self.step(event);
    }

    fn step(&mut self, event: Event<'_>) {
        let mut actions = Actions::new();
        let is_item = matches!(event, Event::Item(_));
        let before = self.out.len();
        let slot_of = |jid: &Jid| Slot::of(Seed([0; 16]), jid);
        self.stream
            .step(event, &slot_of, &mut self.out, &mut actions);
        let said = std::str::from_utf8(&self.out[before..]).expect("UTF-8");
        let answered = actions
            .iter()
            .filter(|action| matches!(action, Action::Answered(_)));
        if is_item {
            // Each stanza error of ours is counted, whoever delivers it.
            let mut said = said.to_owned();
            for action in &actions {
                if let Action::Up(_, ToOrigin::Answer { answer, .. }) = action {
                    said.push_str(&answer.to_string());
                }
            }
            let errors = said.matches("<error type=").count();
            assert_eq!(answered.count(), errors, "{said}");
            for action in &actions {
                if let Action::Answered(condition) = action {
                    assert!(said.contains(&format!("<{} ", condition.name())), "{said}");
                }
            }
        }
        let failed = actions
            .iter()
            .filter(|action| matches!(action, Action::LoginFailed { .. }));
        assert_eq!(failed.count(), said.matches(SASL_FAILURE).count(), "{said}");
        for action in actions {
            if matches!(action, Action::Answered(_) | Action::LoginFailed { .. }) {
                continue;
            }
            self.done.push(describe(&action));
            match action {
                Action::StartTls => {
                    self.unread.clear();
                    self.framer.restart();
                }
                Action::Authenticated => {
                    self.framer.restart();
                    self.framer.set_budget(self.setup.after_auth);
                    self.framer.count_total(false);
                }
                Action::Up(..)
                | Action::Bound { .. }
                | Action::Resumed { .. }
                | Action::Acked(_)
                | Action::Answered(_)
                | Action::LoginFailed { .. }
                | Action::Close(_) => {}
            }
        }
        self.read();
    }

    /// What was said since the last time, stream ids replaced.
    fn said(&mut self) -> String {
        let text = String::from_utf8(self.out.split().to_vec()).expect("UTF-8");
        let Some((before, rest)) = text.split_once("etherx.jabber.org/streams' id='") else {
            return text;
        };
        let (id, after) = rest.split_once('\'').expect("quoted");
        assert_eq!(id.len(), 32, "{id}");
        format!("{before}etherx.jabber.org/streams' id='?'{after}")
    }

    fn check_state(&self, state: &str) {
        let is_so = match state {
            "waiting" => self.stream.is_waiting(),
            "ready" => !self.stream.is_waiting() && !self.stream.is_closed(),
            "closed" => self.stream.is_closed(),
            "bound" => self.stream.session().is_some(),
            _ => panic!("what is {state:?}?"),
        };
        assert!(is_so, "not {state}");
    }

    fn expect_nothing(&mut self, before: &str) {
        let said = self.said();
        assert!(said.is_empty(), "unexpected, before {before:?}: {said}");
        assert!(
            self.done.is_empty(),
            "unexpected, before {before:?}: {:?}",
            self.done
        );
    }
}

#[test]
fn an_idle_stream_is_small() {
    assert!(size_of::<Stream>() <= 128, "{}", size_of::<Stream>());
    assert!(size_of::<Action>() <= 128, "{}", size_of::<Action>());
}

#[test]
fn stream_ids_never_repeat() {
    let ids = |seed| {
        let mut negotiation = super::Negotiation::new(IpAddr::V4(Ipv4Addr::LOCALHOST), seed);
        [
            negotiation.draw_id(),
            negotiation.draw_id(),
            negotiation.draw_id(),
        ]
    };
    let mut all = [ids(1), ids(2)].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn capabilities_are_advertised_where_there_are_some() {
    let caps = Caps {
        node: "urn:n".to_owned(),
        ver: "v".to_owned(),
    };
    let script = LOGIN.replace(
        "< HEADER AUTHENTICATED",
        &format!(
            "< HEADER {}",
            AUTHENTICATED.replace(
                "</stream:features>",
                "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:n' ver='v'/>\
                 </stream:features>"
            )
        ),
    );
    let caps = Some(caps);
    play(Setup { caps, ..setup() }, &[SECURE, &script]);
}

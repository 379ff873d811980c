//! Client: what a person's program does with one account, over XML, with stream management or
//! without.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use couplet_edge::framing::{Budget, Framer, Item};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Kind, Stanza, Type};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

const STREAM: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='x' version='1.0'>";

/// Where a client is on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Off,
    /// The features before authentication are awaited.
    Greeted,
    Authenticating,
    /// The features after it.
    Restarted,
    Resuming,
    Binding,
    Enabling,
    Online,
    /// It has closed its stream, and reads what still comes.
    Closing,
}

/// What a client counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing.
    Plain,
    /// Stream management, and it comes back.
    Resuming,
    /// Stream management only.
    Counting,
}

/// A stanza that is not known to be handled.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) xml: String,
    /// Which message it is, if it is one.
    pub(crate) message: Option<usize>,
}

/// What a client reports.
#[derive(Debug)]
pub(crate) enum Heard {
    Stanza(Stanza),
    /// A session has begun.
    Bound,
    /// The former session goes on.
    Resumed,
    /// It does not.
    ResumeFailed,
    /// The server has handled these messages.
    Handled(Vec<usize>),
    /// The stream has ended with this error.
    Error(String),
    /// The connection is gone.
    Gone,
}

/// A program.
pub(crate) struct Client {
    pub(crate) user: usize,
    pub(crate) resource: String,
    pub(crate) manner: Manner,
    pub(crate) stage: Stage,
    pub(crate) edge: usize,
    pipe: Option<DuplexStream>,
    framer: Framer,
    output: BytesMut,
    /// What it resumes by.
    previous: Option<String>,
    /// Whether it counts: stream management is on.
    pub(crate) counts: bool,
    /// Stanzas it has had since.
    received: u64,
    /// Stanzas it has sent since, and those that are not known to be handled.
    pub(crate) sent: u64,
    pub(crate) handled: u64,
    pub(crate) unhandled: Vec<Sent>,
    /// Whether it owes an answer to a request for what it has.
    owes: bool,
    /// It reads nothing.
    pub(crate) is_slow: bool,
    pub(crate) is_available: bool,
    /// A mutation: it takes one more for handled than it is told.
    pub(crate) takes_more: bool,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(user: usize, resource: &str, manner: Manner) -> Self {
        Self {
            user,
            resource: resource.to_owned(),
            manner,
            stage: Stage::Off,
            edge: 0,
            pipe: None,
            framer: framer(),
            output: BytesMut::new(),
            previous: None,
            counts: false,
            received: 0,
            sent: 0,
            handled: 0,
            unhandled: Vec::new(),
            owes: false,
            is_slow: false,
            is_available: false,
            takes_more: false,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("u{}@x/{}", self.user, self.resource)
    }

    /// Whether it may have its session back.
    pub(crate) fn can_resume(&self) -> bool {
        self.previous.is_some()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.pipe.is_some()
    }

    /// Begins on a new connection.
    pub(crate) fn connect(&mut self, edge: usize, pipe: DuplexStream) {
        self.edge = edge;
        self.pipe = Some(pipe);
        self.framer = framer();
        self.output.clear();
        self.stage = Stage::Greeted;
        self.owes = false;
        self.is_slow = false;
        self.say(STREAM);
    }

    /// Closes its stream in good order.
    pub(crate) fn close(&mut self) {
        self.say("</stream:stream>");
        self.stage = Stage::Closing;
        self.previous = None;
    }

    /// Ends its connection.
    pub(crate) fn break_off(&mut self) {
        self.pipe = None;
        self.stage = Stage::Off;
    }

    /// Its session is over.
    pub(crate) fn forget(&mut self) {
        self.previous = None;
        self.counts = false;
        self.sent = 0;
        self.handled = 0;
        self.received = 0;
        self.unhandled.clear();
        self.is_available = false;
    }

    /// Sends a stanza; its number.
    pub(crate) fn send(&mut self, xml: String, message: Option<usize>) -> u64 {
        self.sent += 1;
        self.say(&xml);
        let number = self.sent;
        self.unhandled.push(Sent {
            number,
            xml,
            message,
        });
        number
    }

    /// Asks what is handled.
    pub(crate) fn ask(&mut self) {
        if self.counts {
            self.say("<r xmlns='urn:xmpp:sm:3'/>");
        }
    }

    /// Says what it has, asked or not.
    pub(crate) fn acknowledge(&mut self) {
        self.owes = false;
        if self.counts && self.stage == Stage::Online {
            let count = self.received;
            self.say(&format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>"));
        }
    }

    pub(crate) fn owes(&self) -> bool {
        self.owes
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.flush();
    }

    /// Writes what the pipe takes.
    pub(crate) fn flush(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut context = Context::from_waker(Waker::noop());
        while !self.output.is_empty() {
            match Pin::new(&mut *pipe).poll_write(&mut context, &self.output) {
                Poll::Ready(Ok(written)) if written > 0 => self.output.advance(written),
                Poll::Ready(_) => return self.output.clear(),
                Poll::Pending => return,
            }
        }
    }

    /// Reads what there is.
    pub(crate) fn read(&mut self, heard: &mut Vec<Heard>) {
        self.flush();
        let mut context = Context::from_waker(Waker::noop());
        let mut bytes = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(pipe).poll_read(&mut context, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let length = buffer.filled().len();
                    self.take(&bytes[..length], heard);
                }
                Poll::Ready(_) => {
                    self.pipe = None;
                    self.stage = Stage::Off;
                    heard.push(Heard::Gone);
                }
            }
        }
    }

    fn take(&mut self, mut input: &[u8], heard: &mut Vec<Heard>) {
        loop {
            match self.framer.next(&mut input) {
                Ok(Some(item)) => self.item(item, heard),
                Ok(None) => return,
                Err(error) => {
                    heard.push(Heard::Error(format!("not well-formed: {error}")));
                    return;
                }
            }
        }
    }

    fn item(&mut self, item: Item, heard: &mut Vec<Heard>) {
        match item {
            Item::Stanza(stanza) if self.stage == Stage::Binding => {
                if stanza.type_ != Type::Result || stanza.kind != Kind::Iq {
                    return self.retry(heard);
                }
                heard.push(Heard::Bound);
                if self.manner == Manner::Plain {
                    self.stage = Stage::Online;
                } else {
                    self.stage = Stage::Enabling;
                    let resume = match self.manner {
                        Manner::Resuming => " resume='true'",
                        _ => "",
                    };
                    self.say(&format!("<enable xmlns='urn:xmpp:sm:3'{resume}/>"));
                }
            }
            Item::Stanza(stanza) => {
                self.received += u64::from(self.counts);
                heard.push(Heard::Stanza(stanza));
            }
            Item::Element(element) => self.element(&element, heard),
            Item::Malformed(stanza) => heard.push(Heard::Error(format!("malformed: {stanza:?}"))),
            Item::Open(_) | Item::Whitespace => {}
            Item::Close => heard.push(Heard::Error("closed".to_owned())),
        }
    }

    fn element(&mut self, element: &Element, heard: &mut Vec<Heard>) {
        match (element.ns(), element.name()) {
            (ns::STREAM, "features") => self.featured(),
            (ns::STREAM, "error") => {
                let words = element
                    .children()
                    .map(|child| format!("{} {}", child.name(), child.content()));
                heard.push(Heard::Error(words.collect::<Vec<_>>().join(", ")));
            }
            (ns::SASL, "success") => {
                self.framer.restart();
                self.stage = Stage::Restarted;
                self.say(STREAM);
            }
            // The origin is gone, or the store: it tries again.
            (ns::SASL, "failure") => self.retry(heard),
            (ns::STREAM_MANAGEMENT, "enabled") => {
                self.counts = true;
                self.received = 0;
                self.previous = element.get("id").map(str::to_owned);
                self.stage = Stage::Online;
            }
            (ns::STREAM_MANAGEMENT, "resumed") => {
                self.stage = Stage::Online;
                heard.push(Heard::Resumed);
                self.handled(count(element), heard);
                for sent in self.unhandled.clone() {
                    self.say(&sent.xml);
                }
            }
            (ns::STREAM_MANAGEMENT, "failed") => {
                let h = element.get("h").map(|_| count(element));
                if let Some(h) = h {
                    self.handled(h, heard);
                }
                heard.push(Heard::ResumeFailed);
                self.forget();
                self.bind();
            }
            (ns::STREAM_MANAGEMENT, "r") => self.owes = true,
            (ns::STREAM_MANAGEMENT, "a") => self.handled(count(element), heard),
            _ => {}
        }
    }

    fn featured(&mut self) {
        if self.stage == Stage::Greeted {
            self.stage = Stage::Authenticating;
            let initial = STANDARD.encode(format!("\0u{}\0secret", self.user));
            self.say(&format!(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{initial}</auth>"
            ));
        } else if let Some(previous) = self.previous.clone() {
            self.stage = Stage::Resuming;
            let h = self.received;
            self.say(&format!(
                "<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='{h}'/>"
            ));
        } else {
            self.bind();
        }
    }

    fn bind(&mut self) {
        self.stage = Stage::Binding;
        let resource = &self.resource;
        self.say(&format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ));
    }

    /// It did not get in, and begins again.
    fn retry(&mut self, heard: &mut Vec<Heard>) {
        self.pipe = None;
        self.stage = Stage::Off;
        heard.push(Heard::Gone);
    }

    fn handled(&mut self, low: u64, heard: &mut Vec<Heard>) {
        let h = match self.takes_more {
            true => (low + 1).min(self.sent),
            false => low,
        };
        if h < self.handled || h > self.sent {
            let text = format!("{h} are handled, after {} of {}", self.handled, self.sent);
            heard.push(Heard::Error(text));
        }
        self.handled = h;
        let handled = self.unhandled.iter().filter(|sent| sent.number <= h);
        let messages = handled.filter_map(|sent| sent.message).collect();
        heard.push(Heard::Handled(messages));
        self.unhandled.retain(|sent| sent.number > h);
    }
}

fn count(element: &Element) -> u64 {
    let h = element.get("h").and_then(|h| h.parse().ok());
    h.unwrap_or(u64::MAX)
}

fn framer() -> Framer {
    let mut framer = Framer::new(Budget {
        bytes: 1 << 20,
        elements: 4096,
        depth: 64,
        attributes: 64,
        namespaces: 64,
    });
    framer.count_total(false);
    framer
}

//! Lines: what has happened, in the fields the operator chose and the format he reads.

use std::borrow::Cow;
use std::fmt::Write;

use couplet_proto::journal::Entry;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::time::{self, UnixMillis};

use super::escape;
use super::field::Field;
use crate::config::LineFormat;

/// What the server is called at the head of a file.
const SOFTWARE: &str = concat!("couplet/", env!("CARGO_PKG_VERSION"));

/// How every line of a log looks.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) format: LineFormat,
    pub(super) fields: Vec<Field>,
    /// The name of this node.
    pub(super) node: String,
}

/// What a field says of an entry.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    /// Of a thousandth of a second, as seconds.
    Millis(u64),
}

// === impl Shape ===

impl Shape {
    /// What stands at the head of every file; nothing in JSON, where each line says what it is.
    pub(super) fn header(&self, now: UnixMillis) -> String {
        if self.format == LineFormat::Json {
            return String::new();
        }
        let now = time::format(now);
        let (date, time) = (&now[..DATE], &now[DATE + 1..TIME]);
        let names: Vec<_> = self.fields.iter().map(|field| field.name()).collect();
        let names = names.join(" ");
        format!(
            "#Version: 1.0\n#Software: {SOFTWARE}\n#Start-Date: {date} {time}\n#Fields: {names}\n"
        )
    }

    /// What happened then, as one line with its line break.
    pub(super) fn line(&self, now: UnixMillis, entry: &Entry<'_>) -> String {
        let now = time::format(now);
        let mut line = String::with_capacity(320);
        match self.format {
            LineFormat::W3c => self.w3c(&now, entry, &mut line),
            LineFormat::Json => self.json(&now, entry, &mut line),
        }
        line.push('\n');
        line
    }

    fn w3c(&self, now: &str, entry: &Entry<'_>, line: &mut String) {
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                line.push(' ');
            }
            match self.value(*field, now, entry) {
                None => escape::absent(line),
                Some(Value::Text(text)) => escape::w3c(&text, line),
                Some(value) => value.write(line),
            }
        }
    }

    fn json(&self, now: &str, entry: &Entry<'_>, line: &mut String) {
        line.push('{');
        for field in &self.fields {
            let Some(value) = self.value(*field, now, entry) else {
                continue;
            };
            if line.len() > 1 {
                line.push(',');
            }
            escape::json(field.name(), line);
            line.push(':');
            match value {
                Value::Text(text) => escape::json(&text, line),
                value => value.write(line),
            }
        }
        line.push('}');
    }

    fn value<'a>(&'a self, field: Field, now: &'a str, entry: &Entry<'a>) -> Option<Value<'a>> {
        let traffic = entry.traffic.as_ref();
        Some(match field {
            Field::Date => text(&now[..DATE]),
            Field::Time => text(&now[DATE + 1..TIME]),
            Field::Node => text(&self.node),
            Field::Event => text(entry.event.name()),
            Field::ClientIp => made(&entry.client?.ip()),
            Field::ClientPort => Value::Number(entry.client?.port().into()),
            Field::ServerIp => made(&entry.server?.ip().to_canonical()),
            Field::ServerPort => Value::Number(entry.server?.port().into()),
            Field::Transport => text(entry.transport?),
            Field::Tls => Value::Text(tls(entry.tls?).into()),
            Field::Connection => Value::Number(entry.connection?.0),
            Field::Jid => text(entry.jid?.as_str()),
            Field::Resource => text(entry.jid?.resource()?),
            Field::Session => made(&entry.session?),
            Field::Mechanism => text(entry.mechanism?),
            Field::Outcome => text(entry.outcome?),
            Field::Reason => text(entry.reason?),
            Field::BytesIn => Value::Number(traffic?.bytes_in),
            Field::BytesOut => Value::Number(traffic?.bytes_out),
            Field::StanzasIn => Value::Number(traffic?.stanzas_in),
            Field::StanzasOut => Value::Number(traffic?.stanzas_out),
            Field::TimeTaken => Value::Millis(entry.taken_ms?),
            Field::AckRtt => Value::Number(traffic?.ack_rtt_ms?),
            Field::QueueMax => Value::Number(traffic?.queue_max),
            Field::Count => Value::Number(entry.count? as u64),
            Field::Slots if entry.slots.is_empty() => return None,
            Field::Slots => Value::Text(ranges(entry.slots).into()),
            Field::From => text(entry.from?),
            Field::To => text(entry.to?),
        })
    }
}

// === impl Value ===

impl Value<'_> {
    /// Adds what needs no escape in either format.
    fn write(&self, line: &mut String) {
        let written = match self {
            Self::Text(_) => Ok(()),
            Self::Number(number) => write!(line, "{number}"),
            Self::Millis(millis) => write!(line, "{}.{:03}", millis / 1000, millis % 1000),
        };
        written.expect("a string takes anything");
    }
}

/// Where the date and the time end in a timestamp.
const DATE: usize = 10;
const TIME: usize = 23;

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn made(value: &impl ToString) -> Value<'static> {
    Value::Text(value.to_string().into())
}

/// As `TLSv1.3/TLS_AES_256_GCM_SHA384`: both as the registries have them.
fn tls((version, suite): (&str, &str)) -> String {
    let version = version.replace('_', ".");
    match suite.strip_prefix("TLS13_") {
        Some(rest) => format!("{version}/TLS_{rest}"),
        None => format!("{version}/{suite}"),
    }
}

/// Slots in order, as `0-15,17`.
fn ranges(slots: &[Slot]) -> String {
    let mut text = String::new();
    let mut rest = slots.iter().map(|slot| slot.index()).peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        if !text.is_empty() {
            text.push(',');
        }
        let written = match last - first {
            0 => write!(text, "{first}"),
            _ => write!(text, "{first}-{last}"),
        };
        written.expect("a string takes anything");
    }
    text
}

//! Trace: the stanzas of an account as they pass, one line each.
//!
//! ```text
//! 07:31:02.120 romeo@x/r > message chat id=m1 to=juliet@x 133 B: body, active
//! 07:31:02.121 romeo@x/r < presence available id=- from=juliet@x/j 87 B: c
//! ```
//!
//! Addresses, ids and what stands in stanzas were chosen by clients: what would act on the terminal
//! leaves as a visible escape.

use std::io::{self, Write};
use std::time::Duration;

use hyper::Method;
use tokio::time::Instant;

use super::server::{Query, Server};
use super::{Failure, Output};
use crate::admin::{TraceBegin, Traced, TracedStanza, TracedWay};
use crate::telemetry::{self, Escape};

/// How long to wait before a trace that ended at once is begun again.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows what passes until the time is up, nobody reads on, or for ever.
pub(super) async fn follow(
    server: &Server,
    jid: &str,
    bodies: bool,
    seconds: Option<u64>,
    out: Output,
) -> Result<(), Failure> {
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let shown = follow_for_ever(server, jid, bodies, out);
    match end {
        None => shown.await,
        // What is being waited for then is not shown.
        Some(end) => tokio::time::timeout_at(end, shown).await.unwrap_or(Ok(())),
    }
}

async fn follow_for_ever(
    server: &Server,
    jid: &str,
    bodies: bool,
    out: Output,
) -> Result<(), Failure> {
    let begin = TraceBegin {
        jid: jid.to_owned(),
        bodies,
    };
    loop {
        let begun: Traced = server.told(Method::POST, "trace", &begin).await?;
        // Not among what is shown, which may be for a machine.
        let _ = writeln!(
            io::stderr(),
            "-- what passes {} from now on",
            telemetry::escaped(jid, Escape::Text).trim_end()
        );
        let mut cursor = begun.cursor;
        while let Some(known) = cursor {
            let query = Query::new()
                .with("jid", Some(jid))
                .with("cursor", Some(&known))
                .with("bodies", Some(if bodies { "true" } else { "false" }));
            let traced: Traced = server.ask("trace", &query).await?;
            let is_news = traced.skipped > 0 || !traced.stanzas.is_empty();
            if (is_news || traced.cursor.is_none()) && !show(&traced, out) {
                return Ok(());
            }
            cursor = traced.cursor;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// False when nobody reads on.
fn show(traced: &Traced, out: Output) -> bool {
    if out.is_json {
        let text = serde_json::to_string(traced).expect("plain structs are always JSON");
        let line = telemetry::escaped(&text, Escape::Json);
        return io::stdout().lock().write_all(line.as_bytes()).is_ok();
    }
    out.write(traced, lines)
}

fn lines(traced: &Traced) -> String {
    let mut text = String::new();
    if traced.skipped > 0 {
        text.push_str(&format!("-- {} stanzas skipped\n", traced.skipped));
    }
    for stanza in &traced.stanzas {
        text.push_str(&telemetry::escaped(&line(stanza), Escape::Text));
        if let Some(xml) = &stanza.xml {
            text.push_str("    ");
            text.push_str(&telemetry::escaped(xml, Escape::Text));
        }
    }
    if traced.cursor.is_none() {
        text.push_str("-- the account has another owner now: stanzas may be missing here\n");
    }
    text
}

fn line(stanza: &TracedStanza) -> String {
    let TracedStanza {
        time,
        session,
        kind,
        type_,
        size,
        ..
    } = stanza;
    // The day is known to who looks on.
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time);
    let time = time.trim_end_matches('Z');
    let sign = match stanza.way {
        TracedWay::FromSession => '>',
        TracedWay::ToSession => '<',
        TracedWay::ForAccount => '*',
    };
    let id = stanza.id.as_deref().unwrap_or("-");
    let mut line = format!("{time} {session} {sign} {kind} {type_} id={id}");
    let is_shown = |jid: &&String| *jid != session;
    if let Some(from) = stanza.from.as_ref().filter(is_shown) {
        line.push_str(&format!(" from={from}"));
    }
    if let Some(to) = stanza.to.as_ref().filter(is_shown) {
        line.push_str(&format!(" to={to}"));
    }
    line.push_str(&format!(" {size} B"));
    let names: Vec<&str> = stanza.children.iter().map(|it| it.name.as_str()).collect();
    if !names.is_empty() {
        line.push_str(&format!(": {}", names.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::TracedChild;

    fn stanza() -> TracedStanza {
        TracedStanza {
            time: "2026-11-28T07:31:02.120Z".to_owned(),
            way: TracedWay::FromSession,
            session: "romeo@x/r".to_owned(),
            kind: "message".to_owned(),
            type_: "chat".to_owned(),
            id: Some("m1".to_owned()),
            from: None,
            to: Some("juliet@x".to_owned()),
            size: 133,
            children: vec![TracedChild {
                name: "body".to_owned(),
                ns: "jabber:client".to_owned(),
            }],
            xml: None,
        }
    }

    fn traced(stanza: TracedStanza) -> Traced {
        Traced {
            cursor: Some("1-1".to_owned()),
            skipped: 0,
            stanzas: vec![stanza],
        }
    }

    #[test]
    fn a_stanza_is_a_line() {
        assert_eq!(
            lines(&traced(stanza())),
            "07:31:02.120 romeo@x/r > message chat id=m1 to=juliet@x 133 B: body\n"
        );
    }

    #[test]
    fn nothing_in_a_stanza_acts_on_the_terminal() {
        let hostile = "\u{1b}[2J\r\n\u{9b}31m\u{202e}";
        let stanza = TracedStanza {
            id: Some(hostile.to_owned()),
            session: format!("romeo@x/{hostile}"),
            to: Some(format!("juliet@x/{hostile}")),
            xml: Some(format!("<message><body>{hostile}</body></message>")),
            ..stanza()
        };
        let text = lines(&traced(stanza));
        let acts =
            |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!text.contains(acts), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text:?}");
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut traced = traced(stanza());
        traced.skipped = 12;
        traced.cursor = None;
        let text = lines(&traced);
        assert!(text.starts_with("-- 12 stanzas skipped\n"), "{text}");
        assert!(text.ends_with("stanzas may be missing here\n"), "{text}");
    }
}

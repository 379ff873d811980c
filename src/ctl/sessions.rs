//! Sessions: who is connected where, or asleep.

use hyper::Method;

use super::server::{Query, Server, escaped};
use super::table::{table, time_of};
use super::{Failure, Output};
use crate::admin::{Kicked, PAGE_MAX, Session, SessionPage};

/// Lists sessions, page by page.
pub(super) async fn list(
    server: &Server,
    jid: Option<String>,
    domain: Option<String>,
    node: Option<String>,
    out: Output,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let max = PAGE_MAX.to_string();
        let query = Query::new()
            .with("jid", jid.as_deref())
            .with("domain", domain.as_deref())
            .with("node", node.as_deref())
            .with("after", after.as_deref())
            .with("max", Some(&max));
        let page: SessionPage = server.ask("sessions", &query).await?;
        let is_first = after.is_none();
        let is_read_on = out.write(&page, |page| {
            let rows: Vec<_> = page.sessions.iter().map(session_row).collect();
            let text = table(["JID", "ORIGIN", "EDGE", "SINCE", "RESUMABLE"], &rows);
            match text.split_once('\n') {
                Some((_, rows)) if !is_first => rows.to_owned(),
                _ => text,
            }
        });
        if page.next.is_none() || !is_read_on {
            return Ok(());
        }
        after = page.next;
    }
}

fn session_row(session: &Session) -> [String; 5] {
    [
        session.jid.clone(),
        session.node.clone(),
        session.edge.clone().unwrap_or_else(|| "asleep".to_owned()),
        time_of(session.since),
        if session.is_resumable { "yes" } else { "no" }.to_owned(),
    ]
}

/// Ends the session of a full address, or all of an account or a domain.
pub(super) async fn kick(
    server: &Server,
    jid: &str,
    reason: Option<&str>,
    out: Output,
) -> Result<(), Failure> {
    let query = Query::new().with("reason", reason);
    let path = format!("sessions/{}{query}", escaped(jid));
    let mut all = Kicked::default();
    loop {
        let kicked: Kicked = server
            .tell_and_ask(Method::DELETE, &path, &Query::default())
            .await?;
        all.ended += kicked.ended;
        if !kicked.are_left {
            break;
        }
    }
    out.write(&all, |all| match all.ended {
        1 => "1 session ended\n".to_owned(),
        ended => format!("{ended} sessions ended\n"),
    });
    Ok(())
}

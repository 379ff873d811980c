//! Node: how the node is, what it was told, and that it has to leave.

use std::time::Duration;

use tokio::time::Instant;

use super::server::{Query, Server};
use super::table::table;
use super::{Failure, Output, or_dash};
use crate::admin::{Configuration, Health, Told};

/// How often a node that leaves is asked how far it is.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells how the node is. Fails when clients cannot log in.
pub(super) async fn health(
    server: &Server,
    node: Option<String>,
    out: Output,
) -> Result<(), Failure> {
    let query = Query::new().with("node", node.as_deref());
    let health: Health = server.ask("health", &query).await?;
    out.write(&health, |health| {
        let state = match (health.is_ready, health.is_draining) {
            (_, true) => "draining",
            (true, false) => "ready",
            (false, false) => "not ready",
        };
        let number = |number: Option<u64>| or_dash(number.map(|number| number.to_string()));
        let row = [
            health.node.clone(),
            health.role.clone(),
            state.to_owned(),
            number(health.connections),
            number(health.sessions),
            number(health.slots.map(u64::from)),
            number(health.origins),
            health.version.clone(),
        ];
        let heads = [
            "NODE", "ROLE", "STATE", "CLIENTS", "SESSIONS", "SLOTS", "ORIGINS", "VERSION",
        ];
        table(heads, &[row])
    });
    match health.is_ready {
        true => Ok(()),
        false => Err(not_ready()),
    }
}

/// Tells whether clients can log in.
pub(super) async fn probe(server: &Server, out: Output) -> Result<(), Failure> {
    match server.is_ready().await? {
        true => out.done("ready"),
        false => return Err(not_ready()),
    }
    Ok(())
}

fn not_ready() -> Failure {
    Failure::Refused("clients cannot log in here now".to_owned())
}

/// Lists the settings.
pub(super) async fn config(
    server: &Server,
    prefix: Option<String>,
    node: Option<String>,
    out: Output,
) -> Result<(), Failure> {
    let query = Query::new()
        .with("prefix", prefix.as_deref())
        .with("node", node.as_deref());
    let told: Configuration = server.ask("config", &query).await?;
    out.write(&told, |told| {
        let rows = told.config.iter().map(|shown| {
            let value = match &shown.value {
                serde_json::Value::Null => "-".to_owned(),
                value => value.to_string(),
            };
            [shown.key.clone(), value, shown.source.clone()]
        });
        let rows: Vec<_> = rows.collect();
        table(["KEY", "VALUE", "SOURCE"], &rows)
    });
    match told.config.is_empty() {
        false => Ok(()),
        true => Err(Failure::Refused(format!(
            "this node has no key that begins with {:?}",
            prefix.unwrap_or_default()
        ))),
    }
}

/// Who leaves, and how long that is waited for.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// An origin by its name; without it the node that is asked.
    pub(super) node: Option<String>,
    /// `None`: it is not.
    pub(super) wait_secs: Option<u64>,
}

impl Leaving {
    fn query(&self) -> Query {
        Query::new().with("node", self.node.as_deref())
    }

    async fn health(&self, server: &Server) -> Result<Health, Failure> {
        server.ask("health", &self.query()).await
    }
}

/// Lets the node stay after all.
pub(super) async fn undo(server: &Server, left: &Leaving, out: Output) -> Result<(), Failure> {
    let told: Told = server.tell_and_ask("drain/undo", &left.query()).await?;
    out.write(&told, |told| format!("{}\n", told.text));
    Ok(())
}

/// Tells the node to leave; waits, if so wished, until it has nothing left.
pub(super) async fn drain(server: &Server, left: &Leaving, out: Output) -> Result<(), Failure> {
    // An edge with no clients has ended before it can be asked again.
    let before = left.health(server).await?;
    let is_edge = before.slots.is_none() && before.connections.is_some();
    let told: Told = server.tell_and_ask("drain", &left.query()).await?;
    out.write(&told, |told| format!("{}\n", told.text));
    let Some(secs) = left.wait_secs else {
        return Ok(());
    };
    let deadline = Instant::now() + Duration::from_secs(secs);
    loop {
        let more = match left.health(server).await {
            Ok(health) => still_there(&health),
            Err(Failure::NoServer(_)) if is_edge => None,
            Err(failure) => return Err(failure),
        };
        let Some(more) = more else {
            out.done("nothing is left");
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(Failure::Late(format!("not done in {secs} s: {more}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a node that leaves still has; `None` when nothing.
fn still_there(health: &Health) -> Option<String> {
    match (health.connections, health.slots) {
        (Some(0), _) | (None, Some(0)) => None,
        (Some(clients), _) => Some(format!("{clients} clients are connected")),
        (None, Some(slots)) => Some(format!("{slots} slots are left")),
        (None, None) => Some("it does not know its slots now".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives these answers, one for each connection, and then is gone.
    fn answering(answers: &[&str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        std::thread::spawn(move || {
            for body in answers {
                let (mut socket, _) = listener.accept().expect("somebody asks");
                let _ = socket.read(&mut [0; 4096]);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        Server::new(&format!("http://{address}"), None).expect("a URL")
    }

    fn health(role: &str, slots: Option<u32>, connections: Option<u64>) -> String {
        let health = Health {
            node: "n1".to_owned(),
            role: role.to_owned(),
            version: "1".to_owned(),
            is_ready: true,
            is_draining: true,
            slots,
            sessions: None,
            connections,
            origins: None,
        };
        serde_json::to_string(&health).expect("JSON")
    }

    const TOLD: &str = r#"{"text":"it leaves"}"#;

    #[tokio::test]
    async fn who_waits_is_told_when_nothing_is_left_or_time_is_up() {
        let wait = async |answers: &[&str], secs: u64| {
            let server = answering(answers);
            let left = Leaving {
                wait_secs: Some(secs),
                ..Leaving::default()
            };
            drain(&server, &left, Output { is_json: true }).await
        };
        let [many, one, none] = [7, 1, 0].map(|slots| health("origin", Some(slots), None));
        let done = wait(&[&many, TOLD, &many, &one, &none], 60).await;
        assert!(done.is_ok(), "{done:?}");
        let late = wait(&[&many, TOLD, &many], 0).await;
        assert!(matches!(&late, Err(Failure::Late(why)) if why.contains("7 slots are left")));
        // An origin that is suddenly gone has not given its slots away.
        let gone = wait(&[&many, TOLD, &many], 60).await;
        assert!(matches!(gone, Err(Failure::NoServer(_))), "{gone:?}");

        let [many, none] = [7, 0].map(|clients| health("edge", None, Some(clients)));
        let done = wait(&[&many, TOLD, &many, &none], 60).await;
        assert!(done.is_ok(), "{done:?}");
        let ended = wait(&[&many, TOLD], 60).await;
        assert!(ended.is_ok(), "{ended:?}");
        let late = wait(&[&many, TOLD, &many], 0).await;
        assert!(matches!(&late, Err(Failure::Late(why)) if why.contains("7 clients")));
    }
}

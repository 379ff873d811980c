//! Tests of the port with a server that only pretends.

mod bans;
mod exchanges;
mod openapi;
mod scopes;
mod serving;
mod traces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use couplet_origin::clerk::Wanted;
use couplet_origin::directives::{self, Directives, Target};
use couplet_proto::Jid;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::{
    Access, Accounts, AskNode, AskSessions, AskTrace, Backend, Cluster, Health, Kicked, Node,
    NodeState, NodeTold, Orders, PAGE_MAX, Pin, Refusal, Removal, Session, SlotState, Slots,
    Traced, edge_router, router, serve,
};
use crate::config::{Admin, Grant, Scope, Settings, Shown};
use crate::telemetry::Metrics;

#[derive(Clone, Default)]
struct Pretended(
    Arc<Mutex<BTreeMap<String, String>>>,
    Arc<Mutex<Vec<Pin>>>,
    Arc<Mutex<Directives>>,
);

impl Backend for Pretended {
    fn name(&self) -> &'static str {
        "o1"
    }

    async fn ask_node(&self, node: &str, question: AskNode) -> Result<NodeTold, Refusal> {
        match (node, question) {
            ("o2", AskNode::Health) => {
                let mut health = self.health().await;
                health.node = "o2".to_owned();
                Ok(NodeTold::Health(health))
            }
            ("o2", AskNode::Config(prefix)) => Ok(NodeTold::Config(vec![Shown {
                key: format!("{prefix}.of.o2"),
                value: 1.into(),
                source: "default".to_owned(),
            }])),
            ("o2", AskNode::Drain { .. }) => Ok(NodeTold::Drain("o2 leaves".to_owned())),
            _ => Err(Refusal::Unknown(format!("there is no origin {node:?}"))),
        }
    }

    fn is_ready(&self) -> bool {
        !self.0.lock().expect("not poisoned").is_empty()
    }

    async fn health(&self) -> Health {
        Health {
            node: "o1".to_owned(),
            role: "origin".to_owned(),
            version: "1".to_owned(),
            is_ready: self.is_ready(),
            is_draining: false,
            slots: Some(4096),
            sessions: Some(0),
            connections: None,
            origins: None,
        }
    }

    async fn drain(&self, undo: bool) -> Result<String, Refusal> {
        match undo {
            false => Ok("leaving".to_owned()),
            true => Err(Refusal::Conflict("gone already".to_owned())),
        }
    }
}

impl Accounts for Pretended {
    fn domains(&self) -> Vec<String> {
        vec!["b.example".to_owned(), "a.example".to_owned()]
    }

    async fn add(&self, account: Jid, password: String) -> Result<(), Refusal> {
        let mut accounts = self.0.lock().expect("not poisoned");
        if accounts
            .insert(account.as_str().to_owned(), password)
            .is_some()
        {
            return Err(Refusal::Conflict("exists".to_owned()));
        }
        Ok(())
    }

    async fn remove(&self, account: Jid) -> Result<(), Refusal> {
        let removed = self
            .0
            .lock()
            .expect("not poisoned")
            .remove(account.as_str());
        removed
            .map(|_| ())
            .ok_or_else(|| Refusal::Unknown("no such account".to_owned()))
    }

    async fn set_password(&self, _: Jid, _: String) -> Result<(), Refusal> {
        Err(Refusal::Unavailable("not now".to_owned()))
    }

    async fn list(
        &self,
        domain: Jid,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<Jid>, Refusal> {
        let accounts = self.0.lock().expect("not poisoned");
        let accounts = accounts
            .keys()
            .map(|jid| Jid::parse(jid).expect("an address"))
            .filter(|jid| jid.domain() == domain.domain())
            .filter(|jid| {
                after
                    .as_deref()
                    .is_none_or(|after| jid.local() > Some(after))
            });
        Ok(accounts.take(max).collect())
    }

    async fn backup(&self, _: PathBuf) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Orders for Pretended {
    fn is_configured(&self, domain: &Jid) -> bool {
        domain.as_str() == "a.example"
    }

    async fn add_domain(&self, _: Jid, by: &str) -> Result<(), Refusal> {
        assert!(!by.is_empty());
        Ok(())
    }

    async fn remove_domain(&self, _: Jid, removal: Removal, _: &str) -> Result<(), Refusal> {
        match removal {
            Removal::Empty => Err(Refusal::Conflict("it has accounts".to_owned())),
            Removal::Forced | Removal::WithAccounts => Ok(()),
        }
    }

    fn bans(&self) -> Vec<directives::Ban> {
        self.2.lock().expect("not poisoned").bans.clone()
    }

    async fn ban(&self, wanted: Wanted) -> Result<directives::Ban, Refusal> {
        let ban = directives::Ban {
            target: wanted.target,
            reason: wanted.reason,
            by: wanted.by,
            is_confined: wanted.is_confined,
            since: 1_000_000,
            until: wanted.secs.map(|secs| 1_000_000 + 1000 * secs),
        };
        self.2.lock().expect("not poisoned").ban(ban.clone());
        Ok(ban)
    }

    async fn lift(&self, target: Target, _: &str, is_confined: bool) -> Result<(), Refusal> {
        let mut directives = self.2.lock().expect("not poisoned");
        let found = directives.find(&target);
        if is_confined && found.is_some_and(|ban| !ban.is_confined) {
            return Err(Refusal::Forbidden("needs the scope server".to_owned()));
        }
        match directives.lift(&target) {
            true => Ok(()),
            false => Err(Refusal::Unknown("not banned".to_owned())),
        }
    }

    async fn kick(&self, jid: Jid) -> Result<Kicked, Refusal> {
        let ended = if jid.is_full() { 1 } else { 2 };
        Ok(Kicked {
            ended,
            are_left: false,
        })
    }
}

impl Cluster for Pretended {
    async fn nodes(&self) -> Result<Vec<Node>, Refusal> {
        let node = |name: &str| Node {
            name: name.to_owned(),
            state: NodeState::Alive,
            address: "10.0.0.7:5291".to_owned(),
            group: String::new(),
            weight: 100,
            slots: 2048,
            sessions: None,
            lease_age_millis: Some(20),
        };
        Ok(vec![node("o2"), node("o1")])
    }

    async fn slots(&self) -> Result<Vec<Slots>, Refusal> {
        Ok(vec![Slots {
            first: 0,
            last: 4095,
            owner: Some("o1".to_owned()),
            epoch: 3,
            state: SlotState::Moving,
            target: Some("o2".to_owned()),
        }])
    }

    async fn sessions(&self, ask: AskSessions) -> Result<Vec<Session>, Refusal> {
        assert!(ask.max.is_some_and(|max| max <= PAGE_MAX));
        let account = ask.jid.or(ask.domain.map(|domain| format!("r@{domain}")));
        Ok(vec![Session {
            jid: format!("{}/orchard", account.unwrap_or_default()),
            node: ask.node.unwrap_or_default(),
            edge: None,
            since: 1,
            is_resumable: true,
        }])
    }

    async fn trace(&self, ask: AskTrace) -> Result<Traced, Refusal> {
        // What it was asked is all it knows.
        Ok(Traced {
            cursor: Some(format!("{} {} {:?}", ask.jid, ask.bodies, ask.cursor)),
            skipped: 0,
            stanzas: Vec::new(),
        })
    }

    async fn pins(&self) -> Result<Vec<Pin>, Refusal> {
        Ok(self.1.lock().expect("not poisoned").clone())
    }

    async fn set_pins(&self, pins: Vec<Pin>) -> Result<(), Refusal> {
        *self.1.lock().expect("not poisoned") = pins;
        Ok(())
    }
}

/// A port, and what keeps it.
struct Port {
    base: String,
    access: Arc<Access>,
    folder: tempfile::TempDir,
}

/// What is sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent<'a> {
    method: &'a str,
    /// From the top.
    path: &'a str,
    body: &'a str,
    token: Option<&'a str>,
    /// Without the header that no web page can send.
    is_from_a_page: bool,
    host: Option<&'a str>,
}

/// The tokens of [`Port::guarded`].
const SERVER: &str = "server-token-0123456789";
const READER: &str = "reader-token-0123456789";
const DOMAIN: &str = "domain-token-0123456789";
/// Of the scope server too, and it opens what stands in stanzas.
const BODIES: &str = "bodies-token-0123456789";

// === impl Port ===

impl Port {
    /// Of an origin, open to this machine.
    async fn open() -> Self {
        Self::start(|_| {}).await
    }

    /// Of an origin, with a token of each scope.
    async fn guarded() -> Self {
        Self::start(|(folder, admin)| grant(folder, admin)).await
    }

    async fn start(change: impl FnOnce((&Path, &mut Admin))) -> Self {
        let (folder, access) = Self::access(change);
        let routes = router(
            Pretended::default(),
            Metrics::detached(),
            Arc::clone(&access),
        );
        Self::serve(folder, access, routes).await
    }

    async fn edge() -> Self {
        let (folder, access) = Self::access(|_| {});
        let routes = edge_router(
            Pretended::default(),
            Metrics::detached(),
            Arc::clone(&access),
        );
        Self::serve(folder, access, routes).await
    }

    fn access(change: impl FnOnce((&Path, &mut Admin))) -> (tempfile::TempDir, Arc<Access>) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut admin = Settings::default().admin;
        admin.audit_file = Some(folder.path().join("audit.log"));
        change((folder.path(), &mut admin));
        let shown = |key: &str| Shown {
            key: key.to_owned(),
            value: serde_json::json!(7),
            source: "default".to_owned(),
        };
        let shown = vec![shown("limits.logins"), shown("log.level")];
        let access = Access::new(&admin, shown).expect("nothing wrong");
        (folder, Arc::new(access))
    }

    async fn serve(folder: tempfile::TempDir, access: Arc<Access>, routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve(listener, routes));
        Self {
            base: format!("http://{address}"),
            access,
            folder,
        }
    }

    /// Status, headers and body of the answer.
    async fn exchange(&self, sent: Sent<'_>) -> Response<String> {
        let method = if sent.method.is_empty() {
            "GET"
        } else {
            sent.method
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.base, sent.path));
        if !sent.is_from_a_page {
            request = request.header("couplet-ctl", "1");
        }
        if let Some(token) = sent.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(host) = sent.host {
            request = request.header("host", host);
        }
        let request = request
            .body(Full::new(Bytes::from(sent.body.to_owned())))
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Response::from_parts(head, body)
    }

    async fn send(&self, sent: Sent<'_>) -> (u16, String) {
        let response = self.exchange(sent).await;
        (response.status().as_u16(), response.into_body())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let sent = Sent {
            path,
            ..Sent::default()
        };
        self.send(sent).await
    }

    /// What the audit log says: operation, subject, who and outcome of each line.
    fn audited(&self) -> Vec<[String; 4]> {
        self.access.close();
        let text = std::fs::read_to_string(self.folder.path().join("audit.log"));
        let text = text.expect("an audit log");
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            ["operation", "subject", "who", "outcome"]
                .map(|key| line[key].as_str().expect("a text").to_owned())
        });
        lines.collect()
    }
}

/// A token of each scope.
fn grant(folder: &Path, admin: &mut Admin) {
    let scopes = [
        ("server", SERVER, Scope::Server),
        ("reader", READER, Scope::ReadOnly),
        ("bodies", BODIES, Scope::Server),
        ("shop", DOMAIN, Scope::Domains(vec!["a.example".to_owned()])),
    ];
    for (name, token, scope) in scopes {
        let file = folder.join(name);
        std::fs::write(&file, token).expect("written");
        admin.grants.push(Grant {
            name: name.to_owned(),
            file,
            scope,
            bodies: name == "bodies",
        });
    }
}

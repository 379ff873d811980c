//! Tests of who may do what, and of what is written down about it.

use super::{DOMAIN, Port, READER, SERVER, Sent, grant};
use crate::admin::{edge_operations, operations};
use crate::config::{Settings, Shown};

/// Request, body, and what the tokens of the scopes server, read-only and domain (of `a.example`)
/// get; 403 is what it is about.
const TABLE: &str = r#"
GET health                        |                                      | 200 | 200 | 200
GET openapi.json                  |                                      | 200 | 200 | 200
GET config                        |                                      | 200 | 200 | 403
GET nodes                         |                                      | 200 | 200 | 403
GET slots                         |                                      | 200 | 200 | 403
GET pins                          |                                      | 200 | 200 | 403
GET domains                       |                                      | 200 | 200 | 200
GET accounts?domain=a.example     |                                      | 200 | 200 | 200
GET accounts?domain=A.EXAMPLE     |                                      | 200 | 200 | 200
GET accounts?domain=%C2%AAa.example |                                    | 404 | 404 | 403
GET accounts?domain=b.example     |                                      | 200 | 200 | 403
GET accounts?domain=B.Example     |                                      | 200 | 200 | 403
GET accounts?domain=c.example     |                                      | 404 | 404 | 403
GET sessions                      |                                      | 200 | 200 | 403
GET sessions?node=o1              |                                      | 200 | 200 | 403
GET sessions?domain=a.example     |                                      | 200 | 200 | 200
GET sessions?domain=b.example     |                                      | 200 | 200 | 403
GET sessions?jid=r%40a.example    |                                      | 200 | 200 | 200
GET sessions?jid=r%40B.example    |                                      | 200 | 200 | 403
GET sessions?domain=a.example&jid=r%40b.example |                        | 200 | 200 | 403
GET sessions?domain=b.example&jid=r%40a.example |                        | 200 | 200 | 403
GET trace?jid=r%40a.example&cursor=1 |                                   | 200 | 403 | 200
GET trace?jid=r%40b.example/x&cursor=1 |                                 | 200 | 403 | 403
GET trace?jid=r%40a.example&cursor=1&bodies=true |                       | 403 | 403 | 403
POST trace                        | {"jid":"r@a.example"}                | 200 | 403 | 200
POST trace                        | {"jid":"r@A.example/x"}              | 200 | 403 | 200
POST trace                        | {"jid":"r@b.example"}                | 200 | 403 | 403
POST trace                        | {"jid":"a.example"}                  | 400 | 403 | 400
POST trace                        | {"jid":"r@a.example","bodies":true}  | 403 | 403 | 403
POST accounts                     | {"jid":"r@b.example","password":"p"} | 201 | 403 | 403
POST accounts                     | {"jid":"r@B.EXAMPLE","password":"p"} | 409 | 403 | 403
POST accounts                     | {"jid":"r@A.example","password":"p"} | 201 | 403 | 409
PUT accounts/r%40b.example/password | {"password":"p"}                   | 503 | 403 | 403
PUT accounts/r%40a.example/password | {"password":"p"}                   | 503 | 403 | 503
PUT accounts/%52%40%41.example/password | {"password":"p"}               | 503 | 403 | 503
DELETE accounts/r%40b.example     |                                      | 204 | 403 | 403
DELETE accounts/r%40a.example     |                                      | 204 | 403 | 404
PUT pins/0-9                      | {"group":"a"}                        | 204 | 403 | 403
DELETE pins/0-9                   |                                      | 204 | 403 | 403
DELETE sessions/r%40a.example     |                                      | 200 | 403 | 200
DELETE sessions/r%40A.example%2Fx |                                      | 200 | 403 | 200
DELETE sessions/r%40b.example     |                                      | 200 | 403 | 403
DELETE sessions/r%40b.example%2Fa.example |                              | 200 | 403 | 403
DELETE sessions/a.example         |                                      | 200 | 403 | 200
DELETE sessions/B.example         |                                      | 200 | 403 | 403
DELETE sessions/a.example%2Fx     |                                      | 400 | 403 | 400
DELETE sessions/r%40a.example%2F.. |                                     | 200 | 403 | 200
DELETE sessions/r%40a.example%2Fx%2F..%2Fy |                             | 200 | 403 | 200
DELETE sessions/r%40a.example%2F%5C |                                    | 200 | 403 | 200
DELETE sessions/r%40b.example%2F..%2Fr%40a.example |                     | 200 | 403 | 403
PUT accounts/d%5C27art%40a.example/password | {"password":"p"}           | 503 | 403 | 503
GET bans                          |                                      | 200 | 200 | 200
POST bans                         | {"target":"r@a.example"}             | 201 | 403 | 201
POST bans                         | {"target":"r@B.example"}             | 201 | 403 | 403
POST bans                         | {"target":"192.0.2.7"}               | 201 | 403 | 403
POST bans                         | {"target":"a.example"}               | 400 | 403 | 400
POST bans                         | {"target":"0.0.0.0/0"}               | 400 | 403 | 400
DELETE bans/r%40a.example         |                                      | 204 | 403 | 404
DELETE bans/r%40b.example         |                                      | 204 | 403 | 403
DELETE bans/192.0.2.7%2F32        |                                      | 204 | 403 | 403
PUT domains/c.example             |                                      | 201 | 403 | 403
PUT domains/a%40b                 |                                      | 400 | 403 | 403
DELETE domains/c.example          |                                      | 409 | 403 | 403
DELETE domains/c.example?force=true |                                    | 204 | 403 | 403
DELETE domains/a.example?accounts=true |                                 | 204 | 403 | 403
POST backup                       | {"directory":"/srv/copy"}            | 204 | 403 | 403
POST drain                        |                                      | 202 | 403 | 403
POST drain?node=o2                 |                                      | 202 | 403 | 403
POST drain/undo                   |                                      | 409 | 403 | 403
"#;

#[tokio::test]
async fn each_scope_opens_what_it_is_for() {
    let port = Port::guarded().await;
    let mut asked = std::collections::BTreeSet::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [request, body, expected @ ..] = &columns[..] else {
            panic!("five columns: {line}");
        };
        let (method, path) = request.split_once(' ').expect("a method and a path");
        asked.insert((method.to_owned(), shape(path)));
        let path = format!("/api/v1/{path}");
        let sent = Sent {
            method,
            path: &path,
            body,
            ..Sent::default()
        };
        for (token, expected) in [SERVER, READER, DOMAIN].into_iter().zip(expected) {
            let sent = Sent {
                token: Some(token),
                ..sent
            };
            let response = port.exchange(sent).await;
            let status = response.status().as_u16().to_string();
            assert_eq!(status, *expected, "{token}: {line}: {}", response.body());
            if status == "403" {
                let challenge = response.headers()["www-authenticate"].to_str();
                assert!(challenge.is_ok_and(|it| it.contains("insufficient_scope")));
                assert!(response.body().contains("the scope server"), "{line}");
            }
        }
        for token in [None, Some("not-a-token-of-anybody"), Some("server")] {
            let response = port.exchange(Sent { token, ..sent }).await;
            assert_eq!(response.status(), 401, "{token:?}: {line}");
            let challenge = response.headers()["www-authenticate"].to_str();
            assert!(challenge.is_ok_and(|it| it.starts_with("Bearer realm=")));
        }
    }
    let known = operations::<super::Pretended>().into_iter();
    let known = known.map(|it| {
        (
            it.method.to_string(),
            it.path.trim_start_matches('/').to_owned(),
        )
    });
    for operation in known {
        assert!(
            asked.contains(&operation),
            "{operation:?} is not in the table"
        );
    }
}

/// The path as the operation has it.
fn shape(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path.split('/').enumerate().map(|(place, part)| match part {
        _ if place == 1 && path.starts_with("domains/") => "{domain}",
        _ if place == 1 && path.starts_with("bans/") => "{target}",
        _ if place == 1 && path.starts_with("sessions/") => "{jid}",
        part if part.contains("%40") => "{jid}",
        part if part.starts_with(|c: char| c.is_ascii_digit()) => "{range}",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_token_is_asked_for_before_anything_is_looked_up() {
    let port = Port::guarded().await;
    let paths = [
        "nothing",
        "nodes;x",
        "nodes/",
        "/nodes",
        "accounts//x",
        "%2e%2e/healthz",
        "..%2fhealthz",
        "accounts/%2e%2e",
        "accounts/r%40a.example;x",
        "%u002e%u002e/",
        "%2e%2e%5chealthz",
    ];
    for path in paths {
        let path = format!("/api/v1/{path}");
        for method in ["GET", "DELETE"] {
            let sent = Sent {
                method,
                path: &path,
                ..Sent::default()
            };
            assert_eq!(port.send(sent).await.0, 401, "{path}");
            let sent = Sent {
                token: Some(SERVER),
                ..sent
            };
            assert_eq!(port.send(sent).await.0, 404, "{path}");
        }
    }
    // Not below the API at all, so there is nothing to guard.
    for path in [
        "//api/v1/nodes",
        "/api/v1;x/nodes",
        "/%61pi/v1/nodes",
        "/api/v2/nodes",
    ] {
        assert_eq!(port.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn an_encoded_slash_leads_to_no_other_operation() {
    let port = Port::guarded().await;
    let parts = [
        "..%2fnodes",
        "..%2f..%2f..%2fhealthz",
        "x%2F..%2F..%2Fnodes",
        "r%40a.example%2Fpassword",
        "..%5Cnodes",
        "a%5C..%5Cb",
        "%00",
        "r%00%40a.example",
        "%ff",
    ];
    for part in parts {
        for (method, status) in [("DELETE", &[400, 404][..]), ("GET", &[405])] {
            let path = format!("/api/v1/accounts/{part}");
            let sent = Sent {
                method,
                path: &path,
                token: Some(SERVER),
                ..Sent::default()
            };
            let (found, answer) = port.send(sent).await;
            assert!(status.contains(&found), "{method} {part}: {found} {answer}");
        }
    }
    let found = port.audited();
    assert_eq!(found.len(), parts.len());
    for [operation, _, who, outcome] in found {
        let words = [operation.as_str(), &who, &outcome];
        assert_eq!(words, ["account_remove", "server", "refused"]);
    }
}

#[tokio::test]
async fn what_is_changed_and_what_is_refused_is_written_down() {
    let port = Port::guarded().await;
    let sends = [
        ("GET", "nodes", "", Some(SERVER)),
        (
            "POST",
            "accounts",
            r#"{"jid":"R@a.example","password":"hunter2"}"#,
            Some(DOMAIN),
        ),
        (
            "POST",
            "accounts",
            r#"{"jid":"r@b.example","password":"hunter2"}"#,
            Some(DOMAIN),
        ),
        ("PUT", "pins/0-9", r#"{"group":"a"}"#, Some(SERVER)),
        ("PUT", "pins/0-9", r#"{"group":"a"}"#, Some(READER)),
        ("GET", "nodes", "", Some("hunter2-hunter2-hunter2")),
        (
            "DELETE",
            "accounts/x%0A%0D%1B%5B2J%40a.example",
            "",
            Some(SERVER),
        ),
        ("POST", "nothing%0Aforged", "", Some(SERVER)),
    ];
    for (method, path, body, token) in sends {
        let path = format!("/api/v1/{path}");
        let sent = Sent {
            method,
            path: &path,
            body,
            token,
            ..Sent::default()
        };
        port.send(sent).await;
    }
    let found = port.audited();
    let expected = [
        ["account_add", "R@a.example", "shop", "done"],
        ["account_add", "r@b.example", "shop", "forbidden"],
        ["pin_set", "slots 0-9", "server", "done"],
        ["pin_set", "/pins/0-9", "reader", "forbidden"],
        ["-", "/nodes", "nobody", "unauthenticated"],
        [
            "account_remove",
            "x\n\r\u{1b}[2J@a.example",
            "server",
            "refused",
        ],
        ["-", "/nothing%0Aforged", "server", "refused"],
    ];
    assert_eq!(found, expected.map(|line| line.map(str::to_owned)));
    let text = std::fs::read_to_string(port.folder.path().join("audit.log")).expect("there");
    assert!(!text.contains("hunter2"), "a secret is in it: {text}");
    assert_eq!(text.lines().count(), expected.len());
}

#[tokio::test]
async fn tokens_are_read_again() {
    let port = Port::guarded().await;
    let status = async |token: &str| {
        let sent = Sent {
            path: "/api/v1/nodes",
            token: Some(token),
            ..Sent::default()
        };
        port.send(sent).await.0
    };
    assert_eq!(status(SERVER).await, 200);
    let mut admin = Settings::default().admin;
    grant(port.folder.path(), &mut admin);
    let file = port.folder.path().join("server");
    std::fs::write(&file, "another-token-0123456789\n").expect("written");
    assert_eq!(
        status(SERVER).await,
        200,
        "nobody has asked to read it again"
    );
    let level = Shown {
        key: "log.level".to_owned(),
        value: "debug".into(),
        source: "--set".to_owned(),
    };
    let logins = Shown {
        key: "limits.logins".to_owned(),
        value: 9.into(),
        source: "--set".to_owned(),
    };
    let shown = vec![level, logins];
    port.access.reload(&admin, shown.clone());
    assert_eq!(status(SERVER).await, 401);
    assert_eq!(status("another-token-0123456789").await, 200);
    let now: Vec<_> = port
        .access
        .shown()
        .iter()
        .map(|it| it.value.clone())
        .collect();
    // What takes effect only at the next start is as it was.
    assert_eq!(now, [serde_json::json!(7), "debug".into()]);

    // What is no token any more opens nothing, whichever way it is found out.
    let another = "another-token-0123456789";
    for has_mistakes in [false, true] {
        let read_again = || match has_mistakes {
            true => port.access.reload_tokens(),
            false => port.access.reload(&admin, shown.clone()),
        };
        for is_gone in [false, true] {
            match is_gone {
                true => std::fs::remove_file(&file).expect("removed"),
                false => std::fs::write(&file, "short").expect("written"),
            }
            assert_eq!(status(another).await, 200);
            read_again();
            assert_eq!(status(another).await, 401);
            assert_eq!(status(READER).await, 200, "the others stay");
            std::fs::write(&file, another).expect("written");
            read_again();
        }
    }
    // Without any that can be read, the port is not open to everybody on this machine.
    for name in ["server", "reader", "bodies", "shop"] {
        std::fs::remove_file(port.folder.path().join(name)).expect("removed");
    }
    port.access.reload_tokens();
    assert_eq!(port.get("/api/v1/nodes").await.0, 401);
}

#[test]
fn an_edge_can_be_asked_what_any_node_can() {
    let of_an_edge = edge_operations::<super::Pretended>();
    let ids: Vec<_> = of_an_edge.iter().map(|operation| operation.id).collect();
    assert_eq!(ids, ["health", "config", "drain", "drain_undo", "openapi"]);
}

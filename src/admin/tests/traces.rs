//! Tests of who may look on at accounts.

use super::{BODIES, Port, SERVER, Sent};

const BEGIN: &str = r#"{"jid":"Romeo@A.example","bodies":true}"#;

fn begin<'a>(token: &'a str, body: &'a str) -> Sent<'a> {
    Sent {
        method: "POST",
        path: "/api/v1/trace",
        body,
        token: Some(token),
        ..Sent::default()
    }
}

#[tokio::test]
async fn what_stands_in_stanzas_is_for_a_token_that_says_so_and_is_audited() {
    let port = Port::guarded().await;
    assert_eq!(port.send(begin(SERVER, BEGIN)).await.0, 403);
    let (status, answer) = port.send(begin(BODIES, BEGIN)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("romeo@a.example true None"), "{answer}");
    let plain = r#"{"jid":"romeo@a.example"}"#;
    let (_, answer) = port.send(begin(BODIES, plain)).await;
    assert!(answer.contains("romeo@a.example false None"), "{answer}");

    let with_bodies = "Romeo@A.example with bodies";
    let expected = [
        ["trace_begin", with_bodies, "server", "forbidden"],
        ["trace_begin", with_bodies, "bodies", "done"],
        ["trace_begin", "romeo@a.example", "bodies", "done"],
    ];
    assert_eq!(port.audited(), expected);
}

#[tokio::test]
async fn without_tokens_nobody_is_shown_what_stands_in_stanzas() {
    let port = Port::open().await;
    let sent = Sent {
        token: None,
        ..begin("", BEGIN)
    };
    let (status, answer) = port.send(sent).await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("bodies = true"), "{answer}");
}

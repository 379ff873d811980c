//! Tests of bans, domains and kicks as they are asked for.

use serde_json::{Value, json};

use super::{DOMAIN, Port, SERVER, Sent};

impl Port {
    async fn told(&self, token: &str, path: &str) -> Value {
        let path = format!("/api/v1/{path}");
        let sent = Sent {
            path: &path,
            token: Some(token),
            ..Sent::default()
        };
        let (status, body) = self.send(sent).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    async fn banned(&self, body: &Value) -> (u16, Value) {
        let sent = Sent {
            method: "POST",
            path: "/api/v1/bans",
            body: &body.to_string(),
            token: Some(SERVER),
            ..Sent::default()
        };
        let (status, body) = self.send(sent).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

#[tokio::test]
async fn bans_are_listed_page_by_page_for_those_they_concern() {
    let port = Port::guarded().await;
    for target in ["r@b.example", "192.0.2.0/24", "r@a.example", "192.0.2.7"] {
        let (status, ban) = port.banned(&json!({ "target": target })).await;
        assert_eq!((status, &ban["target"]), (201, &json!(target)));
        assert_eq!(ban["by"], "server");
    }
    let targets = |page: &Value| -> Vec<String> {
        let bans = page["bans"].as_array().expect("bans").iter();
        bans.map(|ban| ban["target"].as_str().expect("a text").to_owned())
            .collect()
    };
    let all = port.told(SERVER, "bans").await;
    let expected = ["192.0.2.0/24", "192.0.2.7", "r@a.example", "r@b.example"];
    assert_eq!(targets(&all), expected);
    assert_eq!(all["next"], Value::Null);
    let page = port.told(SERVER, "bans?max=3").await;
    assert_eq!(targets(&page), expected[..3]);
    let next = page["next"].as_str().expect("there are more");
    let rest = format!("bans?max=3&after={}", next.replace('@', "%40"));
    assert_eq!(targets(&port.told(SERVER, &rest).await), expected[3..]);
    assert_eq!(targets(&port.told(DOMAIN, "bans").await), ["r@a.example"]);
}

#[tokio::test]
async fn a_token_of_a_domain_lifts_what_such_a_token_has_ordered() {
    let port = Port::guarded().await;
    let send = async |method, path, body, token| {
        let sent = Sent {
            method,
            path,
            body,
            token: Some(token),
            ..Sent::default()
        };
        port.send(sent).await.0
    };
    let (bans, ban) = ("/api/v1/bans", "/api/v1/bans/r%40a.example");
    let body = r#"{"target":"r@a.example"}"#;
    for (token, lifted) in [(SERVER, 403), (DOMAIN, 204)] {
        assert_eq!(send("POST", bans, body, token).await, 201);
        assert_eq!(send("DELETE", ban, "", DOMAIN).await, lifted);
    }
}

#[tokio::test]
async fn a_ban_is_shown_as_it_was_ordered() {
    let port = Port::guarded().await;
    let wanted = json!({ "target": "R@A.example", "reason": "spam", "secs": 60 });
    let (status, ban) = port.banned(&wanted).await;
    assert_eq!(status, 201);
    let expected = json!({
        "target": "r@a.example", "reason": "spam", "by": "server", "since": 1000, "until": 1060,
    });
    assert_eq!(ban, expected);
    assert_eq!(port.told(SERVER, "bans").await["bans"], json!([expected]));
    let wrong = [
        (json!({ "target": "x" }), "is neither an address"),
        (json!({ "target": "r@a.example/x" }), "without a resource"),
        (json!({ "target": "::/0" }), "would keep everybody out"),
        (json!({ "who": "r@a.example" }), "cannot be read"),
    ];
    for (body, text) in wrong {
        let (status, problem) = port.banned(&body).await;
        assert_eq!(status, 400, "{body}");
        let problem = problem["error"].as_str().expect("a text");
        assert!(problem.contains(text), "{problem}");
    }
}

#[tokio::test]
async fn what_operators_order_is_written_down() {
    let port = Port::guarded().await;
    port.banned(&json!({ "target": "192.0.2.7" })).await;
    let sends = [
        ("DELETE", "bans/192.0.2.7", SERVER),
        ("DELETE", "bans/r%40b.example", DOMAIN),
        ("DELETE", "sessions/r%40a.example?reason=spam%0A", DOMAIN),
        ("PUT", "domains/c.example", SERVER),
        ("DELETE", "domains/c.example", SERVER),
    ];
    for (method, path, token) in sends {
        let path = format!("/api/v1/{path}");
        let sent = Sent {
            method,
            path: &path,
            token: Some(token),
            ..Sent::default()
        };
        port.send(sent).await;
    }
    let expected = [
        ["ban_add", "192.0.2.7", "server", "done"],
        ["ban_remove", "192.0.2.7", "server", "done"],
        ["ban_remove", "r@b.example", "shop", "forbidden"],
        ["session_kick", "r@a.example: spam\n", "shop", "done"],
        ["domain_add", "c.example", "server", "done"],
        ["domain_remove", "c.example", "server", "refused"],
    ];
    assert_eq!(port.audited(), expected.map(|line| line.map(str::to_owned)));
}

#[tokio::test]
async fn domains_say_where_they_are_from() {
    let port = Port::open().await;
    let (status, body) = port.get("/api/v1/domains").await;
    assert_eq!(status, 200);
    let told: Value = serde_json::from_str(&body).expect("JSON");
    let expected = json!([
        { "name": "b.example", "is_configured": false },
        { "name": "a.example", "is_configured": true },
    ]);
    assert_eq!(told["domains"], expected);
}

//! The end of the process, when it is asked for.

use crate::harness::client::{Client, header};
use crate::harness::sasl::Binding;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::Wish;

#[test]
fn everybody_is_told_whatever_they_are_doing() {
    let mut server = Server::start(&[]);
    let jid = server.new_account("romeo");
    let user = jid.split('@').next().expect("an account").to_owned();
    let wish = Wish::new("montague.lit");
    let mut clients = Vec::new();
    // On an open stream, in the middle of a login, logged in, bound, available, over TLS.
    let mut open = Client::connect(server.c2s);
    open.open("montague.lit");
    clients.push(open);
    let mut challenged = Client::connect(server.c2s);
    challenged.open("montague.lit");
    challenged.auth("SCRAM-SHA-1", b"n,,n=x,r=abcdefgh");
    clients.push(challenged);
    let mut unbound = Client::connect(server.c2s);
    unbound.open("montague.lit");
    let login = unbound.authenticate("SCRAM-SHA-1", &user, PASSWORD, &Binding::None);
    login.expect("the password is right");
    unbound.open("montague.lit");
    clients.push(unbound);
    clients.push(server.new_client("bound"));
    let mut available = server.new_client("available");
    available.send("<presence/>");
    available.is_alive();
    clients.push(available);
    let mut secret = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
    secret.enter(&jid, PASSWORD);
    clients.push(secret);
    // In the middle of a stanza.
    let mut midway = server.new_client("midway");
    midway.send("<message><body>I was just about to");
    clients.push(midway);
    server.signal("TERM");
    for client in &mut clients {
        client.ends_with("system-shutdown");
    }
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

#[test]
fn a_connection_without_a_stream_does_not_hold_up_the_end() {
    let mut server = Server::start(&[]);
    let silent = Client::connect(server.c2s);
    let silent_tls = Client::connect(server.tls);
    let mut begun = Client::connect(server.c2s);
    begun.send(&header("montague.lit")[..40]);
    server.new_client("romeo").is_alive();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    drop((silent, silent_tls, begun));
}

#[test]
fn what_was_sent_before_the_end_is_kept() {
    let mut server = Server::start(&["limits.offline_messages=1000"]);
    server.add_account("juliet@capulet.lit", PASSWORD);
    let mut romeo = server.new_client("romeo");
    for number in 0..200 {
        let to = "juliet@capulet.lit";
        romeo.send(&format!(
            "<message to='{to}' type='chat'><body>{number}</body></message>"
        ));
    }
    romeo.ping("juliet@capulet.lit");
    server.signal("TERM");
    romeo.ends_with("system-shutdown");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.run();
    let mut juliet = Client::login(server.c2s, "juliet@capulet.lit", PASSWORD);
    juliet.send("<presence/>");
    for number in 0..200 {
        let message = juliet.wait_for(|it| it.name == "message");
        let body = message.child("body").map(|it| it.text.clone());
        assert_eq!(body, Some(number.to_string()));
    }
}

//! What the clients do: something of everything that is measured.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin;
use crate::cluster::Cluster;
use crate::harness::client::{Client, PATIENCE};
use crate::harness::server::Server;
use crate::harness::tls::Wish;
use crate::harness::tree::Tree;
use crate::stream::{Cause, DOMAIN, PASSWORD, Resumption, Stream};

const MUC: &str = "http://jabber.org/protocol/muc";

/// Who has an account; `absent` never logs in.
const USERS: &[&str] = &["romeo", "juliet", "mercutio", "absent"];

/// Makes the accounts.
pub(crate) async fn prepare(cluster: &Cluster) {
    for user in USERS {
        let jid = format!("{user}@{DOMAIN}");
        admin::add_account(cluster.origins[0].admin, &jid, PASSWORD).await;
    }
}

/// A scene at two edges of a cluster, from its entrances to its exits.
pub(crate) async fn scene(edges: [SocketAddr; 2], round: usize) -> Result<(), Cause> {
    let mut romeo = enter(edges[0], "romeo", round).await?;
    let mut juliet = enter(edges[1], "juliet", round).await?;
    for number in 0..5 {
        let id = format!("m{number}");
        say(&mut romeo, "juliet", "chat", &id).await?;
        heard(&mut juliet, &id).await?;
    }
    say(&mut romeo, "absent", "chat", "later").await?;
    // The edge refuses the first, an origin the second.
    romeo.send("<iq type='get' id='edge'/>").await?;
    let question = "<query xmlns='urn:made:up'/>";
    let to = format!("juliet@{DOMAIN}/nowhere");
    let stanza = format!("<iq type='get' id='origin' to='{to}'>{question}</iq>");
    romeo.send(&stanza).await?;
    heard(&mut romeo, "origin").await?;
    meet(&mut romeo, &mut juliet, round).await?;
    come_back(edges, round).await?;
    if Stream::log_in(edges[0], "tybalt").await.is_ok() {
        return Err("a stranger has logged in".to_owned());
    }
    nonsense(edges[1])
        .await
        .map_err(|error| error.to_string())?;
    romeo.send("</stream:stream>").await?;
    juliet.send("</stream:stream>").await
}

/// A client of a server that is alone comes over TLS, and writes to itself.
pub(crate) fn alone(server: &Server) {
    let jid = server.new_account("romeo");
    let wish = Wish::new("montague.lit");
    let mut client = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
    client.enter(&jid, PASSWORD);
    client.send("<presence/>");
    client.send(&format!(
        "<message to='{jid}' type='chat' id='own'><body>hi</body></message>"
    ));
    client.wait_for(|it| it.get("id") == Some("own"));
    client.close();
}

async fn enter(edge: SocketAddr, user: &str, round: usize) -> Result<Stream, Cause> {
    let mut stream = Stream::log_in(edge, user).await?;
    stream.bind(&format!("r{round}")).await?;
    stream.send("<presence/>").await?;
    Ok(stream)
}

async fn say(from: &mut Stream, to: &str, type_: &str, id: &str) -> Result<(), Cause> {
    let to = match type_ {
        "groupchat" => to.to_owned(),
        _ => format!("{to}@{DOMAIN}"),
    };
    let message = format!("<message to='{to}' type='{type_}' id='{id}'><body>hi</body></message>");
    from.send(&message).await
}

/// Reads on until something of this id comes.
async fn heard(by: &mut Stream, id: &str) -> Result<Tree, Cause> {
    loop {
        let stanza = by.next_step().await?;
        if stanza.get("id") == Some(id) {
            return Ok(stanza);
        }
    }
}

/// Both in a room, and a message there.
async fn meet(romeo: &mut Stream, juliet: &mut Stream, round: usize) -> Result<(), Cause> {
    let room = format!("square{round}@conference.{DOMAIN}");
    let enter =
        |nick| format!("<presence id='in' to='{room}/{nick}'><x xmlns='{MUC}'/></presence>");
    romeo.send(&enter("Romeo")).await?;
    let form = "<x xmlns='jabber:x:data' type='submit'/>";
    let query = format!("<query xmlns='{MUC}#owner'>{form}</query>");
    let open = format!("<iq type='set' id='open' to='{room}'>{query}</iq>");
    romeo.send(&open).await?;
    heard(romeo, "open").await?;
    juliet.send(&enter("Juliet")).await?;
    heard(juliet, "in").await?;
    say(romeo, &room, "groupchat", "all").await?;
    heard(juliet, "all").await?;
    Ok(())
}

/// A connection is lost, and its session taken up at the other edge.
async fn come_back(edges: [SocketAddr; 2], round: usize) -> Result<(), Cause> {
    let mut mercutio = enter(edges[0], "mercutio", round).await?;
    let enabled = mercutio.enable(&mut Vec::new()).await?;
    drop(mercutio);
    let mut mercutio = Stream::log_in(edges[1], "mercutio").await?;
    match mercutio.resume(&enabled.id, 0).await? {
        Resumption::Resumed(_) => mercutio.send("</stream:stream>").await,
        Resumption::Failed(_) => Err("not resumed".to_owned()),
    }
}

/// What is no XML, until the edge has had enough.
async fn nonsense(edge: SocketAddr) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(edge).await?;
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.map(|_| ())?;
    Ok(())
}

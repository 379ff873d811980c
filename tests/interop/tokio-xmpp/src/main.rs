//! tokio-xmpp against the server: a Rust client we did not write, over STARTTLS and direct TLS.
//!
//! Run by `./run`, which starts the server and names it in the environment. Every wait has a
//! deadline.

use std::env;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::jid::{BareJid, FullJid, Jid};
use tokio_xmpp::parsers::delay::Delay;
use tokio_xmpp::parsers::message::{Lang, Message, MessageType};
use tokio_xmpp::parsers::ping::Ping;
use tokio_xmpp::parsers::presence::{Presence, Type};
use tokio_xmpp::parsers::roster::Roster;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, IqRequest, IqResponse, Stanza, rustls};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a client connects.
#[derive(Debug, Clone, Copy)]
enum Transport {
    StartTls,
    Direct,
}

type Outcome = Result<(), String>;

/// A client that is logged in.
struct Session {
    client: Client,
    full: FullJid,
    /// Came while something else was waited for.
    aside: Vec<Stanza>,
}

impl Session {
    /// Logs in as `user`.
    async fn enter(user: &str, transport: Transport) -> Result<Self, String> {
        let jid = address(user)?;
        let (port, host) = match transport {
            Transport::StartTls => (setting("XMPP_PORT")?, setting("XMPP_HOST")?),
            Transport::Direct => (setting("XMPP_TLS_PORT")?, setting("XMPP_HOST")?),
        };
        let place = DnsConfig::addr(&format!("{host}:{port}"));
        let timeouts = Timeouts::tight();
        let mut client = match transport {
            Transport::StartTls => Client::new_starttls(jid, "interop", place, timeouts),
            Transport::Direct => {
                Client::new_direct_tls_with_config(jid, "interop", place, timeouts)
            }
        };
        loop {
            match next(&mut client).await? {
                Event::Online { bound_jid, .. } => {
                    let full = bound_jid
                        .try_into_full()
                        .map_err(|jid| format!("bound {jid}"))?;
                    let aside = Vec::new();
                    return Ok(Self {
                        client,
                        full,
                        aside,
                    });
                }
                Event::Disconnected(error) => return Err(format!("disconnected: {error}")),
                Event::Stanza(_) => {}
            }
        }
    }

    async fn send(&mut self, stanza: impl Into<Stanza>) -> Outcome {
        let sent = self.client.send_stanza(stanza.into()).await;
        sent.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Sends presence and waits until it comes back.
    async fn appear(&mut self) -> Outcome {
        self.send(Presence::new(Type::None)).await?;
        let own = Jid::from(self.full.clone());
        self.until("own presence", |stanza| match stanza {
            Stanza::Presence(presence) => presence.from.as_ref() == Some(&own),
            _ => false,
        })
        .await
        .map(|_| ())
    }

    /// The first stanza that is wanted.
    async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Stanza) -> bool,
    ) -> Result<Stanza, String> {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return Ok(self.aside.remove(at));
        }
        loop {
            match next(&mut self.client)
                .await
                .map_err(|error| format!("{what}: {error}"))?
            {
                Event::Stanza(stanza) if wanted(&stanza) => return Ok(stanza),
                Event::Stanza(stanza) => self.aside.push(stanza),
                Event::Disconnected(error) => return Err(format!("disconnected: {error}")),
                Event::Online { .. } => {}
            }
        }
    }

    async fn hears(&mut self, text: &str) -> Result<Message, String> {
        let heard = self.until(text, |stanza| match stanza {
            Stanza::Message(message) => message.bodies.values().any(|body| body == text),
            _ => false,
        });
        match heard.await? {
            Stanza::Message(message) => Ok(message),
            other => Err(format!("{other:?}")),
        }
    }

    async fn say(&mut self, to: impl Into<Jid>, text: &str) -> Outcome {
        let mut message = Message::new(Some(to.into()));
        message.type_ = MessageType::Chat;
        message.bodies.insert(Lang::default(), text.to_owned());
        self.send(message).await
    }

    /// Asks; the answer may be an error.
    async fn ask(&mut self, to: Option<Jid>, request: IqRequest) -> Result<IqResponse, String> {
        let mut answer = self.client.send_iq(to, request).await;
        loop {
            tokio::select! {
                answer = &mut answer => return answer.map_err(|error| error.to_string()),
                event = next(&mut self.client) => if let Event::Stanza(stanza) = event? {
                    self.aside.push(stanza);
                },
            }
        }
    }

    async fn leave(self) -> Outcome {
        match timeout(PATIENCE, self.client.send_end()).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err("the stream does not end".to_owned()),
        }
    }
}

async fn next(client: &mut Client) -> Result<Event, String> {
    match timeout(PATIENCE, client.next()).await {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err("the client has ended".to_owned()),
        Err(_) => Err("nothing came".to_owned()),
    }
}

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set"))
}

fn address(user: &str) -> Result<BareJid, String> {
    let text = format!("{user}@{}", setting("XMPP_DOMAIN")?);
    BareJid::new(&text).map_err(|error| error.to_string())
}

fn check(is_true: bool, what: &str) -> Outcome {
    is_true.then_some(()).ok_or_else(|| what.to_owned())
}

async fn a_message_over(transport: Transport) -> Outcome {
    let mut romeo = Session::enter("romeo", transport).await?;
    let mut juliet = Session::enter("juliet", transport).await?;
    romeo.appear().await?;
    juliet.appear().await?;
    romeo.say(juliet.full.clone(), "but soft <&>").await?;
    let heard = juliet.hears("but soft <&>").await?;
    check(
        heard.from == Some(romeo.full.clone().into()),
        "the sender's address",
    )?;
    juliet.say(address("romeo")?, "ay me").await?;
    romeo.hears("ay me").await?;
    romeo.leave().await?;
    juliet.leave().await
}

async fn ping_and_roster() -> Outcome {
    let mut romeo = Session::enter("romeo", Transport::StartTls).await?;
    let domain = Jid::new(&setting("XMPP_DOMAIN")?).map_err(|error| error.to_string())?;
    let pong = romeo.ask(Some(domain), IqRequest::Get(Ping.into())).await?;
    check(matches!(pong, IqResponse::Result(_)), "a pong")?;
    let empty = Roster {
        ver: None,
        items: Vec::new(),
    };
    let answer = romeo.ask(None, IqRequest::Get(empty.into())).await?;
    let IqResponse::Result(Some(payload)) = answer else {
        return Err(format!("no roster: {answer:?}"));
    };
    Roster::try_from(payload).map_err(|error| error.to_string())?;
    romeo.leave().await
}

async fn an_offline_message_waits() -> Outcome {
    let mut romeo = Session::enter("romeo", Transport::StartTls).await?;
    let nurse = address("nurse")?;
    romeo.say(nurse.clone(), "later").await?;
    // An answer from the same address, if only a refusal, comes after the message is kept.
    romeo
        .ask(Some(nurse.into()), IqRequest::Get(Ping.into()))
        .await?;
    let mut nurse = Session::enter("nurse", Transport::Direct).await?;
    nurse.appear().await?;
    let heard = nurse.hears("later").await?;
    let is_delayed = heard
        .payloads
        .iter()
        .any(|payload| Delay::try_from(payload.clone()).is_ok());
    check(is_delayed, "a delay stamp")?;
    romeo.leave().await?;
    nurse.leave().await
}

/// On one thread: on several, tokio-xmpp 6.0 now and then does not hand out a stanza that it has
/// read from the socket. Its system calls show the bytes arriving.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the first to install one");
    let outcomes = [
        (
            "a message over STARTTLS",
            a_message_over(Transport::StartTls).await,
        ),
        (
            "a message over direct TLS",
            a_message_over(Transport::Direct).await,
        ),
        ("ping and roster", ping_and_roster().await),
        ("an offline message waits", an_offline_message_waits().await),
    ];
    for (name, outcome) in &outcomes {
        if let Err(error) = outcome {
            eprintln!("FAILED {name}: {error}");
        }
    }
    let passed = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .count();
    let failed = outcomes.len() - passed;
    println!("tokio-xmpp: {passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}

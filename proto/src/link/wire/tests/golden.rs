//! The recorded stream: what a node of a released version put on the wire, byte for byte.
//!
//! `recorded/v1.bin` holds the messages of one lane, each behind its length in four bytes, big
//! end first: the edge's, then the origin's, then a peer's and its answer. The test reads it
//! with today's code and wants exactly the frames of [`edge_batch`] and its neighbours.
//!
//! When the version is raised to N: `COUPLET_RECORD=1 cargo test -p couplet-proto recorded` writes
//! `recorded/vN.bin` from what this version says; the file of N-1 stays, never to be written
//! again, and must still be read as it was. Files older than `hello::OLDEST` are removed.

use std::path::{Path, PathBuf};

use prost::Message;

use super::super::hello::{Hello, Role, VERSION};
use super::super::lists::Lists;
use super::super::{down, owned, peer, up, v1};
use super::many::{fans, forwarded_to_many};
use super::slot;
use crate::link::epoch::Epoch;
use crate::link::frame::{
    Attach, AuthToken, Authenticate, Bind, Channel, Delivery, Detached, Frame, Password, Register,
    Resume, ResumeError, ToEdge, ToOrigin, Unacked,
};
use crate::link::id::{ConnectionId, LogId, NodeId, SessionId, Source};
use crate::link::peer::{Forward, Leave, Owned, Settled, ToPeer};
use crate::slot::Seed;
use crate::xmpp::error::{Condition, SaslCondition, StanzaError, StreamCondition};
use crate::xmpp::ns;
use crate::{Element, Jid, Kind, Stanza, Type};

const CONNECTION: ConnectionId = ConnectionId(300);
const SESSION: SessionId = SessionId(0xfedc_ba98_7654_3210);
const TOKEN: AuthToken = AuthToken(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
pub(super) const SOURCE: Source = Source {
    session: SESSION,
    number: 5,
    part: 2,
};
const LOG: LogId = LogId {
    millis: 1_700_000_000_000,
    count: 3,
};

fn recorded(version: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/link/wire/tests/recorded");
    folder.join(format!("v{version}.bin"))
}

/// The messages of a stream, each behind its length.
fn messages(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        messages.push(&rest[..length]);
        stream = &rest[length..];
    }
    assert!(stream.is_empty());
    messages
}

/// What the nodes of this version say, as it stands in a record.
fn said() -> Vec<u8> {
    let all = [
        edge_batch().encode_to_vec(),
        origin_batch().encode_to_vec(),
        peer_batch().encode_to_vec(),
        peer_reply().encode_to_vec(),
    ];
    let mut stream = Vec::new();
    for message in all {
        let length = u32::try_from(message.len()).expect("short");
        stream.extend(length.to_be_bytes());
        stream.extend(message);
    }
    stream
}

#[test]
fn the_recorded_stream_of_this_version_is_what_it_says() {
    let path = recorded(VERSION);
    if std::env::var_os("COUPLET_RECORD").is_some() {
        std::fs::write(&path, said()).expect("written");
    }
    let kept = std::fs::read(path).expect("a record of this version");
    assert!(
        kept == said(),
        "the wire format has changed without a new version"
    );
}

#[test]
fn what_version_2_says_beyond_version_1_is_read_as_it_was() {
    let stream = std::fs::read(recorded(2)).expect("recorded");
    let [_, origin, peer_batch, _] = messages(&stream)[..] else {
        panic!("four messages");
    };
    let mut lists = Lists::default();
    let origin = v1::OriginBatch::decode(origin).expect("valid");
    let frames = origin
        .frames
        .into_iter()
        .map(|frame| down::decode(frame, &mut lists).expect("known"));
    check(frames, from_origin().into_iter().chain(fans()));
    let peer_batch = v1::PeerBatch::decode(peer_batch).expect("valid");
    let frames = peer_batch
        .frames
        .into_iter()
        .map(|frame| peer::decode(frame).expect("known"));
    check(frames, [forwarded(), forwarded_to_many()]);
}

#[test]
fn the_recorded_stream_of_version_1_is_read_as_it_was() {
    let stream = std::fs::read(recorded(1)).expect("recorded");
    let [edge, origin, peer_batch, reply] = messages(&stream)[..] else {
        panic!("four messages");
    };
    let edge = v1::EdgeBatch::decode(edge).expect("valid");
    assert_eq!(Hello::decode(edge.hello, Role::Edge), Ok(hello(Role::Edge)));
    assert_eq!(edge.accepted, 70_000);
    let frames = edge
        .frames
        .into_iter()
        .map(|frame| up::decode(frame).expect("known"));
    check(frames, from_edge());
    let origin = v1::OriginBatch::decode(origin).expect("valid");
    assert_eq!(
        Hello::decode(origin.hello, Role::Origin),
        Ok(hello(Role::Origin))
    );
    let announced: Vec<Owned> = origin.owned.iter().flat_map(owned::decode).collect();
    assert_eq!(announced, announcements());
    let frames = origin
        .frames
        .into_iter()
        .map(|frame| down::decode(frame, &mut Lists::default()).expect("known"));
    check(frames, from_origin());
    let peer_batch = v1::PeerBatch::decode(peer_batch).expect("valid");
    assert_eq!(
        Hello::decode(peer_batch.hello, Role::Origin),
        Ok(hello(Role::Origin))
    );
    let leaves = peer_batch.leaves.iter().map(peer::decode_leave);
    check(leaves, [slots()]);
    let frames = peer_batch
        .frames
        .into_iter()
        .map(|frame| peer::decode(frame).expect("known"));
    check(frames, [forwarded()]);
    let reply = v1::PeerReply::decode(reply).expect("valid");
    check(reply.left.iter().map(peer::decode_left), [slots()]);
    let answers = reply.settled.into_iter().map(peer::decode_settled);
    check(answers.map(|settled| settled.expect("known")), [settled()]);
}

fn check<T: std::fmt::Debug>(
    found: impl IntoIterator<Item = T>,
    wanted: impl IntoIterator<Item = T>,
) {
    let print = |frames: Vec<T>| {
        frames
            .iter()
            .map(|f| format!("{f:?}\n"))
            .collect::<String>()
    };
    assert_eq!(
        print(found.into_iter().collect()),
        print(wanted.into_iter().collect())
    );
}

fn hello(role: Role) -> Hello {
    let hello = Hello::new(role, NodeId("node-1".into()), 0xabcd).on_lane(1, 4);
    let hello = match role {
        Role::Edge => hello,
        Role::Origin => hello.with_seed(Seed(*b"0123456789abcdef")),
    };
    // The greeting of version 1, whatever this one is.
    Hello {
        version: 1,
        oldest: 1,
        ..hello
    }
}

fn edge_batch() -> v1::EdgeBatch {
    v1::EdgeBatch {
        hello: Some(hello(Role::Edge).encode()),
        frames: from_edge().into_iter().map(up::encode).collect(),
        accepted: 70_000,
        refused: Vec::new(),
    }
}

fn origin_batch() -> v1::OriginBatch {
    v1::OriginBatch {
        hello: Some(hello(Role::Origin).encode()),
        owned: owned::encode(&announcements()),
        rules: None,
        frames: {
            let mut lists = Lists::default();
            let frames = from_origin().into_iter().chain(fans());
            frames
                .map(|frame| down::encode(frame, &mut lists))
                .collect()
        },
    }
}

fn peer_batch() -> v1::PeerBatch {
    v1::PeerBatch {
        hello: Some(hello(Role::Origin).encode()),
        frames: vec![
            peer::encode(&forwarded()),
            peer::encode(&forwarded_to_many()),
        ],
        leaves: vec![peer::encode_leave(&slots())],
    }
}

fn peer_reply() -> v1::PeerReply {
    v1::PeerReply {
        hello: Some(hello(Role::Origin).encode()),
        owned: owned::encode(&announcements()),
        settled: vec![peer::encode_settled(settled())],
        left: vec![peer::encode_left(&slots())],
    }
}

fn announcements() -> Vec<Owned> {
    let owned = |number: u16, epoch, is_owner| Owned {
        slot: slot(number),
        epoch: Epoch(epoch),
        is_owner,
    };
    vec![
        owned(0, 3, true),
        owned(1, 3, true),
        owned(4095, 3, true),
        owned(9, 4, false),
    ]
}

fn forwarded() -> ToPeer {
    ToPeer::Forward(Forward {
        entered: 0,
        slot: slot(2000),
        epoch: Epoch(8),
        shard: 3,
        route: 99,
        stanza: stanza(),
        source: Some(SOURCE),
    })
}

fn settled() -> Settled {
    Settled {
        shard: 3,
        routes: vec![97, 99],
    }
}

fn slots() -> Leave {
    Leave {
        request: 12,
        slots: vec![slot(7), slot(8), slot(4095)],
    }
}

pub(super) fn juliet() -> Jid {
    Jid::parse("juliet@capulet.lit/balcony").expect("valid")
}

pub(super) fn stanza() -> std::sync::Arc<Stanza> {
    let mut stanza = Stanza::new(Kind::Message, Type::Chat)
        .id("m1")
        .from(juliet())
        .to(Jid::parse("romeo@montague.lit").expect("valid"))
        .child(&Element::new("body", ns::CLIENT).text("Wherefore <art> thöu?"))
        .child(&Element::new(
            "active",
            "http://jabber.org/protocol/chatstates",
        ));
    stanza.lang = Some("en".into());
    stanza.extra = Some(" a='1'".into());
    stanza.into()
}

fn framed<T>(bodies: Vec<T>) -> Vec<Frame<T>> {
    let frames = (0..).zip(bodies).map(|(number, body)| Frame {
        slot: slot(1000 + number),
        epoch: Epoch(u64::from(number) + 1),
        body,
    });
    frames.collect()
}

fn from_edge() -> Vec<Frame<ToOrigin>> {
    let mut bodies = requests();
    let (session, number) = (SESSION, 5);
    bodies.extend([
        ToOrigin::Enable {
            session,
            number,
            resume_secs: Some(300),
        },
        ToOrigin::Stanza {
            entered: 0,
            session,
            number,
            stanza: stanza(),
        },
        ToOrigin::Answer {
            session,
            number,
            answer: stanza(),
        },
        ToOrigin::Acked { session, count: 4 },
        ToOrigin::Expect(vec![SESSION, SessionId(1)]),
        ToOrigin::Attach(Box::new(Attach {
            session,
            connection: CONNECTION,
            jid: juliet(),
            epoch: Epoch(2),
            state: b"state".to_vec().into(),
            taken: 4,
            received: 7,
            acked: 6,
            unacked: vec![Unacked {
                stanza: stanza(),
                source: Some(SOURCE),
                log: Some(LOG),
            }],
            seen: vec![SOURCE],
            peer: "2001:db8::1".parse().ok(),
        })),
        ToOrigin::Detach {
            session,
            connection: ConnectionId(0),
            reason: Detached::Closed,
        },
        ToOrigin::Detach {
            session,
            connection: ConnectionId(0),
            reason: Detached::Lost,
        },
    ]);
    framed(bodies)
}

/// What connections without a session ask for.
fn requests() -> Vec<ToOrigin> {
    let account = juliet().to_bare();
    let peer = "192.0.2.7".parse().ok();
    let authenticate = Authenticate {
        account: account.clone(),
        mechanism: "SCRAM-SHA-256-PLUS".into(),
        initial: b"p=tls-exporter,,n=juliet,r=abc".to_vec().into(),
        channel: Channel {
            is_encrypted: true,
            bindings: vec![("tls-exporter", vec![7; 32].into())],
            peer,
            offered: vec!["SCRAM-SHA-256-PLUS", "PLAIN"],
        },
    };
    let register = Register {
        account: account.clone(),
        password: Password("R0m30".into()),
        peer,
        request: stanza(),
    };
    let bind = Bind {
        account: account.clone(),
        resource: Some("balcony".into()),
        token: TOKEN,
        peer,
    };
    let resume = Resume {
        account: account.clone(),
        token: TOKEN,
        previous: "some-long-id".into(),
        h: 12,
        peer: None,
    };
    vec![
        ToOrigin::Authenticate(CONNECTION, Box::new(authenticate)),
        ToOrigin::Respond {
            connection: CONNECTION,
            account: account.clone(),
            data: b"c=biws".to_vec().into(),
        },
        ToOrigin::Abort {
            connection: CONNECTION,
            account,
        },
        ToOrigin::Register(CONNECTION, Box::new(register)),
        ToOrigin::Bind(CONNECTION, Box::new(bind)),
        ToOrigin::Resume(CONNECTION, Box::new(resume)),
    ]
}

fn from_origin() -> Vec<Frame<ToEdge>> {
    let connection = CONNECTION;
    let mut bodies = answers();
    bodies.extend([
        ToEdge::Enabled {
            connection,
            id: Some("some-long-id".into()),
            max_secs: 300,
        },
        ToEdge::Deliver(Delivery {
            connections: [CONNECTION, ConnectionId(301)].into_iter().collect(),
            stanza: stanza(),
            source: Some(SOURCE),
            log: Some(LOG),
            entered: 0,
        }),
        ToEdge::Keep {
            connection,
            state: b"state".to_vec().into(),
        },
        ToEdge::Taken {
            connection,
            number: 5,
        },
        ToEdge::Close {
            connection,
            condition: StreamCondition::Conflict,
            text: None,
        },
    ]);
    framed(bodies)
}

/// What connections without a session get.
fn answers() -> Vec<ToEdge> {
    let connection = CONNECTION;
    let error = StanzaError::from(Condition::ResourceConstraint)
        .with_text("full")
        .with_application(Element::new("x", "urn:x"));
    vec![
        ToEdge::Challenge {
            connection,
            data: b"r=abc,s=def,i=4096".to_vec().into(),
        },
        ToEdge::Authenticated {
            connection,
            account: juliet().to_bare(),
            data: Some(b"v=xyz".to_vec().into()),
            token: TOKEN,
        },
        ToEdge::Refused {
            connection,
            condition: SaslCondition::TemporaryAuthFailure,
            text: Some("too many failures, try again later"),
        },
        ToEdge::Registered {
            connection,
            answer: stanza(),
        },
        ToEdge::Bound {
            connection,
            session: SESSION,
            jid: juliet(),
        },
        ToEdge::BindRefused { connection, error },
        ToEdge::Resumed {
            connection,
            session: SESSION,
            jid: juliet(),
            taken: 5,
            enabled: 1,
            acked: 6,
            acked_enabled: 2,
        },
        ToEdge::ResumeRefused {
            connection,
            why: ResumeError::HandledTooHigh { sent: 3 },
            h: Some(5),
        },
    ]
}

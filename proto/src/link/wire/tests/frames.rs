//! Any frame at all.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::word;
use super::slot;
use crate::link::epoch::Epoch;
use crate::link::frame::{
    Attach, AuthToken, Authenticate, Bind, Channel, Delivery, Detached, Fan, Frame, Password,
    Receiver, Register, Resume, ResumeError, ToEdge, ToOrigin, Unacked,
};
use crate::link::id::{ConnectionId, LogId, SessionId, Source};
use crate::link::peer::{Addressee, Forward, Forwards, ToPeer};
use crate::slot::SLOTS;
use crate::trace::{SpanId, Trace, TraceId};
use crate::xmpp::byte_str::ByteStr;
use crate::xmpp::error::{Condition, ErrorType, SaslCondition, StanzaError, StreamCondition};
use crate::{Element, Jid, Kind, Stanza, Type};

pub(super) fn to_origin() -> impl Strategy<Value = Frame<ToOrigin>> {
    frame(prop_oneof![from_connection(), from_session()])
}

pub(super) fn to_edge() -> impl Strategy<Value = Frame<ToEdge>> {
    frame(prop_oneof![negotiating(), resuming(), delivering()])
}

pub(super) fn to_peer() -> impl Strategy<Value = ToPeer> {
    let numbers = (0..SLOTS, any::<u64>(), any::<u16>(), any::<u64>());
    let one = (numbers, stanza(), option(source())).prop_map(|(numbers, stanza, source)| {
        ToPeer::Forward(Forward {
            entered: 0,
            slot: slot(numbers.0),
            epoch: Epoch(numbers.1),
            shard: numbers.2,
            route: numbers.3,
            stanza,
            source,
        })
    });
    let receiver = (any::<u64>(), 0..SLOTS, any::<u64>(), jid());
    let receiver = receiver.prop_map(|(route, number, epoch, jid)| Addressee {
        route,
        slot: slot(number),
        epoch: Epoch(epoch),
        jid,
    });
    let receivers = prop::collection::vec(receiver, 1..5);
    let stanzas = prop::collection::vec(stanza(), 1..4);
    let many = (receivers, stanzas, source(), any::<(u16, u64)>());
    let many = many.prop_map(|(receivers, stanzas, source, (shard, list))| {
        ToPeer::Forwards(Box::new(Forwards {
            entered: 0,
            shard,
            stanzas: stanzas.into(),
            source,
            receivers,
            list,
        }))
    });
    prop_oneof![one, many]
}

fn fan() -> impl Strategy<Value = ToEdge> {
    let receiver = (connection(), 0..SLOTS, any::<u64>());
    let receiver = receiver.prop_map(|(connection, number, epoch)| Receiver {
        connection,
        slot: slot(number),
        epoch: Epoch(epoch),
    });
    let receivers = prop::collection::vec(receiver, 1..5);
    let stanzas = prop::collection::vec(stanza(), 1..4);
    let fan = (receivers, stanzas, source(), any::<u64>());
    fan.prop_map(|(receivers, stanzas, source, list)| {
        ToEdge::Fan(Box::new(Fan {
            stanzas: stanzas.into(),
            source,
            receivers,
            list,
            entered: 0,
        }))
    })
}

fn frame<T: std::fmt::Debug>(body: impl Strategy<Value = T>) -> impl Strategy<Value = Frame<T>> {
    (0..SLOTS, any::<u64>(), body).prop_map(|(number, epoch, body)| Frame {
        slot: slot(number),
        epoch: Epoch(epoch),
        body,
    })
}

fn from_connection() -> impl Strategy<Value = ToOrigin> {
    let register =
        (jid(), ".{0,12}", ip(), stanza()).prop_map(|(account, password, peer, request)| {
            Register {
                account,
                password: Password(password.into()),
                peer,
                request,
            }
        });
    let bind =
        (jid(), option(text()), token(), ip()).prop_map(|(account, resource, token, peer)| Bind {
            account,
            resource,
            token,
            peer,
        });
    let resume = (jid(), token(), text(), any::<u32>(), ip()).prop_map(
        |(account, token, previous, h, peer)| Resume {
            account,
            token,
            previous,
            h,
            peer,
        },
    );
    prop_oneof![
        (connection(), authenticate())
            .prop_map(|(id, request)| ToOrigin::Authenticate(id, Box::new(request))),
        (connection(), jid(), bytes()).prop_map(|(connection, account, data)| ToOrigin::Respond {
            connection,
            account,
            data,
        }),
        (connection(), jid()).prop_map(|(connection, account)| ToOrigin::Abort {
            connection,
            account,
        }),
        (connection(), register)
            .prop_map(|(id, request)| ToOrigin::Register(id, Box::new(request))),
        (connection(), bind).prop_map(|(id, request)| ToOrigin::Bind(id, Box::new(request))),
        (connection(), resume).prop_map(|(id, request)| ToOrigin::Resume(id, Box::new(request))),
    ]
}

fn authenticate() -> impl Strategy<Value = Authenticate> {
    let [mechanisms, bindings, _] = word::all();
    let offered = prop::sample::subsequence(mechanisms.to_vec(), 0..=mechanisms.len());
    let bindings = prop::collection::vec((prop::sample::select(bindings), bytes()), 0..3);
    let channel = (any::<bool>(), bindings, ip(), offered).prop_map(
        |(is_encrypted, bindings, peer, offered)| Channel {
            is_encrypted,
            bindings,
            peer,
            offered,
        },
    );
    (jid(), text(), bytes(), channel).prop_map(|(account, mechanism, initial, channel)| {
        Authenticate {
            account,
            mechanism,
            initial,
            channel,
        }
    })
}

fn from_session() -> impl Strategy<Value = ToOrigin> {
    let detached = prop_oneof![Just(Detached::Closed), Just(Detached::Lost)];
    prop_oneof![
        (session(), any::<u64>(), option(any::<u32>())).prop_map(
            |(session, number, resume_secs)| {
                ToOrigin::Enable {
                    session,
                    number,
                    resume_secs,
                }
            }
        ),
        (session(), any::<u64>(), stanza()).prop_map(|(session, number, stanza)| {
            ToOrigin::Stanza {
                entered: 0,
                session,
                number,
                stanza,
            }
        }),
        (session(), any::<u64>(), stanza()).prop_map(|(session, number, answer)| {
            ToOrigin::Answer {
                session,
                number,
                answer,
            }
        }),
        (session(), any::<u64>()).prop_map(|(session, count)| ToOrigin::Acked { session, count }),
        prop::collection::vec(session(), 0..5).prop_map(ToOrigin::Expect),
        attach().prop_map(|state| ToOrigin::Attach(Box::new(state))),
        (session(), connection(), detached).prop_map(|(session, connection, reason)| {
            ToOrigin::Detach {
                session,
                connection,
                reason,
            }
        }),
    ]
}

fn attach() -> impl Strategy<Value = Attach> {
    let unacked =
        (stanza(), option(source()), option(log())).prop_map(|(stanza, source, log)| Unacked {
            stanza,
            source,
            log,
        });
    let who = (session(), connection(), jid(), ip());
    let counts = any::<[u64; 4]>();
    let unacked = prop::collection::vec(unacked, 0..3);
    let unacked = (unacked, prop::collection::vec(source(), 0..3));
    (who, counts, bytes(), unacked).prop_map(|(who, counts, state, unacked)| Attach {
        session: who.0,
        connection: who.1,
        jid: who.2,
        epoch: Epoch(counts[0]),
        state,
        taken: counts[1],
        received: counts[2],
        acked: counts[3],
        unacked: unacked.0,
        seen: unacked.1,
        peer: who.3,
    })
}

fn negotiating() -> impl Strategy<Value = ToEdge> {
    let sasl = prop::sample::select(SaslCondition::ALL);
    prop_oneof![
        (connection(), bytes())
            .prop_map(|(connection, data)| ToEdge::Challenge { connection, data }),
        (connection(), jid(), option(bytes()), token()).prop_map(
            |(connection, account, data, token)| ToEdge::Authenticated {
                connection,
                account,
                data,
                token,
            }
        ),
        (connection(), sasl, option(sentence())).prop_map(|(connection, condition, text)| {
            ToEdge::Refused {
                connection,
                condition,
                text,
            }
        }),
        (connection(), stanza())
            .prop_map(|(connection, answer)| ToEdge::Registered { connection, answer }),
        (connection(), session(), jid()).prop_map(|(connection, session, jid)| ToEdge::Bound {
            connection,
            session,
            jid,
        }),
        (connection(), error())
            .prop_map(|(connection, error)| ToEdge::BindRefused { connection, error }),
        (connection(), option(text()), any::<u32>()).prop_map(|(connection, id, max_secs)| {
            ToEdge::Enabled {
                connection,
                id,
                max_secs,
            }
        }),
    ]
}

fn resuming() -> impl Strategy<Value = ToEdge> {
    let why = prop_oneof![
        Just(ResumeError::NotFound),
        Just(ResumeError::NotAuthorized),
        any::<u32>().prop_map(|sent| ResumeError::HandledTooHigh { sent }),
    ];
    prop_oneof![
        (connection(), session(), jid(), any::<[u64; 4]>()).prop_map(
            |(connection, session, jid, counts)| ToEdge::Resumed {
                connection,
                session,
                jid,
                taken: counts[0],
                enabled: counts[1],
                acked: counts[2],
                acked_enabled: counts[3],
            }
        ),
        (connection(), why, option(any::<u32>()))
            .prop_map(|(connection, why, h)| { ToEdge::ResumeRefused { connection, why, h } }),
    ]
}

fn delivering() -> impl Strategy<Value = ToEdge> {
    let connections = prop::collection::vec(connection(), 1..5);
    let delivery = (connections, stanza(), option(source()), option(log())).prop_map(
        |(connections, stanza, source, log)| Delivery {
            connections: connections.into(),
            stanza,
            source,
            log,
            entered: 0,
        },
    );
    let stream = prop::sample::select(StreamCondition::ALL);
    prop_oneof![
        delivery.prop_map(ToEdge::Deliver),
        fan(),
        (connection(), bytes()).prop_map(|(connection, state)| ToEdge::Keep { connection, state }),
        (connection(), any::<u64>())
            .prop_map(|(connection, number)| ToEdge::Taken { connection, number }),
        (connection(), stream, option(sentence())).prop_map(|(connection, condition, text)| {
            ToEdge::Close {
                connection,
                condition,
                text,
            }
        }),
    ]
}

/// A stanza; now and then one that is too long to be copied.
fn stanza() -> impl Strategy<Value = Arc<Stanza>> {
    let types = [
        Type::Error,
        Type::Normal,
        Type::Chat,
        Type::Groupchat,
        Type::Headline,
        Type::Available,
        Type::Unavailable,
        Type::Subscribe,
        Type::Subscribed,
        Type::Unsubscribe,
        Type::Unsubscribed,
        Type::Probe,
        Type::Get,
        Type::Set,
        Type::Result,
    ];
    let kinds = [Kind::Message, Kind::Presence, Kind::Iq];
    let head = (
        prop::sample::select(kinds.to_vec()),
        prop::sample::select(types.to_vec()),
    );
    let texts = (option(byte_str()), option(byte_str()), option(byte_str()));
    let child = (
        "[a-zé]{1,8}",
        "(urn:[a-z&é]{1,8}|jabber:client)",
        ".{0,30}",
        1..2000usize,
    );
    let children = prop::collection::vec(child, 0..4);
    let jids = (option(jid()), option(jid()));
    (head, texts, jids, option(trace()), children).prop_map(
        |((kind, type_), (id, lang, extra), (from, to), trace, children)| {
            let mut stanza = Stanza::new(kind, type_);
            stanza.trace = trace.map(Box::new);
            stanza.id = id;
            stanza.lang = lang;
            stanza.extra = extra;
            stanza.from = from;
            stanza.to = to;
            for (name, ns, text, times) in children {
                let times = if times > 1950 { 200 } else { 1 };
                stanza = stanza.child(&Element::new(name, ns).text(text.repeat(times)));
            }
            Arc::new(stanza)
        },
    )
}

fn trace() -> impl Strategy<Value = Trace> {
    (1..u128::MAX, 1..u64::MAX).prop_map(|(id, span)| Trace {
        id: TraceId(id),
        span: SpanId(span),
        at: 0,
    })
}

fn error() -> impl Strategy<Value = StanzaError> {
    let condition = prop::sample::select(Condition::ALL);
    let types = [
        ErrorType::Auth,
        ErrorType::Cancel,
        ErrorType::Continue,
        ErrorType::Modify,
        ErrorType::Wait,
    ];
    let application = "[a-z]{1,8}"
        .prop_map(|name| Box::new(Element::new(name, "urn:x").attr("a", "1").text("t")));
    let parts = (condition, prop::sample::select(types.to_vec()));
    (parts, option(".{0,20}"), option(application)).prop_map(
        |((condition, type_), text, application)| StanzaError {
            condition,
            type_,
            text: text.map(Into::into),
            application,
        },
    )
}

fn option<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(value)
}

fn jid() -> impl Strategy<Value = Jid> {
    let texts = [
        "a@b.c",
        "capulet.lit",
        "juliet@capulet.lit/Balkon ä",
        "romeo@montague.lit/1",
    ];
    prop::sample::select(texts.map(|text| Jid::parse(text).expect("valid")).to_vec())
}

fn ip() -> impl Strategy<Value = Option<IpAddr>> {
    option(any::<IpAddr>())
}

fn byte_str() -> impl Strategy<Value = ByteStr> {
    ".{0,20}".prop_map(ByteStr::from)
}

fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,20}".prop_map(Box::from)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn sentence() -> impl Strategy<Value = &'static str> {
    let [_, _, sentences] = word::all();
    prop::sample::select(sentences)
}

fn connection() -> impl Strategy<Value = ConnectionId> {
    any::<u64>().prop_map(ConnectionId)
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u64>().prop_map(SessionId)
}

fn token() -> impl Strategy<Value = AuthToken> {
    any::<u128>().prop_map(AuthToken)
}

fn source() -> impl Strategy<Value = Source> {
    (session(), any::<u64>(), any::<u32>()).prop_map(|(session, number, part)| Source {
        session,
        number,
        part,
    })
}

fn log() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u32>()).prop_map(|(millis, count)| LogId { millis, count })
}

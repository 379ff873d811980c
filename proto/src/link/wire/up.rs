//! Up: frames from edges.

use v1::edge_frame::Body;

use super::field;
use super::stanza;
use super::word;
use super::{Undecodable, v1};
use crate::link::age;
use crate::link::epoch::Epoch;
use crate::link::frame::{
    Attach, Authenticate, Bind, Channel, Detached, Frame, Password, Register, Resume, ToOrigin,
    Unacked,
};
use crate::link::id::{ConnectionId, SessionId};

/// A frame as messages hold it.
pub fn encode(frame: Frame<ToOrigin>) -> v1::EdgeFrame {
    v1::EdgeFrame {
        slot: frame.slot.number().into(),
        epoch: frame.epoch.0,
        body: Some(body(frame.body)),
        ..v1::EdgeFrame::default()
    }
}

/// A frame that leaves now, with how long its stanza has been under way.
pub fn encode_at(mut frame: Frame<ToOrigin>, now_ms: u64) -> v1::EdgeFrame {
    let entered = frame.body.entered_mut().map_or(0, |entered| *entered);
    v1::EdgeFrame {
        age_ms: age::since(entered, now_ms),
        ..encode(frame)
    }
}

/// Reads a frame that comes now.
///
/// # Errors
/// See [`decode`].
pub fn decode_at(frame: v1::EdgeFrame, now_ms: u64) -> Result<Frame<ToOrigin>, Undecodable> {
    let entered = age::entered(frame.age_ms, now_ms);
    let mut frame = decode(frame)?;
    if let Some(known) = frame.body.entered_mut() {
        *known = entered;
    }
    Ok(frame)
}

/// Reads a frame.
///
/// # Errors
/// [`Undecodable`]: nothing of it can be used.
pub fn decode(frame: v1::EdgeFrame) -> Result<Frame<ToOrigin>, Undecodable> {
    let body = frame.body.ok_or(Undecodable::Unknown)?;
    Ok(Frame {
        slot: field::slot(frame.slot)?,
        epoch: Epoch(frame.epoch),
        body: read(body)?,
    })
}

fn body(frame: ToOrigin) -> Body {
    match frame {
        ToOrigin::Authenticate(connection, request) => {
            Body::Authenticate(authenticate(connection, *request))
        }
        ToOrigin::Respond {
            connection,
            account,
            data,
        } => Body::Respond(v1::Respond {
            connection: connection.0,
            account: field::jid_bytes(&account),
            data,
        }),
        ToOrigin::Abort {
            connection,
            account,
        } => Body::Abort(v1::Abort {
            connection: connection.0,
            account: field::jid_bytes(&account),
        }),
        ToOrigin::Register(connection, request) => Body::Register(register(connection, *request)),
        ToOrigin::Bind(connection, request) => Body::Bind(bind(connection, *request)),
        ToOrigin::Resume(connection, request) => Body::Resume(resume(connection, *request)),
        ToOrigin::Enable {
            session,
            number,
            resume_secs,
        } => Body::Enable(v1::Enable {
            session: session.0,
            number,
            resume_secs,
        }),
        ToOrigin::Stanza {
            session,
            number,
            stanza,
            ..
        } => Body::Submit(v1::Submit {
            session: session.0,
            number,
            stanza: Some(stanza::encode(&stanza)),
        }),
        ToOrigin::Answer {
            session,
            number,
            answer,
        } => Body::Answer(v1::Answer {
            session: session.0,
            number,
            answer: Some(stanza::encode(&answer)),
        }),
        ToOrigin::Acked { session, count } => Body::Acked(v1::Acked {
            session: session.0,
            count,
        }),
        ToOrigin::Expect(sessions) => Body::Expect(v1::Expect {
            sessions: sessions.into_iter().map(|session| session.0).collect(),
        }),
        ToOrigin::Attach(state) => Body::Attach(attach(*state)),
        ToOrigin::Detach {
            session,
            connection,
            reason,
        } => Body::Detach(v1::Detach {
            session: session.0,
            connection: connection.0,
            reason: detached(reason).into(),
        }),
    }
}

fn detached(reason: Detached) -> v1::Detached {
    match reason {
        Detached::Closed => v1::Detached::Closed,
        Detached::Lost => v1::Detached::Lost,
    }
}

fn authenticate(connection: ConnectionId, request: Authenticate) -> v1::Authenticate {
    let Authenticate {
        account,
        mechanism,
        initial,
        channel,
    } = request;
    let bindings = channel
        .bindings
        .into_iter()
        .map(|(name, data)| v1::Binding {
            name: name.to_owned(),
            data,
        });
    let offered = channel.offered.into_iter().map(str::to_owned);
    v1::Authenticate {
        connection: connection.0,
        account: field::jid_bytes(&account),
        mechanism: mechanism.into(),
        initial,
        is_encrypted: channel.is_encrypted,
        bindings: bindings.collect(),
        peer: channel.peer.map(field::ip_bytes),
        offered: offered.collect(),
    }
}

fn register(connection: ConnectionId, request: Register) -> v1::Register {
    v1::Register {
        connection: connection.0,
        account: field::jid_bytes(&request.account),
        password: request.password.0.into(),
        peer: request.peer.map(field::ip_bytes),
        request: Some(stanza::encode(&request.request)),
    }
}

fn bind(connection: ConnectionId, request: Bind) -> v1::Bind {
    v1::Bind {
        connection: connection.0,
        account: field::jid_bytes(&request.account),
        resource: request.resource.map(String::from),
        token: Some(field::token_halves(request.token)),
        peer: request.peer.map(field::ip_bytes),
    }
}

fn resume(connection: ConnectionId, request: Resume) -> v1::Resume {
    v1::Resume {
        connection: connection.0,
        account: field::jid_bytes(&request.account),
        token: Some(field::token_halves(request.token)),
        previous: request.previous.into(),
        h: request.h,
        peer: request.peer.map(field::ip_bytes),
    }
}

fn attach(state: Attach) -> v1::Attach {
    let unacked = state.unacked.iter().map(|unacked| v1::Unacked {
        stanza: Some(stanza::encode(&unacked.stanza)),
        source: unacked.source.map(field::source_message),
        log: unacked.log.map(field::log_message),
    });
    v1::Attach {
        session: state.session.0,
        connection: state.connection.0,
        jid: field::jid_bytes(&state.jid),
        epoch: state.epoch.0,
        state: state.state,
        taken: state.taken,
        received: state.received,
        acked: state.acked,
        unacked: unacked.collect(),
        seen: state.seen.into_iter().map(field::source_message).collect(),
        peer: state.peer.map(field::ip_bytes),
    }
}

fn read(body: Body) -> Result<ToOrigin, Undecodable> {
    Ok(match body {
        Body::Authenticate(message) => ToOrigin::Authenticate(
            ConnectionId(message.connection),
            Box::new(read_authenticate(message)?),
        ),
        Body::Respond(message) => ToOrigin::Respond {
            connection: ConnectionId(message.connection),
            account: field::jid(&message.account)?,
            data: field::own(&message.data),
        },
        Body::Abort(message) => ToOrigin::Abort {
            connection: ConnectionId(message.connection),
            account: field::jid(&message.account)?,
        },
        Body::Register(message) => ToOrigin::Register(
            ConnectionId(message.connection),
            Box::new(Register {
                account: field::jid(&message.account)?,
                password: Password(message.password.into()),
                peer: field::ip(message.peer.as_ref()),
                request: stanza::decode(message.request)?,
            }),
        ),
        Body::Bind(message) => ToOrigin::Bind(
            ConnectionId(message.connection),
            Box::new(Bind {
                account: field::jid(&message.account)?,
                resource: message.resource.map(Box::from),
                token: field::token(message.token)?,
                peer: field::ip(message.peer.as_ref()),
            }),
        ),
        Body::Resume(message) => ToOrigin::Resume(
            ConnectionId(message.connection),
            Box::new(Resume {
                account: field::jid(&message.account)?,
                token: field::token(message.token)?,
                previous: message.previous.into(),
                h: message.h,
                peer: field::ip(message.peer.as_ref()),
            }),
        ),
        body => read_of_session(body)?,
    })
}

/// What speaks for a session.
fn read_of_session(body: Body) -> Result<ToOrigin, Undecodable> {
    Ok(match body {
        Body::Enable(message) => ToOrigin::Enable {
            session: SessionId(message.session),
            number: message.number,
            resume_secs: message.resume_secs,
        },
        Body::Submit(message) => ToOrigin::Stanza {
            session: SessionId(message.session),
            number: message.number,
            stanza: stanza::decode(message.stanza)?,
            entered: 0,
        },
        Body::Answer(message) => ToOrigin::Answer {
            session: SessionId(message.session),
            number: message.number,
            answer: stanza::decode(message.answer)?,
        },
        Body::Acked(message) => ToOrigin::Acked {
            session: SessionId(message.session),
            count: message.count,
        },
        Body::Expect(message) => {
            ToOrigin::Expect(message.sessions.into_iter().map(SessionId).collect())
        }
        Body::Attach(message) => ToOrigin::Attach(Box::new(read_attach(message)?)),
        Body::Detach(message) => ToOrigin::Detach {
            session: SessionId(message.session),
            connection: ConnectionId(message.connection),
            reason: match message.reason() {
                v1::Detached::Closed => Detached::Closed,
                // A session whose end is in doubt can still be resumed.
                v1::Detached::Lost | v1::Detached::Unspecified => Detached::Lost,
            },
        },
        Body::Authenticate(_)
        | Body::Respond(_)
        | Body::Abort(_)
        | Body::Register(_)
        | Body::Bind(_)
        | Body::Resume(_) => return Err(Undecodable::Unknown),
    })
}

fn read_authenticate(message: v1::Authenticate) -> Result<Authenticate, Undecodable> {
    let bindings = message.bindings.iter();
    let bindings = bindings
        .filter_map(|binding| Some((word::binding(&binding.name)?, field::own(&binding.data))));
    let offered = message.offered.iter();
    Ok(Authenticate {
        account: field::jid(&message.account)?,
        mechanism: message.mechanism.into(),
        initial: field::own(&message.initial),
        channel: Channel {
            is_encrypted: message.is_encrypted,
            bindings: bindings.collect(),
            peer: field::ip(message.peer.as_ref()),
            offered: offered.filter_map(|name| word::mechanism(name)).collect(),
        },
    })
}

fn read_attach(message: v1::Attach) -> Result<Attach, Undecodable> {
    let unacked = message.unacked.into_iter().map(|unacked| {
        Ok(Unacked {
            stanza: stanza::decode(unacked.stanza)?,
            source: unacked.source.map(field::source),
            log: unacked.log.map(field::log),
        })
    });
    Ok(Attach {
        session: SessionId(message.session),
        connection: ConnectionId(message.connection),
        jid: field::jid(&message.jid)?,
        epoch: Epoch(message.epoch),
        state: field::own(&message.state),
        taken: message.taken,
        received: message.received,
        acked: message.acked,
        unacked: unacked.collect::<Result<_, _>>()?,
        seen: message.seen.into_iter().map(field::source).collect(),
        peer: field::ip(message.peer.as_ref()),
    })
}

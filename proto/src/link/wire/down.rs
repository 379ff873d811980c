//! Down: frames to edges.

use v1::origin_frame::Body;

use super::field::{self, required};
use super::lists::Lists;
use super::stanza;
use super::word;
use super::{Undecodable, v1};
use crate::link::age;
use crate::link::epoch::Epoch;
use crate::link::frame::{Delivery, Fan, Frame, ResumeError, ToEdge};
use crate::link::id::{ConnectionId, SessionId};
use crate::xmpp::element::Element;
use crate::xmpp::error::{Condition, ErrorType, SaslCondition, StanzaError, StreamCondition};
use crate::xmpp::ns;

/// A frame as messages hold it; `lists` is what this end of the lane remembers.
/// [`Delivery::entered`] stays behind, because clocks of two processes cannot be compared: see
/// [`encode_at`].
pub fn encode(frame: Frame<ToEdge>, lists: &mut Lists) -> v1::OriginFrame {
    let body = match frame.body {
        ToEdge::Fan(fan) => Body::Fan(fan_message(*fan, lists)),
        other => body(other),
    };
    v1::OriginFrame {
        slot: frame.slot.number().into(),
        epoch: frame.epoch.0,
        body: Some(body),
        ..v1::OriginFrame::default()
    }
}

/// A frame that leaves now, with how long its stanza has been under way.
pub fn encode_at(mut frame: Frame<ToEdge>, lists: &mut Lists, now_ms: u64) -> v1::OriginFrame {
    let entered = frame.body.entered_mut().map_or(0, |entered| *entered);
    v1::OriginFrame {
        age_ms: age::since(entered, now_ms),
        ..encode(frame, lists)
    }
}

/// Reads a frame that comes now.
///
/// # Errors
/// See [`decode`].
pub fn decode_at(
    frame: v1::OriginFrame,
    lists: &mut Lists,
    now_ms: u64,
) -> Result<Frame<ToEdge>, Undecodable> {
    let entered = age::entered(frame.age_ms, now_ms);
    let mut frame = decode(frame, lists)?;
    if let Some(known) = frame.body.entered_mut() {
        *known = entered;
    }
    Ok(frame)
}

/// Reads a frame.
///
/// # Errors
/// [`Undecodable`]: nothing of it can be used.
pub fn decode(frame: v1::OriginFrame, lists: &mut Lists) -> Result<Frame<ToEdge>, Undecodable> {
    let body = frame.body.ok_or(Undecodable::Unknown)?;
    let body = match body {
        Body::Fan(message) => ToEdge::Fan(Box::new(fan(message, lists)?)),
        other => read(other)?,
    };
    Ok(Frame {
        slot: field::slot(frame.slot)?,
        epoch: Epoch(frame.epoch),
        body,
    })
}

fn fan_message(fan: Fan, lists: &mut Lists) -> v1::Fan {
    let stanzas = fan.stanzas.iter().map(|stanza| stanza::encode(stanza));
    let mut message = v1::Fan {
        stanzas: stanzas.collect(),
        source: Some(field::source_message(fan.source)),
        ..v1::Fan::default()
    };
    lists.encode(fan.list, fan.receivers, &mut message);
    message
}

/// What it tells of the list counts also if its stanzas cannot be read.
fn fan(message: v1::Fan, lists: &mut Lists) -> Result<Fan, Undecodable> {
    let receivers = lists.decode(&message)?;
    Ok(Fan {
        stanzas: stanza::decode_all(message.stanzas)?,
        source: field::source(required(message.source, "source")?),
        receivers,
        list: message.list,
        entered: 0,
    })
}

fn body(frame: ToEdge) -> Body {
    match frame {
        ToEdge::Deliver(delivery) => Body::Deliver(v1::Deliver {
            connections: delivery.connections.iter().map(|id| id.0).collect(),
            stanza: Some(stanza::encode(&delivery.stanza)),
            source: delivery.source.map(field::source_message),
            log: delivery.log.map(field::log_message),
        }),
        ToEdge::Keep { connection, state } => Body::Keep(v1::Keep {
            connection: connection.0,
            state,
        }),
        ToEdge::Taken { connection, number } => Body::Taken(v1::Taken {
            connection: connection.0,
            number,
        }),
        ToEdge::Close {
            connection,
            condition,
            text,
        } => Body::Close(v1::Close {
            connection: connection.0,
            condition: condition.name().to_owned(),
            text: word::said(text),
        }),
        negotiating => body_of_negotiation(negotiating),
    }
}

/// What a connection gets until it is a session's.
fn body_of_negotiation(frame: ToEdge) -> Body {
    match frame {
        ToEdge::Challenge { connection, data } => Body::Challenge(v1::Challenge {
            connection: connection.0,
            data,
        }),
        ToEdge::Authenticated {
            connection,
            account,
            data,
            token,
        } => Body::Authenticated(v1::Authenticated {
            connection: connection.0,
            account: field::jid_bytes(&account),
            data,
            token: Some(field::token_halves(token)),
        }),
        ToEdge::Refused {
            connection,
            condition,
            text,
        } => Body::Refused(v1::Refused {
            connection: connection.0,
            condition: condition.name().to_owned(),
            text: word::said(text),
        }),
        ToEdge::Registered { connection, answer } => Body::Registered(v1::Registered {
            connection: connection.0,
            answer: Some(stanza::encode(&answer)),
        }),
        ToEdge::Bound {
            connection,
            session,
            jid,
        } => Body::Bound(v1::Bound {
            connection: connection.0,
            session: session.0,
            jid: field::jid_bytes(&jid),
        }),
        ToEdge::BindRefused { connection, error } => Body::BindRefused(v1::BindRefused {
            connection: connection.0,
            error: Some(error_message(error)),
        }),
        ToEdge::Enabled {
            connection,
            id,
            max_secs,
        } => Body::Enabled(v1::Enabled {
            connection: connection.0,
            id: id.map(String::from),
            max_secs,
        }),
        resuming => body_of_resumption(resuming),
    }
}

/// What answers a request for a former session.
fn body_of_resumption(frame: ToEdge) -> Body {
    match frame {
        ToEdge::Resumed {
            connection,
            session,
            jid,
            taken,
            enabled,
            acked,
            acked_enabled,
        } => Body::Resumed(v1::Resumed {
            connection: connection.0,
            session: session.0,
            jid: field::jid_bytes(&jid),
            taken,
            enabled,
            acked,
            acked_enabled,
        }),
        ToEdge::ResumeRefused { connection, why, h } => {
            let (why, sent) = match why {
                ResumeError::NotFound => (v1::ResumeError::NotFound, 0),
                ResumeError::NotAuthorized => (v1::ResumeError::NotAuthorized, 0),
                ResumeError::HandledTooHigh { sent } => (v1::ResumeError::HandledTooHigh, sent),
            };
            Body::ResumeRefused(v1::ResumeRefused {
                connection: connection.0,
                why: why.into(),
                sent,
                h,
            })
        }
        other => unreachable!("encoded above: {other:?}"),
    }
}

fn read(body: Body) -> Result<ToEdge, Undecodable> {
    Ok(match body {
        Body::Deliver(message) => ToEdge::Deliver(Delivery {
            connections: message.connections.into_iter().map(ConnectionId).collect(),
            stanza: stanza::decode(message.stanza)?,
            source: message.source.map(field::source),
            log: message.log.map(field::log),
            entered: 0,
        }),
        Body::Keep(message) => ToEdge::Keep {
            connection: ConnectionId(message.connection),
            state: field::own(&message.state),
        },
        Body::Taken(message) => ToEdge::Taken {
            connection: ConnectionId(message.connection),
            number: message.number,
        },
        Body::Close(message) => ToEdge::Close {
            connection: ConnectionId(message.connection),
            condition: StreamCondition::from_name(&message.condition)
                .unwrap_or(StreamCondition::UndefinedCondition),
            text: word::sentence(message.text.as_ref()),
        },
        Body::Resumed(message) => ToEdge::Resumed {
            connection: ConnectionId(message.connection),
            session: SessionId(message.session),
            jid: field::jid(&message.jid)?,
            taken: message.taken,
            enabled: message.enabled,
            acked: message.acked,
            acked_enabled: message.acked_enabled,
        },
        Body::ResumeRefused(message) => ToEdge::ResumeRefused {
            connection: ConnectionId(message.connection),
            why: resume_error(&message),
            h: message.h,
        },
        body => read_of_negotiation(body)?,
    })
}

/// What a connection gets until it is a session's.
fn read_of_negotiation(body: Body) -> Result<ToEdge, Undecodable> {
    Ok(match body {
        Body::Challenge(message) => ToEdge::Challenge {
            connection: ConnectionId(message.connection),
            data: field::own(&message.data),
        },
        Body::Authenticated(message) => ToEdge::Authenticated {
            connection: ConnectionId(message.connection),
            account: field::jid(&message.account)?,
            data: message.data.as_ref().map(field::own),
            token: field::token(message.token)?,
        },
        Body::Refused(message) => ToEdge::Refused {
            connection: ConnectionId(message.connection),
            condition: SaslCondition::from_name(&message.condition)
                .unwrap_or(SaslCondition::NotAuthorized),
            text: word::sentence(message.text.as_ref()),
        },
        Body::Registered(message) => ToEdge::Registered {
            connection: ConnectionId(message.connection),
            answer: stanza::decode(message.answer)?,
        },
        Body::Bound(message) => ToEdge::Bound {
            connection: ConnectionId(message.connection),
            session: SessionId(message.session),
            jid: field::jid(&message.jid)?,
        },
        Body::BindRefused(message) => ToEdge::BindRefused {
            connection: ConnectionId(message.connection),
            error: error(required(message.error, "error")?),
        },
        Body::Enabled(message) => ToEdge::Enabled {
            connection: ConnectionId(message.connection),
            id: message.id.map(Box::from),
            max_secs: message.max_secs,
        },
        Body::Deliver(_)
        | Body::Keep(_)
        | Body::Taken(_)
        | Body::Close(_)
        | Body::Resumed(_)
        | Body::Fan(_)
        | Body::ResumeRefused(_) => return Err(Undecodable::Unknown),
    })
}

fn resume_error(message: &v1::ResumeRefused) -> ResumeError {
    match message.why() {
        v1::ResumeError::NotAuthorized => ResumeError::NotAuthorized,
        v1::ResumeError::HandledTooHigh => ResumeError::HandledTooHigh { sent: message.sent },
        // Whatever the reason, the client has to bind afresh.
        v1::ResumeError::NotFound | v1::ResumeError::Unspecified => ResumeError::NotFound,
    }
}

fn error_message(error: StanzaError) -> v1::StanzaError {
    v1::StanzaError {
        condition: error.condition.name().to_owned(),
        r#type: error.type_.name().to_owned(),
        text: error.text.map(String::from),
        application: error.application.map(|element| element.to_xml()),
    }
}

/// An error of a condition or type that is not known here is still an error.
fn error(message: v1::StanzaError) -> StanzaError {
    let condition = Condition::from_name(&message.condition);
    let condition = condition.unwrap_or(Condition::UndefinedCondition);
    let type_ = ErrorType::from_name(&message.r#type);
    let application = message.application.as_deref();
    StanzaError {
        condition,
        type_: type_.unwrap_or(condition.default_type()),
        text: message.text.map(Into::into),
        application: application.and_then(|xml| Element::parse(xml, ns::CLIENT).map(Box::new)),
    }
}

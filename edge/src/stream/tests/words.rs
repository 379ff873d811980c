//! Actions and frames in one line each, as scripts write them.

use super::*;

pub(super) fn binding(name: &str) -> (&'static str, Bytes) {
    match name {
        "tls-exporter" => ("tls-exporter", Bytes::from_static(b"ekm")),
        "tls-server-end-point" => ("tls-server-end-point", Bytes::from_static(b"hash")),
        _ => panic!("what is {name:?}?"),
    }
}

/// An action in one line.
pub(super) fn describe(action: &Action) -> String {
    match action {
        Action::StartTls => "starttls".to_owned(),
        Action::Authenticated => "authenticated".to_owned(),
        Action::LoginFailed {
            condition,
            mechanism,
        } => format!("failed {mechanism} {}", condition.name()),
        Action::Up(_, frame) => format!("up {}", describe_frame(frame)),
        Action::Bound { jid, .. } => format!("bound {jid}"),
        Action::Resumed {
            jid, taken, acked, ..
        } => format!("resumed {jid} {taken} {acked}"),
        Action::Acked(count) => format!("acked {count}"),
        Action::Answered(condition) => format!("answered {}", condition.name()),
        Action::Close(None) => "close".to_owned(),
        Action::Close(Some(condition)) => format!("close {}", condition.name()),
    }
}

fn describe_frame(frame: &ToOrigin) -> String {
    use base64::Engine;
    let base64 = |data| base64::engine::general_purpose::STANDARD.encode(data);
    match frame {
        ToOrigin::Authenticate(_, request) => {
            let data = base64(&request.initial);
            format!(
                "authenticate {} {} {data}",
                request.account, request.mechanism
            )
        }
        ToOrigin::Respond { account, data, .. } => match data.is_empty() {
            true => format!("respond {account}"),
            false => format!("respond {account} {}", base64(data)),
        },
        ToOrigin::Abort { account, .. } => format!("abort {account}"),
        ToOrigin::Register(_, request) => {
            format!("register {} {}", request.account, request.password.0)
        }
        ToOrigin::Bind(_, bind) => match &bind.resource {
            Some(resource) => format!("bind {} {resource}", bind.account),
            None => format!("bind {}", bind.account),
        },
        ToOrigin::Resume(_, resume) => {
            format!("resume {} {} {}", resume.account, resume.previous, resume.h)
        }
        ToOrigin::Enable {
            number,
            resume_secs,
            ..
        } => format!("enable {number} {resume_secs:?}"),
        ToOrigin::Stanza { number, stanza, .. } => format!("{number} {stanza}"),
        ToOrigin::Answer { number, answer, .. } => format!("answer {number} {answer}"),
        ToOrigin::Acked { .. } | ToOrigin::Expect(_) | ToOrigin::Attach(_) => {
            panic!("not the stream's to say: {frame:?}")
        }
        ToOrigin::Detach { reason, .. } => format!("detach {reason:?}"),
    }
}

/// A frame from the origin, from one line.
pub(super) fn frame(line: &str) -> ToEdge {
    let connection = ConnectionId(7);
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, second) = match rest.split_once(' ') {
        Some((first, second)) => (first, Some(second.to_owned())),
        None => (rest, None),
    };
    let jid = |text: &str| Jid::parse(text).expect("valid");
    match name {
        "challenge" => ToEdge::Challenge {
            connection,
            data: Bytes::from(first.to_owned()),
        },
        "authenticated" => ToEdge::Authenticated {
            connection,
            account: jid(first),
            data: second.map(Bytes::from),
            token: AuthToken(42),
        },
        "refused" => ToEdge::Refused {
            connection,
            condition: SaslCondition::from_name(first).expect("known"),
            text: None,
        },
        "registered" => ToEdge::Registered {
            connection,
            answer: Arc::new(
                Stanza::new(couplet_proto::Kind::Iq, couplet_proto::Type::Result).id(first),
            ),
        },
        "bound" => ToEdge::Bound {
            connection,
            session: SessionId(9),
            jid: jid(first),
        },
        "resumed" => {
            let second = second.expect("counts");
            let counts: Vec<u64> = second.split(' ').map(|n| n.parse().expect("n")).collect();
            ToEdge::Resumed {
                connection,
                session: SessionId(9),
                jid: jid(first),
                taken: counts[0],
                enabled: counts[1],
                acked: counts[2],
                acked_enabled: counts[3],
            }
        }
        "resume-refused" => resume_refused(first, second.as_deref()),
        "enabled" => ToEdge::Enabled {
            connection,
            id: (first != "-").then(|| first.into()),
            max_secs: second.map_or(0, |secs| secs.parse().expect("seconds")),
        },
        "bind-refused" => ToEdge::BindRefused {
            connection,
            error: StanzaError::from(Condition::from_name(first).expect("known")),
        },
        "close" => ToEdge::Close {
            connection,
            condition: StreamCondition::from_name(first).expect("known"),
            text: None,
        },
        _ => panic!("what is {line:?}?"),
    }
}

fn resume_refused(why: &str, count: Option<&str>) -> ToEdge {
    let connection = ConnectionId(7);
    let count = count.map(|count| count.parse().expect("a count"));
    let (why, h) = match why {
        "not-found" => (ResumeError::NotFound, count),
        "not-authorized" => (ResumeError::NotAuthorized, None),
        _ => {
            let sent = count.expect("a count");
            (ResumeError::HandledTooHigh { sent }, None)
        }
    };
    ToEdge::ResumeRefused { connection, why, h }
}

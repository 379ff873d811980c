//! Approval: where only members enter, admins decide who becomes one (XEP-0045 §9.9).
//!
//! ```text
//! registration ─▶ ask ─▶ form to each admin ─▶ answered ─┬ allowed ─▶ a member with its nick
//!                  │                              ▲      └ not ─────▶ forgotten
//!                  └───── waits in the room ──────┘
//! ```
//!
//! A request waits until the first admin has decided, its user becomes something else to the room,
//! or withdraws it. Its nick is not reserved meanwhile: else strangers could take them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Field, Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::{Affiliation, Privilege};
use super::change::{self, Author, Nick, Wanted};
use super::room::Room;
use super::{likeness, message, record, registration};
use crate::hooks::Ctx;
use crate::store::codec;

/// Requests that wait in one room; one more is refused with `resource-constraint`.
const REQUESTS_MAX: usize = 100;

/// Admins who are told of a request.
const ASKED_MAX: usize = 50;

/// How long a request waits before its user may make another one, in milliseconds: each is told
/// to every admin.
const AGAIN_MS: u64 = 60_000;

/// How long a request waits before another one may take its place, in milliseconds.
const STALE_MS: u64 = 14 * 24 * 3_600_000;

/// Whose request it is. The specification's own form does not say.
const USER: &str = "muc#jid";

/// What the admin decides.
const ALLOW: &str = "muc#register_allow";

/// Requests that wait, by bare address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests(BTreeMap<Jid, Request>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    /// The nick that is to be reserved, prepared.
    nick: Box<str>,
    /// When it was made, in milliseconds since 1970.
    at: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    requests: Vec<RequestRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestRecord {
    #[prost(string, tag = "1")]
    jid: String,
    #[prost(string, tag = "2")]
    nick: String,
    #[prost(uint64, tag = "3")]
    at: u64,
}

/// The first version of the stored record.
const RECORD: u8 = 1;

// === impl Requests ===

impl Requests {
    /// Nobody has to decide any more. False when there was nothing to decide.
    pub(super) fn remove(&mut self, user: &Jid) -> bool {
        self.0.remove(user).is_some()
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        let requests = self.0.iter().map(|(jid, request)| RequestRecord {
            jid: jid.as_str().to_owned(),
            nick: request.nick.to_string(),
            at: request.at,
        });
        let requests = requests.collect();
        codec::encode(RECORD, &Record { requests })
    }

    /// Reads what [`Requests::encode`] gave.
    ///
    /// # Errors
    /// In words, when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Result<Self, String> {
        let record: Record =
            codec::decode(RECORD, value).map_err(|it| format!("requests of a room: {it}"))?;
        let mut requests = BTreeMap::new();
        for it in record.requests {
            let jid = Jid::parse(&it.jid);
            let jid = jid.map_err(|_| format!("requests of a room: {} is no address", it.jid))?;
            let nick = it.nick.into();
            requests.insert(jid, Request { nick, at: it.at });
        }
        Ok(Self(requests))
    }

    /// Whether a user's request is the same as one that waits; else whether there is room for it.
    fn admit(&mut self, user: &Jid, nick: &str, now: u64) -> Result<Admission, StanzaError> {
        if let Some(known) = self.0.get(user) {
            return match known.at.saturating_add(AGAIN_MS) > now {
                true if *known.nick == *nick => Ok(Admission::Known),
                true => Err(message::too_fast()),
                false => Ok(Admission::New),
            };
        }
        if self.0.len() >= REQUESTS_MAX {
            self.0.retain(|_, it| it.at.saturating_add(STALE_MS) > now);
        }
        match self.0.len() < REQUESTS_MAX {
            true => Ok(Admission::New),
            false => Err(Condition::ResourceConstraint.into()),
        }
    }
}

/// What becomes of a request.
enum Admission {
    /// It waits already.
    Known,
    New,
}

/// A user wants to be a member under a nick: the admins are asked.
pub(super) fn ask(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    nick: Box<str>,
) -> Result<(), StanzaError> {
    let user = stanza.sender().to_bare();
    let admins = admins(room);
    if admins.is_empty() {
        return Err(Condition::NotAllowed.into());
    }
    let at = ctx.now.unix;
    if let Admission::Known = room.requests.admit(&user, &nick, at)? {
        ctx.route(stanza.result(None));
        return Ok(());
    }
    let form = form(&user, &nick);
    let body = format!("{user} asks to become a member of this room as {nick}.");
    room.requests.0.insert(user, Request { nick, at });
    record::save_requests(ctx, &room.requests);
    ctx.route(stanza.result(None));
    for admin in admins {
        let question = Stanza::new(Kind::Message, Type::Normal)
            .id(ctx.random_id())
            .from(room.jid.clone())
            .to(admin)
            // Who is not there finds it later: what has no body is not kept for it.
            .child(&Element::new("body", ns::CLIENT).text(body.as_str()))
            .child(&form);
        ctx.route(question);
    }
    Ok(())
}

/// An admin has looked at the form. A request that does not wait any more needs nothing: another
/// one was faster.
pub(super) fn answered(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    form: &Submitted,
) -> Result<(), StanzaError> {
    let admin = stanza.sender();
    let affiliation = room.affiliation(ctx.shared, admin);
    if !affiliation.may(Privilege::EditMembers) {
        return Err(Condition::Forbidden.into());
    }
    let user = form.value(USER).ok_or(Condition::BadRequest)?;
    let user = Jid::parse(user).map_err(|_| Condition::JidMalformed)?;
    let user = user.to_bare();
    let is_allowed = match form.value(ALLOW) {
        Some("1" | "true") => true,
        Some("0" | "false") => false,
        _ => return Err(Condition::BadRequest.into()),
    };
    let Some(request) = room.requests.0.get(&user) else {
        return Ok(());
    };
    if !is_allowed {
        room.requests.remove(&user);
        record::save_requests(ctx, &room.requests);
        return Ok(());
    }
    let nick = request.nick.clone();
    if likeness::is_taken(room, &nick, &user) {
        return Err(Condition::Conflict.into());
    }
    registration::has_place(ctx, room, &user)?;
    let author = Author::of(room, admin);
    let wanted = Wanted {
        jid: user,
        affiliation: Affiliation::Member,
        nick: Nick::Is(nick),
        reason: None,
    };
    // With this the request is done.
    let changed = change::write_affiliation(ctx, room, wanted);
    change::tell_affiliations(ctx, room, &[changed], &author);
    Ok(())
}

/// Who decides.
fn admins(room: &Room) -> Vec<Jid> {
    let managing = room.members.iter();
    let managing = managing.filter(|(_, it)| it.affiliation.may(Privilege::EditMembers));
    let people = managing.filter(|(jid, _)| jid.local().is_some());
    people.map(|(jid, _)| jid.clone()).take(ASKED_MAX).collect()
}

fn form(user: &Jid, nick: &str) -> Element {
    let instructions = "To approve this registration request, select the \"Allow this person to \
                        register with the room?\" checkbox and click OK. To skip this request, \
                        click the cancel button.";
    let allow = "Allow this person to register with the room?";
    Form::to_fill_in(ns::MUC_REGISTER, "Registration request", instructions)
        .with(Field::new(USER, "jid-single", "User ID").values([user.as_str()]))
        .with(Field::new(registration::ROOM_NICK, "text-single", "Desired Nickname").values([nick]))
        .with(Field::new(ALLOW, "boolean", allow).values(["0"]))
        .into_element()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> Jid {
        Jid::parse(&format!("u{number}@x")).expect("an address")
    }

    #[test]
    fn so_many_requests_wait_and_old_ones_make_room() {
        let mut requests = Requests::default();
        for number in 0..REQUESTS_MAX {
            assert!(matches!(
                requests.admit(&user(number), "n", 1000),
                Ok(Admission::New)
            ));
            let request = Request {
                nick: "n".into(),
                at: 1000,
            };
            requests.0.insert(user(number), request);
        }
        let more = user(REQUESTS_MAX);
        assert!(requests.admit(&more, "n", 2000).is_err());
        assert!(matches!(
            requests.admit(&user(0), "n", 2000),
            Ok(Admission::Known)
        ));
        assert!(requests.admit(&more, "n", 1000 + STALE_MS).is_ok());
        assert_eq!(Requests::decode(&requests.encode()), Ok(requests));
    }
}

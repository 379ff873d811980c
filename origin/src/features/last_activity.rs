//! XEP-0012: Last Activity of the server and of accounts.

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};

use super::roster;
use crate::hooks::{Ctx, Feature, Iq, PresenceChange, Reply, Spec, Target, get};
use crate::session::AccountSlots;
use crate::store::{Snapshot, Table, codec};

/// When the account was last used, while nobody uses it.
#[derive(Debug, Default)]
pub struct PerAccount {
    /// When its last session ended, in milliseconds since 1970; 0 if never.
    ended: u64,
    /// What the user said last: the status of the last unavailable presence.
    status: Box<str>,
}

/// Nothing is remembered.
pub type PerSession = ();

/// One row.
const LAST: Table = Table {
    id: 3,
    name: "last-activity",
    is_resident: true,
};

/// The first version of the stored record.
const RECORD: u8 = 1;

/// Bytes kept of a status; the rest is cut off.
const STATUS_BYTES_MAX: usize = 1024;

pub(super) static FEATURE: Feature = Feature {
    name: "last_activity",
    spec: Spec::new("XEP-0012", "Last Activity", "2.0"),
    disco: &[ns::LAST_ACTIVITY],
    disco_account: &[ns::LAST_ACTIVITY],
    iq: &[
        (get(Target::Host, ns::LAST_ACTIVITY, "query"), uptime),
        (
            get(Target::AnyAccount, ns::LAST_ACTIVITY, "query"),
            since_last_session,
        ),
        (
            get(Target::Resource, ns::LAST_ACTIVITY, "query"),
            guard_session,
        ),
    ],
    presence: Some(changed),
    closed: Some(closed),
    tables: &[LAST],
    load: Some(load),
    ..Feature::EMPTY
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    ended: u64,
    #[prost(string, tag = "2")]
    status: String,
}

/// "Server and Component Query": for how long the server has run.
fn uptime(ctx: &mut Ctx<'_>, _: &Iq<'_>) -> Result<Reply, StanzaError> {
    let seconds = ctx.now.unix.saturating_sub(ctx.shared.started_unix) / 1000;
    Ok(Reply::Payload(answer(seconds)))
}

/// "Offline User Query": for how long nobody has been there, and what was said last.
fn since_last_session(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq)?;
    if !ctx.account.sessions.is_empty() {
        return Ok(Reply::Payload(answer(0)));
    }
    let last = &ctx.account.slots.last_activity;
    if last.ended == 0 {
        // An account nobody has ever used.
        return Err(Condition::ItemNotFound.into());
    }
    let answer = answer(ctx.now.unix.saturating_sub(last.ended) / 1000);
    Ok(Reply::Payload(match last.status.is_empty() {
        true => answer,
        false => answer.text(&*last.status),
    }))
}

/// "Online User Query": the client answers, but only to those who may see it.
fn guard_session(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq).map(|()| Reply::Pass)
}

/// "Security Considerations": nobody learns of availability but who may see it.
fn admit(ctx: &Ctx<'_>, iq: &Iq<'_>) -> Result<(), StanzaError> {
    match roster::may_see(ctx.account, iq.from()) {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// Keeps what the user says when leaving; it is stored when the last session ends.
fn changed(ctx: &mut Ctx<'_>, change: &PresenceChange) {
    if change.is_available || !change.was_available {
        return;
    }
    let status = change.stanza.payload.find("status", ns::CLIENT);
    let status = status.map(|status| status.content()).unwrap_or_default();
    let end = status.floor_char_boundary(STATUS_BYTES_MAX);
    ctx.account.slots.last_activity.status = status[..end].into();
}

/// The last session ends.
fn closed(ctx: &mut Ctx<'_>) {
    if ctx.account.sessions.len() > 1 || !ctx.account.exists() {
        return;
    }
    let now = ctx.now.unix;
    let last = &mut ctx.account.slots.last_activity;
    last.ended = now;
    let record = Record {
        ended: now,
        status: last.status.to_string(),
    };
    ctx.put(LAST, "", codec::encode(RECORD, &record));
}

fn answer(seconds: u64) -> Element {
    Element::new("query", ns::LAST_ACTIVITY).attr("seconds", seconds.to_string())
}

fn load(_: &Jid, stored: &Snapshot, slots: &mut AccountSlots) -> Result<(), String> {
    let row = stored.rows.iter().find(|(table, ..)| *table == LAST.id);
    if let Some((.., value)) = row {
        let record: Result<Record, _> = codec::decode(RECORD, value);
        let record = record.map_err(|error| format!("last activity: {error}"))?;
        slots.last_activity = PerAccount {
            ended: record.ended,
            status: record.status.into(),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::Rig;

    fn query(to: &str) -> String {
        format!("<iq type='get' id='l' to='{to}'><query xmlns='jabber:iq:last'/></iq>")
    }

    #[test]
    fn the_time_since_the_last_session_is_for_those_who_may_see_it() {
        let mut rig = Rig::new(2, &["romeo@x", "juliet@x", "paris@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let mut paris = rig.online("paris@x/p");
        let mut juliet = rig.online("juliet@x/j");
        rig.send(&mut romeo, "<presence type='subscribe' to='juliet@x'/>");
        rig.send(&mut juliet, "<presence type='subscribed' to='romeo@x'/>");
        rig.received(&romeo);
        let there = rig.ask(&mut romeo, &query("juliet@x"));
        assert!(there.contains(" seconds='0'/>"), "{there}");
        rig.received(&juliet);
        for to in ["juliet@x", "juliet@x/j", "juliet@x/nowhere"] {
            let refused = rig.ask(&mut paris, &query(to));
            assert!(refused.contains("<forbidden"), "{refused}");
        }
        assert!(rig.received(&juliet).is_empty());
        rig.send(&mut romeo, &query("juliet@x/j"));
        assert_eq!(rig.received(&juliet).len(), 1);
        let gone = "<presence type='unavailable'><status>Good night</status></presence>";
        rig.send(&mut juliet, gone);
        rig.detach(&juliet);
        // Long enough to leave memory: the rest comes from the store.
        rig.tick(50_000);
        rig.tick(50_000);
        rig.received(&romeo);
        let away = rig.ask(&mut romeo, &query("juliet@x"));
        assert!(away.contains(" seconds='100'>Good night</query>"), "{away}");
        let uptime = rig.ask(&mut romeo, &query("x"));
        assert!(uptime.contains(" seconds='999100'/>"), "{uptime}");
    }
}

//! RFC 6121: the roster (§2), with versions (§2.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Stanza};

use crate::hooks::{Ctx, Feature, Iq, Reply, Spec, Target, get, set};
use crate::route::subscription::{self, State};
use crate::session::{Account, AccountSlots};
use crate::store::{Snapshot, Table, codec};

/// The contacts of an account.
#[derive(Debug, Default)]
pub struct PerAccount {
    items: BTreeMap<Jid, Item>,
    /// Grows with every change; 0 when there was none.
    version: u64,
}

/// Whether the session asked for the roster and so gets the pushes (§2.1.6).
pub type PerSession = bool;

/// A contact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    /// The name the user gave it.
    pub name: Option<Box<str>>,
    /// The groups the user put it in.
    pub groups: Vec<Box<str>>,
    /// Who sees whom, and who has asked.
    pub state: State,
    /// Approved in advance (§3.4).
    pub is_approved: bool,
    /// Whether it stands in the roster the client sees: a contact that has only asked does not.
    pub is_listed: bool,
    /// The payload of the request that waits for an answer, while it does.
    pub request: Option<ByteStr>,
}

/// One row for each contact; the row without a name holds the version.
const ROSTER: Table = Table {
    id: 2,
    name: "roster",
    is_resident: true,
};

/// The first version of the stored record.
const RECORD: u8 = 1;

/// Bytes of a name or group; RFC 6121 §2.3.3 leaves the limit to the server.
const NAME_BYTES_MAX: usize = 1023;

/// Groups of one contact.
const GROUPS_MAX: usize = 64;

/// Bytes of all contacts, with their names and groups: a roster is read as one stanza.
const ROSTER_BYTES_MAX: usize = 2 << 20;

/// Strangers who may wait for an answer; the request of one more is forgotten.
const REQUESTS_MAX: usize = 1000;

pub(super) static FEATURE: Feature = Feature {
    name: "roster",
    spec: Spec::new("RFC 6121", "Instant Messaging and Presence", "")
        .note("roster with versions, subscriptions with pre-approval, presence, routing, offline"),
    disco: &[ns::ROSTER],
    iq: &[
        (get(Target::Account, ns::ROSTER, "query"), read),
        (set(Target::Account, ns::ROSTER, "query"), write),
    ],
    tables: &[ROSTER],
    load: Some(load),
    keep: Some(|slots| slots.roster.then(Bytes::new)),
    restore: Some(|slots, _| slots.roster = true),
    ..Feature::EMPTY
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, repeated, tag = "2")]
    groups: Vec<String>,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(bool, tag = "4")]
    is_approved: bool,
    #[prost(bool, tag = "5")]
    is_listed: bool,
    #[prost(string, optional, tag = "6")]
    request: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionRecord {
    #[prost(uint64, tag = "1")]
    version: u64,
}

// === impl Item ===

impl Item {
    /// Nothing is agreed, asked or noted: it need not be kept.
    fn is_void(&self) -> bool {
        !self.is_listed && self.state == State::None && !self.is_approved
    }

    /// Whether the client sees a difference.
    fn looks_like(&self, other: &Self) -> bool {
        self.element_parts() == other.element_parts()
    }

    fn element_parts(&self) -> impl PartialEq + '_ {
        (
            &self.name,
            &self.groups,
            self.state.attribute(),
            self.state.is_pending_out(),
            self.is_approved,
            self.is_listed,
        )
    }

    /// About how many bytes it takes in a roster.
    fn bytes(&self, contact: &Jid) -> usize {
        const TAGS: usize = 64;
        let groups = self.groups.iter().map(|group| group.len() + TAGS / 2);
        let name = self.name.as_ref().map_or(0, |name| name.len());
        TAGS + contact.as_str().len() + name + groups.sum::<usize>()
    }

    fn element(&self, contact: &Jid) -> Element {
        let item = Element::new("item", ns::ROSTER)
            .attr("jid", contact.as_str())
            .attr_opt("name", self.name.as_deref())
            .attr("subscription", self.state.attribute())
            .attr_opt("ask", self.state.is_pending_out().then_some("subscribe"))
            .attr_opt("approved", self.is_approved.then_some("true"));
        let groups = self.groups.iter();
        groups.fold(item, |item, group| item.text_child("group", &**group))
    }

    fn encode(&self) -> Bytes {
        let record = Record {
            name: self.name.as_deref().map(str::to_owned),
            groups: self.groups.iter().map(|group| group.to_string()).collect(),
            state: self.state.code(),
            is_approved: self.is_approved,
            is_listed: self.is_listed,
            request: self.request.as_ref().map(|request| request.to_string()),
        };
        codec::encode(RECORD, &record)
    }

    fn decode(stored: &Bytes) -> Result<Self, String> {
        let record: Record = codec::decode(RECORD, stored).map_err(|error| error.to_string())?;
        let state = State::from_code(record.state).ok_or("an unknown subscription state")?;
        Ok(Self {
            name: record.name.map(Into::into),
            groups: record.groups.into_iter().map(Into::into).collect(),
            state,
            is_approved: record.is_approved,
            is_listed: record.is_listed,
            request: record.request.map(ByteStr::from),
        })
    }
}

/// The contact of this address, whatever the resource; listed or not.
pub fn item<'a>(account: &'a Account, contact: &Jid) -> Option<&'a Item> {
    account.slots.roster.items.get(contact.bare())
}

/// Whether this address may see who of the account is there: its own, or a subscribed contact's.
pub fn may_see(account: &Account, viewer: &Jid) -> bool {
    let own = account.jid.is_same_bare(viewer);
    own || item(account, viewer).is_some_and(|item| item.state.is_seen())
}

/// The addresses of the contacts whose state `picks`.
pub fn contacts(account: &Account, picks: impl Fn(State) -> bool) -> Vec<Jid> {
    let items = account.slots.roster.items.iter();
    let picked = items.filter(|(_, item)| picks(item.state));
    picked.map(|(contact, _)| contact.clone()).collect()
}

/// Every contact, to go through while the roster changes.
pub fn snapshot(account: &Account) -> Vec<(Jid, Item)> {
    let items = account.slots.roster.items.iter();
    items
        .map(|(contact, item)| (contact.clone(), item.clone()))
        .collect()
}

/// Whether the contacts the client sees may be joined by `contact`, or it may become `after`.
pub fn has_room(ctx: &Ctx<'_>, contact: &Jid, after: &Item) -> bool {
    let most = usize::try_from(ctx.shared.config.limits.roster_items).unwrap_or(usize::MAX);
    let items = ctx.account.slots.roster.items.iter();
    let others = items.filter(|(known, item)| item.is_listed && *known != contact);
    let (count, bytes) = others.fold((0, 0), |(count, bytes), (known, item)| {
        (count + 1, bytes + item.bytes(known))
    });
    count < most && bytes + after.bytes(contact) <= ROSTER_BYTES_MAX
}

/// Whether one more stranger may ask: those who wait for an answer are not in the way of the
/// contacts, nor they of each other without end.
pub fn may_ask(account: &Account) -> bool {
    let items = account.slots.roster.items.values();
    items.filter(|item| !item.is_listed).count() < REQUESTS_MAX
}

/// The error for one contact too many.
pub fn too_many() -> StanzaError {
    StanzaError::from(Condition::ResourceConstraint).with_text("the roster is full")
}

/// The payload of a stored request.
pub fn request_payload(xml: &ByteStr) -> Payload {
    Payload::read(xml).unwrap_or_default()
}

/// Stores what has become of a contact and pushes it to the sessions that follow the roster.
pub fn change(ctx: &mut Ctx<'_>, contact: &Jid, before: &Item, after: Item) {
    if *before == after {
        return;
    }
    let looks_same = before.looks_like(&after) || !(before.is_listed || after.is_listed);
    let element = match after.is_listed {
        true => after.element(contact),
        false => removed_element(contact),
    };
    match after.is_void() {
        true => {
            ctx.delete(ROSTER, contact.as_str());
            ctx.account.slots.roster.items.remove(contact);
        }
        false => {
            ctx.put(ROSTER, contact.as_str(), after.encode());
            let items = &mut ctx.account.slots.roster.items;
            items.insert(contact.clone(), after);
        }
    }
    if !looks_same {
        push(ctx, element);
    }
}

/// Delivers to every session that follows the roster or is available: one shared stanza.
pub fn deliver_to_concerned(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let sessions = ctx.account.sessions.iter();
    let concerned = sessions.filter(|session| session.slots.roster || session.is_available());
    let concerned: Vec<SessionId> = concerned.map(|session| session.id).collect();
    for session in concerned {
        ctx.deliver(session, stanza.clone());
    }
}

/// §2.1.3, §2.6.2: the roster, unless the client knows it already.
fn read(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    if let Some(session) = ctx.account.session_of(iq.from()) {
        follow(ctx, session);
    }
    let query = iq.element();
    let roster = &ctx.account.slots.roster;
    let version = roster.version.to_string();
    if query.get("ver") == Some(version.as_str()) {
        return Ok(Reply::Empty);
    }
    let listed = roster.items.iter().filter(|(_, item)| item.is_listed);
    let items: Vec<Element> = listed
        .map(|(contact, item)| item.element(contact))
        .collect();
    let answer = Element::new("query", ns::ROSTER)
        .attr_opt("ver", query.get("ver").map(|_| version))
        .children_from(items);
    Ok(Reply::Payload(answer))
}

/// §2.3 to §2.5: adds, changes or removes one contact.
fn write(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    let query = iq.element();
    let mut items = query
        .children()
        .filter(|child| child.is("item", ns::ROSTER));
    let (Some(wish), None) = (items.next(), items.next()) else {
        return Err(bad("a roster set has exactly one item"));
    };
    let contact = wish.get("jid").ok_or_else(|| bad("the item has no jid"))?;
    let contact = Jid::parse(contact).map_err(|_| StanzaError::from(Condition::JidMalformed))?;
    let contact = contact.to_bare();
    let known = item(ctx.account, &contact).cloned();
    if wish.get("subscription") == Some("remove") {
        let known = known.filter(|known| known.is_listed);
        // What a former owner may have removed and not told.
        let gone = || {
            ctx.is_doubtful().then(|| Item {
                state: State::Both,
                ..Item::default()
            })
        };
        let known = known.or_else(gone).ok_or(Condition::ItemNotFound)?;
        ctx.delete(ROSTER, contact.as_str());
        ctx.account.slots.roster.items.remove(&contact);
        push(ctx, removed_element(&contact));
        subscription::removed(ctx, &contact, &known);
        return Ok(Reply::Empty);
    }
    let before = known.unwrap_or_default();
    let mut after = before.clone();
    after.is_listed = true;
    after.name = name_of(wish)?;
    after.groups = groups_of(wish)?;
    let grows = !before.is_listed || after.bytes(&contact) > before.bytes(&contact);
    if grows && !has_room(ctx, &contact, &after) {
        return Err(too_many());
    }
    let is_same = before == after;
    change(ctx, &contact, &before, after.clone());
    if is_same {
        // §2.1.6: every set is pushed, also one that changes nothing.
        push(ctx, after.element(&contact));
    }
    Ok(Reply::Empty)
}

/// The session gets roster pushes from now on.
fn follow(ctx: &mut Ctx<'_>, session: SessionId) {
    if let Some(session) = ctx.account.session_mut(session) {
        session.slots.roster = true;
        session.is_changed = true;
    }
}

/// A new version, and a push of `item` to every session that follows the roster.
fn push(ctx: &mut Ctx<'_>, item: Element) {
    // Also greater than any version of an account of this name that was removed before.
    let version = ctx.now.unix.max(ctx.account.slots.roster.version + 1);
    ctx.account.slots.roster.version = version;
    let record = VersionRecord { version };
    ctx.put(ROSTER, "", codec::encode(RECORD, &record));
    let query = Element::new("query", ns::ROSTER)
        .attr("ver", version.to_string())
        .child(item);
    for session in followers(ctx) {
        ctx.push(session, &query);
    }
}

/// The "interested resources" of §2.1.6.
fn followers(ctx: &Ctx<'_>) -> Vec<SessionId> {
    let sessions = ctx.account.sessions.iter();
    let followers = sessions.filter(|session| session.slots.roster);
    followers.map(|session| session.id).collect()
}

fn removed_element(contact: &Jid) -> Element {
    Element::new("item", ns::ROSTER)
        .attr("jid", contact.as_str())
        .attr("subscription", "remove")
}

fn name_of(wish: &Element) -> Result<Option<Box<str>>, StanzaError> {
    match wish.get("name") {
        Some(name) if name.len() > NAME_BYTES_MAX => Err(Condition::NotAcceptable.into()),
        name => Ok(name.filter(|name| !name.is_empty()).map(Into::into)),
    }
}

/// §2.3.3: no group twice, none without a name, none too long.
fn groups_of(wish: &Element) -> Result<Vec<Box<str>>, StanzaError> {
    let mut groups: Vec<Box<str>> = Vec::new();
    for group in wish
        .children()
        .filter(|child| child.is("group", ns::ROSTER))
    {
        let name: Box<str> = group.content().into();
        if groups.contains(&name) {
            return Err(bad("a group is named twice"));
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || groups.len() >= GROUPS_MAX {
            return Err(Condition::NotAcceptable.into());
        }
        groups.push(name);
    }
    Ok(groups)
}

fn bad(text: &'static str) -> StanzaError {
    StanzaError::from(Condition::BadRequest).with_text(text)
}

fn load(_: &Jid, stored: &Snapshot, slots: &mut AccountSlots) -> Result<(), String> {
    for (table, key, value) in &stored.rows {
        if *table != ROSTER.id {
            continue;
        }
        if key.is_empty() {
            let record: Result<VersionRecord, _> = codec::decode(RECORD, value);
            slots.roster.version = record.map_err(|error| format!("roster: {error}"))?.version;
            continue;
        }
        let contact = Jid::parse(key).map_err(|_| format!("roster: `{key}` is no address"))?;
        let item = Item::decode(value).map_err(|error| format!("roster of {key}: {error}"))?;
        slots.roster.items.insert(contact, item);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shard::rig::{Rig, jid};

    /// What one of two contacts does.
    #[derive(Debug, Clone, Copy)]
    struct Act {
        by_romeo: bool,
        what: usize,
    }

    const ACTS: usize = 7;

    impl Act {
        fn stanza(self) -> String {
            let to = if self.by_romeo { "juliet@x" } else { "romeo@x" };
            let presence = |type_| format!("<presence type='{type_}' to='{to}'/>");
            let roster = |more| {
                let item = format!("<item jid='{to}'{more}/>");
                format!("<iq type='set' id='r'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
            };
            match self.what {
                0 => presence("subscribe"),
                1 => presence("subscribed"),
                2 => presence("unsubscribe"),
                3 => presence("unsubscribed"),
                4 => roster(" name='N'"),
                5 => roster(" subscription='remove'"),
                _ => "<presence/>".to_owned(),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// RFC 6121 Appendix A: whatever two users do one after the other, both servers (here: both
        /// accounts) agree on who sees whom and who waits for whose answer.
        #[test]
        fn two_rosters_mirror_each_other(
            acts in proptest::collection::vec((any::<bool>(), 0..ACTS), 1..40),
        ) {
            let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
            let mut romeo = rig.online("romeo@x/r");
            let mut juliet = rig.online("juliet@x/j");
            for (by_romeo, what) in acts {
                let act = Act { by_romeo, what };
                let actor = if by_romeo { &mut romeo } else { &mut juliet };
                rig.send(actor, &act.stanza());
                let mut state = |of: &str, contact: &str| -> State {
                    let account = rig.account(of).expect("it has a session");
                    let item = item(account, &jid(contact));
                    item.map(|item| item.state).unwrap_or_default()
                };
                let (his, hers) = (state("romeo@x", "juliet@x"), state("juliet@x", "romeo@x"));
                let context = format!("after {act:?}: {his:?} {hers:?}");
                prop_assert_eq!(his.sees(), hers.is_seen(), "{}", context);
                prop_assert_eq!(hers.sees(), his.is_seen(), "{}", context);
                prop_assert_eq!(his.is_pending_out(), hers.is_pending_in(), "{}", context);
                prop_assert_eq!(hers.is_pending_out(), his.is_pending_in(), "{}", context);
            }
        }
    }
}

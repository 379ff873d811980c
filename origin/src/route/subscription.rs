//! Subscriptions: RFC 6121 §3 and Appendix A as a table.
//!
//! The nine states of an address in a roster, and for each of the eight stanzas whether it goes
//! on (out: to the contact; in: to the user) and which state follows.

use std::sync::Arc;

use couplet_proto::xmpp::error::Condition;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::{bounce, presence};
use crate::features::roster::{self, Item};
use crate::hooks::Ctx;
use crate::hooks::context::Effect;

/// RFC 6121 §A.1: what the user and a contact have agreed upon, and what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Neither sees the other.
    #[default]
    None,
    /// The user has asked.
    NonePendingOut,
    /// The contact has asked.
    NonePendingIn,
    /// Both have asked.
    NonePendingOutIn,
    /// The user sees the contact.
    To,
    /// The user sees the contact, who has asked.
    ToPendingIn,
    /// The contact sees the user.
    From,
    /// The contact sees the user, who has asked.
    FromPendingOut,
    /// Each sees the other.
    Both,
}

/// Which way a stanza goes, as the user's server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the user to the contact.
    Out,
    /// From the contact to the user.
    In,
}

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Out: whether it is routed. In: whether it is delivered.
    pub passes: bool,
    /// The state that follows.
    pub next: State,
}

// === impl State ===

impl State {
    /// Every state, in the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::NonePendingOut,
        Self::NonePendingIn,
        Self::NonePendingOutIn,
        Self::To,
        Self::ToPendingIn,
        Self::From,
        Self::FromPendingOut,
        Self::Both,
    ];

    /// Whether the user sees the contact's presence.
    pub fn sees(self) -> bool {
        matches!(self, Self::To | Self::ToPendingIn | Self::Both)
    }

    /// Whether the contact sees the user's presence.
    pub fn is_seen(self) -> bool {
        matches!(self, Self::From | Self::FromPendingOut | Self::Both)
    }

    /// Whether the user waits for the contact's answer.
    pub fn is_pending_out(self) -> bool {
        let pending = [
            Self::NonePendingOut,
            Self::NonePendingOutIn,
            Self::FromPendingOut,
        ];
        pending.contains(&self)
    }

    /// Whether the contact waits for the user's answer.
    pub fn is_pending_in(self) -> bool {
        let pending = [
            Self::NonePendingIn,
            Self::NonePendingOutIn,
            Self::ToPendingIn,
        ];
        pending.contains(&self)
    }

    /// Whether this may be what followed from the user's answer, which is then repeated: the
    /// contact may not have had it.
    fn is_after(self, answer: Type) -> bool {
        match answer {
            Type::Subscribed => self.is_seen(),
            Type::Unsubscribed => !self.is_seen() && !self.is_pending_in(),
            _ => false,
        }
    }

    /// The `subscription` attribute of a roster item (RFC 6121 §2.1.2.5).
    pub fn attribute(self) -> &'static str {
        match (self.sees(), self.is_seen()) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    /// As it is stored: its place in [`State::ALL`].
    pub fn code(self) -> u32 {
        let place = Self::ALL.iter().position(|state| *state == self);
        u32::try_from(place.unwrap_or_default()).unwrap_or_default()
    }

    /// Reads what [`State::code`] gave.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// RFC 6121 Appendix A: what follows from a subscription stanza. `None` for other types.
    pub fn on(self, way: Way, type_: Type) -> Option<Outcome> {
        let row = TABLE.iter().find(|row| row.0 == way && row.1 == type_)?;
        let column = State::ALL.iter().position(|state| *state == self)?;
        let (passes, next) = row.2[column];
        Some(Outcome { passes, next })
    }
}

/// Bytes of what a request to subscribe may hold: it is kept until it is answered.
const REQUEST_BYTES_MAX: usize = 4096;

type Row = (Way, Type, [(bool, State); 9]);

/// RFC 6121 §A.2 and §A.3. The columns are the states in the order of [`State::ALL`].
const TABLE: [Row; 8] = {
    use State::{
        Both as B, From as F, FromPendingOut as FO, None as N, NonePendingIn as NI,
        NonePendingOut as NO, NonePendingOutIn as NOI, To as T, ToPendingIn as TI,
    };
    const fn y(next: State) -> (bool, State) {
        (true, next)
    }
    const fn n(same: State) -> (bool, State) {
        (false, same)
    }
    // Columns: None, None+Out, None+In, None+Out+In, To, To+In, From, From+Out, Both.
    [
        // A.2.1
        (
            Way::Out,
            Type::Subscribe,
            [
                y(NO),
                y(NO),
                y(NOI),
                y(NOI),
                y(T),
                y(TI),
                y(FO),
                y(FO),
                y(B),
            ],
        ),
        // A.2.2
        (
            Way::Out,
            Type::Unsubscribe,
            [y(N), y(N), y(NI), y(NI), y(N), y(NI), y(F), y(F), y(F)],
        ),
        // A.2.3
        (
            Way::Out,
            Type::Subscribed,
            [n(N), n(NO), y(F), y(FO), n(T), y(B), n(F), n(FO), n(B)],
        ),
        // A.2.4
        (
            Way::Out,
            Type::Unsubscribed,
            [n(N), n(NO), y(N), y(NO), n(T), y(T), y(N), y(NO), y(T)],
        ),
        // A.3.1
        (
            Way::In,
            Type::Subscribe,
            [
                y(NI),
                y(NOI),
                n(NI),
                n(NOI),
                y(TI),
                n(TI),
                n(F),
                n(FO),
                n(B),
            ],
        ),
        // A.3.2
        (
            Way::In,
            Type::Unsubscribe,
            [n(N), n(NO), y(N), y(NO), n(T), y(T), y(N), y(NO), y(T)],
        ),
        // A.3.3
        (
            Way::In,
            Type::Subscribed,
            [n(N), y(T), n(NI), y(TI), n(T), n(TI), n(F), y(B), n(B)],
        ),
        // A.3.4
        (
            Way::In,
            Type::Unsubscribed,
            [n(N), y(N), n(NI), y(NI), y(N), y(NI), n(F), y(F), y(F)],
        ),
    ]
};

/// A client of this account sent a subscription stanza to somebody.
pub fn sent(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let Some(contact) = stanza.to.as_ref().map(Jid::to_bare) else {
        return;
    };
    if contact == ctx.account.jid {
        // Everyone sees their own sessions; there is nothing to agree upon.
        return;
    }
    let before = roster::item(ctx.account, &contact)
        .cloned()
        .unwrap_or_default();
    let Some(outcome) = before.state.on(Way::Out, stanza.type_) else {
        return;
    };
    if stanza.type_ == Type::Subscribe && stanza.payload.len() > REQUEST_BYTES_MAX {
        return bounce::bounce(ctx, stanza, Condition::PolicyViolation);
    }
    let mut after = before.clone();
    after.state = outcome.next;
    match stanza.type_ {
        // §3.1.2: the contact appears in the roster when it was not there.
        Type::Subscribe => after.is_listed = true,
        // §3.4: to approve what has not been asked for is to approve it in advance.
        Type::Subscribed if !outcome.passes && !before.state.is_seen() => {
            after.is_approved = true;
            after.is_listed = true;
        }
        Type::Subscribed => after.is_listed |= outcome.passes,
        Type::Unsubscribed => after.is_approved = false,
        _ => {}
    }
    if !after.state.is_pending_in() {
        after.request = None;
    }
    if after.is_listed && !before.is_listed && !roster::has_room(ctx, &contact, &after) {
        return bounce::bounce(ctx, stanza, roster::too_many());
    }
    roster::change(ctx, &contact, &before, after);
    let is_again = ctx.is_doubtful() && before.state.is_after(stanza.type_);
    if outcome.passes || is_again {
        // §3.1.2 ff.: stamped with the bare address, so that all of the account is meant.
        let mut onward = (**stanza).clone();
        onward.from = Some(ctx.account.jid.clone());
        onward.to = Some(contact.clone());
        ctx.effect(Effect::Route(Arc::new(onward), 0));
    }
    let is_seen = outcome.next.is_seen();
    let was_seen = before.state.is_seen() && !is_again;
    match was_seen {
        // §3.1.5: now the contact sees who is there.
        false if is_seen => presence::show_all(ctx, &contact),
        // §3.2.2: now it does not any more.
        true if !is_seen => presence::hide_all(ctx, &contact),
        _ => {}
    }
}

/// A subscription stanza for this account.
pub fn received(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let contact = stanza.sender().to_bare();
    if contact == ctx.account.jid {
        return;
    }
    let before = roster::item(ctx.account, &contact)
        .cloned()
        .unwrap_or_default();
    let Some(outcome) = before.state.on(Way::In, stanza.type_) else {
        return;
    };
    if stanza.type_ == Type::Subscribe && answer_at_once(ctx, &contact, &before) {
        return;
    }
    if !outcome.passes || (before == Item::default() && !roster::may_ask(ctx.account)) {
        return;
    }
    let mut after = before.clone();
    after.state = outcome.next;
    after.request = match stanza.type_ {
        // §3.1.3: kept until it is answered, and shown again at each login.
        // A copy: the buffer it came in may be much larger.
        Type::Subscribe => Some(stanza.payload.xml().as_str().into()),
        _ if after.state.is_pending_in() => after.request,
        _ => None,
    };
    let mut inward = (**stanza).clone();
    inward.from = Some(contact.clone());
    inward.to = Some(ctx.account.jid.clone());
    let inward = Arc::new(inward);
    match stanza.type_ {
        // §3.1.3: whoever is there may answer.
        Type::Subscribe => presence::deliver_to_available(ctx, &inward),
        // §3.1.6, §3.2.3, §3.3.3: those that follow the roster, available or not; and those that
        // are available, because a bot may never ask for it. Before the push, so that they know
        // whose doing it is.
        _ => roster::deliver_to_concerned(ctx, &inward),
    }
    roster::change(ctx, &contact, &before, after);
    if before.state.is_seen() && !outcome.next.is_seen() {
        // §3.3.3: who unsubscribes sees nobody any more.
        presence::hide_all(ctx, &contact);
    }
}

/// §3.1.3: a request that needs no decision: already granted, or approved in advance.
fn answer_at_once(ctx: &mut Ctx<'_>, contact: &Jid, before: &Item) -> bool {
    let is_granted = before.state.is_seen();
    if !is_granted && !before.is_approved {
        return false;
    }
    if !is_granted {
        let mut after = before.clone();
        let asked = before.state.on(Way::In, Type::Subscribe);
        let granted = asked.and_then(|asked| asked.next.on(Way::Out, Type::Subscribed));
        after.state = granted.map_or(before.state, |granted| granted.next);
        after.request = None;
        roster::change(ctx, contact, before, after);
    }
    let reply = Stanza::new(Kind::Presence, Type::Subscribed)
        .from(ctx.account.jid.clone())
        .to(contact.clone());
    ctx.route(reply);
    if !is_granted {
        presence::show_all(ctx, contact);
    }
    true
}

/// §2.5.2: a contact leaves the roster: every agreement with it ends.
pub fn removed(ctx: &mut Ctx<'_>, contact: &Jid, item: &Item) {
    let own = ctx.account.jid.clone();
    let tell = |type_| {
        Stanza::new(Kind::Presence, type_)
            .from(own.clone())
            .to(contact.clone())
    };
    if item.state.sees() || item.state.is_pending_out() {
        ctx.route(tell(Type::Unsubscribe));
    }
    if item.state.is_seen() || item.state.is_pending_in() {
        ctx.route(tell(Type::Unsubscribed));
    }
    if item.state.is_seen() {
        presence::hide_all(ctx, contact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the contact's server sees the same agreement.
    fn mirror(state: State) -> State {
        let swapped = |other: &&State| {
            state.sees() == other.is_seen()
                && state.is_seen() == other.sees()
                && state.is_pending_out() == other.is_pending_in()
                && state.is_pending_in() == other.is_pending_out()
        };
        *State::ALL
            .iter()
            .find(swapped)
            .expect("the table is symmetric")
    }

    #[test]
    fn both_ends_of_every_stanza_agree() {
        let types = [
            Type::Subscribe,
            Type::Subscribed,
            Type::Unsubscribe,
            Type::Unsubscribed,
        ];
        for state in State::ALL {
            for type_ in types {
                let out = state.on(Way::Out, type_).expect("a subscription stanza");
                let other = match out.passes {
                    true => mirror(state).on(Way::In, type_).map(|inward| inward.next),
                    false => Some(mirror(state)),
                };
                assert_eq!(other, Some(mirror(out.next)), "{state:?} {type_:?}");
            }
            assert_eq!(State::from_code(state.code()), Some(state));
        }
    }
}

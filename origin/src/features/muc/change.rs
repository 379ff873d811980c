//! Change: what follows when somebody's role or affiliation is another one (XEP-0045 §8, §9, §10).
//!
//! Rows first, then the answer to who asked, then what everybody is told: so each change comes in
//! two functions, one that writes and one that tells.

use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::{Affiliation, Role, Standing};
use super::leave;
use super::presence::{self, Said};
use super::record;
use super::room::{Member, Room};
use crate::hooks::Ctx;

/// Characters of a reason that are kept.
const REASON_CHARS: usize = 256;

/// How many of those who are not there everybody hears of, or hear of it, after one request.
const NOTICES_MAX: usize = 10;

/// Who has asked for a change.
#[derive(Debug, Clone)]
pub(super) struct Author {
    /// Its nick, if it is in the room.
    pub(super) nick: Option<Box<str>>,
    pub(super) jid: Jid,
}

/// An affiliation that a bare address is to have.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) jid: Jid,
    pub(super) affiliation: Affiliation,
    pub(super) nick: Nick,
    pub(super) reason: Option<String>,
}

/// What becomes of a reserved nick.
#[derive(Debug, Clone)]
pub(super) enum Nick {
    Stays,
    Goes,
    Is(Box<str>),
}

/// An affiliation that has changed.
#[derive(Debug)]
pub(super) struct Changed {
    jid: Jid,
    before: Affiliation,
    now: Affiliation,
    reason: Option<String>,
}

// === impl Author ===

impl Author {
    /// Whoever has this full address, or another session of the same user.
    pub(super) fn of(room: &Room, jid: &Jid) -> Self {
        let bare = jid.to_bare();
        let own = room.occupants.get(jid);
        let own = own.or_else(|| room.occupants.of_user(&bare).next());
        Self {
            nick: own.map(|occupant| occupant.nick.clone()),
            jid: jid.clone(),
        }
    }

    /// What is said of something it caused.
    pub(super) fn said(&self, codes: &[u16], reason: Option<&str>) -> Said {
        Said {
            codes: codes.to_vec(),
            actor: Some((self.nick.clone(), self.jid.clone())),
            reason: reason.map(str::to_owned),
            ..Said::default()
        }
    }
}

/// What a user is to a room, and the most it is in it.
pub(super) fn standing(ctx: &Ctx<'_>, room: &Room, jid: &Jid) -> Standing {
    let bare = jid.to_bare();
    let roles = room.occupants.of_user(&bare).map(|occupant| occupant.role);
    Standing {
        affiliation: room.affiliation(ctx.shared, &bare),
        role: roles.max().unwrap_or(Role::None),
    }
}

/// Writes a role of everybody under a nick, and says what it was; nobody is told yet.
pub(super) fn write_role(ctx: &mut Ctx<'_>, room: &mut Room, nick: &str, role: Role) -> Role {
    let mut before = role;
    for jid in room.occupants.of_nick(nick).to_vec() {
        if role == Role::None {
            // `leave` does it again; but the answer must wait for it.
            record::delete_occupant(ctx, &jid, false);
            continue;
        }
        if let Some(occupant) = room.occupants.get_mut(&jid) {
            before = occupant.role;
            occupant.role = role;
            record::save_occupant(ctx, occupant, false);
        }
    }
    before
}

/// Tells everybody of a role that was written.
pub(super) fn tell_role(ctx: &mut Ctx<'_>, room: &mut Room, nick: &str, before: Role, said: &Said) {
    let Some(occupant) = room.occupants.first_of_nick(nick).cloned() else {
        return;
    };
    if occupant.role != before && room.settings.shows(before) && !room.settings.shows(occupant.role)
    {
        presence::hide(ctx, room, &occupant);
    }
    presence::show(ctx, room, &occupant.jid, said);
    let (was, is) = (before == Role::Moderator, occupant.role == Role::Moderator);
    let shows_all = room.settings.shows_all();
    // §8: moderators see real addresses, and everybody.
    let sees_more = is && !was && !(room.settings.is_non_anonymous && shows_all);
    let sees_less = was && !is && !shows_all;
    if sees_more || sees_less {
        for jid in room.occupants.of_nick(nick).to_vec() {
            match room.occupants.get(&jid).cloned() {
                Some(session) if sees_more => presence::roster(ctx, room, &session),
                Some(session) => presence::hide_unseen(ctx, room, &session),
                None => {}
            }
        }
    }
}

/// §8.2: removes everybody under a nick.
pub(super) fn kick(ctx: &mut Ctx<'_>, room: &mut Room, nick: &str, said: &Said) {
    for jid in room.occupants.of_nick(nick).to_vec() {
        leave::remove(ctx, room, &jid, said);
    }
}

/// Writes an affiliation; nobody is told yet.
pub(super) fn write_affiliation(ctx: &mut Ctx<'_>, room: &mut Room, wanted: Wanted) -> Changed {
    let Wanted {
        jid,
        affiliation,
        nick,
        reason,
    } = wanted;
    let before = room.affiliation(ctx.shared, &jid);
    let known = room.members.get(&jid);
    let nick = match nick {
        // §9.1: an outcast has no reserved nick; nor has one who is no member any more.
        _ if affiliation < Affiliation::Member => None,
        Nick::Stays => known.and_then(|known| known.nick.clone()),
        Nick::Goes => None,
        Nick::Is(nick) => Some(nick),
    };
    let kept = reason.as_deref().map(|reason| {
        let kept: String = reason.chars().take(REASON_CHARS).collect();
        kept.into_boxed_str()
    });
    let member = Member {
        affiliation,
        nick,
        reason: kept,
    };
    let is_nothing = affiliation == Affiliation::None;
    record::save_member(ctx, &jid, Some(&member).filter(|_| !is_nothing));
    match is_nothing {
        true => room.members.remove(&jid),
        false => room.members.insert(jid.clone(), member),
    };
    if room.requests.remove(&jid) {
        // Whoever wanted to be a member is one now, or may not be one.
        record::save_requests(ctx, &room.requests);
    }
    let now = room.affiliation(ctx.shared, &jid);
    Changed {
        jid,
        before,
        now,
        reason,
    }
}

/// Tells everybody of affiliations that were written, and removes who may not stay.
pub(super) fn tell_affiliations(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    all: &[Changed],
    author: &Author,
) {
    let (mut notices, mut told) = (0, 0);
    for changed in all.iter().filter(|changed| changed.now != changed.before) {
        let nicks = nicks_of(ctx, room, &changed.jid);
        if !nicks.is_empty() {
            tell_affiliation(ctx, room, changed, &nicks, author);
            continue;
        }
        if room.settings.is_non_anonymous && notices < NOTICES_MAX {
            notices += 1;
            tell_of_absent(ctx, room, changed);
        }
        if changed.jid.local().is_none() || changed.jid.is_same_bare(&author.jid) {
            continue;
        }
        let was = changed.before >= Affiliation::Member;
        let is = changed.now >= Affiliation::Member;
        match (was, is) {
            (false, true) if room.settings.is_members_only => invite(ctx, room, changed, author),
            // A stranger is not troubled with what a room thinks of it.
            (false, false) => {}
            _ if told < NOTICES_MAX => {
                told += 1;
                tell_absent(ctx, room, changed);
            }
            _ => {}
        }
    }
}

fn tell_affiliation(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    changed: &Changed,
    nicks: &[Box<str>],
    author: &Author,
) {
    let reason = changed.reason.as_deref();
    let is_banned = changed.now == Affiliation::Outcast;
    let must_go = room.settings.is_members_only && changed.now < Affiliation::Member;
    let codes: &[u16] = match (is_banned, must_go) {
        (true, _) => &[301],
        (false, true) => &[321],
        (false, false) => &[],
    };
    let said = author.said(codes, reason);
    for nick in nicks {
        if !codes.is_empty() {
            kick(ctx, room, nick, &said);
            continue;
        }
        let known = room.occupants.first_of_nick(nick);
        let known = known.map_or(Role::None, |occupant| occupant.role);
        let role = role_after(room, known, changed);
        if role != known {
            write_role(ctx, room, nick, role);
        }
        tell_role(ctx, room, nick, known, &said);
    }
}

/// §5.1.3: what is gained with an affiliation is certain, what is lost with one is not: a
/// moderator by grant stays one, and nobody who was silenced speaks again by losing something.
fn role_after(room: &Room, known: Role, changed: &Changed) -> Role {
    let usual = room.role_of(changed.now);
    match known {
        _ if changed.before >= Affiliation::Admin => usual,
        _ if changed.now > changed.before => known.max(usual),
        Role::Moderator => known,
        _ => known.min(usual),
    }
}

/// The nicks of a user, or of all users of a domain (§9.2) who are nothing else to the room.
fn nicks_of(ctx: &Ctx<'_>, room: &Room, jid: &Jid) -> Vec<Box<str>> {
    let is_meant = |other: &Jid| match jid.local() {
        Some(_) => other.is_same_bare(jid),
        None => {
            let is_own = room.members.contains_key(&other.to_bare());
            let affiliation = room.affiliation(ctx.shared, other);
            other.domain() == jid.domain() && !is_own && affiliation < Affiliation::Member
        }
    };
    let nicks = room.occupants.nicks();
    let meant = nicks.filter(|occupant| is_meant(&occupant.jid));
    meant.map(|occupant| occupant.nick.clone()).collect()
}

/// §10.3 ff.: in a non-anonymous room everybody hears of one who is not there.
fn tell_of_absent(ctx: &mut Ctx<'_>, room: &mut Room, changed: &Changed) {
    if room.occupants.is_empty() {
        return;
    }
    let item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", changed.now.name())
        .attr("jid", changed.jid.as_str())
        .attr("role", Role::None.name());
    let stanza = Stanza::new(Kind::Message, Type::Normal)
        .id(ctx.random_id())
        .from(room.jid.clone())
        .child(&Element::new("x", ns::MUC_USER).child(item));
    let to = room.occupants.everybody().to_vec();
    presence::send(ctx, vec![stanza.into()], to);
}

/// §18.1: out of courtesy one who is not there is told what it is to the room now.
fn tell_absent(ctx: &mut Ctx<'_>, room: &Room, changed: &Changed) {
    let mut item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", changed.now.name())
        .attr("jid", changed.jid.as_str())
        .attr("role", Role::None.name());
    if let Some(reason) = &changed.reason {
        item = item.text_child("reason", reason.as_str());
    }
    let status = Element::new("status", ns::MUC_USER).attr("code", "101");
    let stanza = Stanza::new(Kind::Message, Type::Normal)
        .id(ctx.random_id())
        .from(room.jid.clone())
        .to(changed.jid.clone())
        .child(&Element::new("x", ns::MUC_USER).child(item).child(status))
        // Who is offline sees it on entering; a long list must not fill mailboxes.
        .child(&Element::new("no-store", ns::HINTS));
    ctx.route(stanza);
}

/// §9.5: whoever may now enter a members-only room is invited.
fn invite(ctx: &mut Ctx<'_>, room: &Room, changed: &Changed, author: &Author) {
    let mut invite = Element::new("invite", ns::MUC_USER).attr("from", author.jid.bare());
    if let Some(reason) = &changed.reason {
        invite = invite.text_child("reason", reason.as_str());
    }
    let mut x = Element::new("x", ns::MUC_USER).child(invite);
    if let Some(password) = &room.settings.password {
        x = x.text_child("password", password.as_str());
    }
    let stanza = Stanza::new(Kind::Message, Type::Normal)
        .id(ctx.random_id())
        .from(room.jid.clone())
        .to(changed.jid.clone())
        .child(&x);
    ctx.route(stanza);
}

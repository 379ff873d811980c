//! Info: what service discovery tells of a room (XEP-0045 §6.4, §6.5, §7.12).

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::Form;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};

use super::affiliation::{Affiliation, Role};
use super::commands::Command;
use super::room::Room;
use super::{archive, avatar};
use crate::hooks::context::Shared;
use crate::hooks::{Ctx, Reply};

/// §7.12: asks for one's own reserved nick.
const RESERVED_NICK: &str = "x-roomuser-item";

/// Addresses that are told as contacts.
const CONTACTS_MAX: usize = 20;

/// What every room can do.
const FEATURES: &[&str] = &[
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::MUC,
    ns::SELF_PING,
    ns::MUC_STABLE_ID,
    ns::PING,
    ns::OCCUPANT_ID,
    ns::COMMANDS,
    ns::HATS,
    ns::MODERATE,
    ns::RETRACT,
    ns::STANZA_ID,
    ns::VCARD,
];

/// §6.4: anybody is told, also of a room that is not listed: who asks knows its address.
pub(super) fn info(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    query: &Element,
) -> Result<Reply, StanzaError> {
    let answer = match query.get("node") {
        None => {
            let features = features(ctx.shared, room).into_iter();
            let features =
                features.map(|var| Element::new("feature", ns::DISCO_INFO).attr("var", var));
            let form = form(ctx, room, from).into_element();
            let name = match room.settings.name.as_str() {
                "" => room.jid.local().unwrap_or_default(),
                name => name,
            };
            let answer = Element::new("query", ns::DISCO_INFO).child(identity(name));
            answer.children_from(features).child(form)
        }
        Some(RESERVED_NICK) => {
            let member = room.members.get(&from.to_bare());
            let nick = member.and_then(|member| member.nick.as_deref());
            Element::new("query", ns::DISCO_INFO)
                .attr("node", RESERVED_NICK)
                .children_from(nick.map(identity))
        }
        // §18.1.1: everything may be sent through the room.
        Some(ns::MUC_TRAFFIC) => return Err(Condition::ServiceUnavailable.into()),
        Some(node) => {
            let command = Command::of_node(node).ok_or(Condition::ItemNotFound)?;
            described(command)
        }
    };
    Ok(Reply::Payload(answer))
}

/// §6.5: who is there is told to those who are there.
pub(super) fn items(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    query: &Element,
) -> Result<Reply, StanzaError> {
    match query.get("node") {
        None => {}
        Some(ns::COMMANDS) => return Ok(Reply::Payload(commands(ctx, room, from))),
        Some(_) => return Err(Condition::ItemNotFound.into()),
    }
    let answer = Element::new("query", ns::DISCO_ITEMS);
    let Some(asker) = room.occupants.get(from) else {
        return Ok(Reply::Payload(answer));
    };
    let is_seen = |role| room.settings.shows(role) || asker.role > Role::Participant;
    let seen = room
        .occupants
        .nicks()
        .filter(|other| is_seen(other.role) || other.nick == asker.nick);
    let jids = seen.filter_map(|other| room.occupant_jid(&other.nick));
    let items = jids.map(|jid| Element::new("item", ns::DISCO_ITEMS).attr("jid", jid.as_str()));
    Ok(Reply::Payload(answer.children_from(items)))
}

/// XEP-0050 §2.2: the commands that one may give.
fn commands(ctx: &Ctx<'_>, room: &Room, from: &Jid) -> Element {
    let all = Command::ALL.into_iter();
    let items = all.filter(|command| command.is_for(ctx, room, from));
    let items = items.map(|command| {
        Element::new("item", ns::DISCO_ITEMS)
            .attr("jid", room.jid.as_str())
            .attr("node", command.node())
            .attr("name", command.title())
    });
    Element::new("query", ns::DISCO_ITEMS)
        .attr("node", ns::COMMANDS)
        .children_from(items)
}

/// XEP-0050 §2.3: what a command is.
fn described(command: Command) -> Element {
    let identity = Element::new("identity", ns::DISCO_INFO)
        .attr("category", "automation")
        .attr("type", "command-node")
        .attr("name", command.title());
    let features = [ns::COMMANDS, ns::DATA_FORMS].into_iter();
    let features = features.map(|var| Element::new("feature", ns::DISCO_INFO).attr("var", var));
    Element::new("query", ns::DISCO_INFO)
        .attr("node", command.node())
        .child(identity)
        .children_from(features)
}

fn identity(name: &str) -> Element {
    Element::new("identity", ns::DISCO_INFO)
        .attr("category", "conference")
        .attr("type", "text")
        .attr("name", name)
}

/// §15.3: what kind of room it is, and what it can do.
fn features(shared: &Shared, room: &Room) -> Vec<&'static str> {
    let settings = &room.settings;
    let either = |is_on, on, off| if is_on { on } else { off };
    let mut features = FEATURES.to_vec();
    features.extend([
        either(settings.is_persistent, "muc_persistent", "muc_temporary"),
        either(settings.is_public, "muc_public", "muc_hidden"),
        either(settings.is_members_only, "muc_membersonly", "muc_open"),
        either(settings.is_moderated, "muc_moderated", "muc_unmoderated"),
        either(
            settings.is_non_anonymous,
            "muc_nonanonymous",
            "muc_semianonymous",
        ),
        either(
            settings.password.is_some(),
            "muc_passwordprotected",
            "muc_unsecured",
        ),
    ]);
    if archive::is_on(shared, room) {
        features.extend(archive::FEATURES);
    }
    if settings.may_register {
        features.push(ns::REGISTER);
    }
    features.sort_unstable();
    features
}

/// §15.5.4. A stranger is not told who owns the room, nor what is talked about, where it may not
/// enter.
fn form(ctx: &Ctx<'_>, room: &Room, from: &Jid) -> Form {
    let settings = &room.settings;
    let affiliation = room.affiliation(ctx.shared, from);
    let is_insider = affiliation >= Affiliation::Member || room.occupants.get(from).is_some();
    let may_enter = affiliation > Affiliation::Outcast
        && !settings.is_members_only
        && settings.password.is_none();
    let text = |form: Form, var: &str, value: &str| match value {
        "" => form,
        value => form.field(var, [value]),
    };
    let flag = |is_on| if is_on { "1" } else { "0" };
    let form = Form::result(ns::MUC_INFO);
    let form = text(form, "muc#roominfo_description", &settings.description);
    let form = text(form, "muc#roominfo_lang", &settings.lang);
    let form = text(form, "muc#roomconfig_roomname", &settings.name);
    let form = text(form, "muc#roomconfig_pubsub", &settings.pubsub);
    let occupants = room.occupants.nicks().count().to_string();
    let history = settings
        .history_max
        .min(ctx.shared.config.muc.history_max)
        .to_string();
    let slow = settings.slow_mode_secs.to_string();
    let mut form = form
        .field("muc#roominfo_occupants", [occupants.as_str()])
        .field(
            "muc#roominfo_subjectmod",
            [flag(settings.may_change_subject)],
        )
        .field(
            "muc#roomconfig_changesubject",
            [flag(settings.may_change_subject)],
        )
        .field("muc#maxhistoryfetch", [history.as_str()])
        .typed_field(
            "muc#roominfo_slow_mode_duration",
            "text-single",
            [slow.as_str()],
        );
    if is_insider || may_enter {
        let subject = room.subject.as_ref();
        let subject = subject.and_then(|it| it.stanza.payload.find("subject", ns::CLIENT));
        let subject = subject.map(|it| it.content()).unwrap_or_default();
        form = text(form, "muc#roominfo_subject", &subject);
    }
    if let Some(hash) = room.hats.hash() {
        form = form.typed_field("hats#hash", "text-single", [hash.as_str()]);
    }
    let mut avatar = avatar::of(room).peekable();
    if avatar.peek().is_some() {
        form = form.typed_field("muc#roominfo_avatarhash", "text-multi", avatar);
    }
    if is_insider && settings.is_non_anonymous {
        let owners = room.members.iter();
        let owners = owners.filter(|(_, member)| member.affiliation == Affiliation::Owner);
        let owners = owners.map(|(jid, _)| jid.as_str()).take(CONTACTS_MAX);
        form = form.field("muc#roominfo_contactjid", owners);
    }
    form
}

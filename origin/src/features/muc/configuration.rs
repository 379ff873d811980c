//! Configuration: the settings of a room as a form (XEP-0045 §10.1.3, §10.2, §15.5.3).
//!
//! A field is known by its name without `muc#roomconfig_`. What other servers call otherwise is
//! taken under both names: then the one that brings a change counts, as a client sends back
//! whatever it was given.

use couplet_proto::xmpp::form::{Field, Form};
use couplet_proto::xmpp::ns;

use super::affiliation::{Affiliation, Role};
use super::room::Room;
use super::settings::{Allowed, Settings};
use crate::config::Muc;

/// What most fields' names begin with.
const PREFIX: &str = "muc#roomconfig_";

/// The one field whose name does not.
const HISTORY: &str = "muc#maxhistoryfetch";

/// Bytes of a name, password or URI.
const TEXT_MAX: usize = 1023;

/// Bytes of a description.
const DESCRIPTION_MAX: usize = 4096;

/// Bytes of a language tag.
const LANG_MAX: usize = 35;

/// A day between two messages is as slow as it gets.
const SLOW_MODE_MAX: u32 = 86_400;

/// What is offered for `maxusers`.
const OCCUPANTS: [u32; 8] = [10, 20, 30, 50, 100, 500, 1000, 5000];

/// Roles that may be chosen.
const ROLES: [Role; 3] = [Role::Moderator, Role::Participant, Role::Visitor];

/// The name of a field as the settings know it; `None` for one that is none of theirs.
pub(super) fn name_of(var: &str) -> Option<&str> {
    match var {
        HISTORY => Some("maxhistoryfetch"),
        // COMPAT: ejabberd's name; may go when its clients know another.
        "mam" => Some("mam"),
        _ => var.strip_prefix(PREFIX),
    }
}

/// The settings with these fields changed, each known by its name as above. Unknown fields do
/// nothing (XEP-0004 §3.2).
///
/// # Errors
/// Why a value cannot be, in words.
pub(super) fn changed<'a>(
    settings: &Settings,
    fields: impl Iterator<Item = (&'a str, &'a [String])>,
    limits: &Muc,
) -> Result<Settings, String> {
    let mut changed = settings.clone();
    let (mut is_protected, mut secret) = (None, None);
    for (name, values) in fields {
        match name {
            "passwordprotectedroom" => is_protected = Some(boolean(name, values)?),
            "roomsecret" => secret = Some(text(name, values, TEXT_MAX)?),
            _ => {
                let mut alone = settings.clone();
                set(&mut alone, name, values, limits)?;
                if alone != *settings {
                    set(&mut changed, name, values, limits)?;
                }
            }
        }
    }
    let secret = match secret {
        Some(secret) => Some(secret).filter(|secret| !secret.is_empty()),
        None => settings.password.clone(),
    };
    // Who sends a password alone wants it to be asked for.
    changed.password = match is_protected {
        Some(false) => None,
        Some(true) if secret.is_none() => return Err("the password is blank".to_owned()),
        Some(true) | None => secret,
    };
    Ok(changed)
}

/// The form for the owners of a room, with what is chosen now.
pub(super) fn form(room: &Room, limits: &Muc) -> Form {
    let settings = &room.settings;
    let title = format!(
        "Configuration for \"{}\" Room",
        room.jid.local().unwrap_or_default()
    );
    let instructions = "Complete this form to modify the configuration of your room.";
    let form = Form::to_fill_in(ns::MUC_CONFIG, &title, instructions);
    let form = texts(form, settings);
    let form = switches(form, settings);
    let form = choices(form, settings, limits);
    lists(form, room)
}

fn texts(form: Form, settings: &Settings) -> Form {
    let texts = [
        (
            "roomname",
            "text-single",
            "Natural-Language Room Name",
            &settings.name,
        ),
        (
            "roomdesc",
            "text-single",
            "Short Description of Room",
            &settings.description,
        ),
        (
            "lang",
            "text-single",
            "Natural Language for Room Discussions",
            &settings.lang,
        ),
        (
            "pubsub",
            "text-single",
            "XMPP URI of Associated Publish-Subscribe Node",
            &settings.pubsub,
        ),
    ];
    texts
        .into_iter()
        .fold(form, |form, (name, type_, label, value)| {
            form.with(field(name, type_, label).values([value.as_str()]))
        })
}

fn switches(form: Form, settings: &Settings) -> Form {
    let switches = [
        (
            "persistentroom",
            "Make Room Persistent?",
            settings.is_persistent,
        ),
        (
            "publicroom",
            "Make Room Publicly Searchable?",
            settings.is_public,
        ),
        (
            "moderatedroom",
            "Make Room Moderated?",
            settings.is_moderated,
        ),
        (
            "membersonly",
            "Make Room Members-Only?",
            settings.is_members_only,
        ),
        (
            "changesubject",
            "Allow Occupants to Change Subject?",
            settings.may_change_subject,
        ),
        (
            "allowinvites",
            "Allow Members to Invite Others?",
            settings.may_invite,
        ),
        (
            "allowvoicerequests",
            "Allow Visitors to Request Voice?",
            settings.may_request_voice,
        ),
        (
            "allowregister",
            "Allow Users to Register with the Room?",
            settings.may_register,
        ),
        ("enablelogging", "Enable Logging?", settings.is_archived),
        (
            "enablearchiving",
            "Archive Messages (XEP-0313)?",
            settings.is_archived,
        ),
        (
            "passwordprotectedroom",
            "Password Required to Enter?",
            settings.password.is_some(),
        ),
    ];
    let form = switches
        .into_iter()
        .fold(form, |form, (name, label, is_on)| {
            let value = if is_on { "1" } else { "0" };
            form.with(field(name, "boolean", label).values([value]))
        });
    let secret = settings.password.as_deref().unwrap_or_default();
    form.with(field("roomsecret", "text-private", "Password").values([secret]))
}

fn choices(form: Form, settings: &Settings, limits: &Muc) -> Form {
    let whois = if settings.is_non_anonymous {
        "anyone"
    } else {
        "moderators"
    };
    let whois = field("whois", "list-single", "Who May Discover Real JIDs?")
        .values([whois])
        .option("Moderators Only", "moderators")
        .option("Anyone", "anyone");
    let labels = ["Anyone", "Anyone with Voice", "Moderators Only", "Nobody"];
    let private = field("allowpm", "list-single", "Who Can Send Private Messages?")
        .values([settings.private_messages.name()]);
    let private = Allowed::ALL
        .into_iter()
        .zip(labels)
        .fold(private, |field, (allowed, label)| {
            field.option(label, allowed.name())
        });
    let history = settings.history_max.min(limits.history_max).to_string();
    let label = "Maximum Number of History Messages Returned by Room";
    let history = Field::new(HISTORY, "text-single", label)
        .within(0, limits.history_max.into())
        .values([history.as_str()]);
    let slow = settings.slow_mode_secs.to_string();
    let slow = field("slow_mode_duration", "text-single", "Slow Mode")
        .described("0: off; otherwise a user may send a message every so many seconds.")
        .within(0, SLOW_MODE_MAX.into())
        .values([slow.as_str()]);
    form.with(whois)
        .with(private)
        .with(occupants(settings, limits))
        .with(roles(
            "presencebroadcast",
            "Roles for which Presence is Broadcasted",
            &settings.presence_of,
        ))
        .with(roles(
            "getmemberlist",
            "Roles that May Retrieve Member List",
            &settings.member_list_for,
        ))
        .with(history)
        .with(slow)
}

fn occupants(settings: &Settings, limits: &Muc) -> Field {
    let chosen = settings.occupants_max;
    let mut offered: Vec<u32> = OCCUPANTS.into_iter().collect();
    offered.push(chosen);
    offered.sort_unstable();
    offered.dedup();
    let value = most(chosen);
    let field =
        field("maxusers", "list-single", "Maximum Number of Occupants").values([value.as_str()]);
    let offered = offered
        .into_iter()
        .filter(|many| (1..=limits.occupants_max).contains(many));
    let field = offered.fold(field, |field, many| {
        field.option(&many.to_string(), &many.to_string())
    });
    field.option("None", "none")
}

fn roles(name: &str, label: &str, chosen: &[Role]) -> Field {
    let field = field(name, "list-multi", label).values(chosen.iter().map(|role| role.name()));
    let labels = ["Moderator", "Participant", "Visitor"];
    ROLES
        .into_iter()
        .zip(labels)
        .fold(field, |field, (role, label)| {
            field.option(label, role.name())
        })
}

fn lists(form: Form, room: &Room) -> Form {
    let lists = [
        ("roomadmins", "Full List of Room Admins", Affiliation::Admin),
        ("roomowners", "Full List of Room Owners", Affiliation::Owner),
    ];
    lists
        .into_iter()
        .fold(form, |form, (name, label, affiliation)| {
            let listed = room.members.iter();
            let listed = listed.filter(|(_, member)| member.affiliation == affiliation);
            let listed = listed.map(|(jid, _)| jid.as_str());
            form.with(field(name, "jid-multi", label).values(listed))
        })
}

fn field(name: &str, type_: &str, label: &str) -> Field {
    Field::new(&format!("{PREFIX}{name}"), type_, label)
}

fn most(occupants: u32) -> String {
    match occupants {
        0 => "none".to_owned(),
        many => many.to_string(),
    }
}

/// Sets what a field is about.
fn set(it: &mut Settings, name: &str, values: &[String], limits: &Muc) -> Result<(), String> {
    match name {
        "roomname" => it.name = text(name, values, TEXT_MAX)?,
        "roomdesc" => it.description = text(name, values, DESCRIPTION_MAX)?,
        "lang" => it.lang = lang(name, values)?,
        "pubsub" => it.pubsub = text(name, values, TEXT_MAX)?,
        "persistentroom" => it.is_persistent = boolean(name, values)?,
        "publicroom" => it.is_public = boolean(name, values)?,
        "moderatedroom" => it.is_moderated = boolean(name, values)?,
        "membersonly" => it.is_members_only = boolean(name, values)?,
        "changesubject" => it.may_change_subject = boolean(name, values)?,
        "allowinvites" => it.may_invite = boolean(name, values)?,
        "allowvoicerequests" => it.may_request_voice = boolean(name, values)?,
        "allowregister" => it.may_register = boolean(name, values)?,
        "enablelogging" | "enablearchiving" | "mam" => it.is_archived = boolean(name, values)?,
        "whois" => {
            it.is_non_anonymous = match only(name, values)? {
                "anyone" => true,
                "moderators" => false,
                // Fully anonymous rooms are no more (§10.1.3).
                other => return Err(format!("{name}: {other}")),
            };
        }
        "allowpm" => {
            let value = only(name, values)?;
            it.private_messages =
                Allowed::from_name(value).ok_or_else(|| format!("{name}: {value}"))?;
        }
        "maxusers" => {
            it.occupants_max = match only(name, values)? {
                "none" => 0,
                _ => number(name, values, 1, limits.occupants_max)?,
            };
        }
        "presencebroadcast" => it.presence_of = chosen_roles(name, values)?,
        "getmemberlist" => it.member_list_for = chosen_roles(name, values)?,
        // A larger number than the server keeps is no mistake.
        "maxhistoryfetch" | "historylength" => {
            it.history_max = number(name, values, 0, u32::MAX)?.min(limits.history_max);
        }
        "slow_mode_duration" => it.slow_mode_secs = number(name, values, 0, SLOW_MODE_MAX)?,
        _ => {}
    }
    Ok(())
}

fn only<'a>(name: &str, values: &'a [String]) -> Result<&'a str, String> {
    match values {
        [value] => Ok(value.trim()),
        _ => Err(format!("{name}: one value is needed")),
    }
}

/// XEP-0004 §3.3.
fn boolean(name: &str, values: &[String]) -> Result<bool, String> {
    match only(name, values)? {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(format!("{name}: {other} is neither true nor false")),
    }
}

fn number(name: &str, values: &[String], least: u32, most: u32) -> Result<u32, String> {
    let number = only(name, values)?.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{name}: a number from {least} to {most} is needed"))
}

/// Clients send a description in several lines as several values.
fn text(name: &str, values: &[String], most: usize) -> Result<String, String> {
    let text = values.join("\n");
    match text.len() <= most {
        true => Ok(text),
        false => Err(format!("{name}: longer than {most} bytes")),
    }
}

/// RFC 5646 §2.1, as far as characters go.
fn lang(name: &str, values: &[String]) -> Result<String, String> {
    let tag = text(name, values, LANG_MAX)?;
    match tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        true => Ok(tag),
        false => Err(format!("{name}: {tag} is no language tag")),
    }
}

fn chosen_roles(name: &str, values: &[String]) -> Result<Vec<Role>, String> {
    let unknown = |value: &String| !ROLES.iter().any(|role| role.name() == value);
    if let Some(value) = values.iter().find(|value| unknown(value)) {
        return Err(format!("{name}: there is no role {value}"));
    }
    let chosen = ROLES.into_iter();
    Ok(chosen
        .filter(|role| values.iter().any(|value| value == role.name()))
        .collect())
}

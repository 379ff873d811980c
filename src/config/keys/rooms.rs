//! Keys of multi-user chat: where rooms are, who may make them, what they are like at first.

use couplet_origin::config::{FieldKind, ROOM_FIELDS, RoomCreation, RoomField};
use couplet_proto::Jid;
use toml::Value;

use serde_json::json;

use super::{Key, key};
use crate::config::Settings;
use crate::config::layer::Given;
use crate::config::value::Wrong;

/// In an origin and in `couplet serve`.
pub(super) const KEYS: &[Key] = &[
    key("muc.services", |s, g| {
        g.texts().map(|value| s.origin.muc.services = value)
    })
    .shown(|s| json!(s.origin.muc.services)),
    key("muc.creation", |s, g| {
        s.origin.muc.creation = match g.text()?.as_str() {
            "anyone" => RoomCreation::Anyone,
            "local" => RoomCreation::Local,
            "admins" => RoomCreation::Admins,
            other => {
                return Err(format!(
                    "must be \"anyone\", \"local\" or \"admins\", but is {other:?}"
                ));
            }
        };
        Ok(())
    })
    .shown(|s| match s.origin.muc.creation {
        RoomCreation::Anyone => json!("anyone"),
        RoomCreation::Local => json!("local"),
        RoomCreation::Admins => json!("admins"),
    }),
    key("muc.admins", |s, g| {
        g.texts().map(|value| s.origin.muc.admins = value)
    })
    .shown(|s| json!(s.origin.muc.admins)),
    key("muc.history_max", |s, g| {
        g.number(0..=10_000)
            .map(|value| s.origin.muc.history_max = value)
    })
    .shown(|s| json!(s.origin.muc.history_max)),
    key("muc.occupants_max", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.muc.occupants_max = value)
    })
    .shown(|s| json!(s.origin.muc.occupants_max)),
    key("muc.rooms_per_session", |s, g| {
        g.number(1..=5000)
            .map(|value| s.origin.muc.rooms_per_session = value)
    })
    .shown(|s| json!(s.origin.muc.rooms_per_session)),
    key("muc.affiliations_max", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.muc.affiliations_max = value)
    })
    .shown(|s| json!(s.origin.muc.affiliations_max)),
    key("muc.joins_per_second", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.muc.joins_per_second = value)
    })
    .shown(|s| json!(s.origin.muc.joins_per_second)),
    key("muc.messages_per_second", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.muc.messages_per_second = value)
    })
    .shown(|s| json!(s.origin.muc.messages_per_second)),
    key("muc.messages_per_occupant", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.muc.messages_per_occupant = value)
    })
    .shown(|s| json!(s.origin.muc.messages_per_occupant)),
    key("muc.archive", |s, g| {
        g.truth().map(|value| s.origin.muc.archive = value)
    })
    .shown(|s| json!(s.origin.muc.archive)),
    of_every("muc.defaults.allowinvites"),
    of_every("muc.defaults.allowpm"),
    of_every("muc.defaults.allowregister"),
    of_every("muc.defaults.allowvoicerequests"),
    of_every("muc.defaults.changesubject"),
    of_every("muc.defaults.enablelogging"),
    of_every("muc.defaults.getmemberlist"),
    of_every("muc.defaults.historylength"),
    of_every("muc.defaults.lang"),
    of_every("muc.defaults.maxusers"),
    of_every("muc.defaults.membersonly"),
    of_every("muc.defaults.moderatedroom"),
    of_every("muc.defaults.persistentroom"),
    of_every("muc.defaults.presencebroadcast"),
    of_every("muc.defaults.publicroom"),
    of_every("muc.defaults.slow_mode_duration"),
    of_every("muc.defaults.whois"),
    key("muc.defaults.*.*", of_one_service),
];

/// What a new room is like, on every service.
const fn of_every(name: &'static str) -> Key {
    key(name, of_every_service).shown_by_name(|s, name| {
        let name = name.rsplit('.').next().unwrap_or_default();
        let everywhere = s.origin.muc.defaults.get("");
        let values = everywhere.and_then(|fields| fields.get(name));
        match (RoomField::find(name), values) {
            (Some(field), Some(values)) => written(field.kind, values),
            _ => serde_json::Value::Null,
        }
    })
}

/// The values of a form as an operator writes them.
fn written(kind: FieldKind, values: &[String]) -> serde_json::Value {
    let first = values.first().map(String::as_str).unwrap_or_default();
    match kind {
        FieldKind::Truth => json!(first == "1"),
        FieldKind::Number(_) | FieldKind::NumberOrNone(_) => first
            .parse::<u32>()
            .map_or(json!(first), |number| json!(number)),
        FieldKind::Language | FieldKind::One(_) => json!(first),
        FieldKind::Some(_) => json!(values),
    }
}

fn of_every_service(settings: &mut Settings, given: &Given) -> Result<(), Wrong> {
    set(settings, given, String::new(), &given.path[2])
}

/// What it is like on one.
fn of_one_service(settings: &mut Settings, given: &Given) -> Result<(), Wrong> {
    let service = &given.path[2];
    let service = Jid::parse(service).map_or_else(|_| service.clone(), |it| it.domain().into());
    set(settings, given, service, &given.path[3])
}

fn set(settings: &mut Settings, given: &Given, service: String, name: &str) -> Result<(), Wrong> {
    let Some(field) = RoomField::find(name) else {
        let known: Vec<_> = ROOM_FIELDS.iter().map(|field| field.name).collect();
        let known = known.join(", ");
        return Err(format!(
            "rooms have no {name:?} to choose; they have {known}"
        ));
    };
    let values = read(field.kind, given)?;
    let fields = settings.origin.muc.defaults.entry(service).or_default();
    fields.insert(name.to_owned(), values);
    Ok(())
}

/// The values as a form has them.
fn read(kind: FieldKind, given: &Given) -> Result<Vec<String>, Wrong> {
    let one = match kind {
        FieldKind::Truth => u8::from(given.truth()?).to_string(),
        FieldKind::Language => language(given)?,
        FieldKind::Number(max) => given.number::<u32>(0..=max.into())?.to_string(),
        FieldKind::NumberOrNone(_) if given.value.as_str() == Some("none") => "none".to_owned(),
        FieldKind::NumberOrNone(max) => {
            let number = given.number::<u32>(1..=max.into());
            let number = number.map_err(|wrong| format!("{wrong}; or \"none\""))?;
            number.to_string()
        }
        FieldKind::One(known) => {
            let text = given.text()?;
            among(known, &text)?;
            text
        }
        FieldKind::Some(known) => {
            let mut texts = given.texts()?;
            texts.iter().try_for_each(|text| among(known, text))?;
            texts.sort_unstable();
            texts.dedup();
            return Ok(texts);
        }
    };
    Ok(vec![one])
}

/// RFC 5646 §2.1, as far as it can be told without the registry; an empty one is none.
fn language(given: &Given) -> Result<String, Wrong> {
    let Value::String(tag) = &given.value else {
        return given.text();
    };
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    match tag.is_empty() || tag.split('-').all(is_part) {
        true => Ok(tag.clone()),
        false => Err(format!(
            "{tag:?} is not a language such as \"en\" or \"pt-BR\""
        )),
    }
}

fn among(known: &[&str], text: &str) -> Result<(), Wrong> {
    match known.contains(&text) {
        true => Ok(()),
        false => Err(format!("{text:?} is none of {}", known.join(", "))),
    }
}

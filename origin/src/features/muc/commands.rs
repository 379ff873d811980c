//! Commands: how owners manage the hats of a room (XEP-0317 §3.2 ff., by XEP-0050). Each command
//! is one form and one answer, so that nothing has to be remembered in between.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Field, Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};

use super::affiliation::{Affiliation, Privilege};
use super::hats::{HATS_MAX, Hat, WEARERS_MAX, WORN_MAX};
use super::presence::Said;
use super::room::Room;
use super::{announce, presence, record};
use crate::hooks::{Ctx, Reply};

const TITLE: &str = "hats#title";
const URI: &str = "hats#uri";
const HUE: &str = "hats#hue";
const WEARER: &str = "hats#jid";

/// Bytes of a title or URI.
const TEXT_MAX: usize = 512;

/// What can be done, by the last part of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Create,
    Destroy,
    List,
    Assign,
    Unassign,
    ListAssigned,
}

/// What follows from a command.
struct Done {
    /// Who is shown anew.
    wearers: Vec<Jid>,
    /// The list of hats is another (§3.2).
    is_list_changed: bool,
}

// === impl Command ===

impl Command {
    pub(super) const ALL: [Self; 6] = [
        Self::Create,
        Self::Destroy,
        Self::List,
        Self::Assign,
        Self::Unassign,
        Self::ListAssigned,
    ];

    pub(super) fn node(self) -> &'static str {
        match self {
            Self::Create => "urn:xmpp:hats:commands:create",
            Self::Destroy => "urn:xmpp:hats:commands:destroy",
            Self::List => "urn:xmpp:hats:commands:list",
            Self::Assign => "urn:xmpp:hats:commands:assign",
            Self::Unassign => "urn:xmpp:hats:commands:unassign",
            Self::ListAssigned => "urn:xmpp:hats:commands:list-assigned",
        }
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Create => "Creating a Hat",
            Self::Destroy => "Destroying a Hat",
            Self::List => "Hats List",
            Self::Assign => "Assigning a Hat",
            Self::Unassign => "Removing a Hat",
            Self::ListAssigned => "Assigned Hats List",
        }
    }

    pub(super) fn of_node(node: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.node() == node)
    }

    /// Whether somebody may give it: owners all; who belongs to the room sees which hats there are.
    pub(super) fn is_for(self, ctx: &Ctx<'_>, room: &Room, from: &Jid) -> bool {
        let affiliation = room.affiliation(ctx.shared, from);
        let is_there = room.occupants.get(from).is_some() || affiliation >= Affiliation::Member;
        affiliation.may(Privilege::Configure) || (self == Self::List && is_there)
    }
}

/// A command, given for the first time or with its form.
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    request: &Element,
) -> Result<Reply, StanzaError> {
    let command = request.get("node").and_then(Command::of_node);
    let command = command.ok_or(Condition::ItemNotFound)?;
    if !command.is_for(ctx, room, stanza.sender()) {
        return Err(Condition::Forbidden.into());
    }
    let session = match request.get("sessionid") {
        Some(session) => session.to_owned(),
        None => ctx.random_id(),
    };
    let answer = |status: &str| {
        Element::new("command", ns::COMMANDS)
            .attr("node", command.node())
            .attr("sessionid", session.as_str())
            .attr("status", status)
    };
    if request.get("action") == Some("cancel") {
        return Ok(Reply::Payload(answer("canceled")));
    }
    if matches!(command, Command::List | Command::ListAssigned) {
        return Ok(Reply::Payload(
            answer("completed").child(listed(room, command)),
        ));
    }
    let Some(form) = Submitted::in_child_of(request) else {
        return Ok(Reply::Payload(
            answer("executing").child(blank(room, command)),
        ));
    };
    let done = carry_out(room, command, &form)?;
    record::save_hats(ctx, &room.hats);
    ctx.route(stanza.result(Some(&answer("completed"))));
    if done.is_list_changed {
        announce::codes(ctx, room, &[104], stanza.sender());
    }
    for wearer in done.wearers {
        show(ctx, room, &wearer);
    }
    Ok(Reply::Later)
}

fn carry_out(room: &mut Room, command: Command, form: &Submitted) -> Result<Done, StanzaError> {
    if form
        .value("FORM_TYPE")
        .is_some_and(|type_| type_ != ns::HATS_COMMANDS)
    {
        return Err(Condition::BadRequest.into());
    }
    let uri = text(form, URI)?;
    let hats = &mut room.hats;
    if command == Command::Create {
        // §3.2: with a known URI it is another title or colour.
        if !hats.all.contains_key(&uri) && hats.all.len() >= HATS_MAX {
            return Err(Condition::ResourceConstraint.into());
        }
        let hat = Hat {
            title: text(form, TITLE)?,
            hue: hue(form)?,
        };
        let wearers = hats.wearers(&uri);
        hats.all.insert(uri, hat);
        return Ok(Done {
            wearers,
            is_list_changed: true,
        });
    }
    if !hats.all.contains_key(&uri) {
        return Err(Condition::ItemNotFound.into());
    }
    if command == Command::Destroy {
        // §3.3: whoever wears it loses it.
        let wearers = hats.wearers(&uri);
        for wearer in &wearers {
            hats.take(wearer, &uri);
        }
        hats.all.remove(&uri);
        return Ok(Done {
            wearers,
            is_list_changed: true,
        });
    }
    let wearer = Jid::parse(&text(form, WEARER)?).map_err(|_| Condition::JidMalformed)?;
    let wearer = wearer.to_bare();
    match command {
        Command::Unassign if !hats.take(&wearer, &uri) => {
            return Err(Condition::ItemNotFound.into());
        }
        Command::Unassign => {}
        _ => assign(room, &wearer, uri)?,
    }
    Ok(Done {
        wearers: vec![wearer],
        is_list_changed: false,
    })
}

fn assign(room: &mut Room, wearer: &Jid, uri: String) -> Result<(), StanzaError> {
    let worn = &mut room.hats.worn;
    if !worn.contains_key(wearer) && worn.len() >= WEARERS_MAX {
        return Err(Condition::ResourceConstraint.into());
    }
    let own = worn.entry(wearer.clone()).or_default();
    if own.contains(&uri) {
        return Ok(());
    }
    if own.len() >= WORN_MAX {
        return Err(Condition::ResourceConstraint.into());
    }
    own.push(uri);
    Ok(())
}

/// Everybody sees a user with other hats.
fn show(ctx: &mut Ctx<'_>, room: &mut Room, wearer: &Jid) {
    let nicks = room.occupants.nicks();
    let own = nicks.filter(|occupant| occupant.jid.is_same_bare(wearer));
    let own: Vec<Jid> = own.map(|occupant| occupant.jid.clone()).collect();
    for jid in own {
        presence::show(ctx, room, &jid, &Said::default());
    }
}

/// The form of a command.
fn blank(room: &Room, command: Command) -> Element {
    let instructions = "Fill out this form.";
    let form = Form::to_fill_in(ns::HATS_COMMANDS, command.title(), instructions);
    let form = match command {
        Command::Create => form
            .with(Field::new(TITLE, "text-single", "Hat Title").required())
            .with(Field::new(URI, "text-single", "Hat URI").required())
            .with(Field::new(HUE, "text-single", "Hat Hue")),
        Command::Destroy => form.with(choice(room)),
        _ => form
            .with(Field::new(WEARER, "jid-single", "User Address").required())
            .with(choice(room)),
    };
    form.into_element()
}

fn choice(room: &Room) -> Field {
    let hats = room.hats.all.iter();
    let field = Field::new(URI, "list-single", "The role");
    hats.fold(field, |field, (uri, hat)| field.option(&hat.title, uri))
}

/// §3.4, §3.7: a table.
fn listed(room: &Room, command: Command) -> Element {
    let hats = &room.hats;
    let hat = |uri: &str| {
        let hat = hats.all.get(uri)?;
        let hue = hat.hue.clone().unwrap_or_default();
        Some([
            (TITLE, hat.title.clone()),
            (URI, uri.to_owned()),
            (HUE, hue),
        ])
    };
    let rows: Vec<Vec<(&str, String)>> = match command {
        Command::ListAssigned => {
            let worn = hats.worn.iter();
            let worn = worn.flat_map(|(jid, uris)| uris.iter().map(move |uri| (jid, uri)));
            let row = |(jid, uri): (&Jid, &String)| {
                let mut row = vec![(WEARER, jid.as_str().to_owned())];
                row.extend(hat(uri)?);
                Some(row)
            };
            worn.filter_map(row).collect()
        }
        _ => hats
            .all
            .keys()
            .filter_map(|uri| Some(hat(uri)?.to_vec()))
            .collect(),
    };
    let columns: &[&str] = match command {
        Command::ListAssigned => &[WEARER, TITLE, URI, HUE],
        _ => &[TITLE, URI, HUE],
    };
    let field = |var: &str| Element::new("field", ns::DATA_FORMS).attr("var", var);
    let reported = columns.iter().map(|var| field(var));
    let reported = Element::new("reported", ns::DATA_FORMS).children_from(reported);
    let items = rows.into_iter().map(|row| {
        let fields = row
            .into_iter()
            .map(|(var, value)| field(var).text_child("value", value));
        Element::new("item", ns::DATA_FORMS).children_from(fields)
    });
    Element::new("x", ns::DATA_FORMS)
        .attr("type", "result")
        .text_child("title", command.title())
        .child(reported)
        .children_from(items)
}

fn text(form: &Submitted, var: &str) -> Result<String, StanzaError> {
    let value = form.value(var).unwrap_or_default().trim();
    match value.len() {
        0 => Err(Condition::BadRequest.into()),
        1..=TEXT_MAX => Ok(value.to_owned()),
        _ => Err(Condition::NotAcceptable.into()),
    }
}

/// XEP-0392 §4: an angle in degrees.
fn hue(form: &Submitted) -> Result<Option<String>, StanzaError> {
    let value = form.value(HUE).unwrap_or_default().trim();
    if value.is_empty() {
        return Ok(None);
    }
    let angle = value.parse::<f64>().ok();
    let is_angle = angle.is_some_and(|angle| (0.0..=360.0).contains(&angle));
    match is_angle && value.len() <= 16 {
        true => Ok(Some(value.to_owned())),
        false => Err(Condition::NotAcceptable.into()),
    }
}

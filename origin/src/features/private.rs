//! XEP-0049: Private XML Storage.

use std::collections::BTreeSet;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};

use crate::hooks::{Answer, Ask, Asked, Ctx, Feature, Iq, Reply, Spec, Target, get, set};
use crate::session::AccountSlots;
use crate::store::{Snapshot, Table, codec};

/// The names of the elements that are stored: most accounts have one or two.
#[derive(Debug, Default)]
pub struct PerAccount(BTreeSet<Box<str>>);

/// Nothing is remembered.
pub type PerSession = ();

/// Which elements there are: empty values by name.
const NAMES: Table = Table {
    id: 4,
    name: "private-names",
    is_resident: true,
};

/// The elements by name. They may be large, and are asked for once a session.
const ELEMENTS: Table = Table {
    id: 5,
    name: "private",
    is_resident: false,
};

/// The first version of the stored record.
const RECORD: u8 = 1;

/// How many elements one account may store; one more is refused with `resource-constraint`.
const ELEMENTS_MAX: usize = 100;

/// Bytes of an element's name and namespace; more is refused with `policy-violation`.
const NAME_BYTES_MAX: usize = 1024;

pub(super) static FEATURE: Feature = Feature {
    name: "private",
    spec: Spec::new("XEP-0049", "Private XML Storage", "1.2"),
    disco: &[ns::PRIVATE],
    disco_account: &[ns::PRIVATE],
    iq: &[
        (get(Target::Account, ns::PRIVATE, "query"), read),
        (set(Target::Account, ns::PRIVATE, "query"), write),
    ],
    tables: &[NAMES, ELEMENTS],
    load: Some(load),
    ..Feature::EMPTY
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, tag = "1")]
    xml: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NameRecord {}

/// "Client Retrieves Private Data": one element, named by an empty one.
fn read(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    let query = iq.element();
    let mut wanted = query.children();
    let (Some(wanted), None) = (wanted.next(), wanted.next()) else {
        return Err(Condition::NotAcceptable.into());
    };
    let name = name_of(wanted)?;
    if !ctx.account.slots.private.0.contains(&*name) {
        let empty = Element::new(wanted.name().to_owned(), wanted.ns().to_owned());
        return Ok(Reply::Payload(wrapped(empty)));
    }
    Ok(ctx.ask(Ask::Value(ELEMENTS, name), Some(iq.stanza), found))
}

/// The element is there.
fn found(_: &mut Ctx<'_>, answer: Answer, _: &Asked) -> Result<Reply, StanzaError> {
    let Answer::Value(Some(value)) = answer else {
        // Removed by another session between the question and the answer.
        return Err(Condition::ItemNotFound.into());
    };
    let record = codec::decode::<Record>(RECORD, &value).ok();
    let element = record.and_then(|record| Element::parse(&record.xml, ns::CLIENT));
    let element = element.ok_or(Condition::InternalServerError)?;
    Ok(Reply::Payload(wrapped(element)))
}

/// "Client Stores Private Data": each element replaces the one of its name; an empty one removes
/// it, for that is what reading nothing gives.
fn write(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    let query = iq.element();
    let mut changes: Vec<(Box<str>, Option<Record>)> = Vec::new();
    for element in query.children() {
        let name = name_of(element)?;
        // "multiple elements qualified by the same namespace": not of several, none twice.
        let is_first = query.children().next().map(Element::ns) == Some(element.ns());
        if !is_first || changes.iter().any(|(known, _)| *known == name) {
            return Err(Condition::BadRequest.into());
        }
        let xml = element.to_xml();
        let most = ctx.shared.config.limits.private_bytes;
        if xml.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            return Err(Condition::PolicyViolation.into());
        }
        let is_empty = *element == Element::new(element.name().to_owned(), element.ns().to_owned());
        changes.push((name, (!is_empty).then_some(Record { xml })));
    }
    if changes.is_empty() {
        return Err(Condition::NotAcceptable.into());
    }
    let stored = &ctx.account.slots.private.0;
    let added = changes
        .iter()
        .filter(|(name, record)| record.is_some() && !stored.contains(name));
    if stored.len() + added.count() > ELEMENTS_MAX {
        return Err(Condition::ResourceConstraint.into());
    }
    for (name, record) in changes {
        store(ctx, name, record.as_ref());
    }
    Ok(Reply::Empty)
}

fn store(ctx: &mut Ctx<'_>, name: Box<str>, record: Option<&Record>) {
    match record {
        Some(record) => {
            ctx.put(ELEMENTS, &name, codec::encode(RECORD, record));
            if !ctx.account.slots.private.0.contains(&name) {
                ctx.put(NAMES, &name, codec::encode(RECORD, &NameRecord {}));
                ctx.account.slots.private.0.insert(name);
            }
        }
        None if ctx.account.slots.private.0.remove(&name) => {
            ctx.delete(ELEMENTS, &name);
            ctx.delete(NAMES, &name);
        }
        None => {}
    }
}

/// What an element is stored under: its name and its own namespace.
fn name_of(element: &Element) -> Result<Box<str>, StanzaError> {
    let (name, ns) = (element.name(), element.ns());
    if [ns::PRIVATE, ns::CLIENT].contains(&ns) || ns.is_empty() {
        return Err(Condition::NotAcceptable.into());
    }
    if name.len() + ns.len() > NAME_BYTES_MAX {
        return Err(Condition::PolicyViolation.into());
    }
    // No name of an element has a space.
    Ok(format!("{name} {ns}").into())
}

fn wrapped(element: Element) -> Element {
    Element::new("query", ns::PRIVATE).child(element)
}

fn load(_: &Jid, stored: &Snapshot, slots: &mut AccountSlots) -> Result<(), String> {
    let rows = stored.rows.iter().filter(|(table, ..)| *table == NAMES.id);
    slots.private.0 = rows.map(|(_, name, _)| name.clone()).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::Rig;

    fn iq(type_: &str, content: &str) -> String {
        format!("<iq type='{type_}' id='p'><query xmlns='jabber:iq:private'>{content}</query></iq>")
    }

    #[test]
    fn elements_are_stored_by_name_and_removed_by_an_empty_one() {
        let mut rig = Rig::new(1, &["romeo@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let (first, second) = ("<a xmlns='urn:a'/>", "<b xmlns='urn:a'/>");
        let full = "<a xmlns='urn:a'><deep>1 &lt; 2</deep></a>";
        assert!(rig.ask(&mut romeo, &iq("get", first)).contains(first));
        let both = format!("{full}<b xmlns='urn:a'><c/></b>");
        assert!(rig.ask(&mut romeo, &iq("set", &both)).contains("'result'"));
        assert!(rig.ask(&mut romeo, &iq("get", first)).contains(full));
        assert!(rig.ask(&mut romeo, &iq("set", first)).contains("'result'"));
        assert!(rig.ask(&mut romeo, &iq("get", first)).contains(first));
        assert!(rig.ask(&mut romeo, &iq("get", second)).contains("<c/>"));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let mut rig = Rig::with(1, &["romeo@x"], |config| config.limits.private_bytes = 64);
        let mut romeo = rig.online("romeo@x/r");
        let long = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(64));
        let cases = [
            ("get", String::new(), "not-acceptable"),
            ("set", String::new(), "not-acceptable"),
            (
                "get",
                "<a xmlns='urn:a'/><b xmlns='urn:b'/>".to_owned(),
                "not-acceptable",
            ),
            (
                "set",
                "<a xmlns='urn:a'/><b xmlns='urn:b'/>".to_owned(),
                "bad-request",
            ),
            ("set", "<a/>".to_owned(), "not-acceptable"),
            ("set", long, "policy-violation"),
        ];
        for (type_, content, condition) in cases {
            let answer = rig.ask(&mut romeo, &iq(type_, &content));
            assert!(
                answer.contains(&format!("<{condition} ")),
                "{content}: {answer}"
            );
        }
    }
}

//! XEP-0433: Extended Channel Search, of the rooms of one service.

use std::cmp::Reverse;

use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::xmpp::form::{Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::rsm::{Given, Wanted};
use couplet_proto::{Element, Jid};

use super::PAGE_MAX;
use super::directory::{Directory, Entry};

/// Sorts by address: pages without gaps and repetitions.
const BY_ADDRESS: &str = "{urn:xmpp:channel-search:0:order}address";

/// Sorts by the number of occupants, the fullest first.
const BY_OCCUPANTS: &str = "{urn:xmpp:channel-search:0:order}nusers";

/// What all rooms are.
const TYPE: &str = "xep-0045";

/// Bytes of what is searched for, and words in it; more is too much to compare with every room.
const TERMS_BYTES_MAX: usize = 1000;
const TERMS_MAX: usize = 16;

/// What is searched for.
#[derive(Debug)]
struct Search {
    /// Each must be in one of the chosen places; none for all rooms.
    terms: Vec<String>,
    is_in_name: bool,
    is_in_description: bool,
    is_in_address: bool,
    occupants_min: u32,
    /// Whether rooms are wanted at all, or only other channels.
    wants_rooms: bool,
    is_by_occupants: bool,
}

/// Answers a request for the form, or a search (§4.2).
pub(super) fn answer(
    directory: Option<&Directory>,
    service: &Jid,
    request: &Element,
) -> Result<Element, StanzaError> {
    if request.find("x", ns::DATA_FORMS).is_none() {
        return Ok(form());
    }
    let submitted = Submitted::in_child_of(request).ok_or(Condition::BadRequest)?;
    let search = Search::read(&submitted)?;
    let wanted = Wanted::read(request).map_err(|_| Condition::BadRequest)?;
    let rooms = directory.into_iter().flat_map(Directory::iter);
    let mut found: Vec<_> = rooms
        .filter(|(name, entry)| search.finds(name, entry))
        .collect();
    if search.is_by_occupants {
        // Stable: equally full ones stay in the order of their addresses.
        found.sort_by_key(|(_, entry)| Reverse(entry.listing.occupants));
    }
    let ids: Vec<String> = found
        .iter()
        .map(|(name, entry)| search.id(name, entry))
        .collect();
    let part = wanted.choose(&ids, PAGE_MAX);
    let items = found[part.clone()].iter().filter_map(|(name, entry)| {
        let jid = Jid::from_parts(Some(name), service.domain(), None).ok()?;
        Some(item(&jid, entry))
    });
    let given = Given::of(&ids, &part).to_element();
    let result = Element::new("result", ns::CHANNEL_SEARCH).children_from(items);
    Ok(result.child(given))
}

// === impl Search ===

impl Search {
    fn read(form: &Submitted) -> Result<Self, StanzaError> {
        if form.value("FORM_TYPE") != Some(ns::CHANNEL_SEARCH_PARAMS) {
            return Err(Condition::BadRequest.into());
        }
        let is_set = |name, otherwise| match form.value(name) {
            None => Ok(otherwise),
            Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(_) => Err(StanzaError::from(Condition::BadRequest)),
        };
        let text = form.value("q").filter(|text| !text.is_empty());
        let terms = match (text, is_set("all", false)?) {
            (Some(_), true) => {
                return Err(conflict(
                    &["all", "q"],
                    "all rooms, or those with these words?",
                ));
            }
            (Some(text), false) => terms(text)?,
            (None, true) => Vec::new(),
            (None, false) => {
                let error = refusal(Condition::BadRequest, "no-search-conditions");
                return Err(error.with_type(ErrorType::Cancel));
            }
        };
        let search = Self {
            is_in_name: is_set("sinname", true)?,
            is_in_description: is_set("sindescription", true)?,
            // The example and the table of the specification do not agree on its name.
            is_in_address: is_set("sinaddress", true)? && is_set("sinaddr", true)?,
            occupants_min: match form.value("min_users").map(str::trim) {
                None | Some("") => 0,
                Some(number) => number.parse().map_err(|_| Condition::BadRequest)?,
            },
            wants_rooms: form
                .values("types")
                .is_none_or(|types| types.iter().any(|type_| type_ == TYPE)),
            is_by_occupants: match form.value("key") {
                None | Some("" | BY_OCCUPANTS) => true,
                Some(BY_ADDRESS) => false,
                Some(_) => {
                    let error = refusal(Condition::FeatureNotImplemented, "invalid-sort-key");
                    return Err(error.with_type(ErrorType::Modify));
                }
            },
            terms,
        };
        let is_anywhere = search.is_in_name || search.is_in_description || search.is_in_address;
        if !search.terms.is_empty() && !is_anywhere {
            let fields = ["q", "sinname", "sindescription", "sinaddr"];
            return Err(conflict(&fields, "words have to be looked for somewhere"));
        }
        Ok(search)
    }

    fn finds(&self, name: &str, entry: &Entry) -> bool {
        let (title, description) = &entry.folded;
        let has = |term: &String| {
            (self.is_in_name && title.contains(term))
                || (self.is_in_description && description.contains(term))
                || (self.is_in_address && name.contains(term))
        };
        self.wants_rooms
            && entry.listing.occupants >= self.occupants_min
            && self.terms.iter().all(has)
    }

    /// The id of a result: in the order of results.
    fn id(&self, name: &str, entry: &Entry) -> String {
        match self.is_by_occupants {
            true => format!("{:08x}{name}", u32::MAX - entry.listing.occupants),
            false => name.to_owned(),
        }
    }
}

/// §4.2.2.3: words, in which at least one letter or digit is.
fn terms(text: &str) -> Result<Vec<String>, StanzaError> {
    let unfit =
        |why: &'static str| refusal(Condition::BadRequest, "invalid-search-terms").with_text(why);
    if text.len() > TERMS_BYTES_MAX {
        return Err(unfit("there are too many search terms"));
    }
    let words = text.split_whitespace();
    let words = words.filter(|word| word.chars().any(char::is_alphanumeric));
    let terms: Vec<String> = words.map(str::to_lowercase).collect();
    match terms.len() {
        0 => Err(unfit("search terms need a letter or a digit")),
        1..=TERMS_MAX => Ok(terms),
        _ => Err(unfit("there are too many search terms")),
    }
}

fn refusal(condition: Condition, name: &'static str) -> StanzaError {
    StanzaError::from(condition).with_application(Element::new(name, ns::CHANNEL_SEARCH_ERROR))
}

/// §4.2.2.6.
fn conflict(fields: &[&'static str], why: &'static str) -> StanzaError {
    let conflict = Element::new("conflicting-fields", ns::CHANNEL_SEARCH_ERROR);
    let fields = fields.iter();
    let conflict = fields.fold(conflict, |conflict, field| {
        conflict.text_child("var", *field)
    });
    let error = StanzaError::from(Condition::BadRequest).with_application(conflict);
    error.with_text(why)
}

/// §6.2.
fn item(jid: &Jid, entry: &Entry) -> Element {
    let listing = &entry.listing;
    let item = Element::new("item", ns::CHANNEL_SEARCH).attr("address", jid.as_str());
    let texts = [
        ("name", &listing.name),
        ("description", &listing.description),
        ("language", &listing.lang),
    ];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let item = texts.fold(item, |item, (name, text)| {
        item.text_child(name, text.as_str())
    });
    let item = item
        .text_child("nusers", listing.occupants.to_string())
        .text_child("service-type", TYPE);
    let item = match listing.is_open {
        true => item.text_child("is-open", "true"),
        false => item,
    };
    match listing.is_non_anonymous {
        // The specification leaves the word for this one open.
        true => item,
        false => item.text_child("anonymity-mode", "muc_semianonymous"),
    }
}

/// §4.2.1.
fn form() -> Element {
    let keys = [
        ("Number of online users", BY_OCCUPANTS),
        ("Address", BY_ADDRESS),
    ];
    let types = [("Multi-User Chats", TYPE)];
    let form = Form::of_fields(ns::CHANNEL_SEARCH_PARAMS).into_element();
    let form = form
        .child(field("q", "text-single", "Search for"))
        .child(field("all", "boolean", "Return all entries"))
        .child(field("sinname", "boolean", "Search in name").text_child("value", "true"));
    let in_description = field("sindescription", "boolean", "Search in description");
    let in_address = field("sinaddr", "boolean", "Search in address");
    let minimum = field("min_users", "text-single", "Minimum number of users");
    let form = form
        .child(in_description.text_child("value", "true"))
        .child(in_address.text_child("value", "true"))
        .child(minimum.text_child("value", "0"))
        .child(choice("types", "list-multi", "Service types", TYPE, &types))
        .child(choice(
            "key",
            "list-single",
            "Sort results by",
            BY_OCCUPANTS,
            &keys,
        ));
    Element::new("search", ns::CHANNEL_SEARCH).child(form)
}

fn field(var: &'static str, type_: &'static str, label: &'static str) -> Element {
    Element::new("field", ns::DATA_FORMS)
        .attr("var", var)
        .attr("type", type_)
        .attr("label", label)
}

fn choice(
    var: &'static str,
    type_: &'static str,
    label: &'static str,
    value: &'static str,
    options: &[(&'static str, &'static str)],
) -> Element {
    let options = options.iter().map(|(label, value)| {
        let option = Element::new("option", ns::DATA_FORMS).attr("label", *label);
        option.text_child("value", *value)
    });
    let field = field(var, type_, label).text_child("value", value);
    field.children_from(options)
}

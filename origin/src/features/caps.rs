//! XEP-0115: Entity Capabilities. The server's own; clients' pass with their presence.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use couplet_proto::Element;
use couplet_proto::xmpp::ns;
use sha1::{Digest, Sha1};

use crate::config::Config;
use crate::hooks::pipeline::Pipeline;
use crate::hooks::{Feature, Spec, Target};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

/// Names the software (§4).
pub const NODE: &str = env!("CARGO_PKG_REPOSITORY");

pub(super) static FEATURE: Feature = Feature {
    name: "caps",
    spec: Spec::new("XEP-0115", "Entity Capabilities", "1.6.0")
        .note("the server's own in the stream features; clients' pass with presence"),
    disco: &[ns::CAPS],
    ..Feature::EMPTY
};

/// What an entity says of itself: the answer to an information request (XEP-0030 §3.1).
#[derive(Debug, Clone)]
pub struct Info {
    /// What it is.
    pub identity: Identity,
    /// What it can do, sorted, each once.
    pub features: Vec<&'static str>,
    /// What else there is to say (XEP-0128), each with a `FORM_TYPE`.
    pub forms: Vec<Element>,
}

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the registered categories.
    pub category: &'static str,
    /// Of the category's types.
    pub type_: &'static str,
    /// For people; may be empty.
    pub name: &'static str,
}

// === impl Info ===

impl Info {
    /// What the server says of itself.
    pub fn of_server(pipeline: &Pipeline, config: &Config) -> Self {
        let forms = pipeline.forms.iter().filter_map(|form| form(config));
        Self {
            identity: Identity {
                category: "server",
                type_: "im",
                name: "Couplet",
            },
            features: pipeline.disco(Target::Host).to_vec(),
            forms: forms.map(|form| form.into_element()).collect(),
        }
    }

    /// The verification string (§5.1).
    pub fn ver(&self) -> String {
        STANDARD.encode(Sha1::digest(self.to_hash()))
    }

    /// §5.1: what is hashed. Everything is in the order of bytes ("i;octet").
    fn to_hash(&self) -> String {
        let Identity {
            category,
            type_,
            name,
        } = self.identity;
        let mut text = format!("{category}/{type_}//{name}<");
        let mut features = self.features.clone();
        features.sort_unstable();
        for feature in features {
            text.push_str(feature);
            text.push('<');
        }
        let mut forms: Vec<String> = self.forms.iter().filter_map(form_to_hash).collect();
        forms.sort_unstable();
        text.extend(forms);
        text
    }
}

/// A form as it is hashed: its type first, so that forms sort by it.
fn form_to_hash(form: &Element) -> Option<String> {
    let values = |field: &Element| -> Vec<String> {
        let values = field.children().filter(|child| child.name() == "value");
        let mut values: Vec<String> = values.map(Element::content).collect();
        values.sort_unstable();
        values
    };
    let mut fields: Vec<(&str, Vec<String>)> = form
        .children()
        .filter_map(|field| Some((field.get("var")?, values(field))))
        .collect();
    fields.sort_unstable();
    let place = fields.iter().position(|(var, _)| *var == "FORM_TYPE")?;
    let (_, form_type) = fields.remove(place);
    let mut text = format!("{}<", form_type.first()?);
    for (var, values) in fields {
        for part in [var.to_owned()].into_iter().chain(values) {
            text.push_str(&part);
            text.push('<');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use couplet_proto::xmpp::form::Form;

    fn client(name: &'static str) -> Info {
        Info {
            identity: Identity {
                category: "client",
                type_: "pc",
                name,
            },
            features: vec![
                "http://jabber.org/protocol/muc",
                "http://jabber.org/protocol/disco#info",
                "http://jabber.org/protocol/disco#items",
                "http://jabber.org/protocol/caps",
            ],
            forms: Vec::new(),
        }
    }

    /// XEP-0115 §5.2.
    #[test]
    fn the_simple_example_of_the_specification_has_its_hash() {
        assert_eq!(client("Exodus 0.9.1").ver(), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    /// XEP-0115 §5.3, the part that a single identity has.
    #[test]
    fn forms_are_hashed_by_type_field_and_value() {
        let mut info = client("Psi 0.11");
        let form = Form::result("urn:xmpp:dataforms:softwareinfo")
            .field("os", ["Mac"])
            .field("ip_version", ["ipv6", "ipv4"]);
        info.forms.push(form.into_element());
        let hashed = info.to_hash();
        let form = "urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<";
        assert!(hashed.ends_with(form), "{hashed}");
    }

    #[test]
    fn a_form_without_a_type_is_left_out() {
        let mut info = client("");
        info.forms
            .push(Element::new("x", ns::DATA_FORMS).attr("type", "result"));
        assert_eq!(info.ver(), client("").ver());
    }
}

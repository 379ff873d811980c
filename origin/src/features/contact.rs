//! XEP-0157: Contact Addresses for XMPP Services, in a form as of XEP-0128.

use couplet_proto::xmpp::form::Form;
use couplet_proto::xmpp::ns;

use crate::config::Config;
use crate::hooks::{Feature, Spec};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "contact",
    spec: Spec::new("XEP-0157", "Contact Addresses for XMPP Services", "1.1.1"),
    also: &[Spec::new(
        "XEP-0128",
        "Service Discovery Extensions",
        "1.0.1",
    )],
    form: Some(form),
    ..Feature::EMPTY
};

/// §2: one field for each kind of address the operator has named.
fn form(config: &Config) -> Option<Form> {
    let named = config.contact.iter().filter(|(_, uris)| !uris.is_empty());
    let mut form = None;
    for (kind, uris) in named {
        let known = form.unwrap_or_else(|| Form::result(ns::SERVER_INFO));
        form = Some(known.field(kind, uris.iter().map(String::as_str)));
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_form_when_an_address_is_named() {
        let mut config = Config::default();
        assert!(form(&config).is_none());
        let abuse = vec!["mailto:a@b".to_owned()];
        config.contact.insert("abuse-addresses".to_owned(), abuse);
        config
            .contact
            .insert("sales-addresses".to_owned(), Vec::new());
        let form = form(&config).expect("an address is named").into_element();
        assert_eq!(
            form.to_xml(),
            "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
             <value>http://jabber.org/network/serverinfo</value></field>\
             <field var='abuse-addresses'><value>mailto:a@b</value></field></x>"
        );
    }
}

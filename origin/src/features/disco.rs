//! XEP-0030: Service Discovery on the server and on accounts.

use couplet_proto::Element;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;

use super::caps::{self, Identity, Info};
use super::{muc, roster};
use crate::hooks::{Ctx, Feature, Iq, Reply, Spec, Target, get};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "disco",
    spec: Spec::new("XEP-0030", "Service Discovery", "2.5.0"),
    disco: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
    disco_account: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
    iq: &[
        (get(Target::Host, ns::DISCO_INFO, "query"), host_info),
        (get(Target::Host, ns::DISCO_ITEMS, "query"), host_items),
        (
            get(Target::AnyAccount, ns::DISCO_INFO, "query"),
            account_info,
        ),
        (
            get(Target::AnyAccount, ns::DISCO_ITEMS, "query"),
            account_items,
        ),
    ],
    ..Feature::EMPTY
};

/// §3.1: what the server is and can do. Its one node is that of its capabilities (XEP-0115 §6.2).
fn host_info(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    let info = Info::of_server(&ctx.shared.pipeline, &ctx.shared.config);
    let query = iq.element();
    match query.get("node") {
        Some(node) if !is_caps_node(node, &info) => Err(Condition::ItemNotFound.into()),
        node => Ok(Reply::Payload(answer(&info, node))),
    }
}

/// §4.1, XEP-0045 §6.1: the services.
fn host_items(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    if iq.element().get("node").is_some() {
        return Err(Condition::ItemNotFound.into());
    }
    let served = ctx.shared.board.served();
    let items = served.services().iter().map(|service| {
        Element::new("item", ns::DISCO_ITEMS)
            .attr("jid", service.as_str())
            .attr("name", muc::NAME)
    });
    let query = Element::new("query", ns::DISCO_ITEMS);
    Ok(Reply::Payload(query.children_from(items)))
}

/// §3.1: an account says that it is one, to whom it may.
fn account_info(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq)?;
    let info = Info {
        identity: Identity {
            category: "account",
            type_: "registered",
            name: "",
        },
        features: ctx.shared.pipeline.disco(Target::AnyAccount).to_vec(),
        forms: Vec::new(),
    };
    Ok(Reply::Payload(answer(&info, None)))
}

/// §4.1: the resources that are there.
fn account_items(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq)?;
    let available = ctx.account.available();
    let items = available.map(|(session, _)| {
        Element::new("item", ns::DISCO_ITEMS).attr("jid", session.jid.as_str())
    });
    let query = Element::new("query", ns::DISCO_ITEMS);
    Ok(Reply::Payload(query.children_from(items)))
}

/// §8: only who may see the account's presence is told anything; everyone else gets what they
/// would get if there were no such account. (RFC 6121 §8.5.1 decides what that is: an error for
/// items too, where §8 would have an empty list.)
fn admit(ctx: &Ctx<'_>, iq: &Iq<'_>) -> Result<(), StanzaError> {
    if !roster::may_see(ctx.account, iq.from()) {
        return Err(Condition::ServiceUnavailable.into());
    }
    match iq.element().get("node") {
        Some(_) => Err(Condition::ItemNotFound.into()),
        None => Ok(()),
    }
}

fn is_caps_node(node: &str, info: &Info) -> bool {
    let ver = node
        .strip_prefix(caps::NODE)
        .and_then(|rest| rest.strip_prefix('#'));
    ver.is_some_and(|ver| ver == info.ver())
}

/// §3.1; the node asked for is mirrored (§3.2).
pub(super) fn answer(info: &Info, node: Option<&str>) -> Element {
    let Identity {
        category,
        type_,
        name,
    } = info.identity;
    let identity = Element::new("identity", ns::DISCO_INFO)
        .attr("category", category)
        .attr("type", type_)
        .attr_opt("name", (!name.is_empty()).then_some(name));
    let features = info.features.iter();
    let features =
        features.map(|feature| Element::new("feature", ns::DISCO_INFO).attr("var", *feature));
    Element::new("query", ns::DISCO_INFO)
        .attr_opt("node", node)
        .child(identity)
        .children_from(features)
        .children_from(info.forms.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::rig::Rig;

    fn query(ns: &str, to: &str, node: &str) -> String {
        format!("<iq type='get' id='d' to='{to}'><query xmlns='{ns}'{node}/></iq>")
    }

    #[test]
    fn the_server_answers_for_itself_and_for_the_node_of_its_capabilities() {
        let mut rig = Rig::with(1, &["romeo@x"], |config| {
            let abuse = vec!["mailto:a@x".to_owned()];
            config.contact.insert("abuse-addresses".to_owned(), abuse);
        });
        let mut romeo = rig.online("romeo@x/r");
        let plain = rig.ask(&mut romeo, &query(ns::DISCO_INFO, "x", ""));
        assert!(plain.contains("<identity category='server' type='im' name='Couplet'/>"));
        assert!(plain.contains("<feature var='msgoffline'/>"));
        assert!(plain.contains("<value>mailto:a@x</value>"));
        let mut config = crate::Config::default();
        let abuse = vec!["mailto:a@x".to_owned()];
        config.contact.insert("abuse-addresses".to_owned(), abuse);
        let (name, ver) = crate::server_caps(&config).expect("no clash");
        let node = format!(" node='{name}#{ver}'");
        let of_node = rig.ask(&mut romeo, &query(ns::DISCO_INFO, "x", &node));
        assert_eq!(of_node.replace(&node, ""), plain);
        for ns in [ns::DISCO_INFO, ns::DISCO_ITEMS] {
            let unknown = rig.ask(&mut romeo, &query(ns, "x", " node='nothing'"));
            assert!(unknown.contains("<item-not-found"), "{unknown}");
        }
    }

    /// XEP-0045 §6.1.
    #[test]
    fn the_server_names_the_services_of_rooms() {
        let mut rig = Rig::new(1, &["romeo@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let items = rig.ask(&mut romeo, &query(ns::DISCO_ITEMS, "x", ""));
        assert!(
            items.contains("<item jid='rooms.x' name='Chatrooms'/>"),
            "{items}"
        );
        let mut rig = Rig::with(1, &["romeo@x"], |config| config.muc.services.clear());
        let mut romeo = rig.online("romeo@x/r");
        let items = rig.ask(&mut romeo, &query(ns::DISCO_ITEMS, "x", ""));
        assert!(!items.contains("<item "), "{items}");
    }

    #[test]
    fn an_account_tells_its_owner_and_looks_missing_to_strangers() {
        let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
        let mut romeo = rig.online("romeo@x/r");
        rig.online("juliet@x/j");
        let own = rig.ask(&mut romeo, &query(ns::DISCO_INFO, "romeo@x", ""));
        assert!(own.contains("<identity category='account' type='registered'/>"));
        let items = rig.ask(&mut romeo, &query(ns::DISCO_ITEMS, "romeo@x", ""));
        assert!(items.contains("<item jid='romeo@x/r'/>"), "{items}");
        for ns in [ns::DISCO_INFO, ns::DISCO_ITEMS] {
            for node in ["", " node='n'"] {
                let other = rig.ask(&mut romeo, &query(ns, "juliet@x", node));
                let missing = rig.ask(&mut romeo, &query(ns, "nobody@x", node));
                assert_eq!(other.replace("juliet", "nobody"), missing);
                assert!(missing.contains("<service-unavailable"), "{missing}");
            }
        }
    }
}

//! XEP-0359: Unique and Stable Stanza IDs; and the delays of XEP-0203 that only a server may claim.
//!
//! Accounts have no archive yet and so add no ids; those that claim to be ours are taken away (§4).
//! Rooms have, and do.

use couplet_proto::Jid;
use couplet_proto::xmpp::error::StanzaError;
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Child;

use crate::hooks::context::Shared;
use crate::hooks::{Ctx, Feature, Flow, Message, Spec, Stage};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "stanza_id",
    spec: Spec::new("XEP-0359", "Unique and Stable Stanza IDs", "0.7.0")
        .note("forged ids are removed; rooms add theirs"),
    disco: &[ns::STANZA_ID],
    disco_account: &[ns::STANZA_ID],
    sent: &[(Stage::Stamp, remove_forged_delays)],
    received: &[(Stage::Stamp, remove_forged_ids)],
    ..Feature::EMPTY
};

/// XEP-0203 §4: a client cannot speak of delays in the server's name.
fn remove_forged_delays(ctx: &mut Ctx<'_>, message: &mut Message) -> Result<Flow, StanzaError> {
    let shared = ctx.shared;
    remove(message, "delay", ns::DELAY, |delay| {
        names(delay, "from", |from| is_ours(shared, from))
    });
    Ok(Flow::Continue)
}

/// §4: an id by this account that this account has not given.
fn remove_forged_ids(ctx: &mut Ctx<'_>, message: &mut Message) -> Result<Flow, StanzaError> {
    let own = &ctx.account.jid;
    remove(message, "stanza-id", ns::STANZA_ID, |id| {
        names(id, "by", |by| own.is_same_bare(by))
    });
    Ok(Flow::Continue)
}

/// Removes the children of this name that are `forged`; a message without any is not touched.
fn remove(message: &mut Message, name: &str, ns: &str, forged: impl Fn(Child<'_>) -> bool) {
    let is_forged = |child: Child<'_>| child.is(name, ns) && forged(child);
    if message.stanza.payload.children().any(is_forged) {
        let payload = message.stanza.payload.without(is_forged);
        message.edit().payload = payload;
    }
}

/// Whether an attribute is an address that `is` picks. Compared prepared, not as written.
fn names(child: Child<'_>, attribute: &str, is: impl Fn(&Jid) -> bool) -> bool {
    let element = child.element();
    let address = element.get(attribute).map(Jid::parse);
    matches!(address, Some(Ok(address)) if is(&address))
}

fn is_ours(shared: &Shared, address: &Jid) -> bool {
    address.local().is_none() && shared.is_local(address.domain())
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::Rig;

    #[test]
    fn what_claims_to_be_ours_is_taken_away_and_nothing_else() {
        let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let juliet = rig.online("juliet@x/j");
        let forged = "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='Juliet@X.'/>\
                      <delay xmlns='urn:xmpp:delay' from='X' stamp='2002-09-10T23:08:25Z'/>";
        let honest = "<body>hi</body><origin-id xmlns='urn:xmpp:sid:0' id='2'/>\
                      <stanza-id xmlns='urn:xmpp:sid:0' id='3' by='room@y'/>\
                      <delay xmlns='urn:xmpp:delay' from='romeo@x' stamp='2002-09-10T23:08:25Z'/>";
        let message = format!("<message to='juliet@x'>{forged}{honest}{forged}</message>");
        rig.send(&mut romeo, &message);
        let received = rig.received(&juliet);
        assert!(
            received[0].contains(&format!("'>{honest}</message>")),
            "{received:?}"
        );
    }
}

//! XEP-0199: XMPP Ping.

use couplet_proto::xmpp::error::StanzaError;
use couplet_proto::xmpp::ns;

use crate::hooks::{Ctx, Feature, Iq, Reply, Spec, Target, get};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "ping",
    spec: Spec::new("XEP-0199", "XMPP Ping", "2.0.1"),
    disco: &[ns::PING],
    disco_account: &[ns::PING],
    iq: &[
        (get(Target::Host, ns::PING, "ping"), pong),
        (get(Target::AnyAccount, ns::PING, "ping"), pong),
    ],
    ..Feature::EMPTY
};

/// §4.2: the answer to a ping is an empty result.
fn pong(_: &mut Ctx<'_>, _: &Iq<'_>) -> Result<Reply, StanzaError> {
    Ok(Reply::Empty)
}

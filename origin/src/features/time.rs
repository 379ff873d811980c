//! XEP-0202: Entity Time, in the formats of XEP-0082.

use couplet_proto::Element;
use couplet_proto::xmpp::error::StanzaError;
use couplet_proto::xmpp::{ns, time};

use crate::hooks::{Ctx, Feature, Iq, Reply, Spec, Target, get};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "time",
    spec: Spec::new("XEP-0202", "Entity Time", "2.0"),
    also: &[Spec::new(
        "XEP-0082",
        "XMPP Date and Time Profiles",
        "1.1.1",
    )],
    disco: &[ns::TIME],
    iq: &[(get(Target::Host, ns::TIME, "time"), now)],
    ..Feature::EMPTY
};

/// §2: servers live in UTC.
fn now(ctx: &mut Ctx<'_>, _: &Iq<'_>) -> Result<Reply, StanzaError> {
    let answer = Element::new("time", ns::TIME)
        .text_child("tzo", "+00:00")
        .text_child("utc", time::format(ctx.now.unix));
    Ok(Reply::Payload(answer))
}

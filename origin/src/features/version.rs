//! XEP-0092: Software Version.

use couplet_proto::Element;
use couplet_proto::xmpp::error::StanzaError;
use couplet_proto::xmpp::ns;

use crate::hooks::{Ctx, Feature, Iq, Reply, Spec, Target, get};

/// Nothing is remembered.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "version",
    spec: Spec::new("XEP-0092", "Software Version", "1.1"),
    disco: &[ns::VERSION],
    iq: &[(get(Target::Host, ns::VERSION, "query"), version)],
    ..Feature::EMPTY
};

/// §2. The operating system is nobody's business (§6).
fn version(_: &mut Ctx<'_>, _: &Iq<'_>) -> Result<Reply, StanzaError> {
    let query = Element::new("query", ns::VERSION)
        .text_child("name", "Couplet")
        .text_child("version", env!("CARGO_PKG_VERSION"));
    Ok(Reply::Payload(query))
}

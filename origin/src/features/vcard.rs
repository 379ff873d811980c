//! XEP-0054: vcard-temp.

use bytes::Bytes;
use couplet_proto::Element;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;

use crate::hooks::{Answer, Ask, Asked, Ctx, Feature, Iq, Reply, Spec, Target, get, set};
use crate::store::{Table, codec};

/// Nothing is remembered: a vCard holds a picture, and is asked for rarely.
pub type PerAccount = ();
/// Nothing is remembered.
pub type PerSession = ();

/// One row.
const VCARD: Table = Table {
    id: 6,
    name: "vcard",
    is_resident: false,
};

/// The first version of the stored record.
const RECORD: u8 = 1;

pub(super) static FEATURE: Feature = Feature {
    name: "vcard",
    spec: Spec::new("XEP-0054", "vcard-temp", "1.3.0"),
    disco: &[ns::VCARD],
    disco_account: &[ns::VCARD],
    iq: &[
        (get(Target::AnyAccount, ns::VCARD, "vCard"), read),
        (set(Target::Account, ns::VCARD, "vCard"), write),
    ],
    tables: &[VCARD],
    ..Feature::EMPTY
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, tag = "1")]
    xml: String,
}

/// §3.1, §3.3: anyone may read it.
fn read(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    Ok(ctx.ask(Ask::Value(VCARD, "".into()), Some(iq.stanza), found))
}

fn found(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    let Answer::Value(Some(value)) = answer else {
        let asker = asked
            .request
            .as_ref()
            .and_then(|request| request.from.as_ref());
        let is_own = asker.is_some_and(|asker| asker.is_same_bare(&ctx.account.jid));
        return Err(match is_own {
            true => Condition::ItemNotFound.into(),
            // §3.3: as if there were no such account.
            false => Condition::ServiceUnavailable.into(),
        });
    };
    Ok(Reply::Payload(decoded(&value)?))
}

/// §3.2: only the owner writes it, always as a whole.
fn write(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    save(ctx, iq.payload.xml())?;
    Ok(Reply::Empty)
}

/// What to ask for the vCard of whatever stands at this address: a room has one too.
pub(super) fn stored() -> Ask {
    Ask::Value(VCARD, "".into())
}

/// What comes back; `None` when there is no vCard.
///
/// # Errors
/// When it is damaged.
pub(super) fn answered(answer: Answer) -> Result<Option<Element>, Condition> {
    match answer {
        Answer::Value(Some(value)) => decoded(&value).map(Some),
        _ => Ok(None),
    }
}

/// Stores the vCard of whatever stands at this address.
///
/// # Errors
/// When it is too large.
pub(super) fn save(ctx: &mut Ctx<'_>, xml: &str) -> Result<(), Condition> {
    let most = ctx.shared.config.limits.vcard_bytes;
    if xml.len() > usize::try_from(most).unwrap_or(usize::MAX) {
        return Err(Condition::PolicyViolation);
    }
    let record = Record {
        xml: xml.to_owned(),
    };
    ctx.put(VCARD, "", codec::encode(RECORD, &record));
    Ok(())
}

fn decoded(value: &Bytes) -> Result<Element, Condition> {
    let record = codec::decode::<Record>(RECORD, value).ok();
    let vcard = record.and_then(|record| Element::parse(&record.xml, ns::CLIENT));
    vcard.ok_or(Condition::InternalServerError)
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::Rig;

    #[test]
    fn anyone_reads_it_and_the_owner_writes_it() {
        let mut rig = Rig::with(2, &["romeo@x", "juliet@x"], |config| {
            config.limits.vcard_bytes = 100;
        });
        let mut romeo = rig.online("romeo@x/r");
        let mut juliet = rig.online("juliet@x/j");
        let get = "<iq type='get' id='v' to='juliet@x'><vCard xmlns='vcard-temp'/></iq>";
        let set = |name: &str| {
            let vcard = format!("<vCard xmlns='vcard-temp'><FN>{name}</FN></vCard>");
            format!("<iq type='set' id='v' to='juliet@x'>{vcard}</iq>")
        };
        assert!(rig.ask(&mut juliet, get).contains("<item-not-found"));
        assert!(rig.ask(&mut romeo, get).contains("<service-unavailable"));
        assert!(rig.ask(&mut romeo, &set("R")).contains("<forbidden"));
        assert!(
            rig.ask(&mut juliet, &set(&"J".repeat(99)))
                .contains("<policy-violation")
        );
        assert!(rig.ask(&mut juliet, &set("J &amp; C")).contains("'result'"));
        for client in [&mut romeo, &mut juliet] {
            let read = rig.ask(client, get);
            assert!(read.contains("<FN>J &amp; C</FN>"), "{read}");
        }
    }
}

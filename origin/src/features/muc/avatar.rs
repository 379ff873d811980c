//! XEP-0486: MUC Avatars: the vCard of a room, and the hash of its picture (XEP-0153 §3).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Child;
use couplet_proto::{Element, Kind, Stanza, Type};
use sha1::{Digest, Sha1};

use super::affiliation::{Affiliation, Privilege};
use super::room::Room;
use super::{announce, presence, record};
use crate::features::vcard;
use crate::hooks::{Answer, Asked, Ctx, Reply};

/// Stands between the hashes of several pictures.
const BETWEEN: &str = "\n";

/// §4.4: anybody may read it.
pub(super) fn read(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) -> Reply {
    ctx.ask(vcard::stored(), Some(stanza), found)
}

fn found(_: &mut Ctx<'_>, answer: Answer, _: &Asked) -> Result<Reply, StanzaError> {
    match vcard::answered(answer)? {
        Some(vcard) => Ok(Reply::Payload(vcard)),
        None => Err(Condition::ItemNotFound.into()),
    }
}

/// §4.2: owners write it; an empty one removes the avatar.
pub(super) fn write(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    child: Child<'_>,
    affiliation: Affiliation,
) -> Result<Reply, StanzaError> {
    if !affiliation.may(Privilege::Configure) {
        let text = "Only owners are allowed to set avatars.";
        return Err(StanzaError::from(Condition::Forbidden).with_text(text));
    }
    let hashes = hashes(&child.element())?;
    vcard::save(ctx, child.xml())?;
    let hash = (!hashes.is_empty()).then(|| hashes.join(BETWEEN).into_boxed_str());
    let is_other = hash != room.avatar;
    if is_other {
        room.avatar = hash;
        record::save(ctx, room);
    }
    ctx.route(stanza.result(None));
    announce::codes(ctx, room, &[104], stanza.sender());
    if is_other {
        let to = room.occupants.everybody().to_vec();
        presence::send(ctx, vec![Arc::new(shown(room))], to);
    }
    Ok(Reply::Later)
}

/// The hashes of the room's pictures, for discovery (§4.3, §6.1).
pub(super) fn of(room: &Room) -> impl Iterator<Item = &str> {
    let hashes = room.avatar.as_deref().unwrap_or_default().split(BETWEEN);
    hashes.filter(|hash| !hash.is_empty())
}

/// The presence of the room itself, by which clients that look for it there learn of the picture
/// (XEP-0153 §3.1).
pub(super) fn shown(room: &Room) -> Stanza {
    let hash = of(room).next().unwrap_or_default();
    let photo = Element::new("photo", ns::VCARD_UPDATE);
    let photo = match hash {
        "" => photo,
        hash => photo.text(hash),
    };
    Stanza::new(Kind::Presence, Type::Available)
        .from(room.jid.clone())
        .child(&Element::new("x", ns::VCARD_UPDATE).child(photo))
}

fn hashes(vcard: &Element) -> Result<Vec<String>, StanzaError> {
    let photos = vcard
        .children()
        .filter(|child| child.is("PHOTO", ns::VCARD));
    let values = photos.filter_map(|photo| photo.find_own("BINVAL"));
    let mut hashes = Vec::new();
    for value in values {
        // Clients break the lines.
        let mut encoded = value.content();
        encoded.retain(|c| !c.is_ascii_whitespace());
        if encoded.is_empty() {
            continue;
        }
        let picture = STANDARD
            .decode(encoded)
            .map_err(|_| Condition::BadRequest)?;
        let digest = Sha1::digest(&picture);
        hashes.push(digest.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Ok(hashes)
}

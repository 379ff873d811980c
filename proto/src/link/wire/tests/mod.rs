//! Every frame there and back, numbers that never change, and what newer nodes may send.

mod age;

mod frames;

mod golden;

mod many;

mod strange;

use proptest::prelude::*;
use prost::Message;

use super::lists::Lists;
use super::{down, hello, owned, peer, up, v1};
use crate::link::epoch::Epoch;
use crate::link::peer::{Owned, Settled};
use crate::slot::{SLOTS, Slot};

/// A message as it comes out of the wire: not the one that went in.
fn carried<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded")
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("below SLOTS")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn frames_of_edges_come_back_as_they_were(frame in frames::to_origin()) {
        let printed = format!("{frame:?}");
        let message = up::encode(frame);
        let back = up::decode(carried(&message)).expect("whole");
        prop_assert_eq!(format!("{back:?}"), printed);
        // What does not print must be the same too.
        prop_assert_eq!(up::encode(back), message);
    }

    #[test]
    fn frames_of_origins_come_back_as_they_were(frame in frames::to_edge()) {
        let printed = format!("{frame:?}");
        let (mut here, mut there) = (Lists::default(), Lists::default());
        let message = down::encode(frame, &mut here);
        let back = down::decode(carried(&message), &mut there).expect("whole");
        prop_assert_eq!(format!("{back:?}"), printed);
        prop_assert_eq!(down::encode(back, &mut Lists::default()), message);
    }

    #[test]
    fn frames_of_peers_come_back_as_they_were(frame in frames::to_peer()) {
        let back = peer::decode(carried(&peer::encode(&frame))).expect("whole");
        prop_assert_eq!(format!("{back:?}"), format!("{frame:?}"));
    }

    #[test]
    fn answers_of_peers_come_back_as_they_were(shard: u16, routes: Vec<u64>) {
        let settled = Settled { shard, routes };
        let message = peer::encode_settled(settled.clone());
        prop_assert_eq!(peer::decode_settled(carried(&message)), Ok(settled));
    }

    #[test]
    fn announcements_keep_their_order(
        announced in prop::collection::vec((0..SLOTS, 0..3u64, any::<bool>()), 0..64)
    ) {
        let announced: Vec<Owned> = announced
            .into_iter()
            .map(|(number, epoch, is_owner)| Owned {
                slot: slot(number),
                epoch: Epoch(epoch),
                is_owner,
            })
            .collect();
        let messages: Vec<v1::Owned> = owned::encode(&announced).iter().map(carried).collect();
        let back: Vec<Owned> = messages.iter().flat_map(owned::decode).collect();
        prop_assert_eq!(back, announced);
    }
}

#[test]
fn what_does_not_print_is_carried_too() {
    use crate::link::frame::{Authenticate, Channel, Frame, ToOrigin};
    use crate::link::id::ConnectionId;

    let account = crate::Jid::parse("juliet@capulet.lit").expect("valid");
    let channel = Channel {
        is_encrypted: true,
        bindings: vec![("tls-exporter", vec![1; 32].into())],
        peer: "192.0.2.1".parse().ok(),
        offered: vec!["SCRAM-SHA-1-PLUS", "PLAIN"],
    };
    let request = Authenticate {
        account,
        mechanism: "PLAIN".into(),
        initial: b"\0juliet\0secret".to_vec().into(),
        channel: channel.clone(),
    };
    let frame = Frame {
        slot: slot(1),
        epoch: Epoch(1),
        body: ToOrigin::Authenticate(ConnectionId(1), Box::new(request)),
    };
    let message = up::encode(frame);
    assert!(!format!("{message:?}").contains("secret"));
    match up::decode(carried(&message)).expect("whole").body {
        ToOrigin::Authenticate(_, back) => {
            assert_eq!(&back.initial[..], b"\0juliet\0secret");
            assert_eq!(format!("{:?}", back.channel), format!("{channel:?}"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_slot_of_one_owner_takes_a_few_bytes() {
    let announced: Vec<Owned> = Slot::all()
        .map(|slot| Owned {
            slot,
            epoch: Epoch(7),
            is_owner: true,
        })
        .collect();
    let messages = owned::encode(&announced);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].encoded_len() < 16);
    assert_eq!(owned::decode(&messages[0]).collect::<Vec<_>>(), announced);
}

#[test]
fn nodes_of_neighbouring_versions_talk_and_others_do_not() {
    use hello::{Hello, Mismatch, OLDEST, Role, VERSION};

    let ours = Hello::new(Role::Edge, crate::link::id::NodeId("e1".into()), 3);
    let message = ours.encode();
    assert_eq!(Hello::decode(Some(carried(&message)), Role::Edge), Ok(ours));
    let newer = v1::Hello {
        version: VERSION + 1,
        ..message.clone()
    };
    let newer = Hello::decode(Some(newer), Role::Edge).expect("it understands this version");
    assert_eq!(newer.spoken(), VERSION);
    let too_new = v1::Hello {
        version: VERSION + 2,
        oldest: VERSION + 1,
        ..message.clone()
    };
    let too_old = v1::Hello {
        version: OLDEST - 1,
        oldest: OLDEST - 1,
        ..message.clone()
    };
    for other in [too_new, too_old] {
        let refused = Hello::decode(Some(other), Role::Edge);
        assert!(
            matches!(refused, Err(Mismatch::Version { .. })),
            "{refused:?}"
        );
    }
    let refused = Hello::decode(Some(message), Role::Origin);
    assert_eq!(refused, Err(Mismatch::Role(Role::Edge)));
    assert_eq!(Hello::decode(None, Role::Edge), Err(Mismatch::Invalid));
}

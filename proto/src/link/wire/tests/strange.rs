//! What newer, older or mistaken nodes may send costs a frame, and never more.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::super::lists::Lists;
use super::super::{Undecodable, down, up, v1};
use super::carried;
use crate::link::frame::{Frame, ToOrigin};

/// A submitted stanza of this payload and index.
fn submitted(payload: &[u8], children: Vec<u32>) -> v1::EdgeFrame {
    let stanza = v1::Stanza {
        kind: v1::Kind::Message.into(),
        r#type: v1::Type::Chat.into(),
        payload: Bytes::copy_from_slice(payload),
        children,
        ..v1::Stanza::default()
    };
    v1::EdgeFrame {
        age_ms: 0,
        slot: 1,
        epoch: 1,
        body: Some(v1::edge_frame::Body::Submit(v1::Submit {
            session: 1,
            number: 1,
            stanza: Some(stanza),
        })),
    }
}

fn read(frame: &v1::EdgeFrame) -> Result<Frame<ToOrigin>, Undecodable> {
    up::decode(carried(frame))
}

#[test]
fn a_trace_without_a_name_is_none() {
    let whole = v1::Trace {
        high: 0,
        low: 1,
        span: 2,
    };
    let nameless = [
        v1::Trace { low: 0, ..whole },
        v1::Trace { span: 0, ..whole },
    ];
    for (trace, is_there) in [(whole, true), (nameless[0], false), (nameless[1], false)] {
        let mut frame = submitted(b"", Vec::new());
        if let Some(v1::edge_frame::Body::Submit(submit)) = &mut frame.body
            && let Some(stanza) = &mut submit.stanza
        {
            stanza.trace = Some(trace);
        }
        let ToOrigin::Stanza { stanza, .. } = read(&frame).expect("whole").body else {
            panic!("a stanza");
        };
        assert_eq!(stanza.trace.is_some(), is_there, "{trace:?}");
    }
}

#[test]
fn a_body_of_a_newer_version_is_unknown() {
    // Field 99 of a frame, three bytes long.
    let mut bytes = v1::OriginFrame {
        age_ms: 0,
        slot: 1,
        epoch: 1,
        body: None,
    }
    .encode_to_vec();
    bytes.extend([0x9a, 0x06, 0x03, 1, 2, 3]);
    let frame = v1::OriginFrame::decode(bytes.as_slice()).expect("unknown fields are skipped");
    assert_eq!(
        down::decode(frame, &mut Lists::default()).err(),
        Some(Undecodable::Unknown)
    );
    let frame = v1::EdgeFrame::decode(bytes.as_slice()).expect("unknown fields are skipped");
    assert_eq!(up::decode(frame).err(), Some(Undecodable::Unknown));
}

#[test]
fn a_field_of_a_newer_version_is_passed_over() {
    let mut acked = v1::Acked {
        session: 5,
        count: 6,
    }
    .encode_to_vec();
    acked.extend([0x9a, 0x06, 0x03, 1, 2, 3]);
    // Field 12 of a frame is `acked`.
    let mut bytes = vec![12 << 3 | 2, u8::try_from(acked.len()).expect("short")];
    bytes.extend(acked);
    let frame = v1::EdgeFrame::decode(bytes.as_slice()).expect("valid");
    let frame = up::decode(frame).expect("read as far as it is known");
    assert!(matches!(frame.body, ToOrigin::Acked { count: 6, .. }));
}

#[test]
fn a_number_of_a_newer_version_is_unknown() {
    let mut frame = submitted(b"", Vec::new());
    if let Some(v1::edge_frame::Body::Submit(submit)) = &mut frame.body
        && let Some(stanza) = &mut submit.stanza
    {
        stanza.kind = 77;
    }
    assert_eq!(read(&frame).err(), Some(Undecodable::Unknown));
}

#[test]
fn an_index_that_leads_nowhere_is_refused() {
    let payload = "<ä xmlns='urn:x'/>".as_bytes();
    let whole = u32::try_from(payload.len()).expect("short");
    let good = vec![0, whole, 1, 3, 11, 16];
    let is_fine = |numbers: &[u32]| read(&submitted(payload, numbers.to_vec())).is_ok();
    assert!(is_fine(&good));
    assert!(is_fine(&[0, whole, 1, 3, 0, 0]));
    for (at, value) in [
        (0, whole + 1),
        (0, u32::MAX),
        (1, whole + 1),
        (2, 2),
        (3, 2),
        (3, 0),
        (5, 10),
        (5, whole + 1),
    ] {
        let mut numbers = good.clone();
        numbers[at] = value;
        assert!(!is_fine(&numbers), "{numbers:?}");
    }
    assert!(!is_fine(&good[..5]));
    let broken = read(&submitted(&[b'<', 0xff, b'>'], Vec::new()));
    assert_eq!(broken.err(), Some(Undecodable::Invalid("text")));
}

#[test]
fn what_is_missing_is_noticed() {
    let empty = v1::EdgeFrame {
        slot: u32::MAX,
        ..submitted(b"", Vec::new())
    };
    assert_eq!(read(&empty).err(), Some(Undecodable::Invalid("slot")));
    let bound = v1::OriginFrame {
        age_ms: 0,
        slot: 1,
        epoch: 1,
        body: Some(v1::origin_frame::Body::Bound(v1::Bound::default())),
    };
    assert_eq!(
        down::decode(bound, &mut Lists::default()).err(),
        Some(Undecodable::Invalid("address"))
    );
}

proptest! {
    #[test]
    fn no_index_makes_it_panic(
        payload in ".{0,40}",
        numbers in prop::collection::vec(0..50u32, 0..13)
    ) {
        if let Ok(frame) = read(&submitted(payload.as_bytes(), numbers))
            && let ToOrigin::Stanza { stanza, .. } = frame.body
        {
            for child in stanza.payload.children() {
                let _ = (child.name(), child.ns(), child.xml(), child.shared());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = v1::EdgeFrame::decode(bytes.as_slice()) {
            let _ = up::decode(frame);
        }
        if let Ok(frame) = v1::OriginFrame::decode(bytes.as_slice()) {
            let _ = down::decode(frame, &mut Lists::default());
        }
    }
}

//! How long a stanza has been under way goes along with its frame, and a node that does not know
//! of it loses nothing else.

use super::super::{down, peer, up};
use super::frames;
use super::*;
use crate::link::frame::{Frame, ToEdge, ToOrigin};
use crate::link::peer::ToPeer;

/// What the clocks of the two ends show at the same moment.
const HERE_MS: u64 = 5_000_000;
const THERE_MS: u64 = 700;

/// How long it has been under way.
const AGE_MS: u64 = 40;

proptest! {
    #[test]
    fn up_with_a_stanza(mut frame in frames::to_origin()) {
        let is_measured = set(frame.body.entered_mut());
        let message = carried(&up::encode_at(frame, HERE_MS));
        let mut back: Frame<ToOrigin> = up::decode_at(message, THERE_MS).expect("whole");
        check(is_measured, back.body.entered_mut().copied())?;
    }

    #[test]
    fn down_with_a_stanza(mut frame in frames::to_edge()) {
        let is_measured = set(frame.body.entered_mut());
        let (mut here, mut there) = (Lists::default(), Lists::default());
        let message = carried(&down::encode_at(frame, &mut here, HERE_MS));
        let back = down::decode_at(message, &mut there, THERE_MS);
        let mut back: Frame<ToEdge> = back.expect("whole");
        check(is_measured, back.body.entered_mut().copied())?;
    }

    #[test]
    fn between_origins(mut frame in frames::to_peer()) {
        let is_measured = set(Some(frame.entered_mut()));
        let message = carried(&peer::encode_at(frame.clone(), HERE_MS));
        let mut back: ToPeer = peer::decode_at(message, THERE_MS).expect("whole");
        check(is_measured, Some(*back.entered_mut()))?;
        // An older node does not say.
        let silent = peer::encode(&frame);
        let mut back = peer::decode_at(silent, THERE_MS).expect("whole");
        check(false, Some(*back.entered_mut()))?;
    }
}

/// Says when it entered; whether there is such a thing.
fn set(entered: Option<&mut u64>) -> bool {
    match entered {
        Some(entered) => {
            *entered = HERE_MS - AGE_MS;
            true
        }
        None => false,
    }
}

fn check(is_measured: bool, entered: Option<u64>) -> Result<(), TestCaseError> {
    let expected = if is_measured { THERE_MS - AGE_MS } else { 0 };
    prop_assert_eq!(entered.unwrap_or(0), expected);
    Ok(())
}

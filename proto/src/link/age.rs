//! Age: how long a stanza has been under way, told from node to node without comparing clocks.
//!
//! A node knows by its own clock when a stanza entered; what it hands on is how long ago that was.
//! So each node adds the time that passed on it, and what a frame spends on the wire between two
//! of them is not counted. 0 is always "not measured".

use super::frame::{ToEdge, ToOrigin};

// === impl ToOrigin ===

impl ToOrigin {
    /// When its stanza was read off a client's socket, if it has one.
    pub fn entered_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Stanza { entered, .. } => Some(entered),
            _ => None,
        }
    }
}

// === impl ToEdge ===

impl ToEdge {
    /// When its stanza was read off a client's socket, if it has one.
    pub fn entered_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Deliver(delivery) => Some(&mut delivery.entered),
            Self::Fan(fan) => Some(&mut fan.entered),
            _ => None,
        }
    }
}

/// How long ago something entered, for a link: at least 1 when it is measured.
pub fn since(entered: u64, now_ms: u64) -> u32 {
    match entered {
        0 => 0,
        entered => u32::try_from(now_ms.saturating_sub(entered))
            .unwrap_or(u32::MAX)
            .max(1),
    }
}

/// When something of this age entered, by the clock of whoever takes it off a link.
pub fn entered(age_ms: u32, now_ms: u64) -> u64 {
    match age_ms {
        0 => 0,
        age => now_ms.saturating_sub(age.into()).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_adds_its_own_time_whatever_its_clock_shows() {
        // 30 ms on a node whose clock shows a million, 20 ms on one that has just begun.
        let age = since(1_000_000, 1_000_030);
        let at = entered(age, 40);
        assert_eq!(since(at, 60), 50);
        assert_eq!(since(0, 60), 0);
        assert_eq!(entered(0, 60), 0);
        // Measured stays measured, at the edges of what can be.
        assert_eq!(since(60, 60), 1);
        assert_eq!(entered(500, 60), 1);
        assert_eq!(since(1, u64::MAX), u32::MAX);
    }
}

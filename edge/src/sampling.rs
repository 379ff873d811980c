//! Sampling: which of the clients' stanzas are followed, and to whom that is told; see
//! [`couplet_proto::trace`].

use std::sync::Arc;

use couplet_proto::trace::Tracer;

/// A fraction of the stanzas, and the tracer that hears of them.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Hears what is done with those that are followed.
    pub tracer: Arc<dyn Tracer>,
    /// Which fraction of the stanzas is, from 0 to 1. Those that another edge has chosen are
    /// followed here too.
    pub fraction: f64,
}

// === impl Sampling ===

impl Sampling {
    /// How many stanzas pass until the next one that is followed; `random` is from 0 up to, but not
    /// including, 1. One draw for each that is followed, instead of one for every stanza.
    pub(crate) fn gap(&self, random: f64) -> u32 {
        if self.fraction >= 1.0 {
            return 0;
        }
        if self.fraction <= 0.0 {
            return u32::MAX;
        }
        // What is missed before the first hit is distributed geometrically.
        let gap = (1.0 - random).ln() / (-self.fraction).ln_1p();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a cast of more saturates"
        )]
        let gap = gap as u32;
        gap
    }
}

#[cfg(test)]
mod tests {
    use couplet_proto::trace::Span;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[derive(Debug)]
    struct Deaf;

    impl Tracer for Deaf {
        fn now(&self) -> u64 {
            0
        }

        fn done(&self, _: Span) {}
    }

    fn sampling(fraction: f64) -> Sampling {
        Sampling {
            tracer: Arc::new(Deaf),
            fraction,
        }
    }

    #[test]
    fn all_or_none_are_followed_when_that_is_asked_for() {
        assert_eq!(sampling(1.0).gap(0.999), 0);
        assert_eq!(sampling(0.0).gap(0.0), u32::MAX);
    }

    #[test]
    fn the_fraction_is_what_was_asked_for() {
        let sampling = sampling(0.01);
        let mut random = StdRng::seed_from_u64(1);
        let gaps = (0..10_000).map(|_| u64::from(sampling.gap(random.random())) + 1);
        let stanzas: u64 = gaps.sum();
        assert!((950_000..1_050_000).contains(&stanzas), "{stanzas}");
    }
}

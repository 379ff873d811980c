//! Crashes: the real server is killed with SIGKILL in the middle of load, again and again, and
//! afterwards everything it acknowledged is there, once.
//!
//! What acknowledges a message for an account that is offline is an answer from that same account
//! to a request sent after it. What was sent and not acknowledged may be there or not, but never
//! twice and never before something older from the same sender.
//!
//! Each run follows from a seed, which a failure names; `COUPLET_CRASH_SEED` runs another one.

#[cfg(test)]
#[path = "../suite/harness/mod.rs"]
#[expect(
    dead_code,
    reason = "made for the end-to-end suite; crashes need a part of it"
)]
mod harness;

#[cfg(test)]
mod load;

#[cfg(test)]
mod verify;

#[cfg(test)]
mod tests {
    use std::env;
    use std::sync::RwLock;

    use crate::harness::server::Server;
    use crate::load::Load;
    use crate::verify;

    /// How often the server is killed in one run.
    const KILLS: u64 = 6;
    /// About how many acknowledged messages lie between two kills.
    const MESSAGES_PER_KILL: u64 = 1500;

    fn acknowledged_work_survives(seed: u64) {
        let seed = env::var("COUPLET_CRASH_SEED").map_or(seed, |text| {
            text.parse().expect("COUPLET_CRASH_SEED is a number")
        });
        let settings = ["limits.offline_messages=100000", "log.level=\"warn\""];
        let server = RwLock::new(Server::start(&settings));
        let load = Load::new(&server, seed);
        let work = load.run(KILLS, MESSAGES_PER_KILL);
        let acknowledged: u64 = work.iter().map(|sender| sender.acknowledged()).sum();
        assert!(acknowledged >= KILLS * MESSAGES_PER_KILL, "seed {seed}");
        let mut server = server.into_inner().expect("no sender has panicked");
        verify::mailboxes(&mut server, &work, seed);
        verify::rosters(&server, &work, seed);
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }

    #[test]
    fn acknowledged_work_survives_kills_of_seed_1() {
        acknowledged_work_survives(1);
    }

    #[test]
    fn acknowledged_work_survives_kills_of_seed_2() {
        acknowledged_work_survives(2);
    }

    #[test]
    fn acknowledged_work_survives_kills_of_seed_3() {
        acknowledged_work_survives(3);
    }
}

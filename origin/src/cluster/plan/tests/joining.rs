//! One who joins leaves slots where they are until everybody can have found it.

use couplet_proto::slot::SLOTS;

use super::Sim;

#[test]
fn a_new_member_waits_until_it_has_been_found() {
    let mut sim = Sim::new(&["a"]);
    sim.beat_for(10_000);
    sim.join_wait_ms = 30_000;
    sim.start("b", 1);
    sim.beat_for(29_000);
    assert_eq!(sim.held("b/1"), 0);
    sim.beat_for(120_000);
    assert!(sim.held("b/1") > 1000, "{}", sim.held("b/1"));
    sim.check();
}

#[test]
fn a_new_member_does_not_wait_when_somebody_leaves_or_dies() {
    for is_crash in [false, true] {
        let mut sim = Sim::new(&["a"]);
        sim.beat_for(10_000);
        sim.join_wait_ms = 1_000_000;
        sim.start("b", 1);
        sim.beat_for(5_000);
        assert_eq!(sim.held("b/1"), 0);
        match is_crash {
            true => sim.node("a/1").is_stopped = true,
            false => sim.node("a/1").member.is_draining = true,
        }
        sim.beat_for(120_000);
        assert_eq!(sim.held("b/1"), usize::from(SLOTS), "crash: {is_crash}");
    }
    // Nor when it is the first.
    let mut sim = Sim::new(&[]);
    sim.join_wait_ms = 1_000_000;
    sim.start("a", 1);
    sim.beat_for(10_000);
    assert_eq!(sim.held("a/1"), usize::from(SLOTS));
}

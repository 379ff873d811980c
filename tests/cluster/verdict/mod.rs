//! The judge: what the records of a case say about the promises of the cluster.
//!
//! - What was acknowledged arrives; with stream management once; always in the order sent.
//! - Nobody is disconnected but by the end of the edge it was connected to.
//! - Contacts see a session end when it ends, once, and never otherwise.
//! - [`rooms`]: the same in rooms, and everybody there hears the same in the same order.

mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{EdgeIndex, Fate, Flow, Kind, Life, Records, Sent, User};

/// How many complaints of one sort are written out.
const EXAMPLES_MAX: usize = 8;

/// What a case allows.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// How often each edge ends: so often its users may lose their connection.
    pub(crate) edge_ends: BTreeMap<EdgeIndex, u32>,
    /// The longest any message may take.
    pub(crate) pause_max: Duration,
    /// Whose sessions may be lost: both nodes that knew them died at once.
    pub(crate) may_lose: BTreeSet<User>,
    /// Conditions a message may come back with.
    pub(crate) refusals: &'static [&'static str],
    /// With fewer messages the case has shown nothing.
    pub(crate) messages_min: usize,
}

/// What is found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    pub(crate) messages: usize,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    /// Acknowledged and never received.
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) reordered: usize,
    /// Still without an answer of the server at the end.
    pub(crate) unsettled: usize,
    pub(crate) disconnected: usize,
    pub(crate) resumed: usize,
    pub(crate) failed_resumes: usize,
    /// Contacts whose end was seen wrongly.
    pub(crate) false_presences: usize,
    pub(crate) longest_pause: Duration,
    /// Everything that is wrong, in words; empty when all is well.
    pub(crate) complaints: Vec<String>,
}

// === impl Expected ===

impl Default for Expected {
    fn default() -> Self {
        Self {
            edge_ends: BTreeMap::new(),
            pause_max: Duration::from_secs(15),
            may_lose: BTreeSet::new(),
            refusals: &[],
            messages_min: 200,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Judges what was recorded.
    pub(crate) fn of(records: &Records, expected: &Expected) -> Self {
        let mut verdict = Self::default();
        for (&(sender, receiver), flow) in &records.flows {
            verdict.judge_flow(records, (sender, receiver), flow, expected);
        }
        rooms::judge(&mut verdict, records, expected);
        for (&user, life) in &records.lives {
            verdict.judge_life(user, life, expected);
        }
        verdict.judge_presence(records, expected);
        if verdict.messages < expected.messages_min {
            let (messages, least) = (verdict.messages, expected.messages_min);
            verdict.complain("traffic", &format!("only {messages} messages of {least}"));
        }
        if verdict.longest_pause > expected.pause_max {
            let (pause, most) = (verdict.longest_pause, expected.pause_max);
            verdict.complain("pause", &format!("{pause:?}, at most {most:?} allowed"));
        }
        for strange in &records.strange {
            verdict.complain("strange", strange);
        }
        verdict
    }

    /// Adds a complaint, unless there are enough of its sort.
    pub(crate) fn complain(&mut self, sort: &str, text: &str) {
        let alike = self.complaints.iter().filter(|it| it.starts_with(sort));
        if alike.count() < EXAMPLES_MAX {
            self.complaints.push(format!("{sort}: {text}"));
        }
    }

    fn judge_flow(
        &mut self,
        records: &Records,
        (sender, receiver): (User, User),
        flow: &Flow,
        expected: &Expected,
    ) {
        let who = format!("user{sender} to user{receiver}");
        let is_strict = is_accountable(records, receiver) && !expected.may_lose.contains(&receiver);
        let came = self.judge_order(is_strict, flow, &who);
        for (number, sent) in flow.sent.iter().enumerate() {
            let has_come = came.contains(&number);
            self.judge_fate(&format!("{who}: number {number}"), sent, has_come, expected);
            if is_strict && sent.fate == Fate::Acknowledged && !has_come {
                self.lost += 1;
                self.complain("lost", &format!("{who}: number {number}"));
            }
        }
        if records.kind(receiver) != Some(Kind::Offline) {
            self.longest_pause = self.longest_pause.max(flow.longest_pause());
        }
    }

    /// Counts a message; what its sender was told must be what is allowed.
    fn judge_fate(&mut self, which: &str, sent: &Sent, has_come: bool, expected: &Expected) {
        self.messages += 1;
        match &sent.fate {
            Fate::Waiting => {
                self.unsettled += 1;
                self.complain("unsettled", which);
            }
            Fate::Acknowledged => self.acknowledged += 1,
            Fate::Refused(condition) => {
                self.refused += 1;
                if !expected.refusals.contains(&condition.as_str()) {
                    self.complain("refused", &format!("{which}: {condition}"));
                }
                if has_come {
                    self.complain("refused", &format!("{which}, yet it came"));
                }
            }
            Fate::Unknown => {}
        }
    }

    /// Checks order and repetition; which numbers came.
    fn judge_order(&mut self, is_strict: bool, flow: &Flow, who: &str) -> BTreeSet<usize> {
        let mut came = BTreeSet::new();
        for &(number, _) in &flow.received {
            let Some(sent) = flow.sent.get(number) else {
                self.complain("strange", &format!("{who}: number {number} was never sent"));
                continue;
            };
            let is_late = came.last().is_some_and(|&highest| number < highest);
            let is_new = came.insert(number);
            if !is_strict || sent.may_repeat {
                continue;
            }
            if !is_new {
                self.duplicated += 1;
                self.complain("duplicated", &format!("{who}: number {number}"));
            } else if is_late {
                self.reordered += 1;
                let highest = came.last().copied().unwrap_or_default();
                self.complain("reordered", &format!("{who}: {number} after {highest}"));
            }
        }
        came
    }

    fn judge_life(&mut self, user: User, life: &Life, expected: &Expected) {
        self.disconnected += life.disconnects.len();
        self.resumed += life.resumes as usize;
        self.failed_resumes += life.failed_resumes as usize;
        let mut cuts: BTreeMap<EdgeIndex, Vec<&str>> = BTreeMap::new();
        for cut in &life.disconnects {
            cuts.entry(cut.edge).or_default().push(&cut.cause);
        }
        for (edge, causes) in cuts {
            let allowed = expected.edge_ends.get(&edge).copied().unwrap_or(0);
            if causes.len() > allowed as usize {
                let text = format!("user{user} from edge {edge}, {allowed} allowed: {causes:?}");
                self.complain("disconnected", &text);
            }
        }
        if life.failed_resumes > 0 && !expected.may_lose.contains(&user) {
            let count = life.failed_resumes;
            self.complain("resumption", &format!("user{user} failed {count} times"));
        }
    }

    fn judge_presence(&mut self, records: &Records, expected: &Expected) {
        let seen = records.seen.iter();
        let seen = seen.filter(|((_, contact), _)| !expected.may_lose.contains(contact));
        for (&(watcher, contact), seen) in seen {
            let endings = records.lives.get(&contact).map_or(0, |life| life.endings);
            let count = seen.unavailable;
            if records.was_always_there(watcher) && count != endings {
                self.false_presences += 1;
                self.complain(
                    "presence",
                    &format!("user{watcher} saw user{contact} leave {count} times, not {endings}"),
                );
            }
        }
    }
}

/// Whether the receiver can tell what it got: one without stream management whose connection broke
/// cannot.
fn is_accountable(records: &Records, receiver: User) -> bool {
    records
        .lives
        .get(&receiver)
        .is_none_or(|life| life.kind != Kind::Plain || life.disconnects.is_empty())
}

pub(crate) mod tests;

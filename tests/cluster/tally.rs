//! Tally: what clients did over each of their connections, for who holds it against the access
//! logs of the edges.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cluster::Cluster;
use crate::harness::reading::Incoming;

/// Every connection that has ended since [`begin`]. Cases run one after the other.
static ENDED: Mutex<Vec<Tally>> = Mutex::new(Vec::new());

/// What a client did over one connection. Entered in the book when it is dropped.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// The client's own: by it the balancer tells whom it brings.
    pub(crate) port: u16,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Whether both sides have ended the stream in good order: then there is nothing that only one
    /// of them knows.
    pub(crate) is_whole: bool,
}

/// What an edge has written down of one connection.
#[derive(Debug, Default, Clone)]
struct Line {
    port: u64,
    stanzas_in: u64,
    stanzas_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.port != 0 {
            let ended = std::mem::take(self);
            ENDED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(ended);
        }
    }
}

/// Forgets what was before.
pub(crate) fn begin() {
    forget(take());
}

/// They are in no book any more, and do not enter themselves again.
fn forget(mut tallies: Vec<Tally>) {
    tallies.iter_mut().for_each(|tally| tally.port = 0);
}

fn take() -> Vec<Tally> {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = std::mem::take(&mut *ended);
    drop(ended);
    taken
}

/// Whether it counts. The request for a resource belongs to the negotiation, where edges count
/// nothing.
pub(crate) fn is_stanza(incoming: &Incoming) -> bool {
    let Incoming::Element(tree) = incoming else {
        return false;
    };
    let is_binding = tree.name == "iq" && tree.get("id") == Some("bind");
    matches!(tree.name.as_str(), "message" | "presence" | "iq") && !is_binding
}

/// Holds what the clients did against the access logs of all edges, which have ended: what does not
/// fit, and how many connections there were.
pub(crate) fn compare(cluster: &Cluster) -> (Vec<String>, usize) {
    let tallies = take();
    let logs: String = cluster.edges.iter().map(|edge| edge.access_log()).collect();
    let mut wrong = Vec::new();
    let mut lines: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
    let mut begun = 0;
    for line in logs.lines() {
        let entry: serde_json::Value = match serde_json::from_str(line) {
            Ok(entry) => entry,
            Err(error) => {
                wrong.push(format!("not a line of JSON: {error}: {line}"));
                continue;
            }
        };
        match entry["x-event"].as_str() {
            Some("connect") => begun += 1,
            Some("disconnect") => {
                let line = Line::of(&entry);
                lines.entry(line.port).or_default().push(line);
            }
            _ => {}
        }
    }
    let ended: usize = lines.values().map(Vec::len).sum();
    if begun != ended || ended != tallies.len() {
        wrong.push(format!(
            "{} connections were made, {begun} begun and {ended} ended by the logs",
            tallies.len()
        ));
    }
    for tally in &tallies {
        let of_port = lines.get_mut(&u64::from(tally.port));
        // A port that was used twice: any of its lines will do, once.
        let fits = |lines: &mut Vec<Line>| {
            let at = lines.iter().position(|line| line.fits(tally))?;
            Some(lines.remove(at))
        };
        if of_port.and_then(fits).is_none() {
            wrong.push(format!(
                "no line fits {tally:?}: {:?}",
                lines.get(&u64::from(tally.port))
            ));
        }
    }
    let whole = tallies.iter().filter(|tally| tally.is_whole).count();
    if whole == 0 {
        wrong.push("no connection was ended in good order".to_owned());
    }
    let count = tallies.len();
    forget(tallies);
    (wrong, count)
}

// === impl Line ===

impl Line {
    fn of(entry: &serde_json::Value) -> Self {
        let number = |name: &str| entry[name].as_u64().unwrap_or_default();
        Self {
            port: number("c-port"),
            stanzas_in: number("x-stanzas-in"),
            stanzas_out: number("x-stanzas-out"),
            bytes_in: number("cs-bytes"),
            bytes_out: number("sc-bytes"),
        }
    }

    /// Whether it says what the client knows. What was under way when a connection was cut, only
    /// its sender knows.
    fn fits(&self, tally: &Tally) -> bool {
        let pairs = [
            (
                self.stanzas_in,
                tally.sent,
                tally.received,
                self.stanzas_out,
            ),
            (
                self.bytes_in,
                tally.bytes_sent,
                tally.bytes_received,
                self.bytes_out,
            ),
        ];
        pairs.into_iter().all(|(came, sent, received, went)| {
            if tally.is_whole {
                came == sent && received == went
            } else {
                came <= sent && received <= went
            }
        })
    }
}

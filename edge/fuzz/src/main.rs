//! `differential [iterations] [seed]`: checks that many inputs, and writes what the framer made
//! of them to standard output, one JSON object a line, for parsers in other languages to read.

use std::env;
use std::io::{self, BufWriter, Write};

use couplet_edge_fuzz::generate::Random;
use couplet_edge_fuzz::oracle::{self, Verdict};
use serde_json::json;

/// As many elements are written as other parsers read within seconds.
const WRITTEN_MAX: usize = 40_000;

/// One mistake shows in many inputs; this many of them say enough.
const FAILURES_MAX: u32 = 10;

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1).map(|n| n.parse().expect("a number"));
    let iterations: u64 = arguments.next().unwrap_or(200_000);
    let seed = arguments.next().unwrap_or(1);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut verdicts = [0_u64; 3];
    let mut written = 0;
    let mut failures = 0;
    for round in 0..iterations {
        let number = seed.wrapping_add(round);
        let input = Random::new(number).input();
        let mut lines = Vec::new();
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            oracle::check(&input, |(xml, tree)| {
                lines.push(json!({ "xml": xml, "tree": tree.to_json() }));
            })
        }));
        let Ok(verdict) = verdict else {
            eprintln!("seed {number}: {:?}", String::from_utf8_lossy(&input));
            failures += 1;
            if failures == FAILURES_MAX {
                break;
            }
            continue;
        };
        verdicts[match verdict {
            Verdict::Accepted => 0,
            Verdict::Refused => 1,
            Verdict::Restricted => 2,
        }] += 1;
        for line in lines {
            if written < WRITTEN_MAX {
                writeln!(out, "{line}")?;
                written += 1;
            }
        }
    }
    let [accepted, refused, restricted] = verdicts;
    eprintln!(
        "{iterations} inputs from seed {seed}: {accepted} accepted alike, {refused} refused alike, \
         {restricted} refused on purpose; {written} elements written"
    );
    out.flush()?;
    std::process::exit(i32::from(failures > 0));
}

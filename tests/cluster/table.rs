//! The results as a table in Markdown.

use std::time::Duration;

use crate::verdict::Verdict;

/// What the columns are.
const HEAD: [&str; 11] = [
    "case",
    "messages",
    "acknowledged",
    "refused",
    "lost",
    "duplicated",
    "reordered",
    "disconnected",
    "resumed",
    "longest pause (ms)",
    "took (s)",
];

/// One line of it.
#[derive(Debug)]
pub(crate) struct Row {
    case: &'static str,
    /// Nothing when the case was given up.
    verdict: Option<Verdict>,
    took: Duration,
}

/// The whole table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = line(&HEAD.map(str::to_owned));
    let mut rule = vec!["---:"; HEAD.len()];
    rule[0] = "---";
    text.push_str(&format!("|{}|\n", rule.join("|")));
    for row in rows {
        text.push_str(&line(&row.cells()));
    }
    text
}

// === impl Row ===

impl Row {
    pub(crate) fn new(case: &'static str, verdict: Option<Verdict>, took: Duration) -> Self {
        Self {
            case,
            verdict,
            took,
        }
    }

    fn cells(&self) -> [String; HEAD.len()] {
        let took = format!("{:.0}", self.took.as_secs_f64());
        let case = self.case.replace('_', " ");
        let Some(verdict) = &self.verdict else {
            let mut cells = HEAD.map(|_| "?".to_owned());
            cells[0] = case;
            cells[HEAD.len() - 1] = took;
            return cells;
        };
        [
            case,
            verdict.messages.to_string(),
            verdict.acknowledged.to_string(),
            verdict.refused.to_string(),
            verdict.lost.to_string(),
            verdict.duplicated.to_string(),
            verdict.reordered.to_string(),
            verdict.disconnected.to_string(),
            verdict.resumed.to_string(),
            verdict.longest_pause.as_millis().to_string(),
            took,
        ]
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

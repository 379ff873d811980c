//! Escape: what clients choose, written so that it is one value and nothing else.
//!
//! Addresses, resources and names of mechanisms come from clients. None of their characters may end
//! a line or a field, begin a directive, act on the terminal of whoever reads the log, or turn the
//! order of what stands beside it.

use std::fmt::Write;

/// What stands for a value that is absent.
const ABSENT: &str = "-";

/// Letters that show nothing: fields could be made to look like others with them.
const BLANK: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// Adds a value as the W3C Extended Log Format has it: without spaces and quotes. What is not
/// written as it is becomes `%` and two digits for each byte, as in a URI. A value that looks like
/// an absent one is not written as one; an empty one is two quotes.
pub(super) fn w3c(text: &str, line: &mut String) {
    match text {
        "" => line.push_str("\"\""),
        ABSENT => line.push_str("%2D"),
        _ => text.chars().for_each(|c| match c {
            // Where a line begins with it, '#' makes it a directive.
            ' ' | '"' | '%' | '#' => percent(c, line),
            _ if is_plain(c) => line.push(c),
            _ => percent(c, line),
        }),
    }
}

/// Says that a value is absent.
pub(super) fn absent(line: &mut String) {
    line.push_str(ABSENT);
}

/// Adds a value as a string of JSON.
pub(super) fn json(text: &str, line: &mut String) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            _ if is_plain(c) => line.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(line, "\\u{unit:04x}").expect("a string takes anything");
                }
            }
        }
    }
    line.push('"');
}

/// Whether a character only shows itself: everything of ASCII that is no control, and the letters
/// and digits of all scripts. Controls, marks that turn the direction, spaces of all kinds and what
/// cannot be seen are none of these.
fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ => !c.is_ascii() && c.is_alphanumeric() && !BLANK.contains(&c),
    }
}

fn percent(c: char, line: &mut String) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        write!(line, "%{byte:02X}").expect("a string takes anything");
    }
}

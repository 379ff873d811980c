//! The rules of the house that a machine can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// At most so many lines in a file: one subject fits.
const LINES_MAX: usize = 500;

/// At most so many characters in a line.
const COLUMNS_MAX: usize = 100;

/// At most so many lines of code in a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Folders that are not ours, or not written by hand.
const SKIPPED: &[&str] = &["target", "node_modules", "couplet-data", "corpus", "gen"];

/// Files that start a tree of modules.
const ROOTS: &[&str] = &["src/main.rs", "src/lib.rs"];

/// Arrows that point up within a crate, each with its reason.
const UPWARD: &[(&str, &str, &str)] = &[
    // What a session keeps for each feature is made from the list of features.
    ("origin", "session", "features"),
    // Where a subscription may go is the roster's to keep and the router's to decide.
    ("origin", "features", "route"),
    // An operator's request and its answer pass through a shard like everything else.
    ("origin", "shard", "admin"),
    ("origin", "hooks", "admin"),
    // A shard releases what it delivers straight into the queues of the edges.
    ("origin", "shard", "link"),
    // It also looks where a slot's owner is, and whether it may act as one itself.
    ("origin", "shard", "cluster"),
];

/// A file of the repository.
struct File {
    /// From the top of the repository.
    path: String,
    text: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of ours.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![top().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let is_hidden = name.starts_with('.') && name != ".ci";
            if path.is_dir() {
                if !is_hidden && !SKIPPED.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = relative(&path);
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(top()).expect("below the top");
    path.to_string_lossy().replace('\\', "/")
}

fn rust_files() -> Vec<File> {
    let is_rust = |file: &File| file.path.ends_with(".rs");
    files().into_iter().filter(is_rust).collect()
}

/// Fails with all complaints at once.
fn check(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_are_short_and_lines_narrow() {
    let mut complaints = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{}: {lines} lines", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                complaints.push(format!("{}:{}: {columns} columns", file.path, number + 1));
            }
        }
    }
    check(&complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for file in rust_files() {
        for (name, at, length) in functions(&file.text) {
            if length > FUNCTION_LINES_MAX {
                complaints.push(format!("{}:{at}: {name} has {length} lines", file.path));
            }
        }
    }
    check(&complaints);
}

/// Name, first line and lines of code of every function. Relies on the formatter: a function
/// ends with the first brace at its own indentation.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, after)) = code.split_once("fn ") else {
            continue;
        };
        let is_head = before.split_whitespace().all(|word| {
            matches!(word, "pub" | "const" | "async" | "unsafe" | "extern")
                || word.starts_with("pub(")
        });
        let Some(name) = after.split(['(', '<']).next().filter(|_| is_head) else {
            continue;
        };
        let end = format!("{indent}}}");
        let semicolon = format!("{indent}    ");
        let body = lines[number + 1..].iter().take_while(|line| **line != end);
        let mut length = 0;
        let mut is_body = code.ends_with('{');
        for line in body {
            let is_blank = line.trim().is_empty() || line.trim_start().starts_with("//");
            // A declaration without a body ends where the next item at its level begins.
            if !is_body && !line.starts_with(&semicolon) && !line.trim_start().starts_with(')') {
                is_body = line.trim_end().ends_with('{');
                if !is_body {
                    break;
                }
            }
            is_body |= line.starts_with(&format!("{indent})")) && line.ends_with('{');
            length += usize::from(!is_blank);
        }
        if is_body {
            found.push((name.to_owned(), number + 1, length));
        }
    }
    found
}

#[test]
fn every_module_says_what_it_is() {
    let is_silent = |file: &File| !file.text.starts_with("//! ");
    let silent = rust_files().into_iter().filter(is_silent);
    check(
        &silent
            .map(|file| format!("{}: no //! in line 1", file.path))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn names_say_what_a_file_is_about() {
    let vague = [
        "util", "utils", "common", "helper", "helpers", "types", "misc",
    ];
    let is_vague = |file: &File| {
        let name = Path::new(&file.path)
            .file_stem()
            .map(|name| name.to_string_lossy());
        name.is_some_and(|name| vague.contains(&name.as_ref()))
    };
    let found = rust_files().into_iter().filter(is_vague);
    check(&found.map(|file| file.path).collect::<Vec<_>>());
}

#[test]
fn every_file_is_reachable_from_a_mod_line() {
    let all: BTreeSet<String> = rust_files().into_iter().map(|file| file.path).collect();
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<PathBuf> = Vec::new();
    for path in &all {
        let parts: Vec<&str> = path.split('/').collect();
        let is_crate = ROOTS
            .iter()
            .any(|root| path == root || path.ends_with(&format!("/{root}")));
        // Cargo finds these by itself: each file, or `main.rs` of each folder.
        let is_found = |parts: &[&str]| match parts {
            [
                "tests" | "benches" | "examples" | "fuzz_targets",
                ..,
                "main.rs",
            ] => parts.len() == 3,
            ["tests" | "benches" | "examples" | "fuzz_targets", _] => true,
            _ => false,
        };
        if is_crate
            || path.ends_with("build.rs")
            || (0..parts.len()).any(|at| is_found(&parts[at..]))
        {
            waiting.push(top().join(path));
        }
    }
    while let Some(path) = waiting.pop() {
        if reached.insert(relative(&path)) {
            waiting.extend(children(&path));
        }
    }
    let lost: Vec<String> = all.difference(&reached).cloned().collect();
    check(&lost);
}

/// The files of the modules a file declares.
fn children(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).expect("readable");
    let folder = path.parent().expect("a folder");
    let stem = path.file_stem().expect("a name").to_string_lossy();
    let is_top = matches!(stem.as_ref(), "main" | "lib" | "mod")
        || folder.ends_with("tests")
        || folder.ends_with("benches")
        || folder.ends_with("fuzz_targets");
    let home = if is_top {
        folder.to_path_buf()
    } else {
        folder.join(stem.as_ref())
    };
    let mut found = Vec::new();
    let mut at = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            at = path.strip_suffix("\"]");
        }
        let Some(name) = mod_line(line) else { continue };
        let names = match at.take() {
            Some(path) => vec![folder.join(path)],
            None => vec![
                home.join(format!("{name}.rs")),
                home.join(name).join("mod.rs"),
            ],
        };
        let there = names.into_iter().find(|path| path.is_file());
        found.push(there.unwrap_or_else(|| panic!("mod {name} of {} has no file", path.display())));
    }
    found
}

/// The name in `mod name;`, whatever its visibility.
fn mod_line(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    rest.trim_start().strip_prefix("mod ")?.strip_suffix(';')
}

#[test]
fn modules_import_only_from_below() {
    let files = rust_files();
    let mut complaints = Vec::new();
    for name in ["link", "edge", "origin"] {
        let lib = fs::read_to_string(top().join(name).join("src/lib.rs")).expect("a crate");
        let order: Vec<&str> = lib.lines().filter_map(mod_line).collect();
        for (above, module) in order.iter().enumerate() {
            let own = [
                format!("{name}/src/{module}.rs"),
                format!("{name}/src/{module}/"),
            ];
            let is_own = |file: &&File| file.path == own[0] || file.path.starts_with(&own[1]);
            for file in files.iter().filter(is_own) {
                // Tests may look at anything.
                if file.path.ends_with("tests.rs") || file.path.contains("/tests/") {
                    continue;
                }
                let code = file
                    .text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default();
                for upper in &order[..above] {
                    let is_known = UPWARD.contains(&(name, module, upper));
                    if !is_known && imports(code, upper) {
                        complaints
                            .push(format!("{} imports {upper}, which is above it", file.path));
                    }
                }
            }
        }
    }
    check(&complaints);
}

fn imports(code: &str, module: &str) -> bool {
    let path = format!("crate::{module}");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).any(|line| {
        line.match_indices(&path).any(|(at, _)| {
            let next = line[at + path.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn edge_and_origin_do_not_know_each_other() {
    let manifest =
        |name: &str| fs::read_to_string(top().join(name).join("Cargo.toml")).expect("a manifest");
    assert!(!manifest("edge").contains("couplet-origin"));
    assert!(!manifest("origin").contains("couplet-edge"));
    let proto = manifest("proto");
    assert!(!proto.contains("couplet-edge") && !proto.contains("couplet-origin"));
    let link = manifest("link");
    assert!(!link.contains("couplet-edge") && !link.contains("couplet-origin"));
}

#[test]
fn every_feature_is_in_the_list_in_order_and_names_its_specification() {
    let folder = "origin/src/features/";
    let list = fs::read_to_string(top().join(folder).join("mod.rs")).expect("the list");
    let modules: Vec<&str> = list.lines().map(str::trim).filter_map(mod_line).collect();
    assert!(
        modules.is_sorted(),
        "the mod lines are not alphabetical: {modules:?}"
    );
    let mut complaints = Vec::new();
    for file in rust_files() {
        let Some(rest) = file.path.strip_prefix(folder) else {
            continue;
        };
        let name = rest
            .strip_suffix("/mod.rs")
            .or_else(|| rest.strip_suffix(".rs"));
        let Some(name) = name.filter(|name| !name.contains('/') && *name != "mod") else {
            continue;
        };
        if !file.text.contains("FEATURE: Feature") {
            continue;
        }
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! XEP-") && !first.starts_with("//! RFC ") {
            complaints.push(format!(
                "{}: line 1 does not name the specification",
                file.path
            ));
        }
        if !list.lines().any(|line| line.trim() == format!("{name},")) {
            complaints.push(format!("{}: not in registry!", file.path));
        }
    }
    check(&complaints);
}

#[test]
fn nothing_is_left_for_later_and_nothing_names_a_machine() {
    let marks = ["TODO", "FIXME", "XXX"];
    let homes = ["/home/", "/Users/"];
    let here = top().to_string_lossy().into_owned();
    let mut complaints = Vec::new();
    for file in files() {
        // This one has to name what it looks for.
        if file.path == "tests/suite/tidy.rs" {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, number + 1);
            let is_ours = file.path.ends_with(".rs") || file.path.ends_with(".toml");
            if is_ours && marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{place}: something is left for later"));
            }
            if line.contains(&here) || homes.iter().any(|home| line.contains(home)) {
                complaints.push(format!("{place}: the path of a machine"));
            }
        }
    }
    check(&complaints);
}

#[test]
fn the_checks_of_this_file_see_what_they_look_for() {
    let text = "fn short() {\n    one();\n}\n\ntrait T {\n    fn declared(&self);\n\n\
        \x20   async fn long(\n        a: u8,\n    ) {\n        // why\n        one();\n\n\
        \x20       two();\n    }\n}\n";
    let found: Vec<_> = functions(text)
        .into_iter()
        .map(|(name, _, length)| (name, length))
        .collect();
    assert_eq!(found[0], ("short".to_owned(), 1));
    assert!(
        found
            .iter()
            .any(|(name, length)| name == "long" && (2..=4).contains(length)),
        "{found:?}"
    );
    assert_eq!(mod_line("pub(crate) mod a;"), Some("a"));
    assert_eq!(mod_line("pub mod b;"), Some("b"));
    assert_eq!(mod_line("mod tests {"), None);
    assert!(imports("use crate::shard::State;", "shard"));
    assert!(!imports("use crate::shards;", "shard"));
}

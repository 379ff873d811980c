//! What the documents say is true.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Between these the README has what the program says.
const BEGIN: &str = "<!-- specifications: begin -->\n";
const END: &str = "<!-- specifications: end -->";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the program prints; it must succeed.
fn couplet(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .args(words)
        .current_dir(top())
        .output()
        .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {text}{errors}");
    text
}

/// `UPDATE=1 cargo test --test suite docs` writes the table instead of checking it.
#[test]
fn the_table_of_the_readme_is_what_the_program_says() {
    let readme = read("README.md");
    let table = couplet(&["list-features", "--markdown"]);
    let (before, rest) = readme.split_once(BEGIN).expect("the first mark");
    let (written, after) = rest.split_once(END).expect("the second mark");
    if std::env::var_os("UPDATE").is_some() {
        let readme = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(top().join("README.md"), readme).expect("written");
        return;
    }
    assert!(
        written == table,
        "the table is stale: UPDATE=1 cargo test --test suite docs"
    );
}

#[test]
fn the_sample_configurations_have_no_mistakes() {
    let serve = couplet(&["check-config", "deploy/config/serve.toml"]);
    assert_eq!(serve, "ok\n");
    // What a node of a cluster cannot do without is the operator's to say.
    let edge = ["link.insecure=true", "link.origins=127.0.0.1:5291"];
    let origin = [
        "link.insecure=true",
        "link.listen=127.0.0.1:5291",
        "store.url=redis://127.0.0.1",
    ];
    for (role, keys) in [("edge", edge.as_slice()), ("origin", &origin)] {
        let file = format!("deploy/config/{role}.toml");
        let mut words = vec!["check-config", "--role", role, &file];
        for key in keys {
            words.extend(["--set", key]);
        }
        assert_eq!(couplet(&words), "ok\n", "{role}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_every_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.toml");
    fs::write(&path, "domain = \"a\"\n[c2s]\nlisten = 5222\n").expect("written");
    for words in [["check-config"].as_slice(), &["serve", "--config"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .args(words)
            .arg(&path)
            .output()
            .expect("the program runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        assert!(text.contains("wrong.toml:1: domain: "), "{text}");
        assert!(text.contains("wrong.toml:3: c2s.listen: "), "{text}");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        for link in read(document).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(top().join(target).exists(), "{document}: {target}");
            }
        }
    }
}

#[test]
fn the_map_names_rooms_that_exist_and_all_of_them() {
    let map = read("ARCHITECTURE.md");
    let roots = [
        "src/", "edge/", "origin/", "proto/", "tests/", "benches/", "deploy/",
    ];
    // Pictures use no backticks, but their fences would put the rest out of step.
    let prose: Vec<&str> = map.split("```").step_by(2).collect();
    for word in prose
        .iter()
        .flat_map(|part| part.split('`').skip(1).step_by(2))
    {
        let is_path = roots.iter().any(|root| word.starts_with(root))
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let is_there = top().join(word).exists() || top().join(format!("{word}.rs")).exists();
        assert!(!is_path || is_there, "there is no {word}");
    }
    for (name, lib) in [
        ("proto", "proto/src/lib.rs"),
        ("edge", "edge/src/lib.rs"),
        ("origin", "origin/src/lib.rs"),
        ("couplet", "src/main.rs"),
    ] {
        let modules = read(lib);
        let modules = modules.lines().filter_map(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        });
        for module in modules {
            let folder = lib.rsplit_once('/').expect("a folder").0;
            let names = [format!("`{folder}/{module}"), format!("`{module}`")];
            let is_there = names.iter().any(|name| map.contains(name.as_str()));
            assert!(is_there, "{module} of {name} is not on the map");
        }
    }
}

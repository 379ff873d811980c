//! The alert rules: they are valid, each is quiet and fires when it should, and each is explained.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::{file, read};

/// The values of a key of the rules, in their order.
fn values(key: &str) -> Vec<String> {
    let rules = read("rules.yaml");
    let lines = rules
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    values.map(str::to_owned).collect()
}

/// Runs promtool, which must be content.
fn promtool(words: &[&str]) {
    let output = Command::new("promtool")
        .args(words)
        .current_dir(file(""))
        .output()
        .expect("promtool is installed: it comes with Prometheus");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&text)
    );
}

#[test]
fn the_rules_are_valid_and_each_is_quiet_and_fires_when_it_should() {
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["test", "rules", "rules_test.yaml"]);
    let tested = read("rules_test.yaml");
    for alert in values("alert") {
        let expected = format!("- {{labels: '{{alertname=\"{alert}\"}}', value: 1}}");
        assert!(tested.contains(&expected), "{alert} is not tested");
    }
}

#[test]
fn the_scrape_configuration_is_valid_on_machines_and_on_kubernetes() {
    promtool(&["check", "config", "prometheus.yml"]);
    let text = read("prometheus.yml");
    let (_, rest) = text.split_once("scrape_configs:\n").expect("jobs");
    let lines = rest.lines().filter(|line| line.starts_with("#  "));
    let jobs: Vec<&str> = lines.map(|line| &line[1..]).collect();
    assert!(!jobs.is_empty());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prometheus.yml");
    // Debian's build knows no Kubernetes: what is made of the labels can be checked all the same.
    let discovery = "kubernetes_sd_configs:\n      - role: endpoints\n";
    let text = format!("scrape_configs:\n{}\n", jobs.join("\n"));
    assert!(text.contains(discovery), "{text}");
    let text = text.replace(
        discovery,
        "static_configs:\n      - targets: [\"node:5290\"]\n",
    );
    fs::write(&path, text).expect("written");
    promtool(&["check", "config", path.to_str().expect("UTF-8")]);
}

#[test]
fn every_alert_says_how_bad_it_is_and_where_to_read_on() {
    let alerts = values("alert");
    let distinct: BTreeSet<&String> = alerts.iter().collect();
    assert_eq!(distinct.len(), alerts.len());
    for key in ["severity", "summary", "description", "runbook_url"] {
        assert_eq!(values(key).len(), alerts.len(), "{key}");
    }
    for severity in values("severity") {
        let known = ["info", "warning", "critical"];
        assert!(known.contains(&severity.as_str()), "{severity}");
    }
    for (alert, url) in alerts.iter().zip(values("runbook_url")) {
        let anchor = format!("deploy/monitoring/RUNBOOK.md#{}", alert.to_lowercase());
        assert!(url.ends_with(&anchor), "{alert}: {url}");
    }
}

#[test]
fn the_runbook_has_an_entry_for_every_alert_and_no_other() {
    let runbook = read("RUNBOOK.md");
    let mut entries = Vec::new();
    for entry in runbook.split("\n## ").skip(1) {
        let (alert, text) = entry.split_once('\n').expect("a heading and a text");
        for part in ["Means", "Users notice", "Look at", "Do"] {
            assert!(text.contains(&format!("- **{part}**: ")), "{alert}: {part}");
        }
        entries.push(alert.to_owned());
    }
    let (mut entries, mut alerts) = (entries, values("alert"));
    entries.sort();
    alerts.sort();
    assert_eq!(entries, alerts);
}

//! The dashboard: what Grafana would need, and what whoever looks at it does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read;

/// Columns of a board.
const COLUMNS: u64 = 24;

/// One query of a panel.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) panel: String,
    pub(crate) expr: String,
}

fn board() -> Value {
    serde_json::from_str(&read("dashboard.json")).expect("JSON")
}

fn panels(board: &Value) -> &Vec<Value> {
    board["panels"].as_array().expect("panels")
}

/// Every query, with what Grafana puts in the place of variables.
pub(crate) fn queries() -> Vec<Query> {
    let board = board();
    let mut queries = Vec::new();
    for panel in panels(&board) {
        let targets = panel["targets"].as_array().into_iter().flatten();
        for expr in targets.filter_map(|target| target["expr"].as_str()) {
            queries.push(Query {
                panel: text(panel, "title").to_owned(),
                expr: expr
                    .replace("$__rate_interval", "30s")
                    .replace("$node", ".*"),
            });
        }
    }
    queries
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} of {value}"))
}

#[test]
fn every_panel_has_its_own_place_and_says_what_it_shows() {
    let board = board();
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&board) {
        let title = text(panel, "title");
        assert!(
            ids.insert(number(panel, "id")),
            "{title}: its id is another's"
        );
        assert!(!title.is_empty() && titles.insert(title), "{title}: twice");
        let place = &panel["gridPos"];
        let (x, y) = (number(place, "x"), number(place, "y"));
        let (width, height) = (number(place, "w"), number(place, "h"));
        assert!(width > 0 && x + width <= COLUMNS, "{title}: too wide");
        for cell in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{title}: lies over another");
        }
        if text(panel, "type") == "row" {
            continue;
        }
        assert!(text(panel, "description").ends_with('.'), "{title}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(
            unit.is_some_and(|unit| !unit.is_empty()),
            "{title}: no unit"
        );
    }
    for row in ["Overview", "Edges", "Origins and slots", "Store", "Abuse"] {
        assert!(titles.contains(row), "{row}");
    }
}

#[test]
fn every_query_asks_the_chosen_source_for_the_chosen_nodes() {
    let board = board();
    for panel in panels(&board).iter().filter(|it| text(it, "type") != "row") {
        let title = text(panel, "title");
        assert_eq!(
            text(&panel["datasource"], "uid"),
            "${datasource}",
            "{title}"
        );
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}: nothing is asked");
        let mut names = BTreeSet::new();
        for target in targets {
            let expr = text(target, "expr");
            assert!(!expr.is_empty(), "{title}");
            assert_eq!(
                text(&target["datasource"], "uid"),
                "${datasource}",
                "{title}"
            );
            assert!(names.insert(text(target, "refId")), "{title}: refId");
            let is_of_nodes = expr.contains("instance=~\"$node\"") || expr.contains("ALERTS");
            assert!(is_of_nodes, "{title}: {expr}");
        }
        let is_chart = text(panel, "type") == "timeseries";
        let has_legend = |target: &Value| !text(target, "legendFormat").is_empty();
        assert!(
            !is_chart || targets.iter().all(has_legend),
            "{title}: legend"
        );
    }
    let variables = board["templating"]["list"].as_array().expect("variables");
    let names: Vec<&str> = variables.iter().map(|it| text(it, "name")).collect();
    assert_eq!(names, ["datasource", "role", "node"]);
    assert!(number(&board, "schemaVersion") >= 39);
}

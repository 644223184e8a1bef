//! The alerts for Prometheus and the dashboard for Grafana in `deploy`, and the text of `/metrics` as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::helpers::Ops;
use crate::metrics::names;
use crate::support::{Client, Folder, to};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dmwire.json")).expect("JSON")
}

/// Runs promtool, which comes with Prometheus.
fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: run scripts/setup");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(input.as_bytes())
        .expect("promtool reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// The names of metrics in a text. A histogram has a name for each of its series.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("dmwire_").map(|(at, _)| &text[at..]);
    starts
        .map(|rest| {
            let name = rest.split(|c| !is_name(c)).next().unwrap_or_default();
            let series = ["_bucket", "_count", "_sum"];
            let family = series.iter().find_map(|series| name.strip_suffix(series));
            family.unwrap_or(name).to_owned()
        })
        .collect()
}

/// The queries of the dashboard, each with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let query = target["expr"].as_str().expect("a query");
            queries.push((title.to_owned(), query.to_owned()));
        }
    }
    queries
}

#[test]
fn alerts_and_dashboard_use_metrics_that_are_served() {
    let served = names(&Ops::start(&[]));
    let queries = queries(&dashboard()).into_iter().map(|(_, query)| query);
    let dashboard = queries.collect::<Vec<_>>().join("\n");
    for (file, text) in [
        ("alerts.yml", read("prometheus/alerts.yml")),
        ("alerts.test.yml", read("prometheus/alerts.test.yml")),
        ("dmwire.json", dashboard),
    ] {
        let used = metrics_in(&text);
        assert!(used.len() > 10, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&served).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn prometheus_accepts_the_alerts_and_they_fire() {
    let alerts = deploy("prometheus/alerts.yml");
    let tests = deploy("prometheus/alerts.test.yml");
    let [alerts, tests] = [&alerts, &tests].map(|path| path.to_str().expect("a path"));
    promtool(&["check", "rules", alerts], "");
    promtool(&["test", "rules", tests], "");
    // Each alert has a test.
    let (rules, cases) = (
        read("prometheus/alerts.yml"),
        read("prometheus/alerts.test.yml"),
    );
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        assert!(cases.contains(&format!("alertname=\"{name}\"")), "{name}");
    }
}

#[test]
fn prometheus_accepts_the_metrics() {
    let ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.ask(&to("bo", "hi"));
    ada.ask(&to("bo", ""));
    promtool(&["check", "metrics"], &ops.get("/metrics").body);
}

#[test]
fn the_dashboard_is_complete_and_its_queries_are_valid() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|panel| panel["title"].as_str())
        .collect();
    let expected = [
        "Traffic", "Latency", "Errors", "Memory", "Store", "Webhooks", "Redis",
    ];
    assert_eq!(rows, expected);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut cells = BTreeMap::new();
    for panel in panels {
        let number = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        let (left, top) = (number("x"), number("y"));
        assert!(left + number("w") <= 24, "{panel}");
        for x in left..left + number("w") {
            for y in top..top + number("h") {
                let other = cells.insert((x, y), panel["title"].clone());
                assert!(other.is_none(), "{panel} covers {other:?}");
            }
        }
    }
    // As rules, in JSON, which is YAML too.
    let rules: Vec<Value> = queries(&dashboard)
        .into_iter()
        .enumerate()
        .map(|(number, (_, query))| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$instance", ".*");
            json!({"record": format!("query:{number}"), "expr": query})
        })
        .collect();
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let folder = Folder::new();
    let file = folder.0.join("rules.yml");
    fs::write(&file, groups.to_string()).expect("a writable folder");
    promtool(&["check", "rules", file.to_str().expect("a path")], "");
}

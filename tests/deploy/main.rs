//! What is shipped for watching a server fits what a server tells: every question of rules, alerts and dashboards can be
//! read and asks for figures that there are.
#![allow(clippy::print_stderr, reason = "a test that did not run must be heard of")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use facesocial::config::Role;
use facesocial_types::Service;
use promql_parser::{
    parser::{self, Expr, VectorSelector},
    util::{ExprVisitor, walk_expr},
};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// Names Prometheus' `promtool`, which reads its files more strictly than these tests can.
const PROMTOOL: &str = "FACESOCIAL_PROMTOOL";
/// What others tell: Prometheus itself, and the exporters of node, Postgres and Redis.
const ELSEWHERE: [&str; 16] = [
    "up",
    "node_cpu_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "node_network_receive_bytes_total",
    "node_network_transmit_bytes_total",
    "pg_database_size_bytes",
    "pg_stat_database_numbackends",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "redis_commands_processed_total",
    "redis_connected_clients",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
];
/// Labels that Prometheus adds to what it scrapes.
const ADDED: [&str; 3] = ["job", "instance", "le"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn yaml(file: &str) -> Yaml {
    let text = fs::read_to_string(deploy().join(file)).unwrap();
    YamlLoader::load_from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}")).remove(0)
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text"))
}

/// A rule or an alert: its name, its question, and the rest.
fn rules(file: &str) -> Vec<(String, String, Yaml)> {
    let groups = yaml(file);
    let rules = groups["groups"].as_vec().unwrap().iter().flat_map(|group| group["rules"].as_vec().unwrap().clone());
    let named = |rule: Yaml| {
        let name = if rule["record"].is_badvalue() { &rule["alert"] } else { &rule["record"] };
        (text(name).to_owned(), text(&rule["expr"]).to_owned(), rule)
    };
    rules.map(named).collect()
}

/// The families of the inventory, by name: their type and their labels.
fn inventory() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let table = fs::read_to_string(deploy().join("metrics.tsv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [name, kind, labels, _] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (name.to_owned(), (kind.to_owned(), labels))
    });
    rows.collect()
}

/// Everything that may be asked for, by series, with the labels that it has; `None` where they are not known here.
fn known() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut known = BTreeMap::new();
    for (name, (kind, labels)) in inventory() {
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for suffix in suffixes {
            known.insert(format!("{name}{suffix}"), Some(labels.clone()));
        }
    }
    known.extend(ELSEWHERE.map(|name| (name.to_owned(), None)));
    known.extend(rules("prometheus/rules.yml").into_iter().map(|(name, ..)| (name, None)));
    known
}

struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// What a question asks for.
fn selectors(expr: &str) -> Result<Vec<VectorSelector>, String> {
    let mut found = Selectors(Vec::new());
    walk_expr(&mut found, &parser::parse(expr)?)?;
    Ok(found.0)
}

/// What is wrong with a question.
fn faults(expr: &str, known: &BTreeMap<String, Option<BTreeSet<String>>>) -> Vec<String> {
    let selectors = match selectors(expr) {
        Ok(selectors) => selectors,
        Err(error) => return vec![format!("{expr}: {error}")],
    };
    let mut faults = Vec::new();
    for VectorSelector { name, matchers, .. } in selectors {
        let name = name.unwrap_or_default();
        let Some(labels) = known.get(&name) else {
            faults.push(format!("{expr}: nobody tells {name}"));
            continue;
        };
        let Some(labels) = labels else { continue };
        let foreign = matchers.matchers.iter().map(|m| &m.name);
        let foreign = foreign.filter(|label| !labels.contains(*label) && !ADDED.contains(&label.as_str()));
        faults.extend(foreign.map(|label| format!("{expr}: {name} has no label {label}")));
    }
    faults
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = deploy().join("grafana/dashboards");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let boards = files.map(|file| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_slice(&fs::read(&file).unwrap()).unwrap())
    });
    boards.collect()
}

/// A dashboard's question as Grafana would send it.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", "5m").replace("$service", ".*")
}

#[test]
fn every_rule_and_alert_asks_for_what_there_is() {
    let known = known();
    for file in ["prometheus/rules.yml", "prometheus/alerts.yml"] {
        for (name, expr, _) in rules(file) {
            assert_eq!(faults(&expr, &known), Vec::<String>::new(), "{name} in {file}");
        }
    }
}

#[test]
fn a_wrong_question_is_found() {
    let known = known();
    for wrong in
        ["rate(facesocial_http_requests_total[5m]", "facesocial_no_such_thing", "facesocial_ready{color=\"red\"}"]
    {
        assert_eq!(faults(wrong, &known).len(), 1, "{wrong}");
    }
    assert!(faults("rate(facesocial_http_requests_total{status=\"5xx\",job=\"x\"}[5m])", &known).is_empty());
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_happened() {
    let alerts = rules("prometheus/alerts.yml");
    for (name, _, rule) in &alerts {
        assert!(matches!(text(&rule["labels"]["severity"]), "critical" | "warning"), "{name}");
        assert!(!text(&rule["annotations"]["summary"]).is_empty(), "{name}");
    }
    let names: BTreeSet<&str> = alerts.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.len(), alerts.len());
    for wanted in
        ["HighErrorRate", "SlowResponse", "ServiceDown", "HighMemory", "QueueFull", "DatabaseDown", "DiskFull"]
    {
        assert!(names.contains(wanted), "{wanted}");
    }
}

#[test]
fn every_listener_is_scraped_on_its_port_with_the_token() {
    let config = yaml("prometheus/prometheus.yml");
    let jobs = config["scrape_configs"].as_vec().unwrap();
    let roles = [Role::Gateway].into_iter().chain(Service::ALL.iter().copied().map(Role::Service));
    for role in roles {
        let name = format!("facesocial-{}", role.as_str().replace('_', "-"));
        let job = jobs.iter().find(|job| text(&job["job_name"]) == name).unwrap_or_else(|| panic!("no job {name}"));
        let target = text(&job["static_configs"][0]["targets"][0]);
        assert!(target.ends_with(&format!(":{}", role.default_port())), "{target}");
        assert_eq!(text(&job["params"]["format"][0]), "prometheus", "{name}");
        assert!(!text(&job["authorization"]["credentials_file"]).is_empty(), "{name}");
    }
    for file in config["rule_files"].as_vec().unwrap() {
        assert!(deploy().join("prometheus").join(text(file)).is_file(), "{file:?}");
    }
}

#[test]
fn every_panel_asks_for_what_there_is_from_the_source_that_is_provisioned() {
    let known = known();
    let source = text(&yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"]).to_owned();
    let boards = dashboards();
    assert_eq!(boards.len(), 5);
    let mut ids = BTreeSet::new();
    for (file, board) in &boards {
        assert!(ids.insert(board["uid"].as_str().unwrap()), "{file}: another board has its uid");
        for variable in board["templating"]["list"].as_array().unwrap() {
            assert_eq!(variable["datasource"]["uid"], source.as_str(), "{file}");
            let query = variable["query"].as_str().unwrap();
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (metric, label) = inner.split_once(", ").unwrap();
            assert!(known[metric].as_ref().is_some_and(|labels| labels.contains(label)), "{file}: {query}");
        }
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], source.as_str(), "{file}: {title}");
                let expr = filled(target["expr"].as_str().unwrap());
                assert!(!expr.contains('$'), "{file}: {title} has an unknown variable: {expr}");
                assert_eq!(faults(&expr, &known), Vec::<String>::new(), "{file}: {title}");
            }
        }
    }
}

#[test]
fn every_family_is_shown_somewhere() {
    let mut asked = BTreeSet::new();
    let questions = dashboards().into_iter().flat_map(|(_, board)| {
        let panels = board["panels"].as_array().unwrap().clone().into_iter();
        panels.flat_map(|panel| panel["targets"].as_array().unwrap().clone())
    });
    let mut exprs: Vec<String> = questions.map(|target| filled(target["expr"].as_str().unwrap())).collect();
    for file in ["prometheus/rules.yml", "prometheus/alerts.yml"] {
        exprs.extend(rules(file).into_iter().map(|(_, expr, _)| expr));
    }
    for expr in exprs {
        asked.extend(selectors(&expr).unwrap().into_iter().filter_map(|selector| selector.name));
    }
    for (name, (kind, _)) in inventory() {
        let shown = match kind.as_str() {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().any(|suffix| asked.contains(&format!("{name}{suffix}")))
            }
            _ => asked.contains(&name),
        };
        assert!(shown, "no dashboard, rule or alert asks for {name}");
    }
}

/// The named promtool, which must run; `None` if none is named and the path has none.
fn promtool() -> Option<OsString> {
    let named = env::var_os(PROMTOOL);
    let promtool = named.clone().unwrap_or_else(|| "promtool".into());
    let runs = Command::new(&promtool).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(named.is_none() || runs, "{PROMTOOL} is set, and does not run");
    runs.then_some(promtool)
}

#[test]
fn prometheus_itself_can_read_its_files() {
    let Some(promtool) = promtool() else {
        eprintln!("NOT RUN: promtool on deploy/prometheus. Install Prometheus, or set {PROMTOOL}");
        return;
    };
    // The token's file is made where the server is set up.
    for check in [
        &["check", "config", "--syntax-only", "prometheus.yml"] as &[&str],
        &["check", "rules", "rules.yml", "alerts.yml"],
        &["test", "rules", "tests.yml"],
    ] {
        let output = Command::new(&promtool).args(check).current_dir(deploy().join("prometheus")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {}: {said}", check.join(" "));
    }
}

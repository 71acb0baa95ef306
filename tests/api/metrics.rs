//! What a server tells of itself in figures, and to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use facesocial::config::{Role, Secret};
use facesocial_store::{Retention, Role as Rank};
use facesocial_types::Service;
use reqwest::{Client, Method, Response, multipart::Form};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    accounts::{Secured, secured, seed},
    helpers::{TestApp, app, config_with, form, get, number, ok, part, photo, post, problem, spawn_app},
};

const INVENTORY: &str = include_str!("../../deploy/metrics.tsv");
const TOKEN: &str = "a token for scraping alone";

/// A family as a server tells it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// Each sample's name with its labels, as it stands in the text.
    samples: BTreeMap<String, f64>,
}

/// The families of an answer in Prometheus' text form.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is told twice");
            current = name.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let family = families.get_mut(&current).unwrap();
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(name == current || (family.kind == "histogram" && bare == Some(current.as_str())), "{line}");
            // A comma within a value stands between quotes and is followed by no name and no =.
            let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once("=\""));
            family.labels.extend(pairs.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
            assert!(family.samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
        }
    }
    families
}

async fn told(url: String) -> BTreeMap<String, Family> {
    let answer = get(url).await;
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    parse(&text)
}

/// Everything that the server tells, once it has looked how much its database holds.
async fn everything(app: &TestApp) -> BTreeMap<String, Family> {
    let begun = Instant::now();
    loop {
        let families = told(app.gateway("/metrics?format=prometheus&scope=all")).await;
        if families.contains_key("facesocial_gallery_faces") {
            return families;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the size of the database is never told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_is_told_and_the_inventory_are_the_same() {
    ok(post(app().gateway("/analyze/comprehensive"), form("portrait.jpg")).await).await;
    problem(get(app().gateway("/nowhere")).await, 404, "NOT_FOUND").await;
    let told = everything(app()).await;
    let card = told.contains_key("facesocial_gpu_up");
    let mut expected = BTreeSet::new();
    for row in INVENTORY.lines().filter(|line| !line.starts_with('#')) {
        let [name, kind, labels, help] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        expected.insert(name);
        let Some(family) = told.get(name) else {
            assert!(name.starts_with("facesocial_gpu_"), "{name} is not told");
            continue;
        };
        assert_eq!((family.kind.as_str(), family.help.as_str()), (kind, help), "{name}");
        let labels: BTreeSet<String> = labels.split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect();
        assert_eq!(family.labels, labels, "{name}");
    }
    let unknown: Vec<_> = told.keys().filter(|name| !expected.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "not in deploy/metrics.tsv: {unknown:?}");
    assert!(!card || told.keys().filter(|name| name.starts_with("facesocial_gpu_")).count() > 1);
}

#[tokio::test]
async fn an_analysis_leaves_its_stages_decisions_and_batches() {
    let form = form("portrait.jpg").text("detect_spoofing", "true").text("detect_deepfake", "true");
    let answer = Client::new().post(app().gateway("/analyze/comprehensive")).header("cache-control", "no-cache");
    ok(answer.multipart(form).send().await.unwrap()).await;
    let pair = Form::new().part("file1", part("a", photo("portrait.jpg"))).part("file2", part("b", photo("group.jpg")));
    ok(post(app().service(Service::Recognition, "/compare"), pair).await).await;
    let told = everything(app()).await;
    let sample = |family: &str, series: &str| {
        let samples = &told[family].samples;
        *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:?}"))
    };
    for stage in ["line", "decode", "detect", "align", "quality", "post"] {
        let series = format!("facesocial_stage_duration_seconds_count{{network=\"\",stage=\"{stage}\"}}");
        assert!(sample("facesocial_stage_duration_seconds", &series) >= 1.0, "{stage}");
    }
    for stage in ["queue", "forward"] {
        let series = format!("facesocial_stage_duration_seconds_count{{stage=\"{stage}\",network=\"mtcnn\"}}");
        assert!(sample("facesocial_stage_duration_seconds", &series) >= 1.0, "{stage}");
    }
    let sum = |family: &str, part: &str| {
        told[family].samples.iter().filter(|(series, _)| series.contains(part)).map(|(_, n)| n).sum::<f64>()
    };
    for analysis in ["antispoof", "deepfake", "comparison"] {
        assert!(sum("facesocial_decisions_total", &format!("analysis=\"{analysis}\"")) >= 1.0, "{analysis}");
    }
    assert!(sum("facesocial_faces_detected_total", "confidence=\"high\"") >= 1.0);
    assert!(sum("facesocial_analyses_total", "service=\"antispoof\"") >= 1.0);
    let items = sum("facesocial_network_batch_items", "_sum{service=\"mtcnn\"");
    let outcome = |outcome: &str| {
        let series =
            format!("facesocial_network_items_total{{service=\"mtcnn\",network=\"mtcnn\",outcome=\"{outcome}\"}}");
        sample("facesocial_network_items_total", &series)
    };
    assert!(items >= 1.0 && items == outcome("done") + outcome("failed"), "{items}");
    let (used, budget) =
        (sum("facesocial_service_memory_bytes", "yolo"), sum("facesocial_service_memory_budget_bytes", "yolo"));
    assert!(0.0 < used && used <= budget, "{used} of {budget}");
    assert_eq!(sample("facesocial_database_up", "facesocial_database_up"), 1.0);
    assert_eq!(sample("facesocial_ready", "facesocial_ready"), 1.0);
}

#[tokio::test]
async fn each_listener_tells_its_own_and_nothing_is_told_twice() {
    post(app().service(Service::Mtcnn, "/detect"), form("portrait.jpg")).await;
    get(app().gateway("/services")).await;
    let mut seen = BTreeSet::new();
    let roles = [Role::Gateway].into_iter().chain(Service::ALL.iter().copied().map(Role::Service));
    for role in roles {
        let families = told(format!("http://{}/metrics?format=prometheus", app().address(role))).await;
        for series in families.values().flat_map(|family| family.samples.keys()) {
            assert!(seen.insert(series.clone()), "{role} tells {series} again");
        }
        assert_eq!(families.contains_key("facesocial_process_threads"), role == Role::Gateway);
    }
    assert!(seen.iter().any(|s| s.starts_with("facesocial_http_requests_total") && s.contains("service=\"mtcnn\"")));
    assert!(seen.iter().any(|s| s.starts_with("facesocial_network_loaded") && s.contains("service=\"deepfake\"")));
}

#[tokio::test]
async fn the_gateway_answers_as_the_original_unless_prometheus_asks() {
    ok(post(app().gateway("/detect/faces"), form("portrait.jpg")).await).await;
    let report = ok(get(app().gateway("/metrics")).await).await;
    for name in ["uptime", "total_requests", "face_detection_requests"] {
        assert!(number(&report[name]) >= 0.0, "{report}");
    }
    assert!(number(&report["total_requests"]) >= 1.0 && number(&report["face_detection_requests"]) >= 1.0, "{report}");
    assert!(number(&report["service_calls"]["mediapipe"]) >= 1.0, "{report}");
    for map in ["service_calls", "service_errors", "error_rates"] {
        assert_eq!(report[map].as_object().unwrap().len(), 8, "{report}");
        assert!(report[map]["face_quality"].is_number() && report[map]["face_recognition"].is_number(), "{report}");
    }
    assert!(report["memory_usage"].is_object() && report["api_version"].is_string() && report["features"].is_object());

    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let scraped = Client::new().get(app().gateway("/metrics")).header("accept", accept).send().await.unwrap();
    assert!(parse(&scraped.text().await.unwrap()).contains_key("facesocial_build_info"));
    assert!(told(app().service(Service::Yolo, "/metrics")).await.contains_key("facesocial_network_loaded"));
    let wrong = problem(get(app().gateway("/metrics?format=xml")).await, 400, "INVALID_INPUT").await;
    assert!(wrong.contains("json nor prometheus"), "{wrong}");
    problem(get(app().gateway("/metrics?scope=mine")).await, 400, "INVALID_INPUT").await;
}

async fn with(server: &TestApp, role: Role, token: &str) -> Response {
    let url = format!("http://{}/metrics?format=prometheus", server.address(role));
    Client::new().get(url).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn operators_and_the_scrape_token_open_the_figures_and_the_token_opens_nothing_else() {
    let (weights, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.access.auth = true;
    config.access.jwt_secret = Some(Secret::new(crate::accounts::SECRET));
    config.access.rate_limit = Some(3);
    config.observe.metrics_token = Some(Secret::new(TOKEN));
    let users = seed(&config).await;
    let server = Secured::of(weights, spawn_app(config), users);
    server.app.ready().await;
    // More often than anybody else may ask.
    for role in [Role::Gateway, Role::Service(Service::Yolo)].repeat(4) {
        assert_eq!(with(&server.app, role, TOKEN).await.status(), 200, "{role}");
    }
    assert_eq!(with(&server.app, Role::Gateway, &server.token(Rank::Operator)).await.status(), 200);
    problem(with(&server.app, Role::Gateway, &server.token(Rank::User)).await, 403, "FORBIDDEN").await;
    problem(with(&server.app, Role::Gateway, "a token for scraping alon").await, 401, "UNAUTHENTICATED").await;
    let elsewhere = server.anonymous(Method::GET, "/models").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(elsewhere.status(), 401);
    server.app.stopper.stop();
}

#[tokio::test]
async fn a_key_for_operating_opens_the_figures_and_another_does_not() {
    let server = secured(|_| {}).await;
    let key = server.key(&["operate"]).await;
    assert_eq!(with(&server.app, Role::Gateway, &key).await.status(), 200);
    let key = server.key(&["analyze"]).await;
    problem(with(&server.app, Role::Gateway, &key).await, 403, "FORBIDDEN").await;
    server.app.stopper.stop();
}

#[tokio::test]
async fn an_address_of_their_own_opens_the_figures_and_nothing_else() {
    let (_weights, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.access.auth = true;
    config.observe.metrics_listen = Some(([127, 0, 0, 1], 0).into());
    let app = spawn_app(config);
    let at = |path: &str| format!("http://{}{path}", app.metrics.unwrap());
    app.ready().await;
    let families = told(at("/metrics")).await;
    assert!(families.contains_key("facesocial_build_info") && families.contains_key("facesocial_network_loaded"));
    assert_eq!(get(at("/healthz")).await.status(), 200);
    for path in ["/", "/health", "/api/v1/models", "/analyze/comprehensive"] {
        problem(get(at(path)).await, 404, "NOT_FOUND").await;
    }
    let elsewhere = Client::new().get(at("/metrics")).header("host", "evil.example").send().await.unwrap();
    problem(elsewhere, 403, "FORBIDDEN").await;
    problem(get(app.gateway("/metrics")).await, 401, "UNAUTHENTICATED").await;
    app.stopper.stop();
}

#[tokio::test]
async fn health_tells_what_the_originals_readme_promises() {
    for service in [Service::Mediapipe, Service::Recognition] {
        let health = ok(get(app().service(service, "/health")).await).await;
        for name in [
            "cpu_usage_percent",
            "uptime_seconds",
            "requests_processed",
            "average_response_time_ms",
            "network_memory_mb",
        ] {
            assert!(number(&health[name]) >= 0.0, "{name} in {health}");
        }
        assert!(health["gpu_memory_used_mb"].is_number() || health["gpu_memory_used_mb"].is_null(), "{health}");
        let (held, limit) = (number(&health["network_memory_mb"]), number(&health["gpu_memory_limit_mb"]));
        assert!(held > 0.0 && held <= limit, "{health}");
        assert!(health["version"].is_string() && health["service"].is_string());
    }
    let limit = |health: &Value| health["gpu_memory_limit_mb"].clone();
    assert_eq!(limit(&ok(get(app().service(Service::Mediapipe, "/health")).await).await), 400);
}

#[tokio::test]
async fn the_database_keeps_what_was_answered_and_how_the_services_were() {
    let (_weights, config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    let options = config.store.options();
    let app = spawn_app(config);
    app.ready().await;
    get(app.service(Service::Yolo, "/health")).await;
    // The first look at the services is made within a second of the start.
    tokio::time::sleep(Duration::from_secs(3)).await;
    app.stopper.stop();
    // What was answered is written at the latest while the server stops; only then another one may open the embedded database.
    let (begun, mut rows) = (Instant::now(), BTreeMap::new());
    while !["service_metrics", "health_logs"].iter().all(|table| rows.get(table).is_some_and(|rows| *rows > 0)) {
        if let Ok(store) = facesocial_store::open(&options).await {
            // Rows cannot be read, but taken away when they are old.
            let later = OffsetDateTime::now_utc() + Duration::from_secs(40 * 86_400);
            for (table, swept) in store.sweep(&Retention::default(), later).await.unwrap() {
                *rows.entry(table).or_insert(0) += swept;
            }
            store.close().await;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not recorded: {rows:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

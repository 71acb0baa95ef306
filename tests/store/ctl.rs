//! An operator's day: a server is deployed as a process, looked at, killed, started again, tried and stopped.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use facesocial_ctl::{
    CtlError, Manager, State,
    check::{self, Outcome},
    load::Load,
    local::Local,
    probe::Probe,
    topology::{Replica, Topology},
};
use facesocial_testkit::{Postgres, Redis};
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use serde_json::Value;

use crate::server::program;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Of the server that is deployed.
const GATEWAY: &str = "gateway";

/// A deployment that does not outlive its test.
struct Deployed {
    manager: Manager,
    url: String,
    _folder: tempfile::TempDir,
}

impl Deployed {
    /// Deploys what `shape` makes of one process for everything, with an embedded database.
    async fn deploy(shape: impl FnOnce(&mut Topology, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut topology = topology(folder.path());
        shape(&mut topology, folder.path());
        let url = topology.gateway_url();
        let local = Local::new(folder.path().join("ctl"));
        let deployed = local.deploy(topology, &"s".repeat(48)).await;
        let all = Self { manager: Manager::Local(local), url, _folder: folder };
        deployed.unwrap_or_else(|error| panic!("{error}"));
        all
    }

    async fn states(&self, unit: &str) -> Vec<State> {
        self.manager.rows().await.unwrap().into_iter().filter(|row| row.unit == unit).map(|row| row.state).collect()
    }

    /// The process of the first replica.
    fn pid(&self, unit: &str) -> Option<u32> {
        self.running().into_iter().find(|replica| replica.unit.as_str() == unit).map(|replica| replica.process.pid)
    }

    fn running(&self) -> Vec<Replica> {
        match &self.manager {
            Manager::Local(local) => local.topology().map(|topology| topology.running).unwrap_or_default(),
            Manager::Compose(_) => Vec::new(),
        }
    }

    async fn every_service_answers(&self) {
        let probe = Probe::new(&self.url, None).unwrap();
        let checks = check::run(&probe, None, &photo("portrait.jpg"), 1).await.unwrap();
        assert_eq!(checks.len(), 13, "{checks:?}");
        assert!(checks.iter().all(|check| check.outcome == Outcome::Passed), "{checks:?}");
    }

    fn load(&self, path: &str, fields: &[(&str, &str)], seconds: u64) -> Arc<Load> {
        Arc::new(Load {
            url: format!("{}{path}", self.url),
            photo: photo("portrait.jpg"),
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            token: None,
            time: Duration::from_secs(seconds),
            hammer: false,
            pid: self.pid(GATEWAY),
        })
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.running().iter().for_each(|replica| kill(replica.process.pid));
    }
}

fn topology(folder: &Path) -> Topology {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
    let (data, nothing) = (folder.join("data"), weights.join("no-pulled-networks"));
    let arguments = [
        "--auth",
        "off",
        "--weights",
        weights.to_str().unwrap(),
        "--models-dir",
        nothing.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ];
    Topology {
        program: program(folder),
        directory: folder.to_owned(),
        distributed: false,
        bind: LOOPBACK,
        port: free_ports(20),
        arguments: arguments.map(str::to_owned).to_vec(),
        scale: BTreeMap::new(),
        running: Vec::new(),
    }
}

fn photo(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(name)).unwrap()
}

fn kill(pid: u32) {
    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().ok();
}

/// The first of so many free ports in a row, below those that the system hands out: of these other tests hold many.
fn free_ports(count: u16) -> u16 {
    let start = 12_000 + (std::process::id() % 8_000) as u16;
    (start..32_000 - count)
        .step_by(usize::from(count))
        .find(|first| (*first..first + count).all(|port| TcpListener::bind((LOOPBACK, port)).is_ok()))
        .expect("free ports in a row")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_day() {
    let deployed = Deployed::deploy(|_, _| {}).await;
    let rows = deployed.manager.rows().await.unwrap();
    assert_eq!((rows.len(), rows[0].unit.as_str(), rows[0].state), (1, GATEWAY, State::Ready));
    assert!(rows[0].memory_mb.is_some_and(|mb| mb > 20), "{rows:?}");
    let mut log = Vec::new();
    deployed.manager.logs(&[GATEWAY.to_owned()], 50, false, &mut log).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("listening") && log.contains("ready"), "{log}");

    deployed.every_service_answers().await;
    let figures = deployed.load("/mediapipe/detect", &[], 2).run(2).await.unwrap();
    assert!(figures.answered >= 2 && figures.others.is_empty() && figures.memory_mb.is_some(), "{figures:?}");

    // One that was killed is seen, and started again.
    kill(deployed.pid(GATEWAY).unwrap());
    while deployed.states(GATEWAY).await != [State::Ended] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = deployed.pid(GATEWAY);
    deployed.manager.start(&[]).await.unwrap();
    assert_eq!(deployed.states(GATEWAY).await, [State::Ready]);
    assert_ne!(deployed.pid(GATEWAY), before);
    // What runs is left as it is.
    let same = deployed.pid(GATEWAY);
    deployed.manager.start(&[GATEWAY.to_owned()]).await.unwrap();
    assert_eq!(deployed.pid(GATEWAY), same);

    let refused = deployed.manager.scale("yolo", 2).await.unwrap_err();
    assert!(matches!(refused, CtlError::OneProcess), "{refused:?}");
    let refused = deployed.manager.stop(&["yolo".to_owned()]).await.unwrap_err();
    assert!(matches!(refused, CtlError::NoSuchUnit { .. }), "{refused:?}");

    // Stopped is not ended: requests under way were finished.
    deployed.manager.stop(&[]).await.unwrap();
    assert_eq!(deployed.states(GATEWAY).await, [State::Stopped]);
    let mut log = Vec::new();
    deployed.manager.logs(&[], 50, false, &mut log).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("SIGTERM"), "{log}");
}

/// Gateway, seven services, two replicas of one, and Postgres and Redis where these can be had.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what is left out is told")]
async fn a_process_for_each_service() {
    const SERVICE: &str = "recognition";
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    for (what, there) in [("Postgres", postgres.is_some()), ("Redis", redis.is_some())] {
        if !there {
            eprintln!("NOT WITH {what}: it is not on this machine");
        }
    }
    let deployed = Deployed::deploy(|topology, folder| {
        topology.distributed = true;
        topology.scale = BTreeMap::from([(SERVICE.parse().unwrap(), 2)]);
        let urls = [
            ("--database-url-file", postgres.map(Postgres::fresh_database)),
            ("--redis-url-file", redis.map(Redis::url)),
        ];
        for (option, url) in urls {
            let Some(url) = url else { continue };
            let file = folder.join(option.trim_start_matches('-'));
            fs::write(&file, url).unwrap();
            topology.arguments.extend([option.to_owned(), file.display().to_string()]);
        }
    })
    .await;
    let rows = deployed.manager.rows().await.unwrap();
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row.state == State::Ready), "{rows:?}");
    deployed.every_service_answers().await;

    // One of two is lost under load, and no request with it.
    let load = deployed.load("/analyze/comprehensive", &[("recognize_faces", "true")], 8);
    let running = tokio::spawn(async move { load.run(4).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    kill(deployed.pid(SERVICE).unwrap());
    let figures = running.await.unwrap();
    assert!(figures.answered >= 4 && figures.others.is_empty(), "{figures:?}");
    let mut states = deployed.states(SERVICE).await;
    states.sort_by_key(|state| *state == State::Ready);
    assert_eq!(states, [State::Ended, State::Ready]);
    // It comes back, and is asked again.
    deployed.manager.start(&[SERVICE.to_owned()]).await.unwrap();
    assert_eq!(deployed.states(SERVICE).await, [State::Ready; 2]);
    let probe = Probe::new(&deployed.url, None).unwrap();
    let begun = std::time::Instant::now();
    loop {
        let (_, health) = probe.get("/health").await.unwrap();
        let services = health["services"].as_array().unwrap();
        let replicas = services.iter().find(|s| s["service_name"] == "face_recognition").unwrap()["replicas"].clone();
        if replicas.as_array().unwrap().iter().all(|replica| replica["state"] == "healthy") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{replicas}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // One service more, and one less.
    deployed.manager.scale("yolo", 2).await.unwrap();
    assert_eq!(deployed.states("yolo").await, [State::Ready; 2]);
    deployed.manager.scale("yolo", 1).await.unwrap();
    assert_eq!(deployed.states("yolo").await, [State::Ready]);
    let refused = deployed.manager.scale(GATEWAY, 2).await.unwrap_err();
    assert!(matches!(refused, CtlError::OneGateway), "{refused:?}");

    // Without a service, the answer says what is missing.
    deployed.manager.stop(&["antispoof".to_owned()]).await.unwrap();
    let form = Form::new().part("file", Part::bytes(photo("portrait.jpg")).file_name("portrait.jpg"));
    let form = form.text("detect_spoofing", "true").text("predict_gender_age", "true");
    let answer = Client::new().post(format!("{}/analyze/comprehensive", deployed.url)).multipart(form).send().await;
    let answer: Value = answer.unwrap().error_for_status().unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["antispoofing"]["status"], "unavailable", "{answer}");
    assert!(answer["data"]["gender_age"].get("status").is_none(), "{answer}");
    deployed.manager.stop(&[]).await.unwrap();
    assert!(deployed.running().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_start_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut topology = topology(folder.path());
    topology.arguments = vec!["--weights".to_owned(), folder.path().join("nothing").display().to_string()];
    let error = Local::new(folder.path().join("ctl")).deploy(topology, "").await.unwrap_err();
    let CtlError::Ended { log, tail, .. } = error else { panic!("{error}") };
    assert!(!tail.is_empty());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("weights.lock"), "{log}");
}

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
    topology::Topology,
};

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
    async fn deploy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        let (data, nothing) = (folder.path().join("data"), weights.join("no-pulled-networks"));
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
        let topology = Topology {
            program: program(folder.path()),
            directory: folder.path().to_owned(),
            distributed: false,
            bind: LOOPBACK,
            port: free_ports(8),
            arguments: arguments.map(str::to_owned).to_vec(),
            scale: BTreeMap::new(),
            running: Vec::new(),
        };
        let url = topology.gateway_url();
        let local = Local::new(folder.path().join("ctl"));
        let deployed = local.deploy(topology, "not used by one process").await;
        let deployed = deployed.map(|()| Self { manager: Manager::Local(local), url, _folder: folder });
        deployed.unwrap_or_else(|error| panic!("{error}"))
    }

    fn local(&self) -> &Local {
        match &self.manager {
            Manager::Local(local) => local,
            Manager::Compose(_) => unreachable!("processes were deployed"),
        }
    }

    async fn state(&self) -> State {
        self.manager.rows().await.unwrap()[0].state
    }

    fn pid(&self) -> Option<u32> {
        self.local().topology().unwrap().running.first().map(|replica| replica.process.pid)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill(pid);
        }
    }
}

fn kill(pid: u32) {
    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().ok();
}

/// The first of so many free ports in a row.
fn free_ports(count: u16) -> u16 {
    (0..100)
        .find_map(|_| {
            let first = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
            let last = first.checked_add(count)?;
            (first..last).all(|port| TcpListener::bind((LOOPBACK, port)).is_ok()).then_some(first)
        })
        .expect("free ports in a row")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_day() {
    let deployed = Deployed::deploy().await;
    let rows = deployed.manager.rows().await.unwrap();
    assert_eq!((rows.len(), rows[0].unit.as_str(), rows[0].state), (1, GATEWAY, State::Ready));
    assert!(rows[0].memory_mb.is_some_and(|mb| mb > 20), "{rows:?}");
    let mut log = Vec::new();
    deployed.manager.logs(&[GATEWAY.to_owned()], 50, false, &mut log).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("listening") && log.contains("ready"), "{log}");

    // Every service answers.
    let photo = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/portrait.jpg")).unwrap();
    let probe = Probe::new(&deployed.url, None).unwrap();
    let checks = check::run(&probe, None, &photo, 1).await.unwrap();
    assert_eq!(checks.len(), 13, "{checks:?}");
    assert!(checks.iter().all(|check| check.outcome == Outcome::Passed), "{checks:?}");
    let load = Arc::new(Load {
        url: format!("{}/mediapipe/detect", deployed.url),
        photo,
        fields: Vec::new(),
        token: None,
        time: Duration::from_secs(2),
        hammer: false,
        pid: deployed.pid(),
    });
    let figures = load.run(2).await.unwrap();
    assert!(figures.answered >= 2 && figures.others.is_empty() && figures.memory_mb.is_some(), "{figures:?}");

    // One that was killed is seen, and started again.
    kill(deployed.pid().unwrap());
    while deployed.state().await != State::Ended {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = deployed.pid();
    deployed.manager.start(&[]).await.unwrap();
    assert_eq!(deployed.state().await, State::Ready);
    assert_ne!(deployed.pid(), before);
    // What runs is left as it is.
    let same = deployed.pid();
    deployed.manager.start(&[GATEWAY.to_owned()]).await.unwrap();
    assert_eq!(deployed.pid(), same);

    let refused = deployed.manager.scale("yolo", 2).await.unwrap_err();
    assert!(matches!(refused, CtlError::OneProcess), "{refused:?}");
    let refused = deployed.manager.stop(&["yolo".to_owned()]).await.unwrap_err();
    assert!(matches!(refused, CtlError::NoSuchUnit { .. }), "{refused:?}");

    // Stopped is not ended: requests under way were finished.
    deployed.manager.stop(&[]).await.unwrap();
    assert_eq!(deployed.state().await, State::Stopped);
    let mut log = Vec::new();
    deployed.manager.logs(&[], 50, false, &mut log).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("SIGTERM"), "{log}");
}

#[tokio::test]
async fn a_server_that_cannot_start_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology {
        program: program(folder.path()),
        directory: folder.path().to_owned(),
        distributed: false,
        bind: LOOPBACK,
        port: free_ports(8),
        arguments: vec!["--weights".to_owned(), folder.path().join("nothing").display().to_string()],
        scale: BTreeMap::new(),
        running: Vec::new(),
    };
    let error = Local::new(folder.path().join("ctl")).deploy(topology, "").await.unwrap_err();
    let CtlError::Ended { log, tail, .. } = error else { panic!("{error}") };
    assert!(!tail.is_empty());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("weights.lock"), "{log}");
}

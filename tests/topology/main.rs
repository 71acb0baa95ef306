//! One server for each service and a gateway in front of them: the same answers as of one server, whoever is lost.

mod cache;
#[path = "../api/helpers.rs"]
#[allow(dead_code, reason = "those of other tests are here too")]
mod helpers;
mod hostile;
mod line;
mod lost;
mod refused;

use std::{collections::BTreeMap, sync::LazyLock, time::Instant};

use facesocial::config::{Audience, Config, DistributedConfig, Role, Secret};
use facesocial_types::Service;
use reqwest::{Client, Response, header::CACHE_CONTROL, multipart::Form};
use serde_json::{Value, json};

use self::{
    helpers::{PATIENCE, TestApp, app, config, form, get, ok, part, photo, spawn_app},
    line::Line,
};

/// What these servers know each other by.
const INTERNAL_SECRET: &str = "a secret for tests alone, long enough for them";

/// A server for each service, and a second one for liveness.
struct Servers {
    first: BTreeMap<Service, TestApp>,
    second: TestApp,
}

static SERVERS: LazyLock<Servers> = LazyLock::new(|| {
    // One after the other: what networks need is measured by the memory of the process.
    app();
    let start = |service| {
        let server = spawn_app(alone(service, INTERNAL_SECRET));
        // A thread of its own, because a test's runtime cannot block on another.
        std::thread::scope(|scope| {
            scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(server.ready())).join().unwrap();
        });
        server
    };
    let first = Service::ALL.iter().map(|service| (*service, start(*service))).collect();
    Servers { first, second: start(Service::Antispoof) }
});

/// A server that runs one service.
fn alone(service: Service, secret: &str) -> Config {
    let mut config = config();
    config.services = vec![service];
    config.listeners.retain(|(role, _)| *role == Role::Service(service));
    config.distributed.secret = Some(Secret::new(secret));
    config.distributed.audience = Audience::All;
    config
}

/// A gateway to servers at these addresses; it runs the other services itself.
fn in_front_of(upstreams: &BTreeMap<Service, Vec<String>>, secret: &str) -> Config {
    let mut config = config();
    let upstreams: BTreeMap<_, Vec<_>> = upstreams
        .iter()
        .map(|(service, urls)| (*service, urls.iter().map(|url| url.parse().unwrap()).collect()))
        .collect();
    config.listeners.retain(|(role, _)| match role {
        Role::Gateway => true,
        Role::Service(service) => !upstreams.contains_key(service),
    });
    config.distributed = DistributedConfig { upstreams, secret: Some(Secret::new(secret)), audience: Audience::All };
    config
}

/// A gateway that runs nothing itself, and the lines to its servers, which can be cut.
struct System {
    gateway: TestApp,
    lines: BTreeMap<Service, Vec<Line>>,
}

impl System {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with another configuration of the gateway.
    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let servers = &*SERVERS;
        let place = |server: &TestApp, service| server.address(Role::Service(service));
        let mut lines: BTreeMap<Service, Vec<Line>> =
            servers.first.iter().map(|(s, server)| (*s, vec![Line::to(place(server, *s))])).collect();
        let second = Line::to(place(&servers.second, Service::Antispoof));
        lines.get_mut(&Service::Antispoof).unwrap().push(second);
        let urls = lines.iter().map(|(s, lines)| (*s, lines.iter().map(Line::url).collect())).collect();
        let mut config = in_front_of(&urls, INTERNAL_SECRET);
        change(&mut config);
        let gateway = spawn_app(config);
        gateway.ready().await;
        let system = Self { gateway, lines };
        for service in Service::ALL {
            system.wait_for(*service, |states| states.iter().all(|state| state == "healthy")).await;
        }
        system
    }

    fn cut(&self, service: Service) {
        self.lines[&service].iter().for_each(Line::cut);
    }

    fn mend(&self, service: Service) {
        self.lines[&service].iter().for_each(Line::mend);
    }

    async fn replicas(&self, service: Service) -> Vec<Value> {
        replicas(&self.gateway, service).await
    }

    /// Waits until the states of a service's replicas are as wanted.
    async fn wait_for(&self, service: Service, wanted: impl Fn(&[String]) -> bool) {
        wait_for(&self.gateway, service, |replicas| {
            let states = replicas.iter().map(|r| r["state"].as_str().unwrap().to_owned());
            wanted(&states.collect::<Vec<_>>())
        })
        .await;
    }

    async fn comprehensive(&self, form: Form) -> Response {
        comprehensive(&self.gateway, form).await
    }
}

/// The replicas of a service, as `/health` tells them.
async fn replicas(gateway: &TestApp, service: Service) -> Vec<Value> {
    let health = ok(get(gateway.gateway("/health")).await).await;
    let name = facesocial::services::legacy_name(service);
    let entry = health["services"].as_array().unwrap().iter().find(|entry| entry["service_name"] == name);
    entry.unwrap()["replicas"].as_array().unwrap().clone()
}

async fn wait_for(gateway: &TestApp, service: Service, wanted: impl Fn(&[Value]) -> bool) {
    let begun = Instant::now();
    loop {
        let found = replicas(gateway, service).await;
        if wanted(&found) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{service}: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn comprehensive(gateway: &TestApp, form: Form) -> Response {
    let request = Client::new().post(gateway.gateway("/analyze/comprehensive"));
    request.header(CACHE_CONTROL, "no-cache").multipart(form).send().await.unwrap()
}

/// The answer without times, and what names one request.
fn lasting(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, _| !name.contains("time") && !name.contains("request_id"));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

#[tokio::test]
async fn answers_are_those_of_one_server_to_the_last_digit() {
    let system = System::start().await;
    let asked: [(&str, &[(&str, &str)]); 7] = [
        ("portrait.jpg", &[]),
        ("group.jpg", &[("return_embeddings", "true"), ("recognize_faces", "true"), ("detect_spoofing", "true")]),
        ("group.jpg", &[("face_service", "ensemble"), ("predict_gender_age", "true"), ("detect_deepfake", "true")]),
        ("tiny_faces.jpg", &[("face_service", "ensemble"), ("min_face_size", "12"), ("recognize_faces", "true")]),
        ("rotated_exif_6.jpg", &[("face_service", "yolo"), ("predict_gender_age", "true")]),
        ("profile.jpg", &[("face_service", "mtcnn"), ("detect_deepfake", "true")]),
        ("no_face.jpg", &[]),
    ];
    let with = |name, fields: &[(&'static str, &'static str)]| {
        fields.iter().fold(form(name), |form, (name, value)| form.text(*name, *value))
    };
    let mut faces = 0;
    for (name, fields) in asked {
        let here = ok(comprehensive(app(), with(name, fields)).await).await;
        let there = ok(system.comprehensive(with(name, fields)).await).await;
        faces += here["data"]["total_faces_detected"].as_u64().unwrap();
        assert_eq!(lasting(there), lasting(here), "{name} {fields:?}");
    }
    assert!(faces > 15, "{faces} faces compared");

    // Paths of the services, which take photos themselves.
    let pair =
        || Form::new().part("file1", part("a", photo("portrait.jpg"))).part("file2", part("b", photo("grey.jpg")));
    for (path, form) in [
        ("/face-recognition/compare", pair as fn() -> Form),
        ("/antispoof/detect", || form("group.jpg")),
        ("/mtcnn/detect", || form("group.jpg")),
        ("/gender-age/predict", || form("portrait.jpg")),
    ] {
        let [here, there] = [app(), &system.gateway].map(|app| app.gateway(path));
        let here = ok(Client::new().post(here).multipart(form()).send().await.unwrap()).await;
        let there = ok(Client::new().post(there).multipart(form()).send().await.unwrap()).await;
        assert_eq!(lasting(there), lasting(here), "{path}");
    }

    // The gateway has loaded nothing, and the servers what is theirs; what came of it is told.
    let models = ok(get(system.gateway.gateway("/api/v1/models")).await).await;
    assert!(!models.to_string().contains("mtcnn@"), "{models}");
    for service in Service::ALL {
        let replicas = system.replicas(*service).await;
        assert!(replicas.iter().all(|r| r["state"] == "healthy" && r["failed"] == 0), "{replicas:?}");
        assert!(replicas.iter().any(|r| r["answered"].as_u64() > Some(0)), "{service}: {replicas:?}");
    }
    let liveness = system.replicas(Service::Antispoof).await;
    assert!(liveness.iter().all(|r| r["answered"].as_u64() > Some(0)), "both have their share: {liveness:?}");
    let services = ok(get(system.gateway.gateway("/services")).await).await;
    assert_eq!(services["data"]["services"]["antispoof"]["replicas"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_service_alone_answers_photos_by_itself() {
    let server = &SERVERS.first[&Service::GenderAge];
    let url = server.service(Service::GenderAge, "/predict");
    let answer = ok(Client::new().post(url).multipart(form("portrait.jpg")).send().await.unwrap()).await;
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 1, "{answer}");
    // Its detectors were loaded for that photo, not before.
    let health = ok(get(server.service(Service::GenderAge, "/health")).await).await;
    assert_eq!((&health["status"], &health["replicas"]), (&json!("healthy"), &Value::Null));
}

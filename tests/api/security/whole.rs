//! One server with authentication and all networks, for the tests that need faces.

use std::sync::LazyLock;

use facesocial::config::{AccessConfig, Secret};
use facesocial_store::Role as Rank;
use reqwest::{Client, Method, RequestBuilder, multipart::Form};
use serde_json::{Value, json};

use crate::{
    accounts::{PASSWORD, SECRET, Secured, created, seed},
    helpers::{config, ok, spawn_app},
};

/// The server.
pub static WHOLE: LazyLock<Secured> = LazyLock::new(|| {
    let mut config = config();
    config.access =
        AccessConfig { auth: true, jwt_secret: Some(Secret::new(SECRET)), login_attempts: 100_000, ..config.access };
    let starting = || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let users = seed(&config).await;
            let server = Secured::of(tempfile::tempdir().unwrap(), spawn_app(config.clone()), users);
            server.app.ready().await;
            server
        })
    };
    // A thread of its own, because a test's runtime cannot block on another.
    std::thread::scope(|scope| scope.spawn(starting).join().unwrap())
});

/// Somebody with an account.
pub struct Somebody {
    pub token: String,
    pub id: String,
    pub username: String,
}

impl Somebody {
    /// Makes an account, bound to these collections, and logs it in.
    pub async fn new(role: Rank, collections: &[&str]) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let username = format!("somebody-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let body = json!({ "username": username, "password": PASSWORD, "role": role, "collections": collections });
        created(WHOLE.by(Rank::Admin, Method::POST, "/users").json(&body).send().await.unwrap()).await;
        let login = ok(WHOLE.log_in(&username, PASSWORD).await).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { token: text(&login["access_token"]), id: text(&login["user"]["id"]), username }
    }

    /// A request by it, to a path of the gateway.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, WHOLE.app.gateway(path)).bearer_auth(&self.token)
    }

    /// A form sent by it.
    pub async fn send(&self, path: &str, form: Form) -> reqwest::Response {
        self.ask(Method::POST, path).multipart(form).send().await.unwrap()
    }
}

/// Makes a collection; gives its identifier.
pub async fn collection(name: &str) -> String {
    let made = WHOLE.by(Rank::Admin, Method::POST, "/collections").json(&json!({ "name": name }));
    created(made.send().await.unwrap()).await["id"].as_str().unwrap().to_owned()
}

//! A server with authentication, accounts in it, and clients that show who they are.

use std::sync::atomic::{AtomicUsize, Ordering};

use facesocial::{
    auth::tokens::Tokens,
    config::{AccessConfig, Audience, Config, Role, Secret},
};
use facesocial_store::{LoginId, NewRefreshToken, NewUser, Role as Rank, UserId, Write};
use facesocial_types::Service;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::helpers::{self, TestApp, spawn_app};

/// Password of every account that [`Secured`] makes.
pub const PASSWORD: &str = "correct horse battery";
/// What the tokens of these servers are signed with.
pub const SECRET: &str = "a secret for tests alone, long enough";

/// What these servers would know other servers by.
pub const INTERNAL_SECRET: &str = "another secret for tests alone, long enough";

/// A server with authentication and an account of each role.
pub struct Secured {
    pub app: TestApp,
    _weights: tempfile::TempDir,
    users: Vec<(Rank, UserId, LoginId)>,
}

/// A server with authentication, whose settings `change` may change. Its networks do not matter here: it has one.
pub async fn secured(change: impl FnOnce(&mut AccessConfig)) -> Secured {
    let (weights, mut config) = helpers::config_with(&["yolov10n-face"], Service::ALL);
    config.access = AccessConfig { auth: true, jwt_secret: Some(Secret::new(SECRET)), ..config.access };
    config.distributed.secret = Some(Secret::new(INTERNAL_SECRET));
    config.distributed.audience = Audience::All;
    change(&mut config.access);
    let users = seed(&config).await;
    let server = Secured::of(weights, spawn_app(config), users);
    server.app.ready().await;
    server
}

/// Makes an account of each role, and a login of each, before the server starts.
pub async fn seed(config: &Config) -> Vec<(Rank, UserId, LoginId)> {
    let store = facesocial_store::open(&config.store.options()).await.unwrap();
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let mut users = Vec::new();
    for role in Rank::ALL {
        let new = NewUser {
            username: role.as_str().to_owned(),
            email: Some(format!("{}@example.org", role.as_str())),
            password_hash: hash.clone(),
            first_name: String::new(),
            last_name: String::new(),
            role,
            collections: Vec::new(),
        };
        let user = store.create_user(&Write::system(), new).await.unwrap().value;
        let login = LoginId::new();
        let token = NewRefreshToken {
            login_id: login,
            user_id: user.id,
            token_hash: format!("none of {login}"),
            expires_at: user.created_at + std::time::Duration::from_secs(3600),
        };
        store.start_login(&Write::system(), token).await.unwrap();
        users.push((role, user.id, login));
    }
    store.close().await;
    users
}

impl Secured {
    /// A server with these accounts in its store, whose tokens are signed with [`SECRET`].
    pub fn of(weights: tempfile::TempDir, app: TestApp, users: Vec<(Rank, UserId, LoginId)>) -> Self {
        Self { app, _weights: weights, users }
    }

    /// Identifier of the account of a role.
    pub fn user(&self, role: Rank) -> UserId {
        self.users.iter().find(|(r, ..)| *r == role).unwrap().1
    }

    /// An access token of the account of a role.
    pub fn token(&self, role: Rank) -> String {
        let (_, user, login) = self.users.iter().find(|(r, ..)| *r == role).unwrap();
        let ttl = std::time::Duration::from_secs(600);
        Tokens::new(SECRET.as_bytes()).access(*user, role, *login, ttl).unwrap()
    }

    /// A request to the API on the gateway by the account of a role.
    pub fn by(&self, role: Rank, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(self.token(role))
    }

    /// A request to the API on the gateway by nobody.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, self.api(path))
    }

    /// A path of the API on the gateway.
    pub fn api(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.app.address(Role::Gateway))
    }

    /// A key with these scopes, made by the administrator.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let body = json!({ "name": "a test's", "scopes": scopes });
        let made = created(self.by(Rank::Admin, Method::POST, "/keys").json(&body).send().await.unwrap()).await;
        made["key"].as_str().unwrap().to_owned()
    }

    /// Makes an account and logs it in; gives the answer to the login.
    pub async fn log_in_new(&self, role: Rank) -> Value {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let username = format!("new-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let body = json!({ "username": username, "password": PASSWORD, "role": role });
        created(self.by(Rank::Admin, Method::POST, "/users").json(&body).send().await.unwrap()).await;
        helpers::ok(self.log_in(&username, PASSWORD).await).await
    }

    pub async fn log_in(&self, username: &str, password: &str) -> Response {
        let body = json!({ "username": username, "password": password });
        self.anonymous(Method::POST, "/auth/login").json(&body).send().await.unwrap()
    }

    /// Whose account a token or key is; the whole answer.
    pub async fn account(&self, token: &str) -> Response {
        self.anonymous(Method::GET, "/account").bearer_auth(token).send().await.unwrap()
    }
}

/// The JSON of an answer with status 201.
pub async fn created(response: Response) -> Value {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 201, "{body}");
    body
}

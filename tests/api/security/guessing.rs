//! Whoever guesses passwords is slowed down, and nobody is locked out by it.

use facesocial::config::{AccessConfig, Secret};
use reqwest::{Client, Method, Response};
use serde_json::json;

use crate::{
    accounts::{PASSWORD, SECRET, Secured, secured},
    helpers::{config, ok, problem, spawn_app},
};

/// Attempts at one account from one network.
const ATTEMPTS: u32 = 3;
const WRONG: &str = "wrong horse battery";

/// A login from another address of this machine: 127.0.0.N.
async fn log_in(server: &Secured, from: u8, username: &str, password: &str) -> Response {
    let client = Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, from])).build().unwrap();
    let body = json!({ "username": username, "password": password });
    client.post(server.api("/auth/login")).json(&body).send().await.unwrap()
}

/// Uses up the attempts of an address at one account.
async fn exhaust(server: &Secured, from: u8, username: &str) {
    for _ in 0..ATTEMPTS {
        problem(log_in(server, from, username, WRONG).await, 401, "UNAUTHENTICATED").await;
    }
    let answer = log_in(server, from, username, PASSWORD).await;
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, 429, "RATE_LIMITED").await;
}

// Where every address of 127.0.0.0/8 is this machine's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn guesses_from_elsewhere_do_not_lock_the_owner_out() {
    let server = secured(|access| access.login_attempts = ATTEMPTS).await;
    exhaust(&server, 2, "user").await;
    // The owner sits elsewhere; the guesser's other guesses are at other accounts.
    ok(log_in(&server, 1, "user", PASSWORD).await).await;
    // Guesses from many networks end all the same: whoever has many addresses has no more than ten times the attempts.
    let mut from = 3;
    let refused = loop {
        let answer = log_in(&server, from, "user", WRONG).await;
        if answer.status() == 429 {
            break from;
        }
        problem(answer, 401, "UNAUTHENTICATED").await;
        for _ in 1..ATTEMPTS {
            log_in(&server, from, "user", WRONG).await;
        }
        from += 1;
        assert!(from < 40, "guessing goes on");
    };
    problem(log_in(&server, refused + 1, "user", PASSWORD).await, 429, "RATE_LIMITED").await;
    // But not for the owner, from where the owner has logged in before; nor for another account.
    ok(log_in(&server, 1, "user", PASSWORD).await).await;
    ok(log_in(&server, refused + 1, "operator", PASSWORD).await).await;
}

#[tokio::test]
async fn names_of_one_account_are_one_account() {
    let server = secured(|access| access.login_attempts = ATTEMPTS).await;
    for name in ["user", "USER", "User"] {
        problem(server.log_in(name, WRONG).await, 401, "UNAUTHENTICATED").await;
    }
    problem(server.log_in("uSeR", PASSWORD).await, 429, "RATE_LIMITED").await;
}

#[tokio::test]
async fn the_current_password_is_guessed_no_faster_than_at_a_login() {
    let server = secured(|access| access.login_attempts = ATTEMPTS).await;
    let change = |password: &str| {
        let body = json!({ "email": "thief@example.org", "current_password": password });
        server.by(facesocial_store::Role::User, Method::PATCH, "/account").json(&body).send()
    };
    for _ in 0..ATTEMPTS {
        problem(change(WRONG).await.unwrap(), 403, "FORBIDDEN").await;
    }
    problem(change(PASSWORD).await.unwrap(), 429, "RATE_LIMITED").await;
    problem(server.log_in("user", PASSWORD).await, 429, "RATE_LIMITED").await;
}

#[tokio::test]
async fn the_token_of_the_first_account_cannot_be_guessed() {
    let mut config = config();
    config.services = vec![facesocial_types::Service::Yolo];
    config.listeners.truncate(1);
    config.access =
        AccessConfig { auth: true, jwt_secret: Some(Secret::new(SECRET)), login_attempts: ATTEMPTS, ..config.access };
    let app = spawn_app(config);
    app.ready().await;
    let guess = |token: String| {
        let body = json!({ "token": token, "username": "thief", "password": PASSWORD });
        Client::new().post(app.gateway("/api/v1/auth/setup")).json(&body).send()
    };
    let mut last = 401;
    for n in 0..ATTEMPTS * 6 {
        problem(guess(format!("guess-{n}")).await.unwrap(), 401, "UNAUTHENTICATED").await;
        last = n;
    }
    assert!(last > ATTEMPTS);
    problem(guess("another".to_owned()).await.unwrap(), 429, "RATE_LIMITED").await;
}

//! Accounts, logins, tokens, keys, limits.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use facesocial::{
    auth::tokens::Tokens,
    config::{AccessConfig, Secret},
};
use facesocial_store::{LoginId, Role as Rank};
use facesocial_types::Service;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    accounts::{PASSWORD, SECRET, Secured, created, secured},
    helpers::{self, app, form, get, ok, problem},
};

/// A server whose settings nobody changes, for one test.
async fn server() -> Secured {
    secured(many_attempts).await
}

fn many_attempts(access: &mut AccessConfig) {
    access.login_attempts = 1000;
}

async fn refresh(server: &Secured, token: &Value) -> Response {
    let body = json!({ "refresh_token": token });
    server.anonymous(Method::POST, "/auth/refresh").json(&body).send().await.unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn a_login_gives_tokens_and_the_account() {
    let server = server().await;
    let login = ok(server.log_in("user", PASSWORD).await).await;
    assert_eq!((text(&login, "token_type"), login["expires_in"].as_u64()), ("Bearer", Some(900)));
    assert_eq!(text(&login["user"], "role"), "user");
    assert!(!login.to_string().contains("$2b$") && !login.to_string().contains("argon2"), "no hash in {login}");
    let account = ok(server.account(text(&login, "access_token")).await).await;
    assert_eq!((text(&account, "username"), text(&account, "email")), ("user", "user@example.org"));
    let permissions: Vec<&str> = account["permissions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(permissions.contains(&"gallery:write") && !permissions.contains(&"users"), "{permissions:?}");

    // The name in another case, and the address; the hash, which was bcrypt's, is argon2id's by now.
    for name in ["USER", "user@example.org"] {
        ok(server.log_in(name, PASSWORD).await).await;
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_refused_alike() {
    let server = server().await;
    let long = "n".repeat(10_000);
    let mut told = Vec::new();
    for (name, password) in [
        ("user", "wrong horse battery"),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("user\0", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        (&long, PASSWORD),
        ("user", ""),
    ] {
        let answer = server.log_in(name, password).await;
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"facesocial\"");
        told.push(problem(answer, 401, "UNAUTHENTICATED").await);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let unread =
        server.anonymous(Method::POST, "/auth/login").json(&json!({ "username": "user" })).send().await.unwrap();
    problem(unread, 400, "INVALID_INPUT").await;
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let server = server().await;
    // A login brings the hash to today's form.
    ok(server.log_in("user", PASSWORD).await).await;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (name, took) in ["user", "nobody"].into_iter().zip(&mut took) {
            let begun = std::time::Instant::now();
            problem(server.log_in(name, "wrong horse battery").await, 401, "UNAUTHENTICATED").await;
            took.push(begun.elapsed());
        }
    }
    let [known, unknown] = took.map(|all| all.into_iter().min().unwrap().as_secs_f64());
    // Without the hash, the unknown name would answer in a fraction of it.
    assert!(unknown > known * 0.5 && unknown < known * 2.0, "{known} and {unknown} seconds");
}

#[tokio::test]
async fn a_refresh_token_serves_once_and_a_second_use_ends_the_login() {
    let server = server().await;
    let first = ok(server.log_in("user", PASSWORD).await).await;
    let second = ok(refresh(&server, &first["refresh_token"]).await).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_ne!(first["access_token"], second["access_token"]);
    let third = ok(refresh(&server, &second["refresh_token"]).await).await;
    ok(server.account(text(&third, "access_token")).await).await;

    problem(refresh(&server, &first["refresh_token"]).await, 401, "UNAUTHENTICATED").await;
    // Somebody has a copy: neither the thief nor the owner goes on.
    problem(refresh(&server, &third["refresh_token"]).await, 401, "UNAUTHENTICATED").await;
    for login in [&first, &second, &third] {
        problem(server.account(text(login, "access_token")).await, 401, "UNAUTHENTICATED").await;
    }
    // Another login of the same account is not concerned.
    ok(server.log_in("user", PASSWORD).await).await;
}

#[tokio::test]
async fn a_made_up_refresh_token_is_refused_and_ends_nobodys_login() {
    let server = server().await;
    let login = ok(server.log_in("user", PASSWORD).await).await;
    let good = text(&login, "refresh_token");
    let (head, _) = good.split_once('.').unwrap();
    let (nul, long) = (format!("{head}.\0"), "x".repeat(10_000));
    for forged in ["", "fsr_", head, &format!("{head}."), &format!("{head}.guess"), &nul, &long, "' OR 1=1 --"] {
        problem(refresh(&server, &json!(forged)).await, 401, "UNAUTHENTICATED").await;
    }
    problem(server.account(good).await, 401, "UNAUTHENTICATED").await;
    ok(refresh(&server, &login["refresh_token"]).await).await;
}

#[tokio::test]
async fn a_logout_ends_the_login_at_once() {
    let server = server().await;
    let [one, other] =
        [ok(server.log_in("user", PASSWORD).await).await, ok(server.log_in("user", PASSWORD).await).await];
    let logout = |token: &str| server.anonymous(Method::POST, "/auth/logout").bearer_auth(token).send();
    assert_eq!(logout(text(&one, "access_token")).await.unwrap().status(), 204);
    problem(server.account(text(&one, "access_token")).await, 401, "UNAUTHENTICATED").await;
    problem(refresh(&server, &one["refresh_token"]).await, 401, "UNAUTHENTICATED").await;
    ok(server.account(text(&other, "access_token")).await).await;

    // Every login of the account.
    let all = server.anonymous(Method::POST, "/auth/logout").bearer_auth(text(&other, "access_token"));
    assert_eq!(all.json(&json!({ "all": true })).send().await.unwrap().status(), 204);
    problem(server.account(&server.token(Rank::User)).await, 401, "UNAUTHENTICATED").await;
    ok(server.account(&server.token(Rank::Admin)).await).await;

    // A key is no login.
    let key = server.key(&["account"]).await;
    problem(logout(&key).await.unwrap(), 400, "INVALID_INPUT").await;
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let server = server().await;
    let good = server.token(Rank::Admin);
    ok(server.account(&good).await).await;
    let [_, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let ttl = Duration::from_secs(600);
    let tokens = Tokens::new(SECRET.as_bytes());
    let other_key = Tokens::new(b"another secret, also long enough for this");
    let admin = server.user(Rank::Admin);
    let issued = |at: i64| {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        let now = claims["iat"].as_i64().unwrap();
        claims["iat"] = json!(now + at);
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    // The clocks of several servers differ a little.
    ok(server.account(&issued(30)).await).await;
    for forged in [
        issued(120),
        issued(86_400),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        other_key.access(admin, Rank::Admin, LoginId::new(), ttl).unwrap(),
        // Signed with the right key, for a login that never was, and for an account that is not the login's.
        tokens.access(admin, Rank::Admin, LoginId::new(), ttl).unwrap(),
        good[..good.len() - 2].to_owned(),
        format!("{good}.x"),
        "fsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "fsk_' OR 1=1 --".to_owned(),
    ] {
        let answer = server.account(&forged).await;
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"facesocial\"");
        problem(answer, 401, "UNAUTHENTICATED").await;
    }
    let basic = server.anonymous(Method::GET, "/account").basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    problem(basic, 401, "UNAUTHENTICATED").await;
    let both = server.by(Rank::Admin, Method::GET, "/account").header("x-api-key", "fsk_x").send().await.unwrap();
    problem(both, 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let server = server().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = |exp: u64, aud: &str| {
        json!({
            "iss": "facesocial", "aud": aud, "sub": server.user(Rank::Admin), "role": "admin",
            "sid": LoginId::new(), "jti": LoginId::new(), "iat": now - 100, "exp": exp,
        })
    };
    let sign = |claims: &Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
    };
    let told = problem(server.account(&sign(&claims(now - 60, "facesocial"))).await, 401, "UNAUTHENTICATED").await;
    assert!(told.contains("expired"), "{told}");
    problem(server.account(&sign(&claims(now + 60, "somebody else"))).await, 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn another_service_may_analyse_and_search_and_nothing_else() {
    let server = server().await;
    let token = Tokens::new(SECRET.as_bytes()).service("gateway").unwrap();
    let ask = |path: &str| Client::new().get(server.app.gateway(path)).bearer_auth(&token).send();
    assert_eq!(ask("/api/v1/face-detection/methods").await.unwrap().status(), 200);
    for path in ["/api/v1/users", "/api/v1/keys", "/api/v1/account"] {
        problem(ask(path).await.unwrap(), 403, "FORBIDDEN").await;
    }
    let foreign = Tokens::new(b"another secret, also long enough for this").service("gateway").unwrap();
    problem(server.account(&foreign).await, 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn an_account_is_changed_by_its_owner_who_knows_the_password() {
    let server = server().await;
    let login = server.log_in_new(Rank::ReadOnly).await;
    let token = text(&login, "access_token").to_owned();
    let change = |body: Value| server.anonymous(Method::PATCH, "/account").bearer_auth(&token).json(&body).send();
    let named = ok(change(json!({ "first_name": "ศิริ", "last_name": "李" })).await.unwrap()).await;
    assert_eq!((text(&named, "first_name"), text(&named, "last_name")), ("ศิริ", "李"));
    problem(change(json!({ "password": "another horse battery" })).await.unwrap(), 400, "MISSING_FIELD").await;
    let wrong = json!({ "password": "another horse battery", "current_password": "wrong horse battery" });
    problem(change(wrong).await.unwrap(), 403, "FORBIDDEN").await;
    for (password, told) in [("short", "12 to 128"), (&"x".repeat(129), "12 to 128"), ("with a nul \0 inside", "NUL")] {
        let body = json!({ "password": password, "current_password": PASSWORD });
        let detail = problem(change(body).await.unwrap(), 400, "INVALID_INPUT").await;
        assert!(detail.contains(told), "{detail}");
    }
    for odd in
        [json!({ "role": "admin" }), json!({ "email": "no address" }), json!({ "first_name": "x".repeat(10_000) })]
    {
        problem(change(odd).await.unwrap(), 400, "INVALID_INPUT").await;
    }
    let body = json!({ "password": "another horse battery", "current_password": PASSWORD });
    ok(change(body).await.unwrap()).await;
    // Every login of the account has ended, and the old password with it.
    problem(server.account(&token).await, 401, "UNAUTHENTICATED").await;
    problem(refresh(&server, &login["refresh_token"]).await, 401, "UNAUTHENTICATED").await;
    let name = text(&login["user"], "username");
    problem(server.log_in(name, PASSWORD).await, 401, "UNAUTHENTICATED").await;
    ok(server.log_in(name, "another horse battery").await).await;
}

#[tokio::test]
async fn an_administrator_makes_changes_and_deletes_accounts() {
    let server = server().await;
    let admin = |method, path: &str| server.by(Rank::Admin, method, path);
    let login = server.log_in_new(Rank::User).await;
    let (id, token) = (text(&login["user"], "id").to_owned(), text(&login, "access_token").to_owned());
    let path = format!("/users/{id}");

    // The role counts at once, for tokens that say otherwise too.
    problem(server.anonymous(Method::GET, "/users").bearer_auth(&token).send().await.unwrap(), 403, "FORBIDDEN").await;
    ok(admin(Method::PATCH, &path).json(&json!({ "role": "admin" })).send().await.unwrap()).await;
    ok(server.anonymous(Method::GET, "/users").bearer_auth(&token).send().await.unwrap()).await;
    ok(admin(Method::PATCH, &path).json(&json!({ "role": "read-only" })).send().await.unwrap()).await;
    problem(server.anonymous(Method::GET, "/users").bearer_auth(&token).send().await.unwrap(), 403, "FORBIDDEN").await;

    // An account that may not log in is out at once.
    ok(admin(Method::PATCH, &path).json(&json!({ "is_active": false })).send().await.unwrap()).await;
    problem(server.account(&token).await, 401, "UNAUTHENTICATED").await;
    problem(server.log_in(text(&login["user"], "username"), PASSWORD).await, 401, "UNAUTHENTICATED").await;

    let twice = json!({ "username": "USER", "password": PASSWORD, "role": "user" });
    problem(admin(Method::POST, "/users").json(&twice).send().await.unwrap(), 409, "ALREADY_EXISTS").await;
    for odd in [
        json!({ "username": "../../etc", "password": PASSWORD, "role": "user" }),
        json!({ "username": "x".repeat(10_000), "password": PASSWORD, "role": "user" }),
        json!({ "username": "nul\0", "password": PASSWORD, "role": "user" }),
        json!({ "username": "fine", "password": "short", "role": "user" }),
        json!({ "username": "fine", "password": PASSWORD, "role": "emperor" }),
        json!({ "username": "fine", "password": PASSWORD }),
    ] {
        problem(admin(Method::POST, "/users").json(&odd).send().await.unwrap(), 400, "INVALID_INPUT").await;
    }
    let elsewhere =
        json!({ "username": "fine", "password": PASSWORD, "role": "user", "collections": [LoginId::new()] });
    problem(admin(Method::POST, "/users").json(&elsewhere).send().await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;

    let own = format!("/users/{}", server.user(Rank::Admin).0);
    problem(admin(Method::DELETE, &own).send().await.unwrap(), 400, "INVALID_INPUT").await;
    problem(admin(Method::PATCH, &own).json(&json!({ "role": "user" })).send().await.unwrap(), 400, "INVALID_INPUT")
        .await;

    assert_eq!(admin(Method::DELETE, &path).send().await.unwrap().status(), 204);
    problem(admin(Method::GET, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
}

#[tokio::test]
async fn a_repeated_change_is_made_once() {
    let server = server().await;
    let body = json!({ "username": "once", "password": PASSWORD, "role": "user" });
    let send = |body: Value| {
        server.by(Rank::Admin, Method::POST, "/users").header("idempotency-key", "k-1").json(&body).send()
    };
    let first = created(send(body.clone()).await.unwrap()).await;
    let again = send(body).await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(created(again).await, first);
    let other = json!({ "username": "other", "password": PASSWORD, "role": "user" });
    problem(send(other).await.unwrap(), 422, "IDEMPOTENCY_KEY_REUSED").await;

    // A key is shown once.
    let body = json!({ "name": "robot", "scopes": ["analyze"] });
    let send = || server.by(Rank::Admin, Method::POST, "/keys").header("idempotency-key", "k-2").json(&body).send();
    let first = created(send().await.unwrap()).await;
    let again = created(send().await.unwrap()).await;
    assert_eq!((&again["id"], &again["key"]), (&first["id"], &Value::Null));
    let url = server.app.gateway("/api/v1/face-detection/methods");
    ok(Client::new().get(url).header("x-api-key", text(&first, "key")).send().await.unwrap()).await;
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_until_it_ends() {
    let server = server().await;
    let key = server.key(&["analyze"]).await;
    let methods = |key: &str| {
        Client::new()
            .get(server.app.gateway("/api/v1/face-detection/methods"))
            .header("x-api-key", key.to_owned())
            .send()
    };
    ok(methods(&key).await.unwrap()).await;
    let told = problem(server.account(&key).await, 403, "FORBIDDEN").await;
    assert!(told.contains("permission account"), "{told}");

    // Shown as a list without the key itself, used, revoked.
    let list = ok(server.by(Rank::Admin, Method::GET, "/keys").send().await.unwrap()).await;
    let [shown] = &list["items"].as_array().unwrap()[..] else { panic!("{list}") };
    assert!(!list.to_string().contains(&key) && key.starts_with(text(shown, "prefix")));
    assert!(shown["last_used_at"].is_string(), "{shown}");
    let path = format!("/keys/{}", text(shown, "id"));
    let revoked = ok(server.by(Rank::Admin, Method::DELETE, &path).send().await.unwrap()).await;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    problem(methods(&key).await.unwrap(), 401, "UNAUTHENTICATED").await;

    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let body = json!({ "name": "short", "scopes": ["analyze"], "expires_at": soon });
    let made = created(server.by(Rank::User, Method::POST, "/keys").json(&body).send().await.unwrap()).await;
    ok(methods(text(&made, "key")).await.unwrap()).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    problem(methods(text(&made, "key")).await.unwrap(), 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn a_key_ends_with_its_account_and_never_does_more_than_it() {
    let server = server().await;
    let login = server.log_in_new(Rank::Operator).await;
    let token = text(&login, "access_token");
    let make = |body: Value| server.anonymous(Method::POST, "/keys").bearer_auth(token).json(&body).send();
    let body = |scopes: &[&str]| json!({ "name": "robot", "scopes": scopes });
    problem(make(body(&["users"])).await.unwrap(), 403, "FORBIDDEN").await;
    for odd in [
        body(&[]),
        body(&["everything"]),
        json!({ "name": "", "scopes": ["analyze"] }),
        json!({ "name": "nul\0", "scopes": ["analyze"] }),
        json!({ "name": "x".repeat(10_000), "scopes": ["analyze"] }),
        json!({ "name": "old", "scopes": ["analyze"], "expires_at": "2020-01-01T00:00:00Z" }),
        json!({ "name": "when", "scopes": ["analyze"], "expires_at": "tomorrow" }),
    ] {
        problem(make(odd).await.unwrap(), 400, "INVALID_INPUT").await;
    }
    let elsewhere = json!({ "name": "x", "scopes": ["analyze"], "collections": [LoginId::new()] });
    problem(make(elsewhere).await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;

    let made = created(make(body(&["keys", "operate"])).await.unwrap()).await;
    let key = text(&made, "key").to_owned();
    // A key that makes keys gives on no more than it has.
    let more =
        server.anonymous(Method::POST, "/keys").bearer_auth(&key).json(&body(&["analyze"])).send().await.unwrap();
    problem(more, 403, "FORBIDDEN").await;
    // Somebody else's key is not there.
    let path = format!("/keys/{}", text(&made, "id"));
    problem(server.by(Rank::User, Method::GET, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
    problem(server.by(Rank::User, Method::DELETE, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
    problem(server.by(Rank::User, Method::GET, "/keys?all=true").send().await.unwrap(), 403, "FORBIDDEN").await;
    ok(server.by(Rank::Admin, Method::GET, &path).send().await.unwrap()).await;

    // The account loses its rank, and the key with it; then the account goes, and the key too.
    let user = format!("/users/{}", text(&login["user"], "id"));
    let list = || server.anonymous(Method::GET, "/keys").bearer_auth(&key).send();
    ok(list().await.unwrap()).await;
    ok(server.by(Rank::Admin, Method::PATCH, &user).json(&json!({ "role": "read-only" })).send().await.unwrap()).await;
    problem(list().await.unwrap(), 403, "FORBIDDEN").await;
    assert_eq!(server.by(Rank::Admin, Method::DELETE, &user).send().await.unwrap().status(), 204);
    problem(list().await.unwrap(), 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down() {
    let server = secured(|access| access.login_attempts = 3).await;
    for _ in 0..3 {
        problem(server.log_in("user", "wrong horse battery").await, 401, "UNAUTHENTICATED").await;
    }
    // Also for the right one, and by the name in another case.
    for name in ["user", "User"] {
        let answer = server.log_in(name, PASSWORD).await;
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=900).contains(&wait), "{wait}");
        problem(answer, 429, "RATE_LIMITED").await;
    }
    // Another account is not concerned, until the address has tried too often.
    ok(server.log_in("operator", PASSWORD).await).await;
    let mut last = StatusCode::OK;
    for guess in 0..18 {
        last = server.log_in(&format!("name-{guess}"), PASSWORD).await.status();
    }
    assert_eq!(last, 429);
    problem(server.log_in("admin", PASSWORD).await, 429, "RATE_LIMITED").await;
}

#[tokio::test]
async fn requests_are_limited_by_key_and_by_address() {
    let server = secured(|access| {
        access.login_attempts = 1000;
        access.rate_limit = Some(5);
        access.upload_rate_limit = Some(2);
    })
    .await;
    let number = |answer: &Response, name: &str| -> u64 { answer.headers()[name].to_str().unwrap().parse().unwrap() };
    // `secured` asked for the readiness of a probe, which does not count.
    for left in (0..5).rev() {
        let answer = server.by(Rank::User, Method::GET, "/account").send().await.unwrap();
        assert_eq!((number(&answer, "ratelimit-limit"), number(&answer, "ratelimit-remaining")), (5, left));
        assert!((1..=60).contains(&number(&answer, "ratelimit-reset")));
        assert_eq!(answer.status(), 200);
    }
    let over = server.by(Rank::User, Method::GET, "/account").send().await.unwrap();
    assert_eq!((number(&over, "ratelimit-remaining"), number(&over, "ratelimit-limit")), (0, 5));
    assert!((1..=60).contains(&number(&over, "retry-after")));
    problem(over, 429, "RATE_LIMITED").await;
    // Another account has its own; so has the address without one, also with an answer that is an error.
    assert_eq!(server.by(Rank::Operator, Method::GET, "/account").send().await.unwrap().status(), 200);
    let nobody = server.anonymous(Method::GET, "/account").send().await.unwrap();
    assert_eq!((nobody.status().as_u16(), number(&nobody, "ratelimit-remaining")), (401, 4));
    // Photos have a lower limit.
    let upload = || {
        let url = server.app.service(Service::Yolo, "/detect");
        Client::new().post(url).bearer_auth(server.token(Rank::Admin)).multipart(form("portrait.jpg")).send()
    };
    for left in [1, 0] {
        let answer = upload().await.unwrap();
        assert_eq!((number(&answer, "ratelimit-limit"), number(&answer, "ratelimit-remaining")), (2, left));
        assert_eq!(answer.status(), 200);
    }
    problem(upload().await.unwrap(), 429, "RATE_LIMITED").await;
    assert_eq!(server.by(Rank::Admin, Method::GET, "/account").send().await.unwrap().status(), 200);
    // Probes are never limited.
    for _ in 0..20 {
        assert_eq!(get(server.app.gateway("/readyz")).await.status(), 200);
    }
}

#[tokio::test]
async fn pages_of_listed_origins_alone_may_ask() {
    let server = secured(|access| {
        access.login_attempts = 1000;
        access.cors_origins = vec!["https://app.example.org".to_owned()];
    })
    .await;
    let from = |origin: &str| server.anonymous(Method::GET, "/account").header("origin", origin).send();
    let allowed = from("https://app.example.org").await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example.org");
    assert!(!allowed.headers().contains_key("access-control-allow-credentials"));
    problem(allowed, 401, "UNAUTHENTICATED").await;
    for origin in ["https://evil.example", "null", "https://app.example.org.evil.example"] {
        let other = from(origin).await.unwrap();
        assert!(!other.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let preflight = server
        .anonymous(Method::OPTIONS, "/users")
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://app.example.org");
}

#[tokio::test]
async fn without_authentication_other_origins_may_not_ask() {
    let url = app().gateway("/services");
    let from = |origin: String| Client::new().get(&url).header("origin", origin).send();
    problem(from("https://evil.example".to_owned()).await.unwrap(), 403, "FORBIDDEN").await;
    problem(from("null".to_owned()).await.unwrap(), 403, "FORBIDDEN").await;
    let own = app().gateway("");
    assert_eq!(from(own).await.unwrap().status(), 200);
    // Who is nobody in particular may do everything, and has no account.
    let none = get(app().gateway("/api/v1/account")).await;
    problem(none, 404, "RESOURCE_NOT_FOUND").await;
    assert_eq!(get(app().gateway("/api/v1/users")).await.status(), 200);
}

#[tokio::test]
async fn a_photo_is_refused_before_it_is_sent() {
    let server = server().await;
    let url = server.app.service(Service::Yolo, "/detect");
    problem(helpers::post(url.clone(), form("portrait.jpg")).await, 401, "UNAUTHENTICATED").await;
    let key = server.key(&["account"]).await;
    let sent = Client::new().post(url).bearer_auth(key).multipart(form("portrait.jpg")).send().await.unwrap();
    problem(sent, 403, "FORBIDDEN").await;
}

#[tokio::test]
async fn a_key_of_another_collection_finds_nothing() {
    let server = server().await;
    let mut ids = Vec::new();
    for name in ["ours", "theirs"] {
        let made = server.by(Rank::Admin, Method::POST, "/collections").json(&json!({ "name": name }));
        ids.push(text(&created(made.send().await.unwrap()).await, "id").to_owned());
    }
    let body = json!({ "name": "door", "scopes": ["gallery:read", "gallery:write", "keys"], "collections": [ids[0]] });
    let made = created(server.by(Rank::Admin, Method::POST, "/keys").json(&body).send().await.unwrap()).await;
    let with_key = |method, path: &str| server.anonymous(method, path).bearer_auth(text(&made, "key"));
    ok(with_key(Method::GET, "/collections/ours").send().await.unwrap()).await;
    // As if it did not exist: to look, to write, to bind another key to it.
    problem(with_key(Method::GET, "/collections/theirs").send().await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;
    let person = json!({ "external_id": "x", "name": "x" });
    for path in ["/collections/theirs/persons", "/collections/nobodys/persons"] {
        let answer = with_key(Method::POST, path).json(&person).send().await.unwrap();
        problem(answer, 404, "COLLECTION_NOT_FOUND").await;
    }
    let more = json!({ "name": "more", "scopes": ["gallery:read"], "collections": [ids[1]] });
    problem(with_key(Method::POST, "/keys").json(&more).send().await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;
    let list = ok(with_key(Method::GET, "/collections").send().await.unwrap()).await;
    let names: Vec<&str> = list["items"].as_array().unwrap().iter().map(|c| text(c, "name")).collect();
    assert_eq!(names, ["ours"]);
}

#[tokio::test]
async fn logins_and_refusals_stand_in_the_audit_trail() {
    let server = server().await;
    ok(server.log_in("user", PASSWORD).await).await;
    problem(server.log_in("user", "wrong horse battery").await, 401, "UNAUTHENTICATED").await;
    problem(server.log_in("correct horse battery", "user").await, 401, "UNAUTHENTICATED").await;
    // Somebody else, because the new form of the password's hash ended the other logins of the account.
    problem(server.by(Rank::Operator, Method::GET, "/users").send().await.unwrap(), 403, "FORBIDDEN").await;
    let find = |trail: &Value, action: &str, outcome: &str| {
        let entries = trail["items"].as_array().unwrap();
        entries.iter().filter(|e| e["action"] == action && e["outcome"] == outcome).cloned().collect::<Vec<_>>()
    };
    // A refusal is written beside the answer.
    let mut trail = Value::Null;
    for _ in 0..50 {
        trail = ok(server.by(Rank::Admin, Method::GET, "/audit?limit=100").send().await.unwrap()).await;
        if !find(&trail, "access.refuse", "denied").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let [refusal] = &find(&trail, "access.refuse", "denied")[..] else { panic!("{trail}") };
    assert_eq!(
        (&refusal["actor_id"], text(&refusal["details"], "permission")),
        (&json!(server.user(Rank::Operator)), "users")
    );
    assert!(!find(&trail, "auth.login", "ok").is_empty(), "{trail}");
    let failed = find(&trail, "auth.login", "failed");
    assert_eq!(failed.len(), 2, "{trail}");
    assert!(failed.iter().all(|e| e["address"] == "127.0.0.1"), "{trail}");
    // What was typed as a name or password is not kept.
    assert!(!trail.to_string().contains("horse"), "{trail}");
}

#[tokio::test]
async fn while_the_database_is_down_nobody_gets_in() {
    let Some(mut postgres) = facesocial_testkit::Postgres::start() else { return };
    let (weights, mut config) = helpers::config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.store.database_url = Some(Secret::new(postgres.fresh_database()));
    config.access = AccessConfig { auth: true, jwt_secret: Some(Secret::new(SECRET)), ..config.access };
    let users = crate::accounts::seed(&config).await;
    let server = Secured::of(weights, helpers::spawn_app(config.clone()), users.clone());
    server.app.ready().await;
    let token = server.token(Rank::Admin);
    ok(server.account(&token).await).await;

    postgres.stop();
    problem(server.account(&token).await, 503, "STORE_UNAVAILABLE").await;
    problem(server.log_in("user", PASSWORD).await, 503, "STORE_UNAVAILABLE").await;
    problem(server.account("fsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await, 503, "STORE_UNAVAILABLE").await;
    let upload = |server: &Secured| {
        let url = server.app.service(Service::Yolo, "/detect");
        Client::new().post(url).bearer_auth(&token).multipart(form("portrait.jpg")).send()
    };
    problem(upload(&server).await.unwrap(), 503, "STORE_UNAVAILABLE").await;
    // What needs no database is still told: no token, a bad one.
    problem(server.account("a.b.c").await, 401, "UNAUTHENTICATED").await;
    assert_eq!(get(server.app.gateway("/healthz")).await.status(), 200);

    // A server that is started now waits for the database, and says so.
    let (weights, mut late) = helpers::config_with(&["yolov10n-face"], &[Service::Yolo]);
    (late.store, late.access) = (config.store, config.access);
    let late = Secured::of(weights, helpers::spawn_app(late), users);
    let told = async || get(late.app.gateway("/readyz")).await.json::<Value>().await.unwrap()["code"].clone();
    while told().await == "NOT_READY" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    problem(get(late.app.gateway("/readyz")).await, 503, "STORE_UNAVAILABLE").await;
    problem(late.account(&token).await, 503, "STORE_UNAVAILABLE").await;

    postgres.restart();
    late.app.ready().await;
    for server in [&server, &late] {
        ok(server.account(&token).await).await;
        ok(upload(server).await.unwrap()).await;
    }
}

//! Tokens and keys that are nearly good: all are refused, and by the same words.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use facesocial::auth::{InternalTokens, tokens::Tokens};
use facesocial_store::{LoginId, Role as Rank};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, header::HeaderValue};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use crate::{
    accounts::{INTERNAL_SECRET, SECRET, Secured, secured},
    helpers::{ok, problem},
};

/// How many tokens are made by chance.
const MADE: usize = 400;

/// Small, and the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Sends a token as it is, and gives what is told of it.
async fn told(server: &Secured, token: &[u8]) -> String {
    let value = [b"Bearer ", token].concat();
    // What no header can hold reaches no server.
    let Ok(value) = HeaderValue::from_bytes(&value) else { return String::new() };
    let answer = Client::new().get(server.api("/account")).header("authorization", value).send().await.unwrap();
    assert_eq!(answer.status(), 401, "{}", String::from_utf8_lossy(token));
    let mut body: Value = answer.json().await.unwrap();
    body["request_id"].take();
    body.to_string()
}

fn encoded(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A token signed by hand, with whatever header.
fn signed<M: Mac + KeyInit>(header: &Value, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{claims}", encoded(header));
    let mut mac = <M as KeyInit>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn one_changed_bit_anywhere_makes_a_token_or_key_worth_nothing() {
    let server = secured(|_| ()).await;
    for good in [server.token(Rank::Admin), server.key(&["account"]).await] {
        ok(server.account(&good).await).await;
        let mut words = BTreeSet::new();
        for at in 0..good.len() {
            for bit in [1, 2, 32] {
                let mut forged = good.clone().into_bytes();
                forged[at] ^= bit;
                words.insert(told(&server, &forged).await);
            }
        }
        words.remove("");
        assert_eq!(words.len(), 1, "{words:#?}");
        ok(server.account(&good).await).await;
    }
}

#[tokio::test]
async fn tokens_made_by_chance_are_refused_by_the_same_words() {
    let server = secured(|_| ()).await;
    let (good, key) = (server.token(Rank::Admin), server.key(&["account"]).await);
    let mut chance = Chance(7);
    let mut words = BTreeSet::new();
    for n in 0..MADE {
        let mut forged = if n % 2 == 0 { good.clone().into_bytes() } else { key.clone().into_bytes() };
        for _ in 0..=chance.below(4) {
            let (at, other) = (chance.below(forged.len()), chance.below(forged.len()));
            match chance.below(6) {
                0 => forged.truncate(at.max(1)),
                1 => forged.swap(at, other),
                2 => forged[at] = chance.below(256) as u8,
                3 => forged.insert(at, b'.'),
                4 => forged = [&forged[other..], &forged[..other]].concat(),
                _ => forged = [&forged[..], &forged[at..]].concat(),
            }
        }
        if forged != good.as_bytes() && forged != key.as_bytes() && !forged.trim_ascii().is_empty() {
            words.insert(told(&server, &forged).await);
        }
    }
    words.remove("");
    assert_eq!(words.len(), 1, "{words:#?}");
}

#[tokio::test]
async fn a_header_does_not_choose_how_its_token_is_checked() {
    let server = secured(|_| ()).await;
    let good = server.token(Rank::Admin);
    let claims = good.split('.').nth(1).unwrap();
    let secret = SECRET.as_bytes();
    let sha256 = |header: Value| signed::<Hmac<Sha256>>(&header, claims, secret);
    ok(server.account(&sha256(json!({ "alg": "HS256", "typ": "JWT" }))).await).await;
    let symmetric = json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode("mine") });
    let mut words = BTreeSet::new();
    for forged in [
        // The names of other algorithms over the right signature: a public key would be taken for the secret.
        sha256(json!({ "alg": "RS256", "typ": "JWT" })),
        sha256(json!({ "alg": "ES256", "typ": "JWT" })),
        sha256(json!({ "alg": "EdDSA", "typ": "JWT" })),
        sha256(json!({ "alg": "hs256", "typ": "JWT" })),
        sha256(json!({ "alg": ["HS256"], "typ": "JWT" })),
        sha256(json!({ "typ": "JWT" })),
        signed::<Hmac<Sha384>>(&json!({ "alg": "HS384", "typ": "JWT" }), claims, secret),
        signed::<Hmac<Sha512>>(&json!({ "alg": "HS512", "typ": "JWT" }), claims, secret),
        // Keys that the token brings along, or says where to find.
        signed::<Hmac<Sha256>>(&json!({ "alg": "HS256", "jwk": symmetric }), claims, b"mine"),
        signed::<Hmac<Sha256>>(&json!({ "alg": "HS256", "kid": "../../../../dev/null" }), claims, b""),
        signed::<Hmac<Sha256>>(&json!({ "alg": "HS256", "jku": "http://127.0.0.1:9/keys" }), claims, b"mine"),
        signed::<Hmac<Sha256>>(&json!({ "alg": "HS256" }), claims, b""),
        format!("{}.{claims}.", encoded(&json!({ "alg": "none" }))),
        format!("{}.{claims}.", encoded(&json!({ "alg": "nOnE" }))),
    ] {
        words.insert(told(&server, forged.as_bytes()).await);
    }
    assert_eq!(words.len(), 1, "{words:#?}");
}

#[tokio::test]
async fn each_kind_of_token_is_good_for_its_own_purpose_alone() {
    let server = secured(|access| access.login_attempts = 1000).await;
    let login = server.log_in_new(Rank::Admin).await;
    let (access, refresh) = (login["access_token"].as_str().unwrap(), login["refresh_token"].as_str().unwrap());
    // As an access token: a refresh token, another server's, one that says it is a service's and lasts, one for a collection.
    told(&server, refresh.as_bytes()).await;
    told(&server, InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap().as_bytes()).await;
    told(&server, InternalTokens::new(SECRET.as_bytes()).sign().unwrap().as_bytes()).await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let base = BASE64_URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    let base: Value = serde_json::from_slice(&base).unwrap();
    let sign = |claims: &Value| {
        signed::<Hmac<Sha256>>(&json!({ "alg": "HS256", "typ": "JWT" }), &encoded(claims), SECRET.as_bytes())
    };
    // Signed by this test, the same claims are good.
    ok(server.account(&sign(&base)).await).await;
    for (name, value) in [
        ("aud", json!("facesocial-service")),
        ("aud", json!(["facesocial", "facesocial-service"])),
        ("aud", json!("facesocial-internal")),
        ("iss", json!("facesocial-internal")),
        ("exp", json!(now + 600).to_string().into()),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("iat", json!(now + 120)),
        ("iat", json!(i64::MAX)),
        ("iat", json!(null)),
        ("sub", json!("admin")),
        ("sub", json!(null)),
        ("sid", json!(null)),
        ("role", json!("root")),
    ] {
        let mut claims = base.clone();
        claims[name] = value;
        told(&server, sign(&claims).as_bytes()).await;
    }
    // As a refresh token: an access token, a key, another login's name before the random part.
    let other = server.log_in_new(Rank::User).await;
    let (_, random) = refresh.split_once('.').unwrap();
    let (name, _) = other["refresh_token"].as_str().unwrap().split_once('.').unwrap();
    for wrong in [access, &server.key(&["account"]).await, &format!("{name}.{random}")] {
        let body = json!({ "refresh_token": wrong });
        let answer = server.anonymous(reqwest::Method::POST, "/auth/refresh").json(&body).send().await.unwrap();
        problem(answer, 401, "UNAUTHENTICATED").await;
    }
    ok(server.account(access).await).await;
    ok(server.account(other["access_token"].as_str().unwrap()).await).await;
}

#[tokio::test]
async fn only_who_holds_a_token_is_told_that_it_has_expired() {
    let server = secured(|_| ()).await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = encoded(&json!({
        "iss": "facesocial", "aud": "facesocial", "sub": server.user(Rank::Admin), "role": "admin", "sid": LoginId::new(),
        "jti": LoginId::new(), "iat": now - 1000, "exp": now - 100,
    }));
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let expired = told(&server, signed::<Hmac<Sha256>>(&header, &claims, SECRET.as_bytes()).as_bytes()).await;
    let forged = told(&server, signed::<Hmac<Sha256>>(&header, &claims, b"another secret").as_bytes()).await;
    assert!(expired.contains("expired") && !forged.contains("expired"), "{expired} {forged}");
    assert_eq!(forged, told(&server, b"a.b.c").await);
    // A service's token that lasts for hours was not made by a service.
    let service = Tokens::new(SECRET.as_bytes()).service("gateway").unwrap();
    problem(server.account(&service).await, 403, "FORBIDDEN").await;
}

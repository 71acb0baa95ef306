//! Embeddings as numbers: whoever has them can make a picture like the face, so that they need a permission of their own wherever
//! they are given out, whatever else a key or an account may.

use std::time::Duration;

use facesocial::auth::tokens::Tokens;
use facesocial_store::Role as Rank;
use reqwest::{Method, Response, multipart::Form};
use serde_json::{Value, json};

use super::whole::{Somebody, WHOLE, collection};
use crate::{
    accounts::{SECRET, created},
    helpers::{form, ok, part, photo, problem},
    jobs::{again, archive},
};

/// A program with a key of the administrator's.
async fn with_key(scopes: &[&str]) -> Somebody {
    Somebody { token: WHOLE.key(scopes).await, id: String::new(), username: String::new() }
}

/// Somebody with the account of a role.
fn with_role(role: Rank) -> Somebody {
    Somebody { token: WHOLE.token(role), id: String::new(), username: String::new() }
}

/// The refusal names what is missing.
async fn assert_refused(answer: Response) {
    let told = problem(answer, 403, "FORBIDDEN").await;
    assert!(told.contains("the permission embeddings"), "{told}");
}

/// How many embeddings are in an answer.
fn vectors(answer: &Value) -> usize {
    match answer {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let here = matches!(name.as_str(), "embedding" | "vector");
                usize::from(here && value.as_array().is_some_and(|numbers| numbers.len() >= 128)) + vectors(value)
            })
            .sum(),
        Value::Array(items) => items.iter().map(vectors).sum(),
        _ => 0,
    }
}

fn asked() -> Form {
    form("portrait.jpg").text("recognize_faces", "true").text("return_embeddings", "true")
}

fn asked_of_several() -> Form {
    let files = Form::new().part("files", part("x.jpg", photo("portrait.jpg")));
    files.text("recognize_faces", "true").text("return_embeddings", "true")
}

#[tokio::test]
async fn an_analysis_gives_them_only_to_who_has_the_scope() {
    for who in [with_role(Rank::Operator), with_role(Rank::Admin), with_key(&["analyze", "embeddings"]).await] {
        assert_eq!(vectors(&ok(who.send("/analyze/comprehensive", asked()).await).await), 2);
        assert_eq!(vectors(&ok(who.send("/analyze/batch", asked_of_several()).await).await), 1);
    }
    let service = Tokens::new(SECRET.as_bytes()).service("gateway").unwrap();
    // After the others, so that the answer that they were given is known.
    for who in [
        with_role(Rank::ReadOnly),
        with_role(Rank::User),
        with_key(&["analyze", "search", "gallery:read", "privacy", "operate"]).await,
        Somebody { token: service, id: String::new(), username: String::new() },
    ] {
        assert_refused(who.send("/analyze/comprehensive", asked()).await).await;
        assert_refused(who.send("/analyze/batch", asked_of_several()).await).await;
        // Everything else of the same photo is theirs.
        let without = form("portrait.jpg").text("recognize_faces", "true").text("return_embeddings", "false");
        let answer = ok(who.send("/analyze/comprehensive", without).await).await;
        let recognition = &answer["data"]["faces"][0]["recognition"];
        assert!(recognition["embedding_dimension"].as_u64().is_some_and(|n| n >= 128), "{recognition}");
        assert_eq!(vectors(&answer), 0);
    }
    // The scope by itself analyses nothing.
    let alone = with_key(&["embeddings"]).await.send("/analyze/comprehensive", asked()).await;
    assert!(problem(alone, 403, "FORBIDDEN").await.contains("the permission analyze"));
}

async fn begin(who: &Somebody, embeddings: bool, copy: usize) -> Response {
    let options = json!({ "recognize_faces": true, "return_embeddings": embeddings });
    let photos = archive(&[("1.jpg", again("portrait.jpg", copy))]);
    let form = Form::new().part("file", part("photos.zip", photos)).text("kind", "analyze");
    who.send("/api/v1/jobs", form.text("options", options.to_string())).await
}

/// The path of a job that was begun, once it has ended.
async fn ended(who: &Somebody, begun: Response) -> String {
    let status = begun.status();
    let job: Value = begun.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    for _ in 0..1800 {
        let now = ok(who.ask(Method::GET, &path).send().await.unwrap()).await;
        if !matches!(now["status"].as_str(), Some("pending" | "processing")) {
            assert_eq!(now["status"], "completed", "{now}");
            return path;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the job did not end");
}

#[tokio::test]
async fn a_job_is_begun_and_read_with_them_only_by_who_has_the_scope() {
    let plain = with_key(&["jobs", "analyze"]).await;
    for who in [&plain, &with_role(Rank::User)] {
        assert_refused(begin(who, true, 601).await).await;
    }
    let trusted = with_key(&["jobs", "analyze", "embeddings"]).await;
    let path = ended(&trusted, begin(&trusted, true, 602).await).await;
    let lines =
        async |who: &Somebody, path: &str| who.ask(Method::GET, &format!("{path}/results")).send().await.unwrap();
    for who in [&trusted, &with_role(Rank::Operator)] {
        let answer = lines(who, &path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(vectors(&serde_json::from_str(answer.text().await.unwrap().trim()).unwrap()), 1);
    }
    // Another key of the same account: the job is its to follow, the numbers are not.
    assert_eq!(vectors(&ok(plain.ask(Method::GET, &path).send().await.unwrap()).await), 0);
    assert_refused(lines(&plain, &path).await).await;
    let path = ended(&plain, begin(&plain, false, 603).await).await;
    let answer = lines(&plain, &path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(vectors(&serde_json::from_str(answer.text().await.unwrap().trim()).unwrap()), 0);
}

#[tokio::test]
async fn a_person_is_exported_only_by_who_has_both_scopes() {
    collection("exported").await;
    let enrol = form("portrait.jpg").text("external_id", "eve");
    created(with_role(Rank::Admin).send("/api/v1/collections/exported/faces", enrol).await).await;
    let export = async |who: &Somebody| {
        who.ask(Method::GET, "/api/v1/collections/exported/persons/external:eve/export").send().await.unwrap()
    };
    for who in [with_key(&["privacy", "embeddings"]).await, with_role(Rank::Operator)] {
        assert_eq!(vectors(&ok(export(&who).await).await), 1);
    }
    assert_refused(export(&with_key(&["privacy", "gallery:read"]).await).await).await;
    problem(export(&with_key(&["embeddings", "gallery:read"]).await).await, 403, "FORBIDDEN").await;
    problem(export(&with_role(Rank::User)).await, 403, "FORBIDDEN").await;
}

#[tokio::test]
async fn nobody_gives_a_key_the_scope_without_having_it() {
    let new = json!({ "name": "more", "scopes": ["analyze", "embeddings"] });
    let make = async |role| WHOLE.by(role, Method::POST, "/keys").json(&new).send().await.unwrap();
    assert_refused(make(Rank::User).await).await;
    created(make(Rank::Operator).await).await;
}

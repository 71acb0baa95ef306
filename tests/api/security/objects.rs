//! What is one account's is not another's, and what is not in an account's collections is not there for it.
//!
//! All accounts share the collections that they are not bound away from: a gallery belongs to the house, not to whoever
//! enrolled a face. Stored analyses, jobs and keys belong to an account; operators see everybody's analyses and jobs, and
//! administrators everybody's keys.

use facesocial_store::Role as Rank;
use reqwest::{Client, Method, Response, multipart::Form};
use serde_json::{Value, json};

use super::{
    document::operations,
    whole::{Somebody, WHOLE, collection},
};
use crate::{
    accounts::created,
    helpers::{form, ok, part, photo, problem},
    jobs::{again, archive},
};

async fn body(response: Response) -> Value {
    response.json().await.unwrap_or_default()
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn stored_analyses_are_their_owners_and_the_operators() {
    let [ann, bob, boss] = [
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::Operator, &[]).await,
    ];
    let store = form("portrait.jpg").text("assess_quality", "1").text("store", "true");
    let stored = ok(ann.send("/analyze/comprehensive", store).await).await;
    let session = stored["metadata"]["session_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/sessions/{session}");
    for (method, path) in
        [(Method::GET, path.clone()), (Method::GET, format!("{path}/image")), (Method::DELETE, path.clone())]
    {
        problem(bob.ask(method, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
    }
    let list =
        async |who: &Somebody| ok(who.ask(Method::GET, "/api/v1/sessions?limit=100").send().await.unwrap()).await;
    assert_eq!(ids(&list(&ann).await), [session.as_str()]);
    assert!(ids(&list(&bob).await).is_empty());
    assert!(ids(&list(&boss).await).contains(&session.as_str()));
    // The same photo by somebody else is another analysis, even where the answer is known already.
    let again = ok(bob.send("/analyze/comprehensive", form("portrait.jpg").text("assess_quality", "1")).await).await;
    assert_eq!(again["metadata"]["session_id"], Value::Null);
    assert_eq!(boss.ask(Method::DELETE, &path).send().await.unwrap().status(), 204);
    problem(ann.ask(Method::GET, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
}

#[tokio::test]
async fn jobs_are_their_owners_and_the_operators() {
    let [ann, bob, boss] = [
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::Operator, &[]).await,
    ];
    let zip = archive(&[("1.jpg", photo("no_face.jpg"))]);
    let asked = Form::new().text("kind", "analyze").part("file", part("photos.zip", zip));
    let made = ann.send("/api/v1/jobs", asked.text("options", json!({ "assess_quality": true }).to_string())).await;
    assert_eq!(made.status(), 202);
    let job = body(made).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/jobs/{job}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/results")),
        (Method::POST, format!("{path}/cancel")),
    ] {
        let found = problem(bob.ask(method.clone(), &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
        // Whether there is such a job is not told.
        let other = path.replace(&job, "0198c0de-0000-7000-8000-000000000000");
        let none = problem(bob.ask(method, &other).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
        assert_eq!(found.replace(&job, "ID"), none.replace("0198c0de-0000-7000-8000-000000000000", "ID"));
    }
    let list = async |who: &Somebody| ok(who.ask(Method::GET, "/api/v1/jobs?limit=100").send().await.unwrap()).await;
    assert_eq!(ids(&list(&ann).await), [job.as_str()]);
    assert!(ids(&list(&bob).await).is_empty());
    assert!(ids(&list(&boss).await).contains(&job.as_str()));
    assert_eq!(ok(boss.ask(Method::GET, &path).send().await.unwrap()).await["id"], job.as_str());
}

#[tokio::test]
async fn keys_are_their_owners_and_the_administrators() {
    let [ann, bob, boss] = [
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::User, &[]).await,
        Somebody::new(Rank::Operator, &[]).await,
    ];
    let new = json!({ "name": "ann's", "scopes": ["analyze"] });
    let made = created(ann.ask(Method::POST, "/api/v1/keys").json(&new).send().await.unwrap()).await;
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    for who in [&bob, &boss] {
        for method in [Method::GET, Method::DELETE] {
            problem(who.ask(method, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
        }
        assert!(ids(&ok(who.ask(Method::GET, "/api/v1/keys").send().await.unwrap()).await).is_empty());
        problem(who.ask(Method::GET, "/api/v1/keys?all=true").send().await.unwrap(), 403, "FORBIDDEN").await;
    }
    let good = Client::new().get(WHOLE.app.gateway("/api/v1/face-detection/methods"));
    ok(good.header("x-api-key", made["key"].as_str().unwrap()).send().await.unwrap()).await;
    assert_eq!(
        WHOLE.by(Rank::Admin, Method::DELETE, path.trim_start_matches("/api/v1")).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn an_idempotency_key_is_its_senders_alone() {
    let [ann, bob] = [Somebody::new(Rank::Operator, &[]).await, Somebody::new(Rank::Operator, &[]).await];
    let make = |who: &Somebody, name: &str| {
        let body = json!({ "name": name });
        who.ask(Method::POST, "/api/v1/collections").header("idempotency-key", "the-same").json(&body).send()
    };
    let first = created(make(&ann, "of-ann").await.unwrap()).await;
    // Neither is the answer of another account's request given, nor is the key taken by it.
    let second = make(&bob, "of-bob").await.unwrap();
    assert!(!second.headers().contains_key("idempotency-replayed"));
    assert_ne!(created(second).await["id"], first["id"]);
    let repeated = make(&ann, "of-ann").await.unwrap();
    assert_eq!(repeated.headers()["idempotency-replayed"], "true");
    assert_eq!(created(repeated).await["id"], first["id"]);
}

/// A form that has whatever some operation needs.
fn everything(collection: &str) -> Form {
    form("portrait.jpg").text("collection", collection.to_owned()).text("person", "external:ann").text("user_id", "ann")
}

#[tokio::test]
async fn what_is_in_a_collection_that_one_is_not_bound_to_is_not_there() {
    let (ours, _theirs) = (collection("object-ours").await, collection("object-theirs").await);
    let admin = |method, path: &str| WHOLE.by(Rank::Admin, method, path);
    let enrol = Form::new().part("file", part("x.jpg", again("portrait.jpg", 77))).text("external_id", "ann");
    let made = admin(Method::POST, "/collections/object-theirs/faces").multipart(enrol).send().await.unwrap();
    let enrolled = created(made).await;
    let face = enrolled["face"]["id"].as_str().unwrap();
    let job = admin(Method::POST, "/collections/object-theirs/jobs").json(&json!({ "kind": "group" }));
    let job = body(job.send().await.unwrap()).await["id"].as_str().unwrap().to_owned();
    let store = form("grey.jpg").text("collection", "object-theirs").text("store", "true");
    let url = WHOLE.app.gateway("/analyze/comprehensive");
    let stored = Client::new().post(url).bearer_auth(WHOLE.token(Rank::Admin)).multipart(store).send().await.unwrap();
    let session = ok(stored).await["metadata"]["session_id"].as_str().unwrap().to_owned();

    // An operator, so that no role stands in the way; and a key of an unbound one that is bound itself.
    let bound = Somebody::new(Rank::Operator, &[&ours]).await;
    let scopes = [
        "analyze",
        "search",
        "gallery:read",
        "gallery:write",
        "collections:write",
        "privacy",
        "embeddings",
        "history:read",
        "history:write",
        "jobs",
    ];
    let new = json!({ "name": "bound", "scopes": scopes, "collections": [ours] });
    let key = created(WHOLE.by(Rank::Admin, Method::POST, "/keys").json(&new).send().await.unwrap()).await;
    let key = Somebody { token: key["key"].as_str().unwrap().to_owned(), id: String::new(), username: String::new() };
    let mut asked = 0;
    for who in [&bound, &key] {
        for operation in operations().filter(|operation| operation.path.contains("/collections/{name}")) {
            let of = |name: &str| {
                operation.filled(&[
                    ("name", name),
                    ("id", if operation.path.contains("/faces/{id}") { face } else { "external:ann" }),
                ])
            };
            let mut told = Vec::new();
            for name in ["object-theirs", "object-nowhere"] {
                let request = who.ask(operation.method.clone(), &of(name));
                let request = if operation.body("multipart/form-data").is_some() {
                    let file = if operation.path.ends_with("/imports") {
                        archive(&[("ann/1.jpg", photo("portrait.jpg"))])
                    } else {
                        photo("portrait.jpg")
                    };
                    request.multipart(Form::new().part("file", part("x.jpg", file)).text("person", "external:ann"))
                } else if operation.path.ends_with("/jobs") {
                    request.json(&json!({ "kind": "group" }))
                } else if operation.path.ends_with("/faces/{id}") && operation.method == Method::PATCH {
                    request.json(&json!({ "searchable": false }))
                } else if operation.body("application/json").is_some() {
                    request.json(&json!({ "name": "x" }))
                } else {
                    request
                };
                let answer = request.send().await.unwrap();
                let answer = problem(answer, 404, "COLLECTION_NOT_FOUND").await;
                told.push(answer.replace(name, "NAME"));
                asked += 1;
            }
            assert_eq!(told[0], told[1], "{} {} tells what is there", operation.method, operation.path);
        }
        // The original's paths, and an analysis that looks in a collection.
        for path in [
            "/face-recognition/register",
            "/face-recognition/verify",
            "/face-recognition/identify",
            "/api/v1/face-recognition/register",
            "/api/v1/face-recognition/verify",
            "/api/v1/face-recognition/identify",
            "/analyze/comprehensive",
        ] {
            problem(who.send(path, everything("object-theirs")).await, 404, "COLLECTION_NOT_FOUND").await;
        }
        let files = Form::new().part("files", part("x.jpg", photo("portrait.jpg"))).text("collection", "object-theirs");
        problem(who.send("/analyze/batch", files).await, 404, "COLLECTION_NOT_FOUND").await;
        for (method, path) in [
            (Method::GET, "/api/v1/face-recognition/users/ann/faces?collection=object-theirs".to_owned()),
            (Method::DELETE, format!("/api/v1/face-recognition/faces/{face}?collection=object-theirs")),
        ] {
            problem(who.ask(method, &path).send().await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;
        }
        let change = json!({ "face_group": "stolen" });
        let put = format!("/api/v1/face-recognition/faces/{face}?collection=object-theirs");
        problem(who.ask(Method::PUT, &put).json(&change).send().await.unwrap(), 404, "COLLECTION_NOT_FOUND").await;
        // In the collection that it may see, the face of another one is none.
        let inside = format!("/api/v1/collections/object-ours/faces/{face}");
        problem(who.ask(Method::GET, &inside).send().await.unwrap(), 404, "FACE_NOT_FOUND").await;
        let options = json!({ "kind": "analyze", "options": { "collection": "object-theirs" }, "source": { "urls": ["https://a.example/1"] } });
        problem(
            who.ask(Method::POST, "/api/v1/jobs").json(&options).send().await.unwrap(),
            404,
            "COLLECTION_NOT_FOUND",
        )
        .await;
        // What was done in the other collection.
        for path in [
            format!("/api/v1/jobs/{job}"),
            format!("/api/v1/sessions/{session}"),
            format!("/api/v1/sessions/{session}/image"),
        ] {
            problem(who.ask(Method::GET, &path).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
        }
        problem(
            who.ask(Method::POST, &format!("/api/v1/jobs/{job}/cancel")).send().await.unwrap(),
            404,
            "RESOURCE_NOT_FOUND",
        )
        .await;
        problem(
            who.ask(Method::DELETE, &format!("/api/v1/sessions/{session}")).send().await.unwrap(),
            404,
            "RESOURCE_NOT_FOUND",
        )
        .await;
        let list = async |path: &str| ok(who.ask(Method::GET, path).send().await.unwrap()).await;
        assert!(!ids(&list("/api/v1/jobs?limit=100").await).contains(&job.as_str()));
        assert!(!ids(&list("/api/v1/sessions?limit=100").await).contains(&session.as_str()));
        let names = list("/api/v1/collections?limit=100").await;
        let names: Vec<&str> = names["items"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["object-ours"]);
    }
    assert!(asked > 60, "{asked}");
    // All of it is still there.
    for path in
        [format!("/collections/object-theirs/faces/{face}"), format!("/sessions/{session}"), format!("/jobs/{job}")]
    {
        assert_eq!(admin(Method::GET, &path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn whoever_is_bound_to_collections_cannot_get_rid_of_that() {
    let ours = collection("bound-ours").await;
    let bound = Somebody::new(Rank::Operator, &[&ours]).await;
    // A key without collections of its own has its account's.
    let new = json!({ "name": "wider", "scopes": ["gallery:read"], "collections": [] });
    let key = created(bound.ask(Method::POST, "/api/v1/keys").json(&new).send().await.unwrap()).await;
    let list =
        Client::new().get(WHOLE.app.gateway("/api/v1/collections")).header("x-api-key", key["key"].as_str().unwrap());
    let list = ok(list.send().await.unwrap()).await;
    assert_eq!(ids(&list), [ours.as_str()]);
    let change = json!({ "collections": [] });
    problem(bound.ask(Method::PATCH, "/api/v1/account").json(&change).send().await.unwrap(), 400, "INVALID_INPUT")
        .await;
    let path = format!("/api/v1/users/{}", bound.id);
    problem(bound.ask(Method::PATCH, &path).json(&change).send().await.unwrap(), 403, "FORBIDDEN").await;
    assert_eq!(ok(bound.ask(Method::GET, "/api/v1/account").send().await.unwrap()).await["collections"], json!([ours]));
}

//! Strings that mean something elsewhere are only strings here; those that cannot be stored are refused.

use facesocial_store::{FaceChange, NewCollection, NewFace, NewPerson, PersonChange, Write};
use serde_json::{Value, json};

use crate::backend::*;

conformance!(
    odd_strings_read_back_unchanged,
    nul_is_refused_everywhere,
    long_strings_are_refused_with_their_limit,
    names_of_models_may_hold_quotes,
);

const ODD: &[&str] = &[
    "'; DROP TABLE faces; --",
    "\" OR \"\"=\"",
    "../../etc/passwd",
    "$1 %s {} \\x00 \\",
    "\u{1f}\u{7f}\u{202e}ﬁ 🦀 e\u{301}",
    " leading and trailing ",
    "\r\n\t",
];

async fn odd_strings_read_back_unchanged(f: Fixture) {
    let c = f.collection().await;
    for (i, odd) in ODD.iter().enumerate() {
        let new = NewPerson { external_id: odd.to_string(), name: odd.to_string(), metadata: json!({ *odd: odd }) };
        let made = f.store.create_person(&Write::system(), c, new).await.unwrap().value;
        assert_eq!((made.external_id.as_str(), made.name.as_str()), (*odd, *odd));
        assert_eq!(f.store.person_by_external_id(c, odd).await.unwrap(), made);
        let new = NewFace { face_group: odd.to_string(), face_hash: odd.to_string(), ..face(i as u64) };
        let enrolled = f.enroll(c, new).await.face;
        assert_eq!((enrolled.face_group.as_str(), enrolled.face_hash.as_str()), (*odd, *odd));
        let mut query = query(c, embedding(i as u64), 10);
        query.groups = vec![odd.to_string()];
        let found = f.store.search(&query).await.unwrap().matches;
        assert_eq!(found.iter().map(|found| found.face_id).collect::<Vec<_>>(), [enrolled.id]);
        let new = NewCollection { name: odd.to_string(), description: odd.to_string() };
        let made = f.store.create_collection(&Write::system(), new).await.unwrap().value;
        assert_eq!(f.store.collection(odd).await.unwrap(), made);
    }
    assert_eq!(f.rows("faces").await, ODD.len() as i64);
}

async fn nul_is_refused_everywhere(f: Fixture) {
    let (c, write) = (f.collection().await, Write::system());
    let nul = "a\0b".to_owned();
    let metadata = [json!({ "k": { "deep": ["a\0b"] } }), json!({ "a\0b": 1 }), Value::String(nul.clone())];
    let made = f.enroll(c, face_of("anna", 1)).await;
    let anna = made.person.unwrap().id;

    is_invalid(
        f.store.create_collection(&write, NewCollection { name: nul.clone(), description: String::new() }).await,
    );
    is_invalid(
        f.store.create_collection(&write, NewCollection { name: "n".to_owned(), description: nul.clone() }).await,
    );
    is_invalid(f.store.collection(&nul).await);
    is_invalid(f.store.create_person(&write, c, NewPerson { external_id: nul.clone(), ..person("x") }).await);
    is_invalid(f.store.create_person(&write, c, NewPerson { name: nul.clone(), ..person("x") }).await);
    is_invalid(f.store.person_by_external_id(c, &nul).await);
    is_invalid(f.store.update_person(&write, c, anna, PersonChange { name: Some(nul.clone()), metadata: None }).await);
    is_invalid(f.store.enroll(&write, c, face_of(&nul, 2)).await);
    is_invalid(f.store.enroll(&write, c, NewFace { face_hash: nul.clone(), ..face(2) }).await);
    is_invalid(f.store.enroll(&write, c, NewFace { face_group: nul.clone(), ..face(2) }).await);
    let change = FaceChange { face_group: Some(nul.clone()), ..FaceChange::default() };
    is_invalid(f.store.update_face(&write, c, made.face.id, change).await);
    for metadata in metadata {
        is_invalid(f.store.create_person(&write, c, NewPerson { metadata: metadata.clone(), ..person("x") }).await);
        is_invalid(f.store.enroll(&write, c, NewFace { metadata: metadata.clone(), ..face(2) }).await);
        let change = FaceChange { metadata: Some(metadata), ..FaceChange::default() };
        is_invalid(f.store.update_face(&write, c, made.face.id, change).await);
    }
    let mut groups = query(c, embedding(1), 1);
    groups.groups = vec![nul];
    is_invalid(f.store.search(&groups).await);
    assert_eq!((f.rows("persons").await, f.rows("faces").await, f.rows("collections").await), (1, 1, 1));
}

async fn long_strings_are_refused_with_their_limit(f: Fixture) {
    let (c, write) = (f.collection().await, Write::system());
    let long = "ß".repeat(10_000);
    let new = NewPerson { external_id: long.clone(), ..person("x") };
    let reason = is_invalid(f.store.create_person(&write, c, new).await);
    assert!(reason.contains("255 characters"), "{reason}");
    let reason = is_invalid(f.store.create_person(&write, c, NewPerson { name: long.clone(), ..person("x") }).await);
    assert!(reason.contains("1000 characters"), "{reason}");
    let new = NewCollection { name: long.clone(), description: String::new() };
    is_invalid(f.store.create_collection(&write, new).await);
    is_invalid(f.store.person_by_external_id(c, &long).await);
    is_invalid(f.store.enroll(&write, c, NewFace { face_group: long.clone(), ..face(1) }).await);
    is_invalid(f.store.enroll(&write, c, NewFace { metadata: json!(long.repeat(8)), ..face(1) }).await);
    // The longest that are taken, of characters of four bytes.
    let longest = "🦀".repeat(255);
    let new = NewPerson { external_id: longest.clone(), name: "🦀".repeat(1000), metadata: json!(null) };
    let made = f.store.create_person(&write, c, new).await.unwrap().value;
    assert_eq!(f.store.person_by_external_id(c, &longest).await.unwrap(), made);
    f.enroll(c, NewFace { face_group: longest.clone(), face_hash: longest, ..face(1) }).await;
}

async fn names_of_models_may_hold_quotes(f: Fixture) {
    use facesocial_types::{Embedding, ModelId};
    let c = f.collection().await;
    let odd = ModelId::new("a'b\"c; DROP TABLE faces; --", "1");
    let embedding = Embedding::new(odd.clone(), vector(1, 16)).unwrap();
    let made = f.enroll(c, NewFace { embeddings: vec![embedding.clone()], ..face(1) }).await.face;
    assert_eq!(made.models, [odd]);
    assert_eq!(f.store.search(&query(c, embedding, 1)).await.unwrap().matches[0].face_id, made.id);
    f.assert_sound().await;
}

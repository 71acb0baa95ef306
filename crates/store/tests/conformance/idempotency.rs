//! A repeated change changes nothing and gives the first answer.

use facesocial_store::{FaceChange, NewCollection, PersonChange, StoreError};
use uuid::Uuid;

use crate::backend::*;

conformance!(
    a_repetition_gives_the_first_answer,
    a_key_serves_one_request_of_one_user,
    a_refused_change_uses_up_no_key,
    of_ten_requests_with_one_key_one_is_made,
    no_repetition_brings_back_what_was_erased,
    every_change_stands_in_the_audit_trail,
);

async fn a_repetition_gives_the_first_answer(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    let write = keyed(user, "k1", "print");
    let first = f.store.enroll(&write, c, face_of("anna", 1)).await.unwrap();
    let again = f.store.enroll(&write, c, face_of("anna", 1)).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.value, again.value);
    assert_eq!((f.rows("faces").await, f.rows("audit_log").await), (1, 1));

    let write = keyed(user, "k2", "print");
    let name = |name: &str| PersonChange { name: Some(name.to_owned()), metadata: None };
    let id = first.value.person.unwrap().id;
    let first = f.store.update_person(&write, c, id, name("one")).await.unwrap();
    f.store.update_person(&keyed(user, "k3", "print"), c, id, name("two")).await.unwrap();
    assert_eq!(f.store.update_person(&write, c, id, name("one")).await.unwrap().value, first.value);
    assert_eq!(f.store.person(c, id).await.unwrap().name, "two");

    let write = keyed(user, "k4", "print");
    let erased = f.store.delete_person(&write, c, id).await.unwrap();
    let again = f.store.delete_person(&write, c, id).await.unwrap();
    assert!(again.replayed && again.value == erased.value);

    let write = keyed(user, "k5", "print");
    let new = || NewCollection { name: "x".to_owned(), description: String::new() };
    let made = f.store.create_collection(&write, new()).await.unwrap().value;
    assert_eq!(f.store.create_collection(&write, new()).await.unwrap().value, made);
    let write = keyed(user, "k6", "print");
    let erased = f.store.delete_collection(&write, made.id).await.unwrap();
    assert_eq!(f.store.delete_collection(&write, made.id).await.unwrap().value, erased.value);
}

async fn a_key_serves_one_request_of_one_user(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    f.store.create_person(&keyed(user, "k", "one"), c, person("anna")).await.unwrap();
    let other = f.store.create_person(&keyed(user, "k", "two"), c, person("bert")).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    // Another user's key is another key.
    f.store.create_person(&keyed(Uuid::now_v7(), "k", "two"), c, person("bert")).await.unwrap();
    is_invalid(f.store.create_person(&keyed(user, "", "x"), c, person("x")).await);
    is_invalid(f.store.create_person(&keyed(user, "a\0b", "x"), c, person("x")).await);
    is_invalid(f.store.create_person(&keyed(user, &"k".repeat(256), "x"), c, person("x")).await);
    assert_eq!(f.rows("persons").await, 2);
}

async fn a_refused_change_uses_up_no_key(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    f.enroll(c, face(1)).await;
    let write = keyed(user, "k", "print");
    is_taken(f.store.enroll(&write, c, face(1)).await, "face");
    assert!(!f.store.enroll(&write, c, face(2)).await.unwrap().replayed);
}

async fn of_ten_requests_with_one_key_one_is_made(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    let tries = (0..10).map(|_| {
        let store = f.store.clone();
        tokio::spawn(async move { store.enroll(&keyed(user, "k", "print"), c, face_of("anna", 1)).await })
    });
    let (mut made, mut ids) = (0, Vec::new());
    for task in tries.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(outcome) => {
                made += usize::from(!outcome.replayed);
                ids.push(outcome.value.face.id);
            }
            Err(StoreError::KeyInUse) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    ids.dedup();
    assert_eq!((made, ids.len()), (1, 1));
    assert_eq!((f.rows("faces").await, f.rows("audit_log").await), (1, 1));
}

async fn no_repetition_brings_back_what_was_erased(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    let write = keyed(user, "k", "print");
    let enrolled = f.store.enroll(&write, c, face_of("anna", 1)).await.unwrap().value;
    let created = keyed(user, "k2", "print");
    let bert = f.store.create_person(&created, c, person("bert")).await.unwrap().value;
    let alone = keyed(user, "k3", "print");
    let face = f.store.enroll(&alone, c, face(2)).await.unwrap().value.face;

    f.store.delete_person(&keyed(user, "d1", "x"), c, enrolled.person.unwrap().id).await.unwrap();
    f.store.delete_person(&keyed(user, "d2", "x"), c, bert.id).await.unwrap();
    f.store.delete_face(&keyed(user, "d3", "x"), c, face.id).await.unwrap();
    is_not_found(f.store.enroll(&write, c, face_of("anna", 1)).await, "face");
    is_not_found(f.store.create_person(&created, c, person("bert")).await, "person");
    is_not_found(f.store.enroll(&alone, c, crate::backend::face(2)).await, "face");
    assert_eq!((f.rows("faces").await, f.rows("persons").await), (0, 0));
    // Nor do the recorded answers hold a name.
    let names = "SELECT count(*) FROM idempotency_keys WHERE CAST(outcome AS TEXT) LIKE '%Name of%'";
    assert_eq!(f.number(names).await, 0);
}

async fn every_change_stands_in_the_audit_trail(f: Fixture) {
    let (c, user) = (f.collection().await, Uuid::now_v7());
    let key = |n: usize| keyed(user, &format!("k{n}"), "print");
    let enrolled = f.store.enroll(&key(1), c, face_of("Anna Secret", 1)).await.unwrap().value;
    let (face, anna) = (enrolled.face.id, enrolled.person.unwrap().id);
    f.store.create_person(&key(2), c, person("bert")).await.unwrap();
    f.store.update_face(&key(3), c, face, FaceChange { searchable: Some(false), ..Default::default() }).await.unwrap();
    let name = PersonChange { name: Some("Secret".to_owned()), metadata: None };
    f.store.update_person(&key(4), c, anna, name).await.unwrap();
    f.store.delete_face(&key(5), c, face).await.unwrap();
    f.store.delete_person(&key(6), c, anna).await.unwrap();
    let made = NewCollection { name: "made".to_owned(), description: String::new() };
    let made = f.store.create_collection(&key(7), made).await.unwrap().value.id;
    f.store.delete_collection(&key(8), made).await.unwrap();

    let trail = f.store.audit_trail(page(None, 100)).await.unwrap().items;
    let actions: Vec<&str> = trail.iter().rev().map(|entry| entry.action.as_str()).collect();
    let expected = [
        "face.enroll",
        "person.create",
        "face.update",
        "person.update",
        "face.delete",
        "person.delete",
        "collection.create",
        "collection.delete",
    ];
    assert_eq!(actions, expected);
    for entry in &trail {
        assert_eq!((entry.actor_kind.as_str(), entry.actor_id), ("user", Some(user)));
        assert_eq!((entry.request_id.as_str(), entry.outcome.as_str()), ("request-1", "ok"));
        assert_eq!(entry.address.as_deref(), Some("192.0.2.1"));
        let written = serde_json::to_string(entry).unwrap();
        assert!(!written.contains("Secret") && !written.contains("vector"), "{written}");
    }
}

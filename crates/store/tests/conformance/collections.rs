//! Collections.

use facesocial_store::{CollectionId, DEFAULT_COLLECTION, NewCollection, Write};

use crate::backend::*;

conformance!(
    the_default_collection_is_there_from_the_start,
    a_collection_is_found_by_name_and_by_identifier,
    names_are_unique,
    lists_come_in_pages_and_by_permission,
    counts_follow_every_change,
    a_collection_sees_nothing_of_another,
);

fn new(name: &str) -> NewCollection {
    NewCollection { name: name.to_owned(), description: "for tests".to_owned() }
}

async fn the_default_collection_is_there_from_the_start(f: Fixture) {
    let default = f.store.collection(DEFAULT_COLLECTION).await.unwrap();
    assert_eq!((default.persons, default.faces), (0, 0));
    assert_eq!(f.store.collections(&[], page(None, 10)).await.unwrap().items, [default]);
    let stats = f.store.gallery_stats().await.unwrap();
    assert_eq!((stats.collections, stats.persons, stats.faces), (1, 0, 0));
    assert!(stats.embeddings.is_empty());
}

async fn a_collection_is_found_by_name_and_by_identifier(f: Fixture) {
    let made = f.store.create_collection(&Write::system(), new("staff")).await.unwrap();
    assert!(!made.replayed);
    assert_eq!(f.store.collection("staff").await.unwrap(), made.value);
    assert_eq!(f.store.collection_by_id(made.value.id).await.unwrap(), made.value);
    is_not_found(f.store.collection("Staff").await, "collection");
    is_not_found(f.store.collection_by_id(CollectionId::new()).await, "collection");
}

async fn names_are_unique(f: Fixture) {
    let first = f.store.create_collection(&Write::system(), new("staff")).await.unwrap().value;
    let taken = is_taken(f.store.create_collection(&Write::system(), new("staff")).await, "collection");
    assert_eq!(taken, Some(first.id.to_string()));
    assert_eq!(f.rows("collections").await, 2);
    // What was refused leaves no entry in the trail.
    assert_eq!(f.rows("audit_log").await, 1);
}

async fn lists_come_in_pages_and_by_permission(f: Fixture) {
    let mut made = Vec::new();
    for i in 0..5 {
        made.push(f.store.create_collection(&Write::system(), new(&format!("c{i}"))).await.unwrap().value);
    }
    let first = f.store.collections(&[], page(None, 3)).await.unwrap();
    assert_eq!(first.items.len(), 3);
    let second = f.store.collections(&[], page(first.next, 3)).await.unwrap();
    assert_eq!(second.items, made[2..]);
    assert_eq!(second.next, None);
    let allowed = f.store.collections(&[made[1].id, made[3].id, CollectionId::new()], page(None, 10)).await.unwrap();
    assert_eq!(allowed.items, [made[1].clone(), made[3].clone()]);
}

async fn counts_follow_every_change(f: Fixture) {
    let c = f.collection().await;
    let anna = f.enroll(c, face_of("anna", 1)).await;
    f.enroll(c, face_of("anna", 2)).await;
    let nobody = f.enroll(c, face(3)).await;
    f.store.create_person(&Write::system(), c, person("bert")).await.unwrap();
    let counted = f.store.collection_by_id(c).await.unwrap();
    assert_eq!((counted.persons, counted.faces), (2, 3));

    f.store.delete_face(&Write::system(), c, nobody.face.id).await.unwrap();
    f.store.put_embedding(c, anna.face.id, &embedding(9)).await.unwrap();
    let counted = f.store.collection_by_id(c).await.unwrap();
    assert_eq!((counted.persons, counted.faces), (2, 2));

    f.store.delete_person(&Write::system(), c, anna.person.unwrap().id).await.unwrap();
    let stats = f.store.gallery_stats().await.unwrap();
    assert_eq!((stats.collections, stats.persons, stats.faces), (1, 1, 0));
    assert!(stats.embeddings.is_empty());
    f.assert_sound().await;
}

async fn a_collection_sees_nothing_of_another(f: Fixture) {
    let here = f.collection().await;
    let there = f.store.create_collection(&Write::system(), new("there")).await.unwrap().value.id;
    let enrolled = f.enroll(there, face_of("anna", 1)).await;
    let (its_face, its_person) = (enrolled.face.id, enrolled.person.unwrap().id);
    let write = Write::system();

    is_not_found(f.store.face(here, its_face).await, "face");
    is_not_found(f.store.person(here, its_person).await, "person");
    is_not_found(f.store.person_by_external_id(here, "anna").await, "person");
    is_not_found(f.store.export_person(here, its_person).await, "person");
    is_not_found(f.store.embeddings_of(here, its_person, &model()).await, "person");
    is_not_found(f.store.update_face(&write, here, its_face, Default::default()).await, "face");
    is_not_found(f.store.update_person(&write, here, its_person, Default::default()).await, "person");
    is_not_found(f.store.delete_face(&write, here, its_face).await, "face");
    is_not_found(f.store.delete_person(&write, here, its_person).await, "person");
    is_not_found(f.store.put_embedding(here, its_face, &embedding(2)).await, "face");
    assert!(f.store.search(&query(here, embedding(1), 5)).await.unwrap().matches.is_empty());
    assert!(f.store.faces(here, None, page(None, 10)).await.unwrap().items.is_empty());
    // The same names and the same face are free in each collection.
    f.enroll(here, face_of("anna", 1)).await;
    assert_eq!(f.store.search(&query(here, embedding(1), 5)).await.unwrap().matches.len(), 1);

    let unknown = CollectionId::new();
    is_not_found(f.store.enroll(&write, unknown, face(7)).await, "collection");
    is_not_found(f.store.enroll(&write, unknown, face_of("anna", 7)).await, "collection");
    is_not_found(f.store.create_person(&write, unknown, person("anna")).await, "collection");
    is_not_found(f.store.persons(unknown, page(None, 1)).await, "collection");
    is_not_found(f.store.faces(unknown, None, page(None, 1)).await, "collection");
    is_not_found(f.store.search(&query(unknown, embedding(1), 5)).await, "collection");
    is_not_found(f.store.delete_collection(&write, unknown).await, "collection");
}

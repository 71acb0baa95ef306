//! Persons.

use facesocial_store::{NewCollection, NewPerson, PersonChange, PersonId, Write};
use serde_json::json;

use crate::backend::*;

conformance!(
    a_person_is_found_by_both_names,
    external_identifiers_are_unique,
    changes_leave_the_rest_as_it_is,
    persons_come_in_pages,
    persons_are_found_by_a_part_of_their_names,
    an_export_holds_everything,
);

async fn a_person_is_found_by_both_names(f: Fixture) {
    let c = f.collection().await;
    let made = f.store.create_person(&Write::system(), c, person("anna")).await.unwrap().value;
    assert_eq!((made.external_id.as_str(), made.name.as_str(), made.faces), ("anna", "Name of anna", 0));
    assert_eq!(made.created_at, made.updated_at);
    assert_eq!(f.store.person(c, made.id).await.unwrap(), made);
    assert_eq!(f.store.person_by_external_id(c, "anna").await.unwrap(), made);
    is_not_found(f.store.person(c, PersonId::new()).await, "person");
    is_not_found(f.store.person_by_external_id(c, "Anna").await, "person");
}

async fn external_identifiers_are_unique(f: Fixture) {
    let c = f.collection().await;
    let made = f.store.create_person(&Write::system(), c, person("anna")).await.unwrap().value;
    let taken = is_taken(f.store.create_person(&Write::system(), c, person("anna")).await, "external_id");
    assert_eq!(taken, Some(made.id.to_string()));
    // Enrolling under a name that exists takes the person as it is.
    let other = NewPerson { name: "Another name".to_owned(), ..person("anna") };
    let face = facesocial_store::NewFace { person: Some(facesocial_store::PersonRef::GetOrCreate(other)), ..face(1) };
    let enrolled = f.enroll(c, face).await;
    assert!(!enrolled.person_created);
    assert_eq!(enrolled.person.unwrap().name, made.name);
}

async fn changes_leave_the_rest_as_it_is(f: Fixture) {
    let c = f.collection().await;
    let made = f.store.create_person(&Write::system(), c, person("anna")).await.unwrap().value;
    let change = PersonChange { name: Some("Änne".to_owned()), metadata: None };
    let named = f.store.update_person(&Write::system(), c, made.id, change).await.unwrap().value;
    assert_eq!((named.name.as_str(), &named.metadata), ("Änne", &made.metadata));
    assert!(named.updated_at >= made.updated_at && named.created_at == made.created_at);
    let change = PersonChange { name: None, metadata: Some(json!({ "a": [1, null, "x"] })) };
    let changed = f.store.update_person(&Write::system(), c, made.id, change).await.unwrap().value;
    assert_eq!((changed.name.as_str(), &changed.metadata), ("Änne", &json!({ "a": [1, null, "x"] })));
    assert_eq!(f.store.person(c, made.id).await.unwrap(), changed);
    is_not_found(f.store.update_person(&Write::system(), c, PersonId::new(), PersonChange::default()).await, "person");
}

async fn persons_come_in_pages(f: Fixture) {
    let c = f.collection().await;
    let mut made = Vec::new();
    for i in 0..7 {
        made.push(f.store.create_person(&Write::system(), c, person(&format!("p{i}"))).await.unwrap().value);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let part = f.store.persons(c, page(after, 3)).await.unwrap();
        seen.extend(part.items);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
    // A page that ends with the list names no next one.
    assert_eq!(f.store.persons(c, page(None, 7)).await.unwrap().next, None);
}

async fn persons_are_found_by_a_part_of_their_names(f: Fixture) {
    let c = f.collection().await;
    let other = NewCollection { name: "other".to_owned(), description: String::new() };
    let other = f.store.create_collection(&Write::system(), other).await.unwrap().value.id;
    let mut made = Vec::new();
    for (external_id, name) in [("a-1", "Anna 100%"), ("b_2", "Joanna"), ("c-3", "Élodie"), ("D-4", "a!b")] {
        let new = NewPerson { external_id: external_id.to_owned(), name: name.to_owned(), ..person("x") };
        made.push(f.store.create_person(&Write::system(), c, new).await.unwrap().value);
    }
    f.store.create_person(&Write::system(), other, person("anna")).await.unwrap();
    let found = async |part: &str| {
        let found = f.store.persons_like(c, part, page(None, 10)).await.unwrap();
        found.items.into_iter().map(|person| person.external_id).collect::<Vec<_>>()
    };
    assert_eq!(found("ANNA").await, ["a-1", "b_2"]);
    assert_eq!(found("d-4").await, ["D-4"]);
    assert_eq!(found("Élo").await, ["c-3"]);
    assert_eq!(found("").await.len(), 4);
    // What stands for anything in a pattern stands for itself.
    assert_eq!(found("%").await, ["a-1"]);
    assert_eq!(found("_").await, ["b_2"]);
    assert_eq!(found("!").await, ["D-4"]);
    assert!(found("x").await.is_empty());
    let first = f.store.persons_like(c, "a", page(None, 2)).await.unwrap();
    assert_eq!(first.items, made[..2]);
    let second = f.store.persons_like(c, "a", page(first.next, 2)).await.unwrap();
    assert_eq!((second.items, second.next), (vec![made[3].clone()], None));
    is_invalid(f.store.persons_like(c, "a\0", page(None, 2)).await);
}

async fn an_export_holds_everything(f: Fixture) {
    let c = f.collection().await;
    let enrolled = f.enroll(c, face_of("anna", 1)).await;
    f.enroll(c, face_of("anna", 2)).await;
    f.enroll(c, face_of("bert", 3)).await;
    let person = enrolled.person.unwrap();
    let export = f.store.export_person(c, person.id).await.unwrap();
    assert_eq!((export.person.id, export.person.faces), (person.id, 2));
    assert_eq!(export.faces.len(), 2);
    assert_eq!(export.faces[0].face, f.store.face(c, enrolled.face.id).await.unwrap());
    assert_eq!(export.faces[0].embeddings[0].model, model());
    assert_eq!(export.faces[0].embeddings[0].vector, embedding(1).as_slice());
    let actions: Vec<_> = export.audit.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["face.enroll", "face.enroll"]);
    is_not_found(f.store.export_person(c, PersonId::new()).await, "person");
}

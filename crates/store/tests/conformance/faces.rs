//! Faces and their embeddings.

use std::collections::HashSet;

use facesocial_store::{FaceChange, FaceId, NewFace, PersonId, PersonRef, Write};
use facesocial_types::{BBox, Embedding, ModelId};
use serde_json::json;

use crate::backend::*;

conformance!(
    an_enrolled_face_reads_back_as_it_was_given,
    the_same_face_is_enrolled_once,
    of_twenty_enrolments_of_one_face_exactly_one_wins,
    twenty_faces_of_one_new_person_make_one_person,
    refused_faces_leave_nothing_behind,
    faces_are_listed_by_person,
    changes_leave_the_rest_as_it_is,
    embeddings_are_kept_by_model,
    faces_are_walked_through_in_order,
);

async fn an_enrolled_face_reads_back_as_it_was_given(f: Fixture) {
    let c = f.collection().await;
    let new = NewFace { crop: Some(vec![0xff, 0, 1]), searchable: false, ..face_of("anna", 1) };
    let enrolled = f.enroll(c, new.clone()).await;
    assert!(enrolled.person_created);
    let read = f.store.face(c, enrolled.face.id).await.unwrap();
    assert_eq!(read, enrolled.face);
    assert_eq!(read.person_id, enrolled.person.as_ref().map(|person| person.id));
    assert_eq!(enrolled.person.unwrap().faces, 1);
    assert_eq!((read.bbox, read.face_hash), (new.bbox, new.face_hash));
    assert_eq!((read.detection_score, read.quality_score), (0.875, 0.5));
    assert_eq!((read.face_group.as_str(), read.searchable, read.has_crop), ("primary", false, true));
    assert_eq!((read.metadata, read.models), (new.metadata, vec![model()]));
    is_not_found(f.store.face(c, FaceId::new()).await, "face");
}

async fn the_same_face_is_enrolled_once(f: Fixture) {
    let c = f.collection().await;
    let first = f.enroll(c, face_of("anna", 1)).await;
    let again = f.store.enroll(&Write::system(), c, face_of("bert", 1)).await;
    assert_eq!(is_taken(again, "face"), Some(first.face.id.to_string()));
    // Neither is the person made whose face it would have been.
    is_not_found(f.store.person_by_external_id(c, "bert").await, "person");
    assert_eq!(f.rows("faces").await, 1);
    f.assert_sound().await;
}

async fn of_twenty_enrolments_of_one_face_exactly_one_wins(f: Fixture) {
    let c = f.collection().await;
    let tries = (0..20).map(|i| {
        let store = f.store.clone();
        tokio::spawn(async move { store.enroll(&Write::system(), c, face_of(&format!("p{i}"), 1)).await })
    });
    let (mut won, mut lost) = (Vec::new(), HashSet::new());
    for task in tries.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(enrolled) => won.push(enrolled.value.face.id.to_string()),
            other => drop(lost.insert(is_taken(other, "face").unwrap())),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(lost, won.into_iter().collect());
    assert_eq!((f.rows("faces").await, f.rows("persons").await, f.rows("face_embeddings").await), (1, 1, 1));
    f.assert_sound().await;
}

async fn twenty_faces_of_one_new_person_make_one_person(f: Fixture) {
    let c = f.collection().await;
    let tries = (0..20).map(|i| {
        let store = f.store.clone();
        tokio::spawn(async move { store.enroll(&Write::system(), c, face_of("anna", i)).await.unwrap().value })
    });
    let mut made = 0;
    for task in tries.collect::<Vec<_>>() {
        made += usize::from(task.await.unwrap().person_created);
    }
    assert_eq!(made, 1);
    assert_eq!(f.store.person_by_external_id(c, "anna").await.unwrap().faces, 20);
    for i in 0..20 {
        assert_eq!(f.store.search(&query(c, embedding(i), 1)).await.unwrap().matches[0].similarity, 1.0);
    }
    f.assert_sound().await;
}

async fn refused_faces_leave_nothing_behind(f: Fixture) {
    let c = f.collection().await;
    let write = Write::system();
    let enroll = |face| f.store.enroll(&write, c, face);
    is_not_found(enroll(NewFace { person: Some(PersonRef::Id(PersonId::new())), ..face(1) }).await, "person");
    is_invalid(enroll(NewFace { embeddings: vec![], ..face(1) }).await);
    is_invalid(enroll(NewFace { embeddings: vec![embedding(1), embedding(2)], ..face(1) }).await);
    is_invalid(enroll(NewFace { bbox: BBox::new(f32::NAN, 0.0, 1.0, 1.0), ..face(1) }).await);
    is_invalid(enroll(NewFace { quality_score: f32::INFINITY, ..face(1) }).await);
    is_invalid(enroll(NewFace { face_group: String::new(), ..face(1) }).await);
    let odd = Embedding::new(ModelId::new("net", "1@2"), vec![1.0, 2.0]).unwrap();
    is_invalid(enroll(NewFace { embeddings: vec![odd], ..face(1) }).await);
    let long = Embedding::new(model(), vec![1.0; 16_001]).unwrap();
    is_invalid(enroll(NewFace { embeddings: vec![long], ..face(1) }).await);
    for table in ["faces", "persons", "face_embeddings", "audit_log"] {
        assert_eq!(f.rows(table).await, 0, "{table}");
    }
    assert!(f.store.search(&query(c, embedding(1), 1)).await.unwrap().matches.is_empty());
}

async fn faces_are_listed_by_person(f: Fixture) {
    let c = f.collection().await;
    let mut all = Vec::new();
    for i in 0..6 {
        let new = if i % 2 == 0 { face_of("anna", i) } else { face(i) };
        all.push(f.enroll(c, new).await.face);
    }
    let anna = f.store.person_by_external_id(c, "anna").await.unwrap().id;
    assert_eq!(f.store.faces(c, None, page(None, 10)).await.unwrap().items, all);
    let hers = f.store.faces(c, Some(Some(anna)), page(None, 2)).await.unwrap();
    assert_eq!(hers.items, [all[0].clone(), all[2].clone()]);
    assert_eq!(f.store.faces(c, Some(Some(anna)), page(hers.next, 2)).await.unwrap().items, [all[4].clone()]);
    let nobodys = f.store.faces(c, Some(None), page(None, 10)).await.unwrap().items;
    assert_eq!(nobodys, [all[1].clone(), all[3].clone(), all[5].clone()]);
    is_not_found(f.store.faces(c, Some(Some(PersonId::new())), page(None, 1)).await, "person");
}

async fn changes_leave_the_rest_as_it_is(f: Fixture) {
    let c = f.collection().await;
    let made = f.enroll(c, face(1)).await.face;
    let anna = f.store.create_person(&Write::system(), c, person("anna")).await.unwrap().value.id;
    let change = FaceChange { person: Some(anna), metadata: Some(json!([1])), ..FaceChange::default() };
    let changed = f.store.update_face(&Write::system(), c, made.id, change).await.unwrap().value;
    assert_eq!(changed.person_id, Some(anna));
    assert_eq!(changed, facesocial_store::FaceRecord { person_id: Some(anna), metadata: json!([1]), ..made.clone() });
    assert_eq!(f.store.face(c, made.id).await.unwrap(), changed);
    assert_eq!(f.store.person(c, anna).await.unwrap().faces, 1);
    let change = FaceChange { person: Some(PersonId::new()), ..FaceChange::default() };
    is_not_found(f.store.update_face(&Write::system(), c, made.id, change).await, "person");
    let change = FaceChange::default();
    is_not_found(f.store.update_face(&Write::system(), c, FaceId::new(), change).await, "face");
}

async fn embeddings_are_kept_by_model(f: Fixture) {
    let c = f.collection().await;
    let enrolled = f.enroll(c, face_of("anna", 1)).await;
    let (id, anna) = (enrolled.face.id, enrolled.person.unwrap().id);
    let other = ModelId::new("other", "00000002");
    let second = Embedding::new(other.clone(), vector(2, 32)).unwrap();
    f.store.put_embedding(c, id, &second).await.unwrap();
    assert_eq!(f.store.face(c, id).await.unwrap().models, [model(), other.clone()]);
    let stored = f.store.embeddings_of(c, anna, &other).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].0 == id && stored[0].1.cosine(&second).unwrap() > 0.999_999);

    // The same model again replaces, also with another dimension.
    let third = Embedding::new(other.clone(), vector(3, 48)).unwrap();
    f.store.put_embedding(c, id, &third).await.unwrap();
    assert_eq!(f.rows("face_embeddings").await, 2);
    assert!(f.store.search(&query(c, second, 5)).await.unwrap().matches.is_empty());
    assert_eq!(f.store.search(&query(c, third, 5)).await.unwrap().matches[0].face_id, id);
    let stats = f.store.gallery_stats().await.unwrap();
    assert_eq!(stats.embeddings, [(model().to_string(), 1), (other.to_string(), 1)]);
    assert!(f.store.embeddings_of(c, anna, &ModelId::new("none", "1")).await.unwrap().is_empty());
    is_not_found(f.store.put_embedding(c, FaceId::new(), &embedding(1)).await, "face");
    f.assert_sound().await;
}

async fn faces_are_walked_through_in_order(f: Fixture) {
    let c = f.collection().await;
    let mut ids = Vec::new();
    for i in 0..5 {
        let crop = (i < 3).then(|| vec![i as u8; 10]);
        ids.push(f.enroll(c, NewFace { crop, ..face(i) }).await.face.id);
    }
    let first = f.store.embeddings_after(c, &model(), None, 3).await.unwrap();
    assert_eq!(first.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ids[..3]);
    let rest = f.store.embeddings_after(c, &model(), Some(ids[2]), 10).await.unwrap();
    assert_eq!(rest.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ids[3..]);

    let new = ModelId::new("new", "1");
    let todo = f.store.faces_without(c, &new, None, 2).await.unwrap();
    assert_eq!(todo, [(ids[0], Some(vec![0; 10])), (ids[1], Some(vec![1; 10]))]);
    f.store.put_embedding(c, ids[2], &Embedding::new(new.clone(), vector(1, 8)).unwrap()).await.unwrap();
    let todo = f.store.faces_without(c, &new, Some(ids[0]), 10).await.unwrap();
    assert_eq!(todo, [(ids[1], Some(vec![1; 10])), (ids[3], None), (ids[4], None)]);
    assert!(f.store.faces_without(c, &model(), None, 10).await.unwrap().is_empty());
}

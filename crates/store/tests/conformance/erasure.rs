//! What is forgotten is gone.

use facesocial_store::{
    CollectionId, Enrolled, FaceId, NewAntispoof, NewCollection, NewDetection, NewFace, NewGenderAge, NewJob,
    NewRecognition, NewSession, PersonRef, Session, Write,
};
use facesocial_types::BBox;
use serde_json::json;

use crate::backend::*;

conformance!(
    forgetting_a_person_takes_everything_of_it,
    what_only_resembled_the_person_stays,
    deleting_a_face_leaves_the_others,
    deleting_a_collection_takes_everything_in_it,
    what_was_deleted_can_be_enrolled_again,
    nothing_is_added_to_a_person_that_is_being_forgotten,
);

const TABLES: &[&str] = &[
    "persons",
    "faces",
    "face_embeddings",
    "face_crops",
    "analysis_sessions",
    "session_images",
    "face_detections",
    "face_recognitions",
    "antispoof_results",
    "gender_age_results",
];

async fn rows(f: &Fixture) -> Vec<(&'static str, i64)> {
    let mut rows = Vec::new();
    for table in TABLES {
        rows.push((*table, f.rows(table).await));
    }
    rows
}

/// A face of an analysis, taken for `matched` if that is `verified`.
fn detection(index: u32, matched: Option<(FaceId, bool)>) -> NewDetection {
    NewDetection {
        face_index: index,
        detection_method: "mtcnn".to_owned(),
        bbox: BBox::new(1.0, 2.0, 3.0, 4.0),
        landmarks: None,
        confidence_score: 0.9,
        quality_metrics: None,
        recognition: matched.map(|(id, verified)| NewRecognition {
            matched_face_id: Some(id),
            similarity_score: 0.5,
            recognition_method: "net".to_owned(),
            is_verified_match: verified,
        }),
        antispoof: Some(NewAntispoof {
            is_real: Some(true),
            confidence_score: 0.9,
            spoof_type: None,
            details: json!({}),
        }),
        gender_age: Some(NewGenderAge {
            predicted_gender: None,
            gender_confidence: None,
            predicted_age: 30.0,
            age_range: None,
        }),
        deepfake: None,
    }
}

async fn analysed(f: &Fixture, c: CollectionId, hash: &str, detections: Vec<NewDetection>) -> Session {
    let new = NewSession {
        user_id: None,
        collection_id: Some(c),
        image_hash: hash.to_owned(),
        image_size: 3,
        mime_type: "image/png".to_owned(),
        image: Some(vec![1, 2, 3]),
        processing_time_ms: 5,
        detections,
    };
    f.store.save_session(&Write::system(), new).await.unwrap().value
}

async fn enroll_with_crop(f: &Fixture, c: CollectionId, external_id: &str, seed: u64) -> Enrolled {
    f.enroll(c, NewFace { crop: Some(vec![7; 50]), ..face_of(external_id, seed) }).await
}

async fn forgetting_a_person_takes_everything_of_it(f: Fixture) {
    let c = f.collection().await;
    let bert = enroll_with_crop(&f, c, "bert", 1).await.face.id;
    let others = analysed(&f, c, "bert-alone", vec![detection(0, Some((bert, true)))]).await;
    let before = rows(&f).await;

    let first = enroll_with_crop(&f, c, "anna", 2).await;
    let second = enroll_with_crop(&f, c, "anna", 3).await.face.id;
    let (face, anna) = (first.face.id, first.person.unwrap().id);
    let alone = vec![detection(0, Some((face, true))), detection(1, Some((second, true)))];
    let alone = analysed(&f, c, "anna-alone", alone).await;
    let together = vec![detection(0, Some((face, true))), detection(1, Some((bert, true)))];
    let together = analysed(&f, c, "together", together).await;
    assert_eq!(f.store.export_person(c, anna).await.unwrap().history.len(), 3);

    let erased = f.store.delete_person(&Write::system(), c, anna).await.unwrap().value;
    assert_eq!((erased.persons, erased.faces, erased.embeddings), (1, 2, 2));
    assert_eq!((erased.detections, erased.sessions), (3, 1));
    assert_eq!(erased.image_hashes, ["anna-alone", "together"]);

    is_not_found(f.store.person(c, anna).await, "person");
    is_not_found(f.store.face(c, face).await, "face");
    is_not_found(f.store.session(alone.id).await, "session");
    let found = f.store.search(&query(c, embedding(2), 10)).await.unwrap();
    assert_eq!((found.searched, found.matches.len()), (1, 1));
    // The other person is still known there, and the image that shows both is gone.
    let left = f.store.session(together.id).await.unwrap();
    assert_eq!(left.faces.iter().map(|face| face.face_index).collect::<Vec<_>>(), [1]);
    assert_eq!(f.store.session_image(together.id).await.unwrap(), None);
    assert!(f.store.session_image(others.id).await.unwrap().is_some());
    f.store.delete_session(&Write::system(), together.id).await.unwrap();
    assert_eq!(rows(&f).await, before);

    let trail = f.store.audit_trail(page(None, 10)).await.unwrap().items;
    let entry = trail.iter().find(|entry| entry.action == "person.delete").unwrap();
    assert_eq!(entry.subject, Some(format!("person:{anna}")));
    assert_eq!(entry.details, json!({ "persons": 1, "faces": 2, "embeddings": 2, "detections": 3, "sessions": 1 }));
    f.assert_sound().await;
}

async fn what_only_resembled_the_person_stays(f: Fixture) {
    let c = f.collection().await;
    let anna = f.enroll(c, face_of("anna", 1)).await;
    let stranger = analysed(&f, c, "stranger", vec![detection(0, Some((anna.face.id, false)))]).await;
    let erased = f.store.delete_person(&Write::system(), c, anna.person.unwrap().id).await.unwrap().value;
    assert_eq!((erased.detections, erased.sessions, erased.image_hashes.len()), (0, 0, 0));
    let left = f.store.session(stranger.id).await.unwrap();
    assert_eq!((left.faces.len(), &left.faces[0].recognition), (1, &None));
    assert!(f.store.session_image(stranger.id).await.unwrap().is_some());
}

async fn deleting_a_face_leaves_the_others(f: Fixture) {
    let c = f.collection().await;
    let first = enroll_with_crop(&f, c, "anna", 1).await;
    let second = enroll_with_crop(&f, c, "anna", 2).await.face.id;
    analysed(&f, c, "first", vec![detection(0, Some((first.face.id, true)))]).await;
    let kept = analysed(&f, c, "second", vec![detection(0, Some((second, true)))]).await;
    let erased = f.store.delete_face(&Write::system(), c, first.face.id).await.unwrap().value;
    assert_eq!((erased.persons, erased.faces, erased.embeddings), (0, 1, 1));
    assert_eq!((erased.detections, erased.sessions), (1, 1));
    assert_eq!(erased.image_hashes, ["first"]);
    assert_eq!(f.store.person(c, first.person.unwrap().id).await.unwrap().faces, 1);
    assert_eq!(f.store.session(kept.id).await.unwrap().faces.len(), 1);
    is_not_found(f.store.delete_face(&Write::system(), c, first.face.id).await, "face");
    f.assert_sound().await;
}

async fn deleting_a_collection_takes_everything_in_it(f: Fixture) {
    let default = f.collection().await;
    f.enroll(default, face_of("bert", 9)).await;
    let before = rows(&f).await;
    let new = NewCollection { name: "gone".to_owned(), description: String::new() };
    let gone = f.store.create_collection(&Write::system(), new).await.unwrap().value.id;
    let face = enroll_with_crop(&f, gone, "anna", 1).await.face.id;
    enroll_with_crop(&f, gone, "anna", 2).await;
    f.enroll(gone, face_of("carl", 3)).await;
    let detections = vec![detection(0, Some((face, true))), detection(1, Some((face, false))), detection(2, None)];
    analysed(&f, gone, "image", detections).await;
    let job = NewJob {
        kind: "import".to_owned(),
        user_id: None,
        collection_id: Some(gone),
        total_items: 1,
        input: json!({ "names": ["anna"] }),
        ..NewJob::default()
    };
    f.store.create_job(&Write::system(), job).await.unwrap();

    let erased = f.store.delete_collection(&Write::system(), gone).await.unwrap().value;
    assert_eq!((erased.persons, erased.faces, erased.embeddings), (2, 3, 3));
    assert_eq!((erased.detections, erased.sessions), (3, 1));
    assert_eq!(erased.image_hashes, ["image"]);
    assert_eq!(rows(&f).await, before);
    assert_eq!((f.rows("batch_jobs").await, f.rows("collections").await), (0, 1));
    is_not_found(f.store.collection("gone").await, "collection");
    assert_eq!(f.store.search(&query(default, embedding(9), 5)).await.unwrap().matches.len(), 1);
    f.assert_sound().await;
}

async fn what_was_deleted_can_be_enrolled_again(f: Fixture) {
    let c = f.collection().await;
    let first = f.enroll(c, face_of("anna", 1)).await;
    f.store.delete_person(&Write::system(), c, first.person.unwrap().id).await.unwrap();
    let again = f.enroll(c, face_of("anna", 1)).await;
    assert!(again.person_created && again.face.id != first.face.id);
    assert_eq!(f.store.search(&query(c, embedding(1), 5)).await.unwrap().matches.len(), 1);
}

async fn nothing_is_added_to_a_person_that_is_being_forgotten(f: Fixture) {
    let c = f.collection().await;
    for round in 0..10 {
        let first = f.enroll(c, face_of("anna", round * 100)).await;
        let anna = first.person.unwrap().id;
        let enrol = |seed: u64, person: PersonRef| {
            let store = f.store.clone();
            let new = NewFace { person: Some(person), ..face(seed) };
            tokio::spawn(async move { store.enroll(&Write::system(), c, new).await })
        };
        let by_id: Vec<_> = (1..4).map(|i| enrol(round * 100 + i, PersonRef::Id(anna))).collect();
        let forget = {
            let store = f.store.clone();
            tokio::spawn(async move { store.delete_person(&Write::system(), c, anna).await })
        };
        let other = {
            let (store, id) = (f.store.clone(), first.face.id);
            tokio::spawn(async move { store.put_embedding(c, id, &embedding(5)).await })
        };
        let by_name: Vec<_> = (4..7).map(|i| enrol(round * 100 + i, PersonRef::GetOrCreate(person("anna")))).collect();
        forget.await.unwrap().unwrap();
        if let Err(error) = other.await.unwrap() {
            is_not_found::<()>(Err(error), "face");
        }
        for task in by_id {
            if let Err(error) = task.await.unwrap() {
                is_not_found::<()>(Err(error), "person");
            }
        }
        for task in by_name {
            task.await.unwrap().unwrap();
        }
        is_not_found(f.store.person(c, anna).await, "person");
        let orphans = f.store.faces(c, Some(None), page(None, 10)).await.unwrap().items;
        assert!(orphans.is_empty(), "{orphans:?}");
        if let Ok(again) = f.store.person_by_external_id(c, "anna").await {
            f.store.delete_person(&Write::system(), c, again.id).await.unwrap();
        }
        assert_eq!((f.rows("faces").await, f.rows("face_embeddings").await), (0, 0));
    }
    f.assert_sound().await;
}

//! Stored analyses.

use facesocial_store::{
    CollectionId, EncryptionKey, Enrolled, FaceId, Idempotency, NewAntispoof, NewCollection, NewDeepfake, NewDetection,
    NewFace, NewGenderAge, NewPerson, NewRecognition, NewSession, NewUser, PageRequest, PersonRef, Role, SessionId,
    Store, StoreError, StoreOptions, UserId, Write, open,
};
use facesocial_types::{BBox, Embedding, ModelId};
use serde_json::{Value, json};

use crate::backend::{Fixture, is_not_found};

conformance!(
    an_analysis_is_read_as_it_was_stored,
    an_image_is_kept_only_when_given,
    an_analysis_that_cannot_be_kept_is_refused_whole,
    analyses_are_listed_by_owner_and_gallery,
    a_deleted_analysis_is_gone_with_its_recorded_answer,
    forgetting_a_person_clears_the_analyses,
);

fn system() -> Write {
    Write::system()
}

async fn collection(store: &dyn Store, name: &str) -> CollectionId {
    let new = NewCollection { name: name.to_owned(), description: String::new() };
    store.create_collection(&system(), new).await.unwrap().value.id
}

async fn user(store: &dyn Store, name: &str) -> UserId {
    let new = NewUser {
        username: name.to_owned(),
        email: None,
        password_hash: "$x".to_owned(),
        first_name: String::new(),
        last_name: String::new(),
        role: Role::User,
        collections: Vec::new(),
    };
    store.create_user(&system(), new).await.unwrap().value.id
}

/// A face of the person `name`, unlike every other `number`'s.
async fn enroll(store: &dyn Store, collection: CollectionId, name: &str, number: usize) -> Enrolled {
    let mut vector = vec![0.0; 8];
    vector[number % 8] = 1.0;
    let face = NewFace {
        person: Some(PersonRef::GetOrCreate(NewPerson {
            external_id: name.to_owned(),
            name: name.to_owned(),
            metadata: json!({}),
        })),
        face_hash: format!("hash-{number}"),
        bbox: BBox { x: 0.0, y: 0.0, width: 10.0, height: 10.0 },
        detection_score: 0.9,
        quality_score: 0.8,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: json!({}),
        embeddings: vec![Embedding::new(ModelId::new("test", "1"), vector).unwrap()],
        crop: None,
    };
    store.enroll(&system(), collection, face).await.unwrap().value
}

fn face_of_an_analysis(face_index: u32) -> NewDetection {
    NewDetection {
        face_index,
        detection_method: "mtcnn".to_owned(),
        bbox: BBox { x: 0.1, y: 2.5, width: 30.3, height: 1e6 },
        landmarks: None,
        confidence_score: 0.3,
        quality_metrics: None,
        recognition: None,
        antispoof: None,
        gender_age: None,
        deepfake: None,
    }
}

fn analysis(user: Option<UserId>, collection: Option<CollectionId>, detections: Vec<NewDetection>) -> NewSession {
    NewSession {
        user_id: user,
        collection_id: collection,
        image_hash: "ab".repeat(32),
        image_size: 123_456,
        mime_type: "image/jpeg".to_owned(),
        image: None,
        processing_time_ms: 77,
        detections,
    }
}

fn recognised(face_index: u32, face: FaceId, is_verified_match: bool) -> NewDetection {
    let recognition = NewRecognition {
        matched_face_id: Some(face),
        similarity_score: 0.7,
        recognition_method: "ensemble".to_owned(),
        is_verified_match,
    };
    NewDetection { recognition: Some(recognition), ..face_of_an_analysis(face_index) }
}

async fn an_analysis_is_read_as_it_was_stored(f: Fixture) {
    let store = &*f.store;
    let owner = user(store, "alice").await;
    let gallery = collection(store, "g").await;
    let enrolled = enroll(store, gallery, "p", 1).await;
    let full = NewDetection {
        landmarks: Some(json!([[1.5, 2.0], [3.0, 4.25]])),
        quality_metrics: Some(json!({ "overall_score": 0.81 })),
        antispoof: Some(NewAntispoof {
            is_real: Some(false),
            confidence_score: 0.6,
            spoof_type: Some("photo".to_owned()),
            details: json!({ "score": 0.1 }),
        }),
        gender_age: Some(NewGenderAge {
            predicted_gender: Some("female".to_owned()),
            gender_confidence: Some(0.9),
            predicted_age: 33.5,
            age_range: Some([30, 38]),
        }),
        deepfake: Some(NewDeepfake {
            is_deepfake: None,
            confidence_score: 0.5,
            detection_method: "vit".to_owned(),
            details: json!({}),
        }),
        ..recognised(1, enrolled.face.id, true)
    };
    // Given out of order; answered by index.
    let new = analysis(Some(owner), Some(gallery), vec![full, face_of_an_analysis(0)]);
    let saved = store.save_session(&system(), new).await.unwrap().value;
    assert_eq!((saved.user_id, saved.collection_id), (Some(owner), Some(gallery)));
    assert_eq!((saved.image_size, saved.total_faces_detected, saved.processing_time_ms), (123_456, 2, 77));
    assert!(!saved.has_image);

    let detail = store.session(saved.id).await.unwrap();
    assert_eq!(detail.session, saved);
    assert_eq!(detail.faces.len(), 2);
    let (plain, full) = (&detail.faces[0], &detail.faces[1]);
    assert_eq!((plain.face_index, full.face_index), (0, 1));
    assert_eq!(plain.bbox, BBox { x: 0.1, y: 2.5, width: 30.3, height: 1e6 });
    assert_eq!((plain.detection_method.as_str(), plain.confidence_score), ("mtcnn", 0.3));
    assert_eq!(
        (&plain.recognition, &plain.antispoof, &plain.gender_age, &plain.deepfake),
        (&None, &None, &None, &None)
    );
    assert_eq!((&plain.landmarks, &plain.quality_metrics), (&None, &None));
    assert_eq!(full.landmarks, Some(json!([[1.5, 2.0], [3.0, 4.25]])));
    assert_eq!(full.quality_metrics, Some(json!({ "overall_score": 0.81 })));
    let row = |value: &Option<Value>| value.clone().unwrap();
    assert_eq!(
        row(&full.recognition),
        json!({ "matched_face_id": enrolled.face.id, "similarity_score": 0.7, "recognition_method": "ensemble",
                "is_verified_match": true })
    );
    assert_eq!(
        row(&full.antispoof),
        json!({ "is_real": false, "confidence_score": 0.6, "spoof_type": "photo", "analysis_details": { "score": 0.1 } })
    );
    assert_eq!(
        row(&full.gender_age),
        json!({ "predicted_gender": "female", "gender_confidence": 0.9, "predicted_age": 33.5, "age_range_min": 30,
                "age_range_max": 38 })
    );
    assert_eq!(
        row(&full.deepfake),
        json!({ "is_deepfake": null, "confidence_score": 0.5, "detection_method": "vit", "analysis_details": {} })
    );
    is_not_found(store.session(SessionId::new()).await, "session");

    let line = "SELECT count(*) FROM face_analysis_summary WHERE total_faces_detected = 2 AND";
    assert_eq!(f.number(&format!("{line} face_index = 0 AND similarity_score IS NULL AND is_real IS NULL")).await, 1);
    let full = "is_verified_match AND NOT is_real AND predicted_gender = 'female' AND deepfake_confidence = 0.5";
    assert_eq!(f.number(&format!("{line} face_index = 1 AND {full}")).await, 1);
    let empty = store.save_session(&system(), analysis(None, None, vec![])).await.unwrap().value;
    assert_eq!(empty.total_faces_detected, 0);
    assert_eq!(f.rows("face_analysis_summary").await, 3, "an analysis without faces has a line, too");
}

async fn an_image_is_kept_only_when_given(f: Fixture) {
    let store = &*f.store;
    let image: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let with = NewSession { image: Some(image.clone()), ..analysis(None, None, vec![]) };
    let with = store.save_session(&system(), with).await.unwrap().value;
    assert!(with.has_image);
    assert_eq!(store.session_image(with.id).await.unwrap(), Some(("image/jpeg".to_owned(), image)));
    let without = store.save_session(&system(), analysis(None, None, vec![])).await.unwrap().value;
    assert_eq!(store.session_image(without.id).await.unwrap(), None);
    is_not_found(store.session_image(SessionId::new()).await, "session");

    store.delete_session(&system(), with.id).await.unwrap();
    is_not_found(store.session_image(with.id).await, "session");
}

async fn an_analysis_that_cannot_be_kept_is_refused_whole(f: Fixture) {
    let store = &*f.store;
    let gallery = collection(store, "g").await;
    let nan = NewDetection { confidence_score: f32::NAN, ..face_of_an_analysis(0) };
    let endless =
        NewDetection { bbox: BBox { x: f32::INFINITY, y: 0.0, width: 1.0, height: 1.0 }, ..face_of_an_analysis(0) };
    let nul = NewDetection { landmarks: Some(json!({ "a\0": 1 })), ..face_of_an_analysis(0) };
    let huge = NewDetection { quality_metrics: Some(json!("x".repeat(1 << 20))), ..face_of_an_analysis(0) };
    for new in [
        analysis(None, None, vec![face_of_an_analysis(0), face_of_an_analysis(0)]),
        analysis(None, None, vec![face_of_an_analysis(u32::MAX)]),
        analysis(None, None, vec![nan]),
        analysis(None, None, vec![endless]),
        analysis(None, None, vec![face_of_an_analysis(1), nul]),
        analysis(None, None, vec![huge]),
        // A match without the gallery that it is from.
        analysis(None, None, vec![recognised(0, FaceId::new(), true)]),
        NewSession { image_hash: String::new(), ..analysis(None, None, vec![]) },
        NewSession { mime_type: "image/\0".to_owned(), ..analysis(None, None, vec![]) },
    ] {
        let refused = store.save_session(&system(), new).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    is_not_found(store.save_session(&system(), analysis(Some(UserId::new()), None, vec![])).await, "user");
    is_not_found(store.save_session(&system(), analysis(None, Some(CollectionId::new()), vec![])).await, "collection");
    assert!(store.sessions(None, &[], PageRequest::first(10)).await.unwrap().items.is_empty());

    // A match that was erased between the search and here is left out, and so is one of another gallery.
    let other = collection(store, "other").await;
    let theirs = enroll(store, other, "p", 1).await.face.id;
    for face in [FaceId::new(), theirs] {
        let new = analysis(None, Some(gallery), vec![recognised(0, face, true)]);
        let saved = store.save_session(&system(), new).await.unwrap().value;
        assert_eq!(store.session(saved.id).await.unwrap().faces[0].recognition, None);
    }
}

async fn analyses_are_listed_by_owner_and_gallery(f: Fixture) {
    let store = &*f.store;
    let (alice, bob) = (user(store, "alice").await, user(store, "bob").await);
    let (one, two) = (collection(store, "one").await, collection(store, "two").await);
    let save = async |user, collection| {
        store.save_session(&system(), analysis(user, collection, vec![])).await.unwrap().value.id
    };
    let a1 = save(Some(alice), Some(one)).await;
    let b1 = save(Some(bob), Some(one)).await;
    let a2 = save(Some(alice), Some(two)).await;
    let a0 = save(Some(alice), None).await;
    let nobody = save(None, None).await;
    let list = async |user, collections: &[CollectionId]| -> Vec<SessionId> {
        let page = store.sessions(user, collections, PageRequest::first(10)).await.unwrap();
        assert_eq!(page.next, None);
        page.items.into_iter().map(|session| session.id).collect()
    };
    assert_eq!(list(None, &[]).await, [a1, b1, a2, a0, nobody]);
    assert_eq!(list(Some(alice), &[]).await, [a1, a2, a0]);
    assert_eq!(list(None, &[one]).await, [a1, b1], "what is of no gallery is not everybody's");
    assert_eq!(list(None, &[two, one]).await, [a1, b1, a2]);
    assert_eq!(list(Some(alice), &[one]).await, [a1, a0], "what is of no gallery is its maker's");
    assert_eq!(list(Some(bob), &[two]).await, []);
    assert_eq!(list(Some(UserId::new()), &[]).await, []);

    let first = store.sessions(None, &[], PageRequest::first(2)).await.unwrap();
    assert_eq!(first.next, Some(b1.0));
    let second = store.sessions(None, &[], PageRequest { after: first.next, limit: 3 }).await.unwrap();
    assert_eq!(second.items.iter().map(|session| session.id).collect::<Vec<_>>(), [a2, a0, nobody]);
    assert_eq!(second.next, None);

    // Without its account an analysis stays, as nobody's.
    store.delete_user(&system(), bob).await.unwrap();
    assert_eq!(store.session(b1).await.unwrap().session.user_id, None);
}

async fn a_deleted_analysis_is_gone_with_its_recorded_answer(f: Fixture) {
    let store = &*f.store;
    let gallery = collection(store, "g").await;
    for place in [None, Some(gallery)] {
        let write = Write {
            idempotency: Some(Idempotency { key: format!("k{place:?}"), fingerprint: "f".to_owned() }),
            ..system()
        };
        let new = || analysis(None, place, vec![face_of_an_analysis(0)]);
        let saved = store.save_session(&write, new()).await.unwrap();
        let again = store.save_session(&write, new()).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.value, saved.value);
        store.delete_session(&system(), saved.value.id).await.unwrap();
        is_not_found(store.session(saved.value.id).await, "session");
        is_not_found(store.delete_session(&system(), saved.value.id).await, "session");
        is_not_found(store.save_session(&write, new()).await, "session");
    }
    assert!(store.sessions(None, &[], PageRequest::first(10)).await.unwrap().items.is_empty());
}

async fn forgetting_a_person_clears_the_analyses(f: Fixture) {
    let store = &*f.store;
    let gallery = collection(store, "g").await;
    let forgotten = enroll(store, gallery, "forgotten", 1).await;
    let kept = enroll(store, gallery, "kept", 2).await;
    let image = Some(vec![1, 2, 3]);
    let alone = NewSession {
        image: image.clone(),
        ..analysis(None, Some(gallery), vec![recognised(0, forgotten.face.id, true)])
    };
    let alone = store.save_session(&system(), alone).await.unwrap().value.id;
    let faces = vec![
        recognised(0, kept.face.id, true),
        recognised(1, forgotten.face.id, true),
        // Most like the person, but not the person.
        recognised(2, forgotten.face.id, false),
    ];
    let together = NewSession { image: image.clone(), ..analysis(None, Some(gallery), faces) };
    let together = store.save_session(&system(), together).await.unwrap().value.id;
    let others = NewSession { image, ..analysis(None, Some(gallery), vec![recognised(0, kept.face.id, true)]) };
    let others = store.save_session(&system(), others).await.unwrap().value.id;

    let person = forgotten.person.unwrap().id;
    let erased = store.delete_person(&system(), gallery, person).await.unwrap().value;
    assert_eq!((erased.detections, erased.sessions), (2, 1));
    assert_eq!(erased.image_hashes, ["ab".repeat(32)]);
    is_not_found(store.session(alone).await, "session");
    is_not_found(store.session_image(alone).await, "session");
    let left = store.session(together).await.unwrap();
    assert!(!left.session.has_image, "the image shows the person");
    let indices: Vec<u32> = left.faces.iter().map(|face| face.face_index).collect();
    assert_eq!(indices, [0, 2]);
    assert!(left.faces[0].recognition.is_some());
    assert!(left.faces[1].recognition.is_none(), "nothing refers to the person");
    let untouched = store.session(others).await.unwrap();
    assert!(untouched.session.has_image);
    assert_eq!(untouched.faces.len(), 1);

    let erased = store.delete_collection(&system(), gallery).await.unwrap().value;
    assert_eq!((erased.sessions, erased.detections), (2, 3));
    is_not_found(store.session(others).await, "session");
}

/// Only of the embedded store: a Postgres is opened with no key.
#[tokio::test]
async fn a_kept_image_is_sealed_where_the_store_has_a_key() {
    let image = b"an image that nobody else is to see".repeat(10);
    for key in [None, Some(EncryptionKey::new([7; 32]))] {
        let sealed = key.is_some();
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { encryption: key, ..StoreOptions::embedded(folder.path()) };
        let store = open(&options).await.unwrap();
        let new = NewSession { image: Some(image.clone()), ..analysis(None, None, vec![]) };
        let saved = store.save_session(&system(), new).await.unwrap().value;
        assert_eq!(store.session_image(saved.id).await.unwrap(), Some(("image/jpeg".to_owned(), image.clone())));
        store.close().await;
        let file = std::fs::read(folder.path().join("facesocial.db")).unwrap();
        let readable = file.windows(35).any(|bytes| bytes == &image[..35]);
        assert_ne!(readable, sealed);
    }
}

//! What only the embedded store does: its folder, its lock, its encryption.

use std::{fs, path::Path};

use facesocial_store::{EncryptionKey, NewFace, StoreError, StoreOptions, Write, open};
use sqlx::{Connection, SqliteConnection};

use crate::backend::*;

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    let enrolled = f.enroll(c, NewFace { crop: Some(vec![1, 2, 3]), ..face_of("anna", 1) }).await;
    let f = f.reopen().await;
    assert_eq!(f.store.face(c, enrolled.face.id).await.unwrap(), enrolled.face);
    assert_eq!(f.store.person(c, enrolled.person.clone().unwrap().id).await.unwrap(), enrolled.person.unwrap());
    assert_eq!(f.store.search(&query(c, embedding(1), 1)).await.unwrap().matches[0].face_id, enrolled.face.id);
    let status = f.store.status().await.unwrap();
    assert_eq!((status.backend, status.pending.len()), ("sqlite", 0));
}

#[tokio::test]
async fn one_folder_serves_one_store() {
    let f = Fixture::sqlite().await;
    assert!(matches!(open(&f.options).await.err(), Some(StoreError::Locked(_))));
    let f = f.reopen().await;
    assert!(matches!(open(&f.options).await.err(), Some(StoreError::Locked(_))));
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let store = open(&StoreOptions::embedded(&inner)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for file in ["facesocial.db", "facesocial.db-wal"] {
        assert_eq!(mode(&inner.join(file)), 0o600, "{file}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let f = Fixture::sqlite().await;
    f.store.close().await;
    let file = f.options.folder.join("facesocial.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(
        "INSERT INTO schema_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'later', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    for migrate in [true, false] {
        let refused = open(&StoreOptions { migrate, ..f.options.clone() }).await.err();
        let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("newer version"), "{reason}");
    }
}

#[tokio::test]
async fn an_older_database_is_refused_where_it_must_not_be_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { migrate: false, ..StoreOptions::embedded(folder.path()) };
    let refused = open(&options).await.err();
    let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("0001_gallery") && reason.contains("db migrate"), "{reason}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damage_not_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("facesocial.db"), vec![b'x'; 20_000]).unwrap();
    let refused = open(&StoreOptions::embedded(folder.path())).await.err();
    assert!(matches!(refused, Some(StoreError::Damaged(_))), "{refused:?}");
}

fn key(byte: u8) -> Option<EncryptionKey> {
    Some(EncryptionKey::new([byte; 32]))
}

/// Whether any file of the folder holds these bytes.
fn folder_holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let content = fs::read(entry.unwrap().path()).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

fn bytes_of(seed: u64) -> Vec<u8> {
    embedding(seed).as_slice().iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[tokio::test]
async fn an_encrypted_store_holds_no_vector_and_no_crop_in_the_clear() {
    let crop = b"this is the crop of a face".to_vec();
    for encryption in [None, key(1)] {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { encryption: encryption.clone(), ..StoreOptions::embedded(folder.path()) };
        let store = open(&options).await.unwrap();
        let c = store.collection("default").await.unwrap().id;
        let new = NewFace { crop: Some(crop.clone()), ..face_of("anna", 1) };
        let anna = store.enroll(&Write::system(), c, new).await.unwrap().value;
        store.put_embedding(c, anna.face.id, &embedding(2)).await.unwrap();
        let clear = encryption.is_none();
        assert_eq!(folder_holds(folder.path(), &bytes_of(2)), clear);
        assert_eq!(folder_holds(folder.path(), &crop), clear);
        store.close().await;
        drop(store);

        let store = open(&options).await.unwrap();
        let found = store.search(&query(c, embedding(2), 1)).await.unwrap().matches;
        assert_eq!((found[0].face_id, found[0].similarity), (anna.face.id, 1.0));
        let todo = store.faces_without(c, &facesocial_types::ModelId::new("new", "1"), None, 1).await.unwrap();
        assert_eq!(todo, [(anna.face.id, Some(crop.clone()))]);
        let export = store.export_person(c, anna.person.unwrap().id).await.unwrap();
        assert_eq!(export.faces[0].embeddings[0].vector, embedding(2).as_slice());
        for result in store.check().await.unwrap() {
            assert!(result.ok, "{}: {}", result.check, result.detail);
        }
        store.close().await;
    }
}

#[tokio::test]
async fn only_the_right_key_opens_an_encrypted_store() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    f.store.close().await;
    // An empty store takes a key.
    let with = |encryption| StoreOptions { encryption, ..f.options.clone() };
    let store = open(&with(key(1))).await.unwrap();
    store.enroll(&Write::system(), c, face(1)).await.unwrap();
    store.close().await;
    drop(store);
    for (wrong, says) in [(key(2), "the key given is"), (None, "give that encryption key")] {
        let refused = open(&with(wrong)).await.err();
        let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(says) && reason.contains(&EncryptionKey::new([1; 32]).id()), "{reason}");
    }
    let store = open(&with(key(1))).await.unwrap();
    assert_eq!(store.search(&query(c, embedding(1), 1)).await.unwrap().matches.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_store_with_faces_takes_no_key_afterwards() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    f.enroll(c, face(1)).await;
    f.store.close().await;
    let refused = open(&StoreOptions { encryption: key(1), ..f.options.clone() }).await.err();
    let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("not encrypted"), "{reason}");
}

#[tokio::test]
async fn an_erased_vector_is_not_left_in_the_files() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    let crop = b"the crop that must go".to_vec();
    let gone = f.enroll(c, NewFace { crop: Some(crop.clone()), ..face_of("anna", 1) }).await;
    f.enroll(c, face_of("bert", 2)).await;
    assert!(folder_holds(&f.options.folder, &bytes_of(1)) && folder_holds(&f.options.folder, &crop));
    f.store.delete_person(&Write::system(), c, gone.person.unwrap().id).await.unwrap();
    assert!(!folder_holds(&f.options.folder, &bytes_of(1)) && !folder_holds(&f.options.folder, &crop));
    assert!(folder_holds(&f.options.folder, &bytes_of(2)));
}

#[tokio::test]
async fn a_damaged_vector_hides_no_other() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    let damaged = f.enroll(c, face(1)).await.face.id;
    f.enroll(c, face(2)).await;
    f.store.close().await;
    let file = f.options.folder.join("facesocial.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("UPDATE face_embeddings SET embedding = x'0000' WHERE face_id = $1")
        .bind(damaged.0)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let f = f.reopen().await;
    assert_eq!(f.store.search(&query(c, embedding(2), 1)).await.unwrap().matches[0].similarity, 1.0);
    let found: Vec<_> = f.store.check().await.unwrap().into_iter().filter(|result| !result.ok).collect();
    assert_eq!(found.iter().map(|result| result.check).collect::<Vec<_>>(), ["vectors", "search"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_a_reader_delays_is_made_up_for() {
    let f = Fixture::sqlite().await;
    let c = f.collection().await;
    let gone = f.enroll(c, face(1)).await.face.id;
    let file = f.options.folder.join("facesocial.db");
    let mut reader = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM faces").fetch_one(&mut *reading).await.unwrap();
    f.store.delete_face(&Write::system(), c, gone).await.unwrap();
    assert!(folder_holds(&f.options.folder, &bytes_of(1)));
    reading.rollback().await.unwrap();
    f.enroll(c, face(2)).await;
    assert!(!folder_holds(&f.options.folder, &bytes_of(1)));
}

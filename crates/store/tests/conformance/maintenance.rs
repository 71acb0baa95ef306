//! Backup, restore, migration.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use facesocial_store::{
    DEFAULT_COLLECTION, NewPerson, NewUser, Outcome, PageRequest, Person, PostgresTools, Role, Store, StoreError,
    StoreOptions, Write, backup, migrate, migration_status, open, restore, try_backup,
};
use facesocial_testkit::Postgres;
use serde_json::json;

use crate::backend::Fixture;

conformance!(
    a_backup_brings_back_the_state_of_its_moment,
    what_is_no_backup_changes_nothing,
    a_backup_is_tried_without_touching_the_database,
    a_store_in_use_is_not_replaced,
    the_schema_can_be_made_before_the_first_start,
    a_backup_that_cannot_be_written_leaves_nothing,
    a_check_finds_what_was_damaged,
    a_backup_of_a_newer_version_is_refused,
);

fn tools() -> PostgresTools {
    PostgresTools { folder: Postgres::shared().map(|postgres| postgres.bin().to_owned()) }
}

impl Fixture {
    /// Where nothing is yet.
    fn another(&self) -> StoreOptions {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        match &self.options.url {
            Some(_) => StoreOptions::postgres(Postgres::shared().unwrap().fresh_database()),
            None => {
                let name = format!("another-{}", NEXT.fetch_add(1, Ordering::Relaxed));
                StoreOptions::embedded(self.options.folder.join(name))
            }
        }
    }
}

async fn person(store: &dyn Store, name: &str) -> Person {
    let collection = store.collection(DEFAULT_COLLECTION).await.unwrap().id;
    let new = NewPerson { external_id: name.to_owned(), name: name.to_owned(), metadata: json!({ "of": name }) };
    let Outcome { value, .. } = store.create_person(&Write::system(), collection, new).await.unwrap();
    value
}

async fn persons(store: &dyn Store) -> Vec<Person> {
    let collection = store.collection(DEFAULT_COLLECTION).await.unwrap().id;
    store.persons(collection, PageRequest::first(1000)).await.unwrap().items
}

async fn user(store: &dyn Store, name: &str) {
    let new = NewUser {
        username: name.to_owned(),
        email: None,
        password_hash: "$x".to_owned(),
        first_name: String::new(),
        last_name: String::new(),
        role: Role::Admin,
        collections: Vec::new(),
    };
    store.create_user(&Write::system(), new).await.unwrap();
}

fn is_incompatible<T: std::fmt::Debug>(result: Result<T, StoreError>, word: &str) {
    match result {
        Err(StoreError::Incompatible(reason)) => assert!(reason.contains(word), "{reason}"),
        other => panic!("should be incompatible: {other:?}"),
    }
}

async fn a_backup_brings_back_the_state_of_its_moment(f: Fixture) {
    user(&*f.store, "admin").await;
    let first = person(&*f.store, "first").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    // The store is open and is written to meanwhile.
    let store = Arc::clone(&f.store);
    let writing = tokio::spawn(async move {
        for i in 0..10 {
            person(&*store, &format!("meanwhile{i}")).await;
        }
    });
    backup(&f.options, &file, &tools()).await.unwrap();
    writing.await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-made is left");
    let again = backup(&f.options, &file, &tools()).await;
    assert!(matches!(again, Err(StoreError::Io { .. })), "a backup replaces nothing: {again:?}");

    let target = f.another();
    assert_eq!(restore(&target, &file, &tools(), false).await.unwrap(), None, "there was nothing to keep aside");
    let store = open(&target).await.unwrap();
    let found = persons(&*store).await;
    assert_eq!(found[0], first);
    assert_eq!(store.count_users().await.unwrap(), 1);
    assert_eq!(store.credentials("ADMIN").await.unwrap().password_hash, "$x");
    for check in store.check().await.unwrap() {
        assert!(check.ok, "{check:?}");
    }
    // It goes on from there.
    person(&*store, "later").await;
    store.close().await;
    drop(store);

    // Once more, over what is there now.
    let former = if target.url.is_some() {
        is_incompatible(restore(&target, &file, &tools(), false).await, "not empty");
        restore(&target, &file, &tools(), true).await.unwrap()
    } else {
        restore(&target, &file, &tools(), false).await.unwrap()
    };
    let store = open(&target).await.unwrap();
    assert_eq!(persons(&*store).await, found, "what came later is not in the backup");
    store.close().await;
    drop(store);
    if target.url.is_none() {
        // The former database is whole, and can be taken over as a backup can.
        let third = f.another();
        restore(&third, &former.unwrap(), &tools(), false).await.unwrap();
        let store = open(&third).await.unwrap();
        assert_eq!(persons(&*store).await.len(), found.len() + 1);
    }
}

async fn what_is_no_backup_changes_nothing(f: Fixture) {
    let kept = person(&*f.store, "kept").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    backup(&f.options, &file, &tools()).await.unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(&file).unwrap();
    let target = f.another();
    let before = open(&target).await.unwrap();
    let there = person(&*before, "there").await;
    before.close().await;
    drop(before);

    let missing = restore(&target, &folder.path().join("nothing"), &tools(), true).await;
    assert!(matches!(missing, Err(StoreError::Io { .. })), "{missing:?}");
    let text = write("text", b"these are not the faces you are looking for ".repeat(100).as_slice());
    is_incompatible(restore(&target, &text, &tools(), true).await, "no backup");
    let empty = write("empty", b"");
    is_incompatible(restore(&target, &empty, &tools(), true).await, "no backup");
    let cut = write("cut", &whole[..whole.len() / 2]);
    let result = restore(&target, &cut, &tools(), true).await;
    assert!(matches!(result, Err(StoreError::Damaged(_) | StoreError::Incompatible(_))), "{result:?}");

    let store = open(&target).await.unwrap();
    assert_eq!(persons(&*store).await, [there]);
    assert_eq!(persons(&*f.store).await, [kept]);
}

async fn a_backup_is_tried_without_touching_the_database(f: Fixture) {
    let kept = person(&*f.store, "kept").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    backup(&f.options, &file, &tools()).await.unwrap();
    person(&*f.store, "later").await;
    let databases = || f.options.url.as_ref().map(|_| databases());
    let before = databases();
    let tried = try_backup(&f.options, &file, &tools()).await.unwrap();
    assert!(tried.is_good(), "{tried:?}");
    assert_eq!((tried.gallery.persons, tried.gallery.faces), (1, 0));
    let cut = folder.path().join("cut");
    let whole = fs::read(&file).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let error = try_backup(&f.options, &cut, &tools()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_) | StoreError::Incompatible(_)), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left of what was tried");
    assert_eq!(databases(), before);
    assert_eq!(persons(&*f.store).await[0], kept);
    assert_eq!(persons(&*f.store).await.len(), 2);
}

/// Databases that a trial made and has not removed.
fn databases() -> String {
    let tried = "SELECT count(*) FROM pg_database WHERE datname LIKE 'facesocial_tried_%'";
    Postgres::shared().unwrap().psql(tried)
}

async fn a_store_in_use_is_not_replaced(f: Fixture) {
    if f.options.url.is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    backup(&f.options, &file, &tools()).await.unwrap();
    let refused = restore(&f.options, &file, &tools(), true).await;
    assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
    let refused = migrate(&f.options).await;
    assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
    f.store.ping().await.unwrap();
}

async fn the_schema_can_be_made_before_the_first_start(f: Fixture) {
    let options = StoreOptions { migrate: false, ..f.another() };
    let status = migration_status(&options).await.unwrap();
    assert!(status.applied.is_empty());
    assert_eq!(status.pending[0], (1, "0001_gallery".to_owned()));
    let nothing = tempfile::tempdir().unwrap();
    is_incompatible(backup(&options, &nothing.path().join("b"), &tools()).await, "no store");
    is_incompatible(open(&options).await.map(|_| ()), "db migrate");

    let status = migrate(&options).await.unwrap();
    assert!(status.pending.is_empty());
    assert_eq!(migrate(&options).await.unwrap(), status, "once more changes nothing");
    assert_eq!(migration_status(&options).await.unwrap(), status);
    let store = open(&options).await.unwrap();
    person(&*store, "first").await;
}

async fn a_backup_that_cannot_be_written_leaves_nothing(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no").join("folder").join("backup");
    let refused = backup(&f.options, &nowhere, &tools()).await;
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    if f.options.url.is_some() {
        let without = PostgresTools { folder: Some(Path::new("/nowhere").to_owned()) };
        is_incompatible(backup(&f.options, &folder.path().join("b"), &without).await, "PG_BIN");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Runs statements past the store, as a hand or a damaged disk would.
async fn tamper(options: &StoreOptions, postgres: &'static str, sqlite: &'static str) {
    use sqlx::Connection;
    match &options.url {
        Some(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(postgres).execute(&mut connection).await.unwrap();
        }
        None => {
            let file = options.folder.join("facesocial.db");
            let mut connection =
                sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
            sqlx::raw_sql(sqlite).execute(&mut connection).await.unwrap();
        }
    }
}

async fn a_backup_of_a_newer_version_is_refused(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let newer = [
        "INSERT INTO schema_migrations (version, description, success, checksum, execution_time)
             VALUES (999, 'later', true, '\\x00', 0)",
        "INSERT INTO schema_migrations (version, description, success, checksum, execution_time)
             VALUES (999, 'later', 1, x'00', 0)",
    ];
    tamper(&f.options, newer[0], newer[1]).await;
    is_incompatible(migration_status(&f.options).await, "999");
    backup(&f.options, &file, &tools()).await.unwrap();
    let target = f.another();
    is_incompatible(restore(&target, &file, &tools(), false).await, "999");
    assert!(migration_status(&target).await.unwrap().applied.is_empty(), "nothing was restored");
}

async fn failed(store: &dyn Store) -> Vec<&'static str> {
    let checks = store.check().await.unwrap();
    checks.into_iter().filter(|check| !check.ok).map(|check| check.check).collect()
}

async fn a_check_finds_what_was_damaged(f: Fixture) {
    let store = &*f.store;
    person(store, "somebody").await;
    assert_eq!(failed(store).await, [] as [&str; 0]);
    let wrong = "UPDATE collection_counts SET persons = persons + 1";
    tamper(&f.options, wrong, wrong).await;
    assert_eq!(failed(store).await, ["counts"]);
    let right = "UPDATE collection_counts SET persons = persons - 1";
    tamper(&f.options, right, right).await;
    tamper(
        &f.options,
        "SET session_replication_role = replica;
         INSERT INTO session_images (session_id, image) VALUES (gen_random_uuid(), '\\x00')",
        "PRAGMA foreign_keys = OFF;
         INSERT INTO session_images (session_id, image) VALUES (randomblob(16), x'00')",
    )
    .await;
    assert_eq!(failed(store).await, ["references"]);
}

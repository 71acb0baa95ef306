//! What only Postgres does: its extension, its indexes, its function.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use facesocial_store::{EncryptionKey, NewFace, StoreError, StoreOptions, open};
use facesocial_testkit::Postgres;
use facesocial_types::Embedding;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::backend::*;

#[tokio::test]
async fn an_encryption_key_is_refused_with_the_alternatives() {
    let encryption = Some(EncryptionKey::new([1; 32]));
    let options = StoreOptions { encryption, ..StoreOptions::postgres("postgres://nobody@127.0.0.1:1/none") };
    let refused = open(&options).await.err();
    let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("pgvector") && reason.contains("embedded store"), "{reason}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let refused = open(&StoreOptions::postgres("postgres://nobody@127.0.0.1:1/none")).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable { .. })), "{refused:?}");
    let refused = open(&StoreOptions::postgres("mysql://x")).await.err();
    assert!(matches!(refused, Some(StoreError::Incompatible(_))), "{refused:?}");
}

/// It falls silent while a statement waits for its answer, as a machine does that is gone without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_is_not_waited_for_without_end() {
    const LIMIT: Duration = Duration::from_secs(2);
    let Some(server) = tokio::task::spawn_blocking(Postgres::start).await.unwrap() else { return };
    let url = server.create_database("silent");
    let options = StoreOptions { max_connections: 2, answer_within: LIMIT, ..StoreOptions::postgres(url.clone()) };
    let store = open(&options).await.unwrap();
    let page = facesocial_store::PageRequest { after: None, limit: 10 };
    store.collections(&[], page).await.unwrap();
    let mut holder = Command::new(server.bin().join("psql"));
    holder.args(["--no-psqlrc", "--quiet", "--command", "BEGIN; LOCK TABLE collections; SELECT pg_sleep(60)", &url]);
    let mut holder = holder.stdout(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let asking = |_| {
        let (store, page) = (Arc::clone(&store), page);
        tokio::spawn(async move { store.collections(&[], page).await })
    };
    // More than there are connections.
    let asking: Vec<_> = (0..4).map(asking).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.pause();
    for one in asking {
        let answer = tokio::time::timeout(LIMIT * 4, one).await.expect("a limit").unwrap();
        assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    }
    assert!(begun.elapsed() < LIMIT * 4, "{:?}", begun.elapsed());
    // Nor in the end.
    tokio::time::timeout(Duration::from_secs(20), store.close()).await.expect("a limit");
    server.resume();
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test]
async fn several_servers_may_start_at_once() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.unwrap() else { return };
    let url = tokio::task::spawn_blocking(|| server.fresh_database()).await.unwrap();
    let starts = (0..4).map(|_| {
        let options = StoreOptions { max_connections: 2, ..StoreOptions::postgres(url.clone()) };
        tokio::spawn(async move { open(&options).await })
    });
    for start in starts.collect::<Vec<_>>() {
        let store = start.await.unwrap().unwrap();
        assert!(store.status().await.unwrap().pending.is_empty());
        store.close().await;
    }
}

#[tokio::test]
async fn a_schema_without_the_extension_is_refused_where_it_must_not_be_made() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.unwrap() else { return };
    let url = tokio::task::spawn_blocking(|| server.fresh_database()).await.unwrap();
    let refused = open(&StoreOptions { migrate: false, ..StoreOptions::postgres(url) }).await.err();
    let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("extension vector") && reason.contains("db migrate"), "{reason}");
}

#[tokio::test]
async fn an_old_extension_is_refused_with_the_fix() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.unwrap() else { return };
    let url = tokio::task::spawn_blocking(|| server.fresh_database()).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE EXTENSION vector; UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
        .execute(&mut connection)
        .await
        .unwrap();
    for migrate in [true, false] {
        let refused = open(&StoreOptions { migrate, ..StoreOptions::postgres(url.clone()) }).await.err();
        let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("0.7.4") && reason.contains("ALTER EXTENSION vector UPDATE"), "{reason}");
    }
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_an_administrator_must_do() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.unwrap() else { return };
    let url = tokio::task::spawn_blocking(|| server.fresh_database()).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE ROLE plain LOGIN PASSWORD 'plain'").execute(&mut connection).await.unwrap();
    let (_, place) = url.rsplit_once('@').unwrap();
    let refused = open(&StoreOptions::postgres(format!("postgres://plain:plain@{place}"))).await.err();
    let Some(StoreError::Incompatible(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("CREATE EXTENSION vector"), "{reason}");
}

/// A store with 2000 faces, with statistics for the planner.
async fn filled() -> Option<(Fixture, PgConnection)> {
    let f = Fixture::postgres().await?;
    let c = f.collection().await;
    f.enroll(c, face(0)).await;
    let mut connection = PgConnection::connect(f.options.url.as_ref().unwrap()).await.unwrap();
    for i in 1..2000_u64 {
        let id = uuid::Uuid::now_v7();
        sqlx::query(
            "INSERT INTO faces SELECT collection_id, $1, NULL, $2, 0, 0, 1, 1, 1, 1, 'primary', true, '{}', now()
             FROM faces LIMIT 1",
        )
        .bind(id)
        .bind(format!("{i:064x}"))
        .execute(&mut connection)
        .await
        .unwrap();
        sqlx::query("INSERT INTO face_embeddings VALUES ($1, $2, $3, 64, $4, now())")
            .bind(c.0)
            .bind(id)
            .bind(model().to_string())
            .bind(pgvector::Vector::from(embedding(i).as_slice().to_vec()))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE embedding_counts SET embeddings = 2000").execute(&mut connection).await.unwrap();
    sqlx::query("UPDATE collection_counts SET faces = 2000").execute(&mut connection).await.unwrap();
    sqlx::raw_sql("ANALYZE faces; ANALYZE face_embeddings").execute(&mut connection).await.unwrap();
    Some((f, connection))
}

#[tokio::test]
async fn searches_use_the_index_and_find_nearly_all() {
    let Some((f, mut connection)) = filled().await else { return };
    let c = f.collection().await;
    let scans =
        "SELECT COALESCE(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname LIKE '%_embedding_%'
                 OR indexrelname LIKE '%hnsw%'";
    let before: i64 = sqlx::query_scalar(scans).fetch_one(&mut connection).await.unwrap();
    // The planner rightly looks at all of so few; connections made from here on find that dear.
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut connection).await.unwrap();
    let dear = format!("ALTER DATABASE {name} SET enable_sort = off");
    sqlx::raw_sql(AssertSqlSafe(dear)).execute(&mut connection).await.unwrap();
    let store = open(&f.options).await.unwrap();
    let (mut found, mut asked) = (0, 0);
    for seed in 0..50 {
        let probe = embedding(10_000 + seed);
        let mut all: Vec<(f32, u64)> = (0..2000).map(|i| (embedding(i).cosine(&probe).unwrap(), i)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let matches = store.search(&query(c, probe, 10)).await.unwrap().matches;
        assert_eq!(matches.len(), 10);
        asked += 10;
        found += matches
            .iter()
            .filter(|m| all[..10].iter().any(|(similarity, _)| (similarity - m.similarity).abs() < 1e-6))
            .count();
    }
    assert!(f64::from(found as u32) >= 0.98 * f64::from(asked), "{found} of {asked}");
    // The connections report what they scanned when they end at the latest.
    store.close().await;
    let mut after = before;
    for _ in 0..50 {
        after = sqlx::query_scalar(scans).fetch_one(&mut connection).await.unwrap();
        if after > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(after > before, "no search used an index");
}

#[tokio::test]
async fn each_model_and_dimension_has_an_index_of_its_own() {
    let Some(f) = Fixture::postgres().await else { return };
    let c = f.collection().await;
    f.enroll(c, face(1)).await;
    let other = facesocial_types::ModelId::new("other", "1");
    for (seed, dimension) in [(2, 64), (3, 128), (4, 128), (5, 4001)] {
        let embedding = Embedding::new(other.clone(), vector(seed, dimension)).unwrap();
        f.enroll(c, NewFace { embeddings: vec![embedding], ..face(seed) }).await;
    }
    let indexes = "SELECT count(*) FROM pg_class WHERE relkind = 'I' AND relname LIKE 'face_embeddings_hnsw_%'";
    assert_eq!(f.number(indexes).await, 3);
    // Without an index, all vectors are looked at.
    let probe = Embedding::new(other, vector(5, 4001)).unwrap();
    assert_eq!(f.store.search(&query(c, probe, 1)).await.unwrap().matches[0].similarity, 1.0);
    f.assert_sound().await;
}

/// As a database of the version before has them.
#[tokio::test]
async fn indexes_of_single_precision_give_way_to_those_of_half() {
    let Some(f) = Fixture::postgres().await else { return };
    let c = f.collection().await;
    f.enroll(c, face(1)).await;
    let names = "SELECT array_agg(relname::text) FROM pg_class WHERE relkind = 'I' AND relname LIKE '%_hnsw_%'";
    let mut connection = PgConnection::connect(f.options.url.as_deref().unwrap()).await.unwrap();
    let now: Vec<String> = sqlx::query_scalar(names).fetch_one(&mut connection).await.unwrap();
    let former = now[0].replace("_half", "");
    let before = format!(
        "DROP INDEX {}; CREATE INDEX {former} ON face_embeddings USING hnsw ((embedding::vector(64)) vector_cosine_ops)
         WHERE dimension = 64",
        now[0]
    );
    sqlx::raw_sql(AssertSqlSafe(before)).execute(&mut connection).await.unwrap();
    let step = include_str!("../../../../migrations/postgres/0005_half_precision_index.sql");
    sqlx::raw_sql(step).execute(&mut connection).await.unwrap();
    let after: Vec<String> = sqlx::query_scalar(names).fetch_one(&mut connection).await.unwrap();
    assert_eq!(after, now);
    f.assert_sound().await;
}

#[tokio::test]
async fn the_function_finds_what_the_search_finds() {
    let Some((f, mut connection)) = filled().await else { return };
    let c = f.collection().await;
    let probe = embedding(77);
    let expected = f.store.search(&query(c, probe.clone(), 5)).await.unwrap().matches;
    let rows = sqlx::query("SELECT face_id, similarity_score FROM find_similar_faces($1, -1, 5, $2, $3)")
        .bind(pgvector::Vector::from(probe.as_slice().to_vec()))
        .bind(c.0)
        .bind(model().to_string())
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows.len(), 5);
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row.get::<uuid::Uuid, _>("face_id"), expected.face_id.0);
        assert!((row.get::<f64, _>("similarity_score") - f64::from(expected.similarity)).abs() < 1e-5);
    }
    let none = "SELECT count(*) FROM find_similar_faces((SELECT embedding FROM face_embeddings LIMIT 1), 1.01, 5,
                '00000000-0000-7000-8000-000000000000', 'net@00000001')";
    assert_eq!(f.number(none).await, 0);
}

#[tokio::test]
async fn a_search_reads_one_partition() {
    let Some((f, mut connection)) = filled().await else { return };
    let c = f.collection().await;
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT face_id FROM face_embeddings WHERE collection_id = $1 AND model = 'net@00000001'",
    )
    .bind(c.0)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(plan.join("\n").matches("Scan on face_embeddings_").count(), 1, "{plan:?}");
}

/// What distributing the tables by collection demands; see `migrations/README.md`.
#[tokio::test]
async fn every_constraint_below_a_collection_holds_the_collection() {
    let Some(f) = Fixture::postgres().await else { return };
    let mut connection = PgConnection::connect(f.options.url.as_ref().unwrap()).await.unwrap();
    let constraints = sqlx::query(
        "SELECT r.relname::text AS on_table, c.conname::text AS name, c.contype::text AS kind,
                EXISTS (SELECT 1 FROM unnest(c.conkey) WITH ORDINALITY k (num, place)
                        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num
                        LEFT JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[k.place]
                        WHERE a.attname = 'collection_id'
                          AND (c.contype <> 'f' OR b.attname = 'collection_id' OR c.confrelid = 'collections'::regclass))
                    AS holds
         FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
         WHERE r.relname IN ('persons', 'faces', 'face_embeddings', 'face_crops', 'collection_counts', 'embedding_counts')
           AND c.contype IN ('p', 'u', 'f')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for row in &constraints {
        assert!(row.get::<bool, _>("holds"), "{}", row.get::<String, _>("name"));
    }
    let of = |kind: &str| constraints.iter().filter(|row| row.get::<String, _>("kind") == kind).count();
    assert_eq!((of("p"), of("u")), (6, 2));
    assert!(of("f") >= 7);
    // Nothing else refers to them but what the instructions name.
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint
         WHERE contype = 'f' AND confrelid IN ('persons'::regclass, 'faces'::regclass, 'face_embeddings'::regclass)
           AND conrelid::regclass::text NOT IN ('persons', 'faces', 'face_crops') AND conparentid = 0
           AND conrelid::regclass::text NOT LIKE 'face_embeddings%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(others, ["face_recognitions_collection_id_matched_face_id_fkey"]);
}

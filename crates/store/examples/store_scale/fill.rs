//! Fills a store's tables past its interface, because a million enrolments that each reach the disk take hours.

use std::path::Path;

use facesocial_store::CollectionId;
use sqlx::{
    Connection, PgConnection, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use crate::{
    Failure,
    faces::{DIMENSION, faces},
};

/// Rows of one statement.
const ROWS: usize = 500;

/// The identifier of the face at a place of [`faces`].
pub fn face_id(place: usize) -> Uuid {
    Uuid::from_u128(1 + place as u128)
}

fn person_id(person: usize) -> Uuid {
    Uuid::from_u128(1 << 64 | person as u128)
}

/// Every person once, with the place of the first face.
fn persons(count: usize) -> Vec<usize> {
    let mut persons: Vec<usize> =
        (0..).flat_map(|person| std::iter::repeat_n(person, 1 + person % 9)).take(count).collect();
    persons.dedup();
    persons
}

/// Persons in the order of faces.
fn owners(count: usize) -> impl Iterator<Item = usize> {
    (0..).flat_map(|person| std::iter::repeat_n(person, 1 + person % 9)).take(count)
}

/// Fills the embedded store, which must be closed.
pub async fn sqlite(folder: &Path, collection: CollectionId, model: &str, count: usize) -> Result<(), Failure> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("facesocial.db"))
        // Nothing is lost if this is interrupted but what is made here.
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-200000");
    let mut database = SqliteConnection::connect_with(&options).await?;
    let mut tx = database.begin().await?;

    for persons in persons(count).chunks(ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO persons (collection_id, id, external_id, name, metadata, created_at, updated_at) ",
        );
        insert.push_values(persons, |mut row, &person| {
            row.push_bind(collection.0).push_bind(person_id(person)).push_bind(format!("scale-{person}"));
            row.push("'', '{}', 0, 0");
        });
        insert.build().execute(&mut *tx).await?;
    }
    let owned: Vec<(usize, usize)> = owners(count).enumerate().collect();
    for faces in owned.chunks(ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO faces (collection_id, id, person_id, face_hash, box_x, box_y, box_width, box_height, \
             detection_score, quality_score, face_group, searchable, metadata, created_at) ",
        );
        insert.push_values(faces, |mut row, &(place, person)| {
            row.push_bind(collection.0).push_bind(face_id(place)).push_bind(person_id(person));
            row.push_bind(format!("{place:064x}")).push("0, 0, 112, 112, 1, 1, 'primary', 1, '{}', 0");
        });
        insert.build().execute(&mut *tx).await?;
    }
    let mut places = 0..count;
    let mut vectors = faces(count);
    while !places.is_empty() {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO face_embeddings (collection_id, face_id, model, dimension, embedding, created_at) ",
        );
        let some = vectors.by_ref().take(ROWS).zip(places.by_ref());
        insert.push_values(some, |mut row, ((_, vector), place)| {
            let blob: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            row.push_bind(collection.0).push_bind(face_id(place)).push_bind(model.to_owned());
            row.push_bind(DIMENSION as i64).push_bind(blob).push("0");
        });
        insert.build().execute(&mut *tx).await?;
    }
    for (statement, counted) in counts(persons(count).len(), count) {
        let query = sqlx::query(statement).bind(collection.0);
        let query = if statement.contains("model") { query.bind(model).bind(DIMENSION as i64) } else { query };
        counted.into_iter().fold(query, |query, n| query.bind(n)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    database.close().await?;
    Ok(())
}

/// Fills a Postgres.
pub async fn postgres(url: &str, collection: CollectionId, model: &str, count: usize) -> Result<(), Failure> {
    let mut database = PgConnection::connect(url).await?;
    let persons = persons(count);

    let mut copy =
        Copy::start(&mut database, "persons (collection_id, id, external_id, name, metadata, created_at, updated_at)")
            .await?;
    for &person in &persons {
        let external = format!("scale-{person}");
        let time = 0_i64.to_be_bytes();
        copy.row(&[
            collection.0.as_bytes(),
            person_id(person).as_bytes(),
            external.as_bytes(),
            b"",
            EMPTY,
            &time,
            &time,
        ])
        .await?;
    }
    copy.finish().await?;

    let mut copy = Copy::start(
        &mut database,
        "faces (collection_id, id, person_id, face_hash, box_x, box_y, box_width, box_height, detection_score, \
         quality_score, face_group, searchable, metadata, created_at)",
    )
    .await?;
    for (place, person) in owners(count).enumerate() {
        let hash = format!("{place:064x}");
        let (zero, side, one) = (0_f32.to_be_bytes(), 112_f32.to_be_bytes(), 1_f32.to_be_bytes());
        copy.row(&[
            collection.0.as_bytes(),
            face_id(place).as_bytes(),
            person_id(person).as_bytes(),
            hash.as_bytes(),
            &zero,
            &zero,
            &side,
            &side,
            &one,
            &one,
            b"primary",
            &[1],
            EMPTY,
            &0_i64.to_be_bytes(),
        ])
        .await?;
    }
    copy.finish().await?;

    let mut copy =
        Copy::start(&mut database, "face_embeddings (collection_id, face_id, model, dimension, embedding, created_at)")
            .await?;
    for (place, (_, vector)) in faces(count).enumerate() {
        let mut stored = Vec::with_capacity(4 + 4 * DIMENSION);
        stored.extend((DIMENSION as u16).to_be_bytes());
        stored.extend(0_u16.to_be_bytes());
        stored.extend(vector.iter().flat_map(|x| x.to_be_bytes()));
        copy.row(&[
            collection.0.as_bytes(),
            face_id(place).as_bytes(),
            model.as_bytes(),
            &(DIMENSION as i32).to_be_bytes(),
            &stored,
            &0_i64.to_be_bytes(),
        ])
        .await?;
    }
    copy.finish().await?;

    for (statement, counted) in counts(persons.len(), count) {
        let query = sqlx::query(statement).bind(collection.0);
        let query = if statement.contains("model") { query.bind(model).bind(DIMENSION as i32) } else { query };
        counted.into_iter().fold(query, |query, n| query.bind(n)).execute(&mut database).await?;
    }
    sqlx::query("ANALYZE persons, faces, face_embeddings, embedding_counts").execute(&mut database).await?;
    database.close().await?;
    Ok(())
}

/// The statements that count what was filled in, with what they count.
fn counts(persons: usize, faces: usize) -> [(&'static str, Vec<i64>); 2] {
    let (persons, faces) = (persons as i64, faces as i64);
    [
        (
            "INSERT INTO collection_counts (collection_id, slot, persons, faces) VALUES ($1, 0, $2, $3)",
            vec![persons, faces],
        ),
        (
            "INSERT INTO embedding_counts (collection_id, model, dimension, slot, embeddings)
             VALUES ($1, $2, $3, 0, $4)",
            vec![faces],
        ),
    ]
}

/// An empty `jsonb` in Postgres' binary form, whose first byte is its version.
const EMPTY: &[u8] = b"\x01{}";

/// Rows in the binary form of `COPY`.
struct Copy<'a> {
    copy: sqlx::postgres::PgCopyIn<&'a mut PgConnection>,
    buffer: Vec<u8>,
}

impl<'a> Copy<'a> {
    async fn start(database: &'a mut PgConnection, columns: &str) -> Result<Self, Failure> {
        let copy = database.copy_in_raw(&format!("COPY {columns} FROM STDIN (FORMAT binary)")).await?;
        // Signature, no flags, no extension.
        let buffer = [b"PGCOPY\n\xff\r\n\0".as_slice(), &[0; 8]].concat();
        Ok(Self { copy, buffer })
    }

    async fn row(&mut self, fields: &[&[u8]]) -> Result<(), Failure> {
        self.buffer.extend((fields.len() as u16).to_be_bytes());
        for field in fields {
            self.buffer.extend((field.len() as u32).to_be_bytes());
            self.buffer.extend_from_slice(field);
        }
        if self.buffer.len() > 1 << 20 {
            self.copy.send(std::mem::take(&mut self.buffer)).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Failure> {
        self.buffer.extend((-1_i16).to_be_bytes());
        self.copy.send(std::mem::take(&mut self.buffer)).await?;
        self.copy.finish().await?;
        Ok(())
    }
}

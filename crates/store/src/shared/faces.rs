//! Faces: enrolment, lists, changes.

use std::collections::HashSet;

use facesocial_types::{Embedding, ModelId};
use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Backend, Time, Tx,
    collections::no_collection,
    counts::Counts,
    embeddings, persons,
    rows::{self, to_page},
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    error_map::is_missing_reference,
    text,
    types::{
        CollectionId, Enrolled, FaceChange, FaceId, FaceRecord, NewFace, Outcome, Page, PageRequest, PersonId,
        PersonRef, Write,
    },
};

/// Longest vector that both backends store.
const MAX_DIMENSION: usize = 16_000;

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT f.id, f.collection_id, f.person_id, f.face_hash, f.box_x, f.box_y, f.box_width, f.box_height,
                 f.detection_score, f.quality_score, f.face_group, f.searchable, f.metadata, f.created_at,
                 (SELECT string_agg(e.model, '\u{1f}') FROM face_embeddings e
                  WHERE e.collection_id = f.collection_id AND e.face_id = f.id) AS models,
                 EXISTS (SELECT 1 FROM face_crops c
                         WHERE c.collection_id = f.collection_id AND c.face_id = f.id) AS has_crop
             FROM faces f ",
            $tail
        )
    };
}

impl Backend {
    pub(super) async fn insert_face(
        &self,
        write: &Write,
        collection: CollectionId,
        new: NewFace,
    ) -> Result<Outcome<Enrolled>> {
        check(&new)?;
        for embedding in &new.embeddings {
            self.prepare_search(&embedding.model().to_string(), embedding.as_slice().len()).await?;
        }
        let makes_person = matches!(new.person, Some(PersonRef::GetOrCreate(_)));
        for _ in 0..2 {
            match self.try_insert_face(write, collection, &new).await {
                // Deleted between the look for the person and the face: the next try makes the person.
                Err(StoreError::NotFound { kind: "person", .. }) if makes_person => {}
                other => return other,
            }
        }
        self.try_insert_face(write, collection, &new).await
    }

    async fn try_insert_face(
        &self,
        write: &Write,
        collection: CollectionId,
        new: &NewFace,
    ) -> Result<Outcome<Enrolled>> {
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        let mut counts = Counts { faces: 1, ..Counts::default() };
        let (person, person_created) = match &new.person {
            None => (None, false),
            Some(PersonRef::Id(id)) => (Some(*id), false),
            Some(PersonRef::GetOrCreate(person)) => {
                let (id, created) = persons::get_or_insert(&mut tx, collection, person).await?;
                counts.persons += i64::from(created);
                (Some(id), created)
            }
        };
        let id = FaceId::new();
        if !insert(&mut tx, collection, id, person, new).await? {
            let existing: Option<Uuid> =
                sqlx::query_scalar("SELECT id FROM faces WHERE collection_id = $1 AND face_hash = $2")
                    .bind(collection.0)
                    .bind(&new.face_hash)
                    .fetch_optional(tx.connection())
                    .await?;
            let existing = existing.map(|id| id.to_string());
            return Err(StoreError::Taken { kind: "face", value: new.face_hash.clone(), existing });
        }
        tx.index_attributes(collection, id, new.searchable, &new.face_group);
        for embedding in &new.embeddings {
            self.insert_embedding(&mut tx, collection, id, embedding).await?;
            *counts.embeddings.entry(embeddings::key(embedding)).or_default() += 1;
        }
        if let Some(crop) = &new.crop {
            sqlx::query("INSERT INTO face_crops (collection_id, face_id, image) VALUES ($1, $2, $3)")
                .bind(collection.0)
                .bind(id.0)
                .bind(self.write_image(&embeddings::crop_place(id), crop)?)
                .execute(tx.connection())
                .await?;
        }
        let face = read(&mut tx, collection, id).await?;
        let person = match person {
            Some(id) => Some(persons::read(&mut tx, collection, id).await?),
            None => None,
        };
        let audit = Audit {
            action: "face.enroll",
            subject: Some(format!("face:{id}")),
            collection: Some(collection),
            person: face.person_id,
            details: json!({ "person": face.person_id, "person_created": person_created, "models": face.models }),
        };
        counts.add(&mut tx, collection).await?;
        self.finish(tx, write, audit, Enrolled { face, person, person_created }).await
    }

    pub(super) async fn face_with(&self, collection: CollectionId, id: FaceId) -> Result<FaceRecord> {
        let row = sqlx::query(select!("WHERE f.collection_id = $1 AND f.id = $2"))
            .bind(collection.0)
            .bind(id.0)
            .fetch_optional(self.pool())
            .await?;
        rows::face(&row.ok_or_else(|| no_face(id))?)
    }

    pub(super) async fn list_faces(
        &self,
        collection: CollectionId,
        person: Option<Option<PersonId>>,
        page: PageRequest,
    ) -> Result<Page<FaceRecord>> {
        self.demand_collection(collection).await?;
        let select = match person {
            None => select!("WHERE f.collection_id = $1 AND f.id > $2 ORDER BY f.id LIMIT $3"),
            Some(None) => {
                select!("WHERE f.collection_id = $1 AND f.id > $2 AND f.person_id IS NULL ORDER BY f.id LIMIT $3")
            }
            Some(Some(_)) => {
                select!("WHERE f.collection_id = $1 AND f.id > $2 AND f.person_id = $4 ORDER BY f.id LIMIT $3")
            }
        };
        let mut query = sqlx::query(select)
            .bind(collection.0)
            .bind(page.after.unwrap_or(Uuid::nil()))
            .bind(i64::from(page.limit) + 1);
        if let Some(Some(person)) = person {
            self.person_with(collection, person).await?;
            query = query.bind(person.0);
        }
        let found = query.fetch_all(self.pool()).await?;
        to_page(found.iter().map(rows::face), page, |face| face.id.0)
    }

    pub(super) async fn change_face(
        &self,
        write: &Write,
        collection: CollectionId,
        id: FaceId,
        change: FaceChange,
    ) -> Result<Outcome<FaceRecord>> {
        if let Some(group) = &change.face_group {
            text::check_key("a face's group", group)?;
        }
        if let Some(metadata) = &change.metadata {
            text::check_json("a face's metadata", metadata)?;
        }
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        let details = json!({
            "person": change.person,
            "group": change.face_group.is_some(),
            "searchable": change.searchable,
            "metadata": change.metadata.is_some(),
        });
        let updated = sqlx::query(
            "UPDATE faces SET person_id = COALESCE($3, person_id), face_group = COALESCE($4, face_group),
                 searchable = COALESCE($5, searchable), metadata = COALESCE($6, metadata)
             WHERE collection_id = $1 AND id = $2",
        )
        .bind(collection.0)
        .bind(id.0)
        .bind(change.person.map(|id| id.0))
        .bind(change.face_group)
        .bind(change.searchable)
        .bind(change.metadata.map(Json))
        .execute(tx.connection())
        .await;
        let updated = match updated {
            // Only the person is referred to.
            Err(e) if is_missing_reference(&e) => return Err(missing_person(change.person, collection)),
            other => other?,
        };
        if updated.rows_affected() == 0 {
            return Err(no_face(id));
        }
        let face = read(&mut tx, collection, id).await?;
        tx.index_attributes(collection, id, face.searchable, &face.face_group);
        let audit = Audit {
            action: "face.update",
            subject: Some(format!("face:{id}")),
            collection: Some(collection),
            person: face.person_id,
            details,
        };
        self.finish(tx, write, audit, face).await
    }
}

fn check(new: &NewFace) -> Result<()> {
    text::check_key("a face's hash", &new.face_hash)?;
    text::check_key("a face's group", &new.face_group)?;
    text::check_json("a face's metadata", &new.metadata)?;
    let numbers = [new.bbox.x, new.bbox.y, new.bbox.width, new.bbox.height, new.detection_score, new.quality_score];
    if !numbers.iter().all(|number| number.is_finite()) {
        return Err(StoreError::Invalid("a face's box and scores must be finite numbers".to_owned()));
    }
    if let Some(PersonRef::GetOrCreate(person)) = &new.person {
        persons::check(person)?;
    }
    let models: HashSet<&ModelId> = new.embeddings.iter().map(Embedding::model).collect();
    if new.embeddings.is_empty() || models.len() < new.embeddings.len() {
        return Err(StoreError::Invalid(
            "a face needs at least one embedding, and one of each model at most".to_owned(),
        ));
    }
    new.embeddings.iter().try_for_each(check_embedding)
}

/// What an embedding must be to be stored.
pub(super) fn check_embedding(embedding: &Embedding) -> Result<()> {
    let model = embedding.model().to_string();
    text::check_key("a model's name", &model)?;
    if ModelId::parse(&model).as_ref() != Some(embedding.model()) || model.contains(rows::SEPARATOR) {
        return Err(StoreError::Invalid("a model's version must not contain \"@\"".to_owned()));
    }
    match embedding.as_slice().len() {
        1..=MAX_DIMENSION => Ok(()),
        n => Err(StoreError::Invalid(format!("an embedding has {n} numbers, allowed are 1 to {MAX_DIMENSION}"))),
    }
}

/// Adds the row of a face; whether its hash was free.
async fn insert(
    tx: &mut Tx,
    collection: CollectionId,
    id: FaceId,
    person: Option<PersonId>,
    new: &NewFace,
) -> Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO faces (collection_id, id, person_id, face_hash, box_x, box_y, box_width, box_height, detection_score,
                            quality_score, face_group, searchable, metadata, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (collection_id, face_hash) DO NOTHING",
    )
    .bind(collection.0)
    .bind(id.0)
    .bind(person.map(|id| id.0))
    .bind(&new.face_hash)
    .bind(new.bbox.x)
    .bind(new.bbox.y)
    .bind(new.bbox.width)
    .bind(new.bbox.height)
    .bind(new.detection_score)
    .bind(new.quality_score)
    .bind(&new.face_group)
    .bind(new.searchable)
    .bind(Json(&new.metadata))
    .bind(Time::now())
    .execute(tx.connection())
    .await;
    match inserted {
        Err(e) if is_missing_reference(&e) => {
            // Postgres executes nothing more in this transaction: which of the two is missing is not looked up.
            Err(missing_person(person, collection))
        }
        other => Ok(other?.rows_affected() == 1),
    }
}

/// As the transaction sees the face.
pub(super) async fn read(tx: &mut Tx, collection: CollectionId, id: FaceId) -> Result<FaceRecord> {
    let row = sqlx::query(select!("WHERE f.collection_id = $1 AND f.id = $2"))
        .bind(collection.0)
        .bind(id.0)
        .fetch_optional(tx.connection())
        .await?;
    rows::face(&row.ok_or_else(|| no_face(id))?)
}

fn missing_person(person: Option<PersonId>, collection: CollectionId) -> StoreError {
    person.map_or_else(|| no_collection(collection), persons::no_person)
}

pub(super) fn no_face(id: FaceId) -> StoreError {
    StoreError::NotFound { kind: "face", id: id.to_string() }
}

//! Persons.

use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Backend, Time, Tx,
    collections::no_collection,
    counts::Counts,
    rows::{self, to_page},
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    error_map::is_missing_reference,
    text,
    types::{CollectionId, NewPerson, Outcome, Page, PageRequest, Person, PersonChange, PersonId, Write},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT p.id, p.collection_id, p.external_id, p.name, p.metadata, p.created_at, p.updated_at,
                 (SELECT count(*) FROM faces f
                  WHERE f.collection_id = p.collection_id AND f.person_id = p.id) AS faces
             FROM persons p ",
            $tail
        )
    };
}

impl Backend {
    pub(super) async fn insert_person(
        &self,
        write: &Write,
        collection: CollectionId,
        new: NewPerson,
    ) -> Result<Outcome<Person>> {
        check(&new)?;
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        let Some(id) = insert(&mut tx, collection, &new).await? else {
            let existing = find(&mut tx, collection, &new.external_id).await?.map(|id| id.to_string());
            return Err(StoreError::Taken { kind: "external_id", value: new.external_id, existing });
        };
        let person = read(&mut tx, collection, id).await?;
        Counts { persons: 1, ..Counts::default() }.add(&mut tx, collection).await?;
        self.finish(tx, write, audit("person.create", &person, json!({})), person).await
    }

    pub(super) async fn person_with(&self, collection: CollectionId, id: PersonId) -> Result<Person> {
        let row = sqlx::query(select!("WHERE p.collection_id = $1 AND p.id = $2"))
            .bind(collection.0)
            .bind(id.0)
            .fetch_optional(self.pool())
            .await?;
        rows::person(&row.ok_or_else(|| no_person(id))?)
    }

    pub(super) async fn person_called(&self, collection: CollectionId, external_id: &str) -> Result<Person> {
        text::check_text("a person's external id", external_id, text::MAX_KEY)?;
        let row = sqlx::query(select!("WHERE p.collection_id = $1 AND p.external_id = $2"))
            .bind(collection.0)
            .bind(external_id)
            .fetch_optional(self.pool())
            .await?;
        rows::person(&row.ok_or_else(|| StoreError::NotFound { kind: "person", id: external_id.to_owned() })?)
    }

    pub(super) async fn list_persons(&self, collection: CollectionId, page: PageRequest) -> Result<Page<Person>> {
        self.demand_collection(collection).await?;
        let found = sqlx::query(select!("WHERE p.collection_id = $1 AND p.id > $2 ORDER BY p.id LIMIT $3"))
            .bind(collection.0)
            .bind(page.after.unwrap_or(Uuid::nil()))
            .bind(i64::from(page.limit) + 1)
            .fetch_all(self.pool())
            .await?;
        to_page(found.iter().map(rows::person), page, |person| person.id.0)
    }

    pub(super) async fn list_persons_like(
        &self,
        collection: CollectionId,
        part: &str,
        page: PageRequest,
    ) -> Result<Page<Person>> {
        text::check_text("a part of a name", part, text::MAX_KEY)?;
        self.demand_collection(collection).await?;
        // The name as it was typed besides: the embedded database lowers no letters beyond ASCII.
        let found = sqlx::query(select!(
            "WHERE p.collection_id = $1 AND p.id > $2 AND (lower(p.name) LIKE $4 ESCAPE '!' OR
                 lower(p.external_id) LIKE $4 ESCAPE '!' OR p.name LIKE $5 ESCAPE '!')
             ORDER BY p.id LIMIT $3"
        ))
        .bind(collection.0)
        .bind(page.after.unwrap_or(Uuid::nil()))
        .bind(i64::from(page.limit) + 1)
        .bind(containing(&part.to_lowercase()))
        .bind(containing(part))
        .fetch_all(self.pool())
        .await?;
        to_page(found.iter().map(rows::person), page, |person| person.id.0)
    }

    pub(super) async fn change_person(
        &self,
        write: &Write,
        collection: CollectionId,
        id: PersonId,
        change: PersonChange,
    ) -> Result<Outcome<Person>> {
        if let Some(name) = &change.name {
            text::check_text("a person's name", name, text::MAX_NAME)?;
        }
        if let Some(metadata) = &change.metadata {
            text::check_json("a person's metadata", metadata)?;
        }
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        let details = json!({ "name": change.name.is_some(), "metadata": change.metadata.is_some() });
        let updated = sqlx::query(
            "UPDATE persons SET name = COALESCE($3, name), metadata = COALESCE($4, metadata), updated_at = $5
             WHERE collection_id = $1 AND id = $2",
        )
        .bind(collection.0)
        .bind(id.0)
        .bind(change.name)
        .bind(change.metadata.map(Json))
        .bind(Time::now())
        .execute(tx.connection())
        .await?;
        if updated.rows_affected() == 0 {
            return Err(no_person(id));
        }
        let person = read(&mut tx, collection, id).await?;
        self.finish(tx, write, audit("person.update", &person, details), person).await
    }
}

/// The pattern of whatever contains `part`.
fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for c in part.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// What a new person's values must be.
pub(super) fn check(new: &NewPerson) -> Result<()> {
    text::check_key("a person's external id", &new.external_id)?;
    text::check_text("a person's name", &new.name, text::MAX_NAME)?;
    text::check_json("a person's metadata", &new.metadata)
}

/// Adds a person; `None` if the external identifier is taken.
async fn insert(tx: &mut Tx, collection: CollectionId, new: &NewPerson) -> Result<Option<PersonId>> {
    let (id, now) = (PersonId::new(), Time::now());
    let inserted = sqlx::query(
        "INSERT INTO persons (collection_id, id, external_id, name, metadata, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (collection_id, external_id) DO NOTHING",
    )
    .bind(collection.0)
    .bind(id.0)
    .bind(&new.external_id)
    .bind(&new.name)
    .bind(Json(&new.metadata))
    .bind(now)
    .execute(tx.connection())
    .await;
    match inserted {
        Err(e) if is_missing_reference(&e) => Err(no_collection(collection)),
        other => Ok((other?.rows_affected() == 1).then_some(id)),
    }
}

/// The person of this name, made if there is none; whether it was made.
pub(super) async fn get_or_insert(tx: &mut Tx, collection: CollectionId, new: &NewPerson) -> Result<(PersonId, bool)> {
    // The person that was in the way of the first try may be deleted before the look for it.
    for _ in 0..3 {
        if let Some(id) = insert(tx, collection, new).await? {
            return Ok((id, true));
        }
        if let Some(id) = find(tx, collection, &new.external_id).await? {
            return Ok((id, false));
        }
    }
    Err(StoreError::Unavailable { reason: "the person is made and deleted all the time".to_owned(), source: None })
}

async fn find(tx: &mut Tx, collection: CollectionId, external_id: &str) -> Result<Option<PersonId>> {
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM persons WHERE collection_id = $1 AND external_id = $2")
        .bind(collection.0)
        .bind(external_id)
        .fetch_optional(tx.connection())
        .await?;
    Ok(id.map(PersonId))
}

/// As the transaction sees the person.
pub(super) async fn read(tx: &mut Tx, collection: CollectionId, id: PersonId) -> Result<Person> {
    let row = sqlx::query(select!("WHERE p.collection_id = $1 AND p.id = $2"))
        .bind(collection.0)
        .bind(id.0)
        .fetch_optional(tx.connection())
        .await?;
    rows::person(&row.ok_or_else(|| no_person(id))?)
}

fn audit(action: &'static str, person: &Person, details: serde_json::Value) -> Audit {
    Audit {
        action,
        subject: Some(format!("person:{}", person.id)),
        collection: Some(person.collection_id),
        person: Some(person.id),
        details,
    }
}

pub(super) fn no_person(id: PersonId) -> StoreError {
    StoreError::NotFound { kind: "person", id: id.to_string() }
}

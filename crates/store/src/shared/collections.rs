//! Collections.

use serde_json::Value;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{
    Backend, Db, DbRow, Time,
    rows::{self, to_page},
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    text,
    types::{Collection, CollectionId, NewCollection, Outcome, Page, PageRequest, Write},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT c.id, c.name, c.description, c.created_at,
                 (SELECT CAST(COALESCE(SUM(n.persons), 0) AS BIGINT) FROM collection_counts n
                  WHERE n.collection_id = c.id) AS persons,
                 (SELECT CAST(COALESCE(SUM(n.faces), 0) AS BIGINT) FROM collection_counts n
                  WHERE n.collection_id = c.id) AS faces
             FROM collections c ",
            $tail
        )
    };
}

impl Backend {
    pub(super) async fn insert_collection(&self, write: &Write, new: NewCollection) -> Result<Outcome<Collection>> {
        text::check_key("a collection's name", &new.name)?;
        text::check_text("a collection's description", &new.description, text::MAX_NAME)?;
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        let (id, now) = (CollectionId::new(), Time::now());
        let inserted = sqlx::query(
            "INSERT INTO collections (id, name, description, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(id.0)
        .bind(&new.name)
        .bind(&new.description)
        .bind(now)
        .execute(tx.connection())
        .await?;
        if inserted.rows_affected() == 0 {
            let existing: Option<Uuid> = sqlx::query_scalar("SELECT id FROM collections WHERE name = $1")
                .bind(&new.name)
                .fetch_optional(tx.connection())
                .await?;
            let existing = existing.map(|id| id.to_string());
            return Err(StoreError::Taken { kind: "collection", value: new.name, existing });
        }
        let collection =
            Collection { id, name: new.name, description: new.description, created_at: now.0, persons: 0, faces: 0 };
        let audit = Audit {
            action: "collection.create",
            subject: Some(format!("collection:{id}")),
            collection: Some(id),
            person: None,
            details: Value::Null,
        };
        self.finish(tx, write, audit, collection).await
    }

    pub(super) async fn collection_named(&self, name: &str) -> Result<Collection> {
        text::check_text("a collection's name", name, text::MAX_KEY)?;
        let row = sqlx::query(select!("WHERE c.name = $1")).bind(name).fetch_optional(self.pool()).await?;
        rows::collection(&row.ok_or_else(|| StoreError::NotFound { kind: "collection", id: name.to_owned() })?)
    }

    pub(super) async fn collection_with(&self, id: CollectionId) -> Result<Collection> {
        let row = sqlx::query(select!("WHERE c.id = $1")).bind(id.0).fetch_optional(self.pool()).await?;
        rows::collection(&row.ok_or_else(|| no_collection(id))?)
    }

    pub(super) async fn list_collections(&self, only: &[CollectionId], page: PageRequest) -> Result<Page<Collection>> {
        let mut query = QueryBuilder::<Db>::new(select!("WHERE c.id > "));
        query.push_bind(page.after.unwrap_or(Uuid::nil()));
        if !only.is_empty() {
            let mut list = query.push(" AND c.id IN (").separated(", ");
            for id in only {
                list.push_bind(id.0);
            }
            query.push(")");
        }
        query.push(" ORDER BY c.id LIMIT ").push_bind(i64::from(page.limit) + 1);
        let found: Vec<DbRow> = query.build().fetch_all(self.pool()).await?;
        to_page(found.iter().map(rows::collection), page, |collection| collection.id.0)
    }

    /// Fails where there is no such collection.
    pub(super) async fn demand_collection(&self, id: CollectionId) -> Result<()> {
        let found =
            sqlx::query("SELECT 1 FROM collections WHERE id = $1").bind(id.0).fetch_optional(self.pool()).await?;
        found.map(drop).ok_or_else(|| no_collection(id))
    }
}

pub(super) fn no_collection(id: CollectionId) -> StoreError {
    StoreError::NotFound { kind: "collection", id: id.to_string() }
}

//! Rows that a change holds, so that nothing can be added to what it is about to delete.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Tx, dialect::FOR_UPDATE};
use crate::{
    error::Result,
    types::{CollectionId, FaceId, PersonId},
};

impl Tx {
    /// Holds a collection; whether there is one.
    pub(super) async fn hold_collection(&mut self, id: CollectionId) -> Result<bool> {
        self.hold("SELECT 1 FROM collections WHERE id = $1 AND id = $2", id.0, id.0).await
    }

    /// Holds a person; whether there is one.
    pub(super) async fn hold_person(&mut self, collection: CollectionId, id: PersonId) -> Result<bool> {
        self.hold("SELECT 1 FROM persons WHERE collection_id = $1 AND id = $2", collection.0, id.0).await
    }

    /// Holds a face; whether there is one.
    pub(super) async fn hold_face(&mut self, collection: CollectionId, id: FaceId) -> Result<bool> {
        self.hold("SELECT 1 FROM faces WHERE collection_id = $1 AND id = $2", collection.0, id.0).await
    }

    async fn hold(&mut self, select: &'static str, collection: Uuid, id: Uuid) -> Result<bool> {
        let found = sqlx::query(AssertSqlSafe(format!("{select}{FOR_UPDATE}")))
            .bind(collection)
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        Ok(found.is_some())
    }
}

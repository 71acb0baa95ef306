//! Which rows of a list a caller sees.

use super::Db;
use crate::types::{CollectionId, UserId};

type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// What belongs to no gallery is seen by the one who made it, whatever galleries the caller is
/// bound to.
pub(super) struct Filter<'a> {
    pub(super) table: &'static str,
    pub(super) user: Option<UserId>,
    pub(super) collections: &'a [CollectionId],
}

impl Filter<'_> {
    /// Conditions whose placeholders begin at `first`.
    pub(super) fn sql(&self, first: usize) -> String {
        let (table, mut next, mut sql) = (self.table, first, String::new());
        if self.user.is_some() {
            sql += &format!("AND {table}.user_id = ${next} ");
            next += 1;
        }
        if !self.collections.is_empty() {
            let places: Vec<String> = (next..next + self.collections.len()).map(|i| format!("${i}")).collect();
            let of_none =
                if self.user.is_some() { format!(" OR {table}.collection_id IS NULL") } else { String::new() };
            sql += &format!("AND ({table}.collection_id IN ({}){of_none}) ", places.join(", "));
        }
        sql
    }

    pub(super) fn bind<'q>(&self, mut query: Query<'q>) -> Query<'q> {
        if let Some(user) = self.user {
            query = query.bind(user.0);
        }
        for collection in self.collections {
            query = query.bind(collection.0);
        }
        query
    }
}

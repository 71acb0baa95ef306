//! The program's tables, put aside while others take their names.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use time::OffsetDateTime;

use crate::{
    error::{Result, StoreError},
    migrations::{STEPS, TABLE},
};

/// Where the tables are, and where they were.
pub(super) struct Former {
    schema: String,
    home: String,
}

/// Moves this program's tables, views and functions, and no others, into a schema of their own.
pub(super) async fn put_aside(connection: &mut PgConnection) -> Result<Former> {
    let home: Option<String> = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(&mut *connection).await?;
    let home = home.ok_or_else(|| {
        StoreError::Incompatible("the database's user has no schema to work in; set its search_path".to_owned())
    })?;
    let schema = format!("facesocial_before_restore_{}", OffsetDateTime::now_utc().unix_timestamp_nanos());
    let mut tx = connection.begin().await?;
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut *tx).await?;
    relocate(&mut tx, &home, &schema).await?;
    tx.commit().await?;
    Ok(Former { schema, home })
}

impl Former {
    /// Deletes what was put aside.
    pub(super) async fn discard(self, connection: &mut PgConnection) -> Result<()> {
        sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", self.schema))).execute(connection).await?;
        Ok(())
    }

    /// Makes it as it was.
    pub(super) async fn bring_back(self, connection: &mut PgConnection) -> Result<()> {
        let mut tx = connection.begin().await?;
        relocate(&mut tx, &self.schema, &self.home).await?;
        sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {}", self.schema))).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn relocate(connection: &mut PgConnection, from: &str, to: &str) -> Result<()> {
    // The database quotes the names. Indexes and constraints move with their tables.
    let moves = sqlx::query(
        "SELECT format('ALTER TABLE %I.%I SET SCHEMA %I', n.nspname, c.relname, $2) AS move
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND c.relname = ANY($3)
         UNION ALL
         SELECT format('ALTER FUNCTION %s SET SCHEMA %I', p.oid::regprocedure, $2)
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = $1 AND p.proname = ANY($3)",
    )
    .bind(from)
    .bind(to)
    .bind(names())
    .fetch_all(&mut *connection)
    .await?;
    for row in moves {
        sqlx::query(AssertSqlSafe(row.try_get::<String, _>("move")?)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What the migrations make, by name.
fn names() -> Vec<String> {
    let made = STEPS.iter().flat_map(|step| step.postgres.lines()).filter_map(|line| {
        let rest =
            ["CREATE TABLE ", "CREATE VIEW ", "CREATE FUNCTION "].iter().find_map(|made| line.strip_prefix(made))?;
        rest.split([' ', '(']).next().map(str::to_owned)
    });
    made.chain([TABLE.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn the_names_are_those_of_the_migrations() {
        let names = names();
        for expected in [
            "collections",
            "face_embeddings",
            "face_embeddings_7",
            "users",
            "face_analysis_summary",
            "find_similar_faces",
            "schema_migrations",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected}");
        }
        assert!(
            names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()))
        );
    }
}

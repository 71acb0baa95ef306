//! The extension pgvector: there, and new enough.

use sqlx::{PgConnection, Row};

use crate::error::{Result, StoreError};

/// The first version with iterative scans, which filtered searches need.
const LEAST: (u32, u32) = (0, 8);

/// Creates the extension in the database unless it is there.
pub(super) async fn create(connection: &mut PgConnection) -> Result<()> {
    let row = sqlx::query(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS installed,
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (installed, available): (Option<String>, Option<String>) =
        (row.try_get("installed")?, row.try_get("available")?);
    match (installed, available) {
        (Some(version), _) if recent(&version) => Ok(()),
        (Some(version), Some(newer)) if recent(&newer) => Err(old(&version)),
        (None, Some(version)) if recent(&version) => {
            let created = sqlx::query("CREATE EXTENSION IF NOT EXISTS vector").execute(connection).await;
            match created {
                Ok(_) => Ok(()),
                Err(e) if e.as_database_error().and_then(|e| e.code()).as_deref() == Some("42501") => {
                    Err(StoreError::Incompatible(
                        "the database's user may not create the extension vector; let an administrator run \
                         `CREATE EXTENSION vector` in this database once"
                            .to_owned(),
                    ))
                }
                // Another server created it between the look and the statement.
                Err(e) if e.as_database_error().is_some_and(|e| e.is_unique_violation()) => Ok(()),
                Err(e) => Err(e.into()),
            }
        }
        (_, version) => Err(missing(version.as_deref())),
    }
}

/// Refuses a database without the extension.
pub(super) async fn demand(connection: &mut PgConnection) -> Result<()> {
    let installed: Option<String> = sqlx::query_scalar("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        .fetch_optional(connection)
        .await?;
    match installed {
        Some(version) if recent(&version) => Ok(()),
        Some(version) => Err(old(&version)),
        None => Err(StoreError::Incompatible(
            "the database lacks the extension vector; run `facesocial db migrate`, or let the server migrate at its start"
                .to_owned(),
        )),
    }
}

fn old(version: &str) -> StoreError {
    StoreError::Incompatible(format!(
        "the database has pgvector {version}, and 0.8 or newer is needed; install that on the database's machine and run \
         `ALTER EXTENSION vector UPDATE`"
    ))
}

fn missing(found: Option<&str>) -> StoreError {
    let found = found.map_or_else(|| "no pgvector".to_owned(), |version| format!("pgvector {version}"));
    StoreError::Incompatible(format!(
        "this Postgres has {found}, and 0.8 or newer is needed; install it on the database's machine (package \
         postgresql-NN-pgvector, or the container image pgvector/pgvector)"
    ))
}

fn recent(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= LEAST
}

#[cfg(test)]
mod tests {
    use super::recent;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(recent("0.8.0") && recent("0.8.5") && recent("0.10.1") && recent("1.0"));
        assert!(!recent("0.7.4") && !recent("0.4") && !recent("") && !recent("x"));
    }
}

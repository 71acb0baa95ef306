//! The schema, step by step. Both backends take the same steps in the same order; see `migrations/README.md`.

use sqlx::{
    SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use crate::error::{Result, StoreError};

/// One step on both sides.
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

macro_rules! steps {
    ($($version:literal $name:literal),+ $(,)?) => {
        &[$(Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }),+]
    };
}

/// All steps, oldest first. A step that was released is never changed again.
pub(crate) const STEPS: &[Step] = steps![
    1 "0001_gallery",
    2 "0002_accounts",
    3 "0003_history_operations",
    4 "0004_job_results",
    5 "0005_half_precision_index",
    6 "0006_marks",
];

/// Where the database keeps which steps it took.
pub(crate) const TABLE: &str = "schema_migrations";

fn migrator(sql: fn(&Step) -> &'static str) -> Migrator {
    let migrations = STEPS.iter().map(|step| {
        Migration::new(step.version, step.name.into(), MigrationType::Simple, sql(step).into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Takes the steps that `connection` has not taken yet, under the database's own lock for this. The lock is gone at the
/// latest when the connection is closed.
pub(crate) async fn run<C: Migrate>(connection: &mut C, sql: fn(&Step) -> &'static str) -> Result<()> {
    migrator(sql).run_direct(None, connection, false).await.map_err(map_error)
}

/// Refuses a database that has not taken all steps, or took one that this program does not know.
pub(crate) async fn demand_current<C: Migrate>(connection: &mut C) -> Result<()> {
    let applied = applied(connection).await?;
    if let Some(unknown) = unknown(&applied) {
        return Err(newer(unknown));
    }
    match STEPS.iter().find(|step| !applied.contains(&step.version)) {
        Some(step) => Err(StoreError::Incompatible(format!(
            "the database lacks migration {}; run `facesocial db migrate`, or let the server migrate at its start",
            step.name
        ))),
        None => Ok(()),
    }
}

/// Versions of the steps that were taken.
pub(crate) async fn applied<C: Migrate>(connection: &mut C) -> Result<Vec<i64>> {
    connection.ensure_migrations_table(TABLE).await.map_err(map_error)?;
    let applied = connection.list_applied_migrations(TABLE).await.map_err(map_error)?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// Steps by number and name.
pub(crate) type Named = Vec<(i64, String)>;

/// Number and name of the steps that were taken, and of those that were not.
pub(crate) fn split(applied: &[i64]) -> (Named, Named) {
    let (done, pending): (Vec<_>, Vec<_>) = STEPS.iter().partition(|step| applied.contains(&step.version));
    let named = |steps: Vec<&Step>| steps.into_iter().map(|step| (step.version, step.name.to_owned())).collect();
    (named(done), named(pending))
}

/// A step that this program does not know.
pub(crate) fn unknown(applied: &[i64]) -> Option<i64> {
    applied.iter().copied().find(|version| STEPS.iter().all(|step| step.version != *version))
}

/// Why such a database is refused.
pub(crate) fn newer(version: i64) -> StoreError {
    StoreError::Incompatible(format!(
        "the database was migrated by a newer version of this program (migration {version} is unknown here); run that version, \
         or restore a backup"
    ))
}

fn map_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(e) => e.into(),
        MigrateError::ExecuteMigration(e, version) => match StoreError::from(e) {
            StoreError::Database(e) => {
                StoreError::Incompatible(format!("migration {version} could not be applied and was undone: {e}"))
            }
            other => other,
        },
        MigrateError::VersionMissing(version) => newer(version),
        MigrateError::VersionMismatch(version) => StoreError::Incompatible(format!(
            "migration {version} of the database is not the one that this program knows; it was made by a development version"
        )),
        other => StoreError::Incompatible(format!("the database cannot be migrated: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::STEPS;

    #[test]
    fn both_sides_have_the_same_steps_and_all_files_are_used() {
        let names = |side: &str| -> BTreeSet<String> {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(side);
            let files =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            files.map(|file| file.trim_end_matches(".sql").to_owned()).collect()
        };
        let known: BTreeSet<String> = STEPS.iter().map(|step| step.name.to_owned()).collect();
        assert_eq!(names("sqlite"), known);
        assert_eq!(names("postgres"), known);
    }

    #[test]
    fn names_begin_with_their_number_and_numbers_rise_by_one() {
        for (i, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version, i as i64 + 1);
            assert!(step.name.starts_with(&format!("{:04}_", step.version)), "{}", step.name);
        }
    }
}

//! What jobs work through and what they find, image by image. What was found is in the database before the progress says
//! so: both are one transaction.

use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};

use super::{Backend, Db, DbRow, Tx, dialect::FOR_KEY_SHARE, jobs, rows::number};
use crate::{
    error::{Result, StoreError},
    numbers::to_db,
    text::check_text,
    types::*,
};

/// Rows of one statement.
const ROWS: usize = 500;
/// Most characters of where an image lies.
const MAX_SOURCE: usize = 8192;

pub(super) async fn add_items(tx: &mut Tx, job: JobId, items: &[String]) -> Result<()> {
    for source in items {
        check_text("where an image lies", source, MAX_SOURCE)?;
    }
    for (chunk, first) in items.chunks(ROWS).zip((0..).step_by(ROWS)) {
        let mut query = QueryBuilder::<Db>::new("INSERT INTO job_items (job_id, item, source) ");
        query.push_values(chunk.iter().zip(first..), |mut row, (source, item): (&String, i64)| {
            row.push_bind(job.0).push_bind(item).push_bind(source.as_str());
        });
        // A job's last statement has a length of its own, which nobody prepares again.
        query.build().persistent(chunk.len() == ROWS).execute(tx.connection()).await?;
    }
    Ok(())
}

pub(super) async fn items(store: &Backend, id: JobId, from: u64, limit: u32) -> Result<Vec<(u64, String)>> {
    let rows =
        sqlx::query("SELECT item, source FROM job_items WHERE job_id = $1 AND item >= $2 ORDER BY item LIMIT $3")
            .bind(id.0)
            .bind(to_db(from))
            .bind(i64::from(limit))
            .fetch_all(store.pool())
            .await?;
    rows.iter().map(|row| Ok((number(row, "item")?, row.try_get("source")?))).collect()
}

pub(super) async fn add(
    store: &Backend,
    id: JobId,
    worker: &str,
    progress: &JobProgress,
    results: &[NewJobResult],
) -> Result<bool> {
    let mut tx = store.begin_write().await?;
    // First, because it holds the job: nobody cancels it or takes it over until this is done.
    if !jobs::note(&mut tx, id, worker, progress).await? {
        return Ok(false);
    }
    for result in results {
        add_one(store, &mut tx, id, result).await?;
    }
    store.commit(tx).await?;
    Ok(true)
}

async fn add_one(store: &Backend, tx: &mut Tx, id: JobId, result: &NewJobResult) -> Result<()> {
    let there = all_there(tx, &result.faces).await?;
    let (status, line) = if there {
        (result.status, store.write_image(&place(id, result.item), &result.line)?)
    } else {
        (JobResultStatus::Erased, Vec::new())
    };
    let added = sqlx::query(
        "INSERT INTO job_results (job_id, item, status, line) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (job_id, item) DO NOTHING",
    )
    .bind(id.0)
    .bind(to_db(result.item))
    .bind(status.as_str())
    .bind(line)
    .execute(tx.connection())
    .await?;
    if added.rows_affected() == 0 || !there {
        return Ok(());
    }
    for (collection, face) in &result.faces {
        sqlx::query(
            "INSERT INTO job_result_faces (job_id, item, collection_id, face_id) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (job_id, item, face_id) DO NOTHING",
        )
        .bind(id.0)
        .bind(to_db(result.item))
        .bind(collection.0)
        .bind(face.0)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// Whether no face was erased since it was found; those that are there stay until the change is made.
async fn all_there(tx: &mut Tx, faces: &[(CollectionId, FaceId)]) -> Result<bool> {
    for (collection, face) in faces {
        let sql = format!("SELECT 1 FROM faces WHERE collection_id = $1 AND id = $2{FOR_KEY_SHARE}");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(collection.0).bind(face.0);
        if query.fetch_optional(tx.connection()).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn list(store: &Backend, id: JobId, from: u64, limit: u32) -> Result<Vec<JobResult>> {
    let rows = sqlx::query(
        "SELECT item, status, line FROM job_results WHERE job_id = $1 AND item >= $2 ORDER BY item LIMIT $3",
    )
    .bind(id.0)
    .bind(to_db(from))
    .bind(i64::from(limit))
    .fetch_all(store.pool())
    .await?;
    let read = |row: &DbRow| {
        let (item, status): (u64, String) = (number(row, "item")?, row.try_get("status")?);
        let status = JobResultStatus::parse(&status)
            .ok_or_else(|| StoreError::Damaged("a result of a job has an unknown status".to_owned()))?;
        let line = match status {
            JobResultStatus::Erased => Vec::new(),
            _ => store.read_image(&place(id, item), row.try_get("line")?)?,
        };
        Ok(JobResult { item, status, line })
    };
    rows.iter().map(read).collect()
}

/// Erases what jobs found about images that show this face, whoever else they show.
pub(super) async fn forget_face(tx: &mut Tx, collection: CollectionId, face: FaceId) -> Result<()> {
    let lines = "SELECT f.job_id, f.item FROM job_result_faces f WHERE f.collection_id = $1 AND f.face_id = $2";
    let erase = format!("UPDATE job_results SET status = 'erased', line = $3 WHERE (job_id, item) IN ({lines})");
    let erased = sqlx::query(AssertSqlSafe(erase))
        .bind(collection.0)
        .bind(face.0)
        .bind(Vec::<u8>::new())
        .execute(tx.connection())
        .await?;
    if erased.rows_affected() > 0 {
        let forget = format!("DELETE FROM job_result_faces WHERE (job_id, item) IN ({lines})");
        sqlx::query(AssertSqlSafe(forget)).bind(collection.0).bind(face.0).execute(tx.connection()).await?;
        tx.leave_no_trace();
    }
    Ok(())
}

/// Where a sealed line belongs.
fn place(job: JobId, item: u64) -> String {
    format!("job\0{job}\0{item}")
}

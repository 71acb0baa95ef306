//! Keys of programs.

use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _, types::Json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Backend, DbRow, Time, dialect::FOR_UPDATE, rows::to_page, users, write::Audit};
use crate::{
    error::{Result, StoreError},
    error_map::is_taken,
    text::{MAX_NAME, check_key, check_text},
    types::*,
};

const COLUMNS: &str =
    "id, name, prefix, user_id, scopes, collections, created_at, expires_at, last_used_at, revoked_at";
/// How exactly the last use is noted: a write for each request would cost more than the request.
const LAST_USE: Duration = Duration::MINUTE;
/// How long noting the use may hold up the request.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
const MAX_SCOPES: usize = 100;

pub(super) async fn create(store: &Backend, write: &Write, new: NewApiKey) -> Result<Outcome<ApiKey>> {
    check_text("the key's name", &new.name, MAX_NAME)?;
    check_key("the key's prefix", &new.prefix)?;
    check_key("the key's hash", &new.key_hash)?;
    if new.scopes.len() > MAX_SCOPES {
        return Err(StoreError::Invalid(format!("a key has at most {MAX_SCOPES} scopes")));
    }
    new.scopes.iter().try_for_each(|scope| check_key("a scope", scope))?;

    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    if users::lock_shared(&mut tx, new.user_id).await?.is_none() {
        return Err(users::missing(new.user_id));
    }
    users::demand_collections(&mut tx, &new.collections).await?;
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: new.name,
        prefix: new.prefix,
        user_id: new.user_id,
        scopes: new.scopes,
        collections: new.collections,
        created_at: Time::now().0,
        expires_at: new.expires_at.map(|at| Time::from(at).0),
        last_used_at: None,
        revoked_at: None,
    };
    sqlx::query(
        "INSERT INTO api_keys (id, name, prefix, user_id, key_hash, scopes, collections, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(key.id.0)
    .bind(&key.name)
    .bind(&key.prefix)
    .bind(key.user_id.0)
    .bind(new.key_hash)
    .bind(Json(&key.scopes))
    .bind(Json(&key.collections))
    .bind(Time::from(key.created_at))
    .bind(key.expires_at.map(Time::from))
    .execute(tx.connection())
    .await
    .map_err(|e| {
        if is_taken(&e) {
            StoreError::Taken { kind: "key", value: key.prefix.clone(), existing: None }
        } else {
            e.into()
        }
    })?;
    let audit = Audit {
        action: "api_key.create",
        subject: Some(format!("api_key:{}", key.id)),
        details: json!({ "user": key.user_id, "scopes": key.scopes }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, key).await
}

pub(super) async fn by_hash(store: &Backend, key_hash: &str, at: OffsetDateTime) -> Result<Option<(ApiKey, User)>> {
    if check_key("the key's hash", key_hash).is_err() {
        return Ok(None);
    }
    let at = Time::from(at).0;
    let sql = format!(
        "SELECT {COLUMNS} FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(key_hash).bind(Time::from(at)).fetch_optional(store.pool()).await?;
    let Some(mut key) = row.as_ref().map(read).transpose()? else { return Ok(None) };
    let user = match users::get(store, key.user_id).await {
        Ok(user) if user.is_active => user,
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let noted_until = at - LAST_USE;
    if key.last_used_at.is_none_or(|last| last <= noted_until) {
        // The key is good even while nothing can be written, and its request does not wait for long changes of others.
        match tokio::time::timeout(PATIENCE, note_use(store, key.id, at, noted_until)).await {
            Ok(Ok(())) => key.last_used_at = Some(at),
            Ok(Err(error)) => tracing::warn!(%error, key = %key.id, "the use of a key could not be noted"),
            Err(_) => tracing::warn!(key = %key.id, "the use of a key is not noted: other changes take too long"),
        }
    }
    Ok(Some((key, user)))
}

async fn note_use(store: &Backend, id: ApiKeyId, at: OffsetDateTime, noted_until: OffsetDateTime) -> Result<()> {
    let mut tx = store.begin_write().await?;
    sqlx::query("UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)")
        .bind(id.0)
        .bind(Time::from(at))
        .bind(Time::from(noted_until))
        .execute(tx.connection())
        .await?;
    store.commit(tx).await
}

pub(super) async fn list(store: &Backend, user: Option<UserId>, page: PageRequest) -> Result<Page<ApiKey>> {
    let of_user = if user.is_some() { "AND user_id = $3" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE id > $1 {of_user} ORDER BY id LIMIT $2");
    let mut query =
        sqlx::query(AssertSqlSafe(sql)).bind(page.after.unwrap_or(Uuid::nil())).bind(i64::from(page.limit) + 1);
    if let Some(user) = user {
        query = query.bind(user.0);
    }
    let rows = query.fetch_all(store.pool()).await?;
    to_page(rows.iter().map(read), page, |key: &ApiKey| key.id.0)
}

pub(super) async fn get(store: &Backend, id: ApiKeyId) -> Result<ApiKey> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(store.pool()).await?;
    read(&row.ok_or_else(|| missing(id))?)
}

pub(super) async fn revoke(store: &Backend, write: &Write, id: ApiKeyId) -> Result<Outcome<ApiKey>> {
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
    let mut key = read(&row.ok_or_else(|| missing(id))?)?;
    // The first end counts.
    if key.revoked_at.is_none() {
        let at = Time::now().0;
        sqlx::query("UPDATE api_keys SET revoked_at = $2 WHERE id = $1")
            .bind(id.0)
            .bind(Time::from(at))
            .execute(tx.connection())
            .await?;
        key.revoked_at = Some(at);
    }
    let audit = Audit {
        action: "api_key.revoke",
        subject: Some(format!("api_key:{id}")),
        details: json!({ "user": key.user_id }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, key).await
}

fn read(row: &DbRow) -> Result<ApiKey> {
    let time =
        |column| -> Result<Option<OffsetDateTime>> { Ok(row.try_get::<Option<Time>, _>(column)?.map(|time| time.0)) };
    Ok(ApiKey {
        id: ApiKeyId(row.try_get("id")?),
        name: row.try_get("name")?,
        prefix: row.try_get("prefix")?,
        user_id: UserId(row.try_get("user_id")?),
        scopes: row.try_get::<Json<_>, _>("scopes")?.0,
        collections: row.try_get::<Json<_>, _>("collections")?.0,
        created_at: row.try_get::<Time, _>("created_at")?.0,
        expires_at: time("expires_at")?,
        last_used_at: time("last_used_at")?,
        revoked_at: time("revoked_at")?,
    })
}

fn missing(id: ApiKeyId) -> StoreError {
    StoreError::NotFound { kind: "api_key", id: id.to_string() }
}

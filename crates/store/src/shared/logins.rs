//! Logins and their refresh tokens.

use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Backend, Time, Tx,
    dialect::FOR_UPDATE,
    users,
    write::{Audit, AuditRow, insert_audit},
};
use crate::{
    error::{Result, StoreError},
    error_map::is_taken,
    text::check_key,
    types::*,
};

pub(super) async fn start(store: &Backend, write: &Write, token: NewRefreshToken) -> Result<()> {
    check_key("the token's hash", &token.token_hash)?;
    let write = &write.without_key();
    let mut tx = store.begin_write().await?;
    // Held, so that an account that is being deactivated is not logged in past it.
    let user = users::lock_shared(&mut tx, token.user_id).await?;
    if !user.ok_or_else(|| users::missing(token.user_id))?.is_active {
        return Err(StoreError::Invalid("the account is not active".to_owned()));
    }
    let now = Time::now().0;
    sqlx::query("INSERT INTO logins (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(token.login_id.0)
        .bind(token.user_id.0)
        .bind(Time::from(now))
        .bind(Time::from(token.expires_at))
        .execute(tx.connection())
        .await
        .map_err(|e| taken(e, "login", token.login_id))?;
    insert_token(&mut tx, token.login_id, &token, now).await?;
    let audit = Audit {
        action: "auth.login",
        subject: Some(format!("user:{}", token.user_id)),
        details: json!({ "login": token.login_id }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, ()).await?;
    Ok(())
}

/// Locks the account, then the login, and only then looks at the token: of two uses at once the second sees the first's,
/// and a login that is being ended gets no new token.
pub(super) async fn rotate(
    store: &Backend,
    write: &Write,
    token_hash: &str,
    next: NewRefreshToken,
    at: OffsetDateTime,
) -> Result<Rotation> {
    check_key("the token's hash", &next.token_hash)?;
    if check_key("the token's hash", token_hash).is_err() {
        return Ok(Rotation::Refused);
    }
    // Looked for outside of a change: tokens made up must not keep changes waiting.
    let found = sqlx::query(
        "SELECT t.login_id, l.user_id FROM refresh_tokens t JOIN logins l ON l.id = t.login_id WHERE t.token_hash = $1",
    )
    .bind(token_hash)
    .fetch_optional(store.pool())
    .await?;
    let Some(found) = found else { return Ok(Rotation::Refused) };
    let login = LoginId(found.try_get("login_id")?);
    let user_id = UserId(found.try_get("user_id")?);

    let write = &write.without_key();
    let mut tx = store.begin_write().await?;
    let Some(user) = users::lock_shared(&mut tx, user_id).await? else { return Ok(Rotation::Refused) };
    let sql = format!("SELECT ended_at FROM logins WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(login.0).fetch_optional(tx.connection()).await?;
    let ended = row.map(|row| row.try_get::<Option<Time>, _>("ended_at")).transpose()?;
    let row = sqlx::query("SELECT used_at, expires_at FROM refresh_tokens WHERE token_hash = $1")
        .bind(token_hash)
        .fetch_optional(tx.connection())
        .await?;
    let (Some(None), Some(row), true) = (ended, row, user.is_active) else { return Ok(Rotation::Refused) };
    if row.try_get::<Time, _>("expires_at")?.0 <= at {
        return Ok(Rotation::Refused);
    }

    if row.try_get::<Option<Time>, _>("used_at")?.is_some() {
        end_one(&mut tx, login).await?;
        let audit = AuditRow {
            actor: &write.actor,
            request_id: &write.request_id,
            action: "auth.refresh_reused",
            subject: Some(&format!("user:{user_id}")),
            collection: None,
            person: None,
            outcome: "denied",
            details: &json!({ "login": login }),
        };
        insert_audit(&mut tx, &audit).await?;
        store.commit(tx).await?;
        audit.tell();
        return Ok(Rotation::Reused(user_id));
    }

    let now = Time::now().0;
    sqlx::query("UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1")
        .bind(token_hash)
        .bind(Time::from(now))
        .execute(tx.connection())
        .await?;
    insert_token(&mut tx, login, &next, now).await?;
    sqlx::query("UPDATE logins SET expires_at = $2 WHERE id = $1")
        .bind(login.0)
        .bind(Time::from(next.expires_at))
        .execute(tx.connection())
        .await?;
    let audit = Audit {
        action: "auth.refresh",
        subject: Some(format!("user:{user_id}")),
        details: json!({ "login": login }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, ()).await?;
    Ok(Rotation::Rotated(user))
}

pub(super) async fn active(store: &Backend, login: LoginId) -> Result<bool> {
    let row = sqlx::query(
        "SELECT 1 FROM logins l JOIN users u ON u.id = l.user_id WHERE l.id = $1 AND l.ended_at IS NULL AND u.is_active",
    )
    .bind(login.0)
    .fetch_optional(store.pool())
    .await?;
    Ok(row.is_some())
}

pub(super) async fn end(store: &Backend, write: &Write, login: LoginId) -> Result<()> {
    let write = &write.without_key();
    let mut tx = store.begin_write().await?;
    // Ending what is not there, or has ended, is no change.
    if !end_one(&mut tx, login).await? {
        return Ok(());
    }
    let audit = Audit { action: "auth.logout", details: json!({ "login": login }), ..Audit::default() };
    store.finish(tx, write, audit, ()).await?;
    Ok(())
}

pub(super) async fn end_of_user(store: &Backend, write: &Write, user: UserId) -> Result<Vec<LoginId>> {
    let write = &write.without_key();
    let mut tx = store.begin_write().await?;
    let ended = end_all(&mut tx, user).await?;
    let audit = Audit {
        action: "auth.logout_all",
        subject: Some(format!("user:{user}")),
        details: json!({ "logins": ended.len() }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, ()).await?;
    Ok(ended)
}

/// Ends all logins of a user that have not ended.
pub(super) async fn end_all(tx: &mut Tx, user: UserId) -> Result<Vec<LoginId>> {
    let rows = sqlx::query("UPDATE logins SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL RETURNING id")
        .bind(user.0)
        .bind(Time::now())
        .fetch_all(tx.connection())
        .await?;
    rows.iter().map(|row| Ok(LoginId(row.try_get("id")?))).collect()
}

async fn end_one(tx: &mut Tx, login: LoginId) -> Result<bool> {
    let done = sqlx::query("UPDATE logins SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL")
        .bind(login.0)
        .bind(Time::now())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn insert_token(tx: &mut Tx, login: LoginId, token: &NewRefreshToken, now: OffsetDateTime) -> Result<()> {
    sqlx::query(
        "INSERT INTO refresh_tokens (id, login_id, token_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(Uuid::now_v7())
    .bind(login.0)
    .bind(&token.token_hash)
    .bind(Time::from(now))
    .bind(Time::from(token.expires_at))
    .execute(tx.connection())
    .await
    .map_err(|e| taken(e, "refresh token of login", login))?;
    Ok(())
}

fn taken(error: sqlx::Error, kind: &'static str, login: LoginId) -> StoreError {
    if is_taken(&error) { StoreError::Taken { kind, value: login.to_string(), existing: None } } else { error.into() }
}

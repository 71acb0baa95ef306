//! Accounts.

use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _, types::Json};
use uuid::Uuid;

use super::{
    Backend, DbRow, Time, Tx,
    dialect::{FOR_SHARE, FOR_UPDATE, lock_users},
    logins,
    rows::to_page,
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    error_map::is_taken,
    text::{MAX_KEY, MAX_NAME, check_key, check_text},
    types::*,
};

const COLUMNS: &str = "id, username, email, first_name, last_name, role, collections, is_active, is_verified, \
                       created_at, updated_at";
/// Most collections that an account or a key can be bound to.
const MAX_COLLECTIONS: usize = 1000;

pub(super) async fn count(store: &Backend) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(store.pool()).await?;
    Ok(count.max(0) as u64)
}

pub(super) async fn create(store: &Backend, write: &Write, new: NewUser) -> Result<Outcome<User>> {
    check_new(&new)?;
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let user = insert(&mut tx, new).await?;
    store.finish(tx, write, created(&user), user).await
}

/// Two processes that start at once wait for each other, and the second finds the account of the first.
pub(super) async fn create_first(store: &Backend, write: &Write, new: NewUser) -> Result<User> {
    check_new(&new)?;
    let write = &write.without_key();
    let mut tx = store.begin_write().await?;
    lock_users(&mut tx).await?;
    let any = sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(tx.connection()).await?;
    if any.is_some() {
        return Err(StoreError::Taken { kind: "first account", value: new.username, existing: None });
    }
    let user = insert(&mut tx, new).await?;
    Ok(store.finish(tx, write, created(&user), user).await?.value)
}

pub(super) async fn get(store: &Backend, id: UserId) -> Result<User> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(store.pool()).await?;
    read(&row.ok_or_else(|| missing(id))?)
}

pub(super) async fn credentials(store: &Backend, login: &str) -> Result<Credentials> {
    let unknown = || StoreError::NotFound { kind: "user", id: login.to_owned() };
    // What no account can be called need not reach the database.
    check_key("the login", login).map_err(|_| unknown())?;
    let sql = format!("SELECT {COLUMNS}, password_hash FROM users WHERE username_key = $1 OR email_key = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(fold(login)).fetch_optional(store.pool()).await?;
    let row = row.ok_or_else(unknown)?;
    Ok(Credentials { user: read(&row)?, password_hash: row.try_get("password_hash")? })
}

pub(super) async fn list(store: &Backend, page: PageRequest) -> Result<Page<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(page.after.unwrap_or(Uuid::nil()))
        .bind(i64::from(page.limit) + 1)
        .fetch_all(store.pool())
        .await?;
    to_page(rows.iter().map(read), page, |user: &User| user.id.0)
}

pub(super) async fn update(store: &Backend, write: &Write, id: UserId, change: UserChange) -> Result<Outcome<User>> {
    check_change(&change)?;
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let may_end_admin = change.is_active == Some(false) || change.role.is_some_and(|role| role != Role::Admin);
    let admins = if may_end_admin { lock_admins(&mut tx).await? } else { Vec::new() };
    let mut user = lock(&mut tx, id).await?;
    if may_end_admin {
        demand_other_admin(&admins, id)?;
    }
    let ends_logins = change.is_active == Some(false) || change.password_hash.is_some();
    let fields = changed_fields(&change);

    let email_changed = change.email.is_some();
    if let Some(email) = change.email {
        user.email = Some(email).filter(|email| !email.is_empty());
    }
    user.first_name = change.first_name.unwrap_or(user.first_name);
    user.last_name = change.last_name.unwrap_or(user.last_name);
    user.role = change.role.unwrap_or(user.role);
    user.is_active = change.is_active.unwrap_or(user.is_active);
    if let Some(collections) = change.collections {
        demand_collections(&mut tx, &collections).await?;
        user.collections = collections;
    }
    if email_changed {
        // A new address has not been confirmed.
        user.is_verified = false;
        demand_free(&mut tx, &user.username, user.email.as_deref(), id).await?;
    }
    user.updated_at = Time::now().0;

    sqlx::query(
        "UPDATE users SET email = $2, email_key = $3, first_name = $4, last_name = $5, role = $6, collections = $7, \
         is_active = $8, is_verified = $9, updated_at = $10, password_hash = COALESCE($11, password_hash) WHERE id = $1",
    )
    .bind(id.0)
    .bind(&user.email)
    .bind(user.email.as_deref().map(fold))
    .bind(&user.first_name)
    .bind(&user.last_name)
    .bind(user.role.as_str())
    .bind(Json(&user.collections))
    .bind(user.is_active)
    .bind(user.is_verified)
    .bind(Time::from(user.updated_at))
    .bind(change.password_hash)
    .execute(tx.connection())
    .await
    .map_err(|e| taken(e, &user.username, user.email.as_deref()))?;
    if ends_logins {
        logins::end_all(&mut tx, id).await?;
    }
    let audit = Audit {
        action: "user.update",
        subject: Some(format!("user:{id}")),
        details: json!({ "changed": fields }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, user).await
}

pub(super) async fn delete(store: &Backend, write: &Write, id: UserId) -> Result<Outcome<()>> {
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let admins = lock_admins(&mut tx).await?;
    let user = lock(&mut tx, id).await?;
    demand_other_admin(&admins, id)?;
    // Requests stay counted, without the one who made them.
    sqlx::query(
        "UPDATE api_usage SET actor_id = NULL, address = NULL \
         WHERE actor_id = $1 OR actor_id IN (SELECT id FROM api_keys WHERE user_id = $1)",
    )
    .bind(id.0)
    .execute(tx.connection())
    .await?;
    // The recorded answers that tell of the account, and those to its own requests.
    sqlx::query("UPDATE idempotency_keys SET outcome = NULL WHERE collection_id IS NULL AND subject = $1")
        .bind(format!("user:{id}"))
        .execute(tx.connection())
        .await?;
    sqlx::query("DELETE FROM idempotency_keys WHERE principal = $1")
        .bind(Actor { kind: ActorKind::User, id: Some(id.0), address: None }.principal())
        .execute(tx.connection())
        .await?;
    sqlx::query("DELETE FROM users WHERE id = $1").bind(id.0).execute(tx.connection()).await?;
    let audit = Audit {
        action: "user.delete",
        subject: Some(format!("user:{id}")),
        details: json!({ "role": user.role }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, ()).await
}

/// An account, held against other changes until the transaction ends.
async fn lock(tx: &mut Tx, id: UserId) -> Result<User> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
    read(&row.ok_or_else(|| missing(id))?)
}

/// An account if it is there, held against changes until the transaction ends; several transactions may hold it so.
pub(super) async fn lock_shared(tx: &mut Tx, id: UserId) -> Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1{FOR_SHARE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
    row.as_ref().map(read).transpose()
}

/// Active administrators. Taken before any other row and always in the same order: two changes that end one each must not
/// both see the other's still there, nor wait for each other.
async fn lock_admins(tx: &mut Tx) -> Result<Vec<UserId>> {
    let sql = format!("SELECT id FROM users WHERE role = 'admin' AND is_active ORDER BY id{FOR_UPDATE}");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(tx.connection()).await?;
    rows.iter().map(|row| Ok(UserId(row.try_get("id")?))).collect()
}

fn demand_other_admin(admins: &[UserId], id: UserId) -> Result<()> {
    if admins == [id] {
        return Err(StoreError::Invalid(
            "this is the last active administrator; make another account an administrator first".to_owned(),
        ));
    }
    Ok(())
}

async fn insert(tx: &mut Tx, new: NewUser) -> Result<User> {
    let now = Time::now().0;
    let user = User {
        id: UserId::new(),
        username: new.username,
        email: new.email.filter(|email| !email.is_empty()),
        first_name: new.first_name,
        last_name: new.last_name,
        role: new.role,
        collections: new.collections,
        is_active: true,
        is_verified: false,
        created_at: now,
        updated_at: now,
    };
    demand_collections(tx, &user.collections).await?;
    demand_free(tx, &user.username, user.email.as_deref(), user.id).await?;
    sqlx::query(
        "INSERT INTO users (id, username, username_key, email, email_key, password_hash, first_name, last_name, role, \
         collections, is_active, is_verified, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)",
    )
    .bind(user.id.0)
    .bind(&user.username)
    .bind(fold(&user.username))
    .bind(&user.email)
    .bind(user.email.as_deref().map(fold))
    .bind(new.password_hash)
    .bind(&user.first_name)
    .bind(&user.last_name)
    .bind(user.role.as_str())
    .bind(Json(&user.collections))
    .bind(user.is_active)
    .bind(user.is_verified)
    .bind(Time::from(now))
    .execute(tx.connection())
    .await
    .map_err(|e| taken(e, &user.username, user.email.as_deref()))?;
    Ok(user)
}

/// Nobody else may have the user name or the address, neither as the one nor as the other: a login names its account by
/// either.
async fn demand_free(tx: &mut Tx, username: &str, email: Option<&str>, id: UserId) -> Result<()> {
    let (username_key, email_key) = (fold(username), email.map(fold));
    let others = sqlx::query(
        "SELECT username_key, email_key FROM users \
         WHERE id <> $1 AND (username_key IN ($2, $3) OR email_key IN ($2, $3))",
    )
    .bind(id.0)
    .bind(&username_key)
    .bind(&email_key)
    .fetch_all(tx.connection())
    .await?;
    if others.is_empty() {
        return Ok(());
    }
    for other in &others {
        let theirs: (String, Option<String>) = (other.try_get("username_key")?, other.try_get("email_key")?);
        if theirs.0 == username_key || theirs.1.as_ref() == Some(&username_key) {
            return Err(StoreError::Taken { kind: "username", value: username.to_owned(), existing: None });
        }
    }
    Err(StoreError::Taken { kind: "email", value: email.unwrap_or_default().to_owned(), existing: None })
}

/// Being bound to a collection that is not there would be noticed only when nothing is found.
pub(super) async fn demand_collections(tx: &mut Tx, ids: &[CollectionId]) -> Result<()> {
    if ids.len() > MAX_COLLECTIONS {
        return Err(StoreError::Invalid(format!("at most {MAX_COLLECTIONS} collections can be named")));
    }
    for id in ids {
        let there =
            sqlx::query("SELECT 1 FROM collections WHERE id = $1").bind(id.0).fetch_optional(tx.connection()).await?;
        if there.is_none() {
            return Err(StoreError::NotFound { kind: "collection", id: id.to_string() });
        }
    }
    Ok(())
}

pub(super) fn read(row: &DbRow) -> Result<User> {
    let role: String = row.try_get("role")?;
    Ok(User {
        id: UserId(row.try_get("id")?),
        username: row.try_get("username")?,
        email: row.try_get("email")?,
        first_name: row.try_get("first_name")?,
        last_name: row.try_get("last_name")?,
        role: Role::parse(&role).ok_or_else(|| StoreError::Damaged("an account has an unknown role".to_owned()))?,
        collections: row.try_get::<Json<_>, _>("collections")?.0,
        is_active: row.try_get("is_active")?,
        is_verified: row.try_get("is_verified")?,
        created_at: row.try_get::<Time, _>("created_at")?.0,
        updated_at: row.try_get::<Time, _>("updated_at")?.0,
    })
}

pub(super) fn missing(id: UserId) -> StoreError {
    StoreError::NotFound { kind: "user", id: id.to_string() }
}

/// The form in which names are compared. By the server, because SQLite folds ASCII only and Postgres by its locale.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

fn taken(error: sqlx::Error, username: &str, email: Option<&str>) -> StoreError {
    if !is_taken(&error) {
        return error.into();
    }
    let (kind, value) = match email {
        Some(email) if error.to_string().contains("email_key") => ("email", email),
        _ => ("username", username),
    };
    StoreError::Taken { kind, value: value.to_owned(), existing: None }
}

fn created(user: &User) -> Audit {
    Audit {
        action: "user.create",
        subject: Some(format!("user:{}", user.id)),
        details: json!({ "role": user.role }),
        ..Audit::default()
    }
}

fn changed_fields(change: &UserChange) -> Vec<&'static str> {
    [
        ("email", change.email.is_some()),
        ("first_name", change.first_name.is_some()),
        ("last_name", change.last_name.is_some()),
        ("role", change.role.is_some()),
        ("collections", change.collections.is_some()),
        ("is_active", change.is_active.is_some()),
        ("password", change.password_hash.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, changed)| changed.then_some(field))
    .collect()
}

fn check_new(new: &NewUser) -> Result<()> {
    check_key("the user name", &new.username)?;
    check_text("the email address", new.email.as_deref().unwrap_or_default(), MAX_KEY)?;
    check_text("the first name", &new.first_name, MAX_NAME)?;
    check_text("the last name", &new.last_name, MAX_NAME)?;
    check_key("the password's hash", &new.password_hash)
}

fn check_change(change: &UserChange) -> Result<()> {
    check_text("the email address", change.email.as_deref().unwrap_or_default(), MAX_KEY)?;
    check_text("the first name", change.first_name.as_deref().unwrap_or_default(), MAX_NAME)?;
    check_text("the last name", change.last_name.as_deref().unwrap_or_default(), MAX_NAME)?;
    change.password_hash.as_deref().map_or(Ok(()), |hash| check_key("the password's hash", hash))
}

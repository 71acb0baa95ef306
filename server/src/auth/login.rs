//! Logging in, staying in, logging out, and the first account.

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use facesocial_store::{
    Actor, ActorKind, LoginId, NewRefreshToken, NewUser, Role, Rotation, StoreError, User, UserChange, UserId, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Account, Authorized, audit, login_group, names,
    passwords::{Checked, Password, check_new},
    throttle,
    tokens::{digest, random},
};
use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{RequestInfo, parse_json, read_body},
    routing::{get, post},
    state::State,
};

/// How every refresh token begins.
const REFRESH_PREFIX: &str = "fsr_";

pub(super) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(get("/auth/status", status))
        .service(post("/auth/setup", setup))
        .service(post("/auth/login", login))
        .service(post("/auth/refresh", refresh))
        .service(post("/auth/logout", logout));
}

/// What a client that logged in gets.
#[derive(Debug, Serialize)]
struct LoggedIn {
    access_token: String,
    token_type: &'static str,
    /// Seconds that the access token is good for.
    expires_in: u64,
    refresh_token: String,
    /// Seconds within which the refresh token must be used.
    refresh_expires_in: u64,
    user: User,
}

/// What a client needs to know before it shows who it is.
#[derive(Debug, Serialize)]
struct Status {
    /// Whether requests need an account or a key.
    required: bool,
    /// Whether the first account is still to be made, which `/auth/setup` tells anybody who tries as well.
    setup: bool,
}

/// `GET /auth/status`.
async fn status(state: web::Data<State>) -> ApiResult<web::Json<Status>> {
    // Before the database is open it is not known whether there is an account.
    state.store()?;
    Ok(web::Json(Status { required: state.auth.enabled, setup: state.auth.setup.is_open() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupBody {
    token: String,
    username: String,
    password: Password,
    email: Option<String>,
}

/// `POST /auth/setup`: the first account, an administrator.
async fn setup(
    state: web::Data<State>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let body: SetupBody = body(&req, payload, &state).await?;
    let address = address(&req);
    let over = || {
        let detail = "the first account is made already, or authentication is off; an administrator makes further ones";
        ApiError::new(Code::AlreadyExists, detail)
    };
    if !state.auth.setup.is_open() {
        return Err(over());
    }
    throttle::attempt(&state, None, address).await?;
    let actor = anonymous(address);
    if !state.auth.setup.is(&body.token) {
        let entry = audit::entry(actor, &info, "auth.setup", "failed", json!({}));
        state.store()?.audit(entry).await?;
        let detail = "the token is not the one that the server printed when it was started last";
        return Err(ApiError::new(Code::Unauthenticated, detail));
    }
    names::username(&body.username)?;
    body.email.as_deref().map(names::email).transpose()?;
    let new = NewUser {
        username: body.username,
        email: body.email,
        password_hash: state.auth.passwords.hash(body.password).await?,
        first_name: String::new(),
        last_name: String::new(),
        role: Role::Admin,
        collections: Vec::new(),
    };
    let made = state.store()?.create_first_user(&write(actor, &info), new).await;
    if matches!(made, Ok(_) | Err(StoreError::Taken { .. })) {
        state.auth.setup.end();
    }
    match made {
        Ok(user) => Ok(HttpResponse::build(StatusCode::CREATED).json(user)),
        Err(StoreError::Taken { .. }) => Err(over()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    /// User name or email address.
    username: String,
    password: Password,
}

/// `POST /auth/login`.
async fn login(
    state: web::Data<State>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<LoggedIn>> {
    let LoginBody { username, password } = body(&req, payload, &state).await?;
    let address = address(&req);
    if let Err(error) = throttle::attempt(&state, Some(&username), address).await {
        failed(&state, &info, address, None, "too many attempts").await?;
        return Err(error);
    }
    let store = state.store()?;
    // A name that no account can have is not looked up; it still costs the time of a wrong password.
    let known = if username.len() > 254 || username.contains('\0') {
        None
    } else {
        match store.credentials(&username).await {
            Ok(known) => Some(known),
            Err(StoreError::NotFound { .. } | StoreError::Invalid(_)) => None,
            Err(error) => return Err(error.into()),
        }
    };
    let (user, hash) = known.map(|known| (known.user, known.password_hash)).unzip();
    let checked = state.auth.passwords.verify(password, hash).await?;
    let (Checked::Right(rehashed), Some(user)) = (checked, user.as_ref().filter(|user| user.is_active)) else {
        failed(&state, &info, address, user.as_ref(), "wrong name or password").await?;
        return Err(ApiError::new(Code::Unauthenticated, "the user name or the password is wrong"));
    };
    throttle::succeeded(&state, &username, address).await;
    let write = write(Actor { kind: ActorKind::User, id: Some(user.id.0), ..anonymous(address) }, &info);
    if rehashed.is_some() {
        store.update_user(&write, user.id, UserChange { password_hash: rehashed, ..UserChange::default() }).await?;
    }
    let login = LoginId::new();
    let (token, next) = refresh_token(&state, login, user.id)?;
    store.start_login(&write, next).await?;
    logged_in(&state, user.clone(), login, token).map(web::Json)
}

/// Notes a login that failed. Where that cannot be noted, there is no answer but that the store is down.
async fn failed(
    state: &State,
    info: &RequestInfo,
    address: Option<IpAddr>,
    user: Option<&User>,
    reason: &str,
) -> ApiResult<()> {
    // What was typed as a name may be a password; only the account that it named is noted.
    let mut entry = audit::entry(anonymous(address), info, "auth.login", "failed", json!({ "reason": reason }));
    entry.subject = user.map(|user| format!("user:{}", user.id));
    Ok(state.store()?.audit(entry).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    refresh_token: String,
}

/// `POST /auth/refresh`: the next pair of tokens. Each refresh token serves once; a second use ends the login.
async fn refresh(
    state: web::Data<State>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<LoggedIn>> {
    let body: RefreshBody = body(&req, payload, &state).await?;
    let address = address(&req);
    let refused = || ApiError::new(Code::Unauthenticated, "the refresh token is not valid any more; log in again");
    let login = login_of(&body.refresh_token).ok_or_else(refused)?;
    // The account is nobody's: the store takes it, like the login, from the token that is replaced.
    let (token, next) = refresh_token(&state, login, UserId(Uuid::nil()))?;
    let write = write(anonymous(address), &info);
    let used = digest(&body.refresh_token);
    match state.store()?.rotate_refresh_token(&write, &used, next, OffsetDateTime::now_utc()).await? {
        Rotation::Rotated(user) => logged_in(&state, user, login, token).map(web::Json),
        Rotation::Reused(_) => {
            state.cache().revoke(&login_group(login), state.auth.access_ttl).await;
            Err(refused())
        }
        Rotation::Refused => Err(refused()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogoutBody {
    /// Whether every login of the account ends.
    all: bool,
}

/// `POST /auth/logout`: ends the login of the access token, or with `{"all": true}` every login of the account.
async fn logout(
    auth: Authorized<Account>,
    state: web::Data<State>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let with_body = req.headers().contains_key(actix_web::http::header::CONTENT_TYPE);
    let LogoutBody { all } = if with_body { body(&req, payload, &state).await? } else { LogoutBody::default() };
    let (Some(login), Some(user)) = (auth.principal.login(), auth.principal.user_id()) else {
        return Err(ApiError::invalid("only a login can be ended; a key is ended with DELETE /api/v1/keys/{id}"));
    };
    let store = state.store()?;
    let write = write(auth.principal.actor(), &info);
    let ended = if all {
        store.end_logins(&write, user).await?
    } else {
        store.end_login(&write, login).await?;
        vec![login]
    };
    for login in ended {
        state.cache().revoke(&login_group(login), state.auth.access_ttl).await;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// A new refresh token. It names its login; the stored digest is over both, so that neither can be exchanged.
fn refresh_token(state: &State, login: LoginId, user: UserId) -> ApiResult<(String, NewRefreshToken)> {
    let token = format!("{REFRESH_PREFIX}{}.{}", login.0.simple(), random()?);
    let expires_at = OffsetDateTime::now_utc() + state.auth.refresh_ttl;
    let stored = NewRefreshToken { login_id: login, user_id: user, token_hash: digest(&token), expires_at };
    Ok((token, stored))
}

/// The login that a refresh token names.
fn login_of(token: &str) -> Option<LoginId> {
    let (login, _) = token.strip_prefix(REFRESH_PREFIX)?.split_once('.')?;
    login.parse().ok()
}

fn logged_in(state: &State, user: User, login: LoginId, refresh_token: String) -> ApiResult<LoggedIn> {
    let auth = &state.auth;
    Ok(LoggedIn {
        access_token: auth.tokens()?.access(user.id, user.role, login, auth.access_ttl)?,
        token_type: "Bearer",
        expires_in: auth.access_ttl.as_secs(),
        refresh_token,
        refresh_expires_in: auth.refresh_ttl.as_secs(),
        user,
    })
}

/// A small JSON body.
pub(super) async fn body<T: serde::de::DeserializeOwned>(
    req: &HttpRequest,
    payload: web::Payload,
    state: &State,
) -> ApiResult<T> {
    let (bytes, _memory) = read_body(req, payload, state, 0).await?;
    parse_json(&bytes)
}

pub(super) fn address(req: &HttpRequest) -> Option<IpAddr> {
    req.peer_addr().map(|peer| peer.ip().to_canonical())
}

fn anonymous(address: Option<IpAddr>) -> Actor {
    Actor { kind: ActorKind::Anonymous, id: None, address: address.map(|a| a.to_string()) }
}

fn write(actor: Actor, info: &RequestInfo) -> Write {
    Write { actor, request_id: info.id.clone(), idempotency: None }
}

/// Checks the own password before something that only the owner may change.
///
/// # Errors
/// [`Code::Forbidden`] if it is wrong; too many attempts.
pub(super) async fn confirm(
    state: &State,
    info: &RequestInfo,
    req: &HttpRequest,
    username: &str,
    password: Option<Password>,
) -> ApiResult<()> {
    let password = password.ok_or_else(|| {
        ApiError::new(Code::MissingField, "send current_password to change the password or the email")
    })?;
    throttle::attempt(state, Some(username), address(req)).await?;
    let known = state.store()?.credentials(username).await?;
    if let Checked::Right(_) = state.auth.passwords.verify(password, Some(known.password_hash)).await? {
        return Ok(());
    }
    failed(state, info, address(req), Some(&known.user), "wrong current password").await?;
    Err(ApiError::new(Code::Forbidden, "current_password is wrong"))
}

/// The hash of a new password, if there is one.
pub(super) async fn new_hash(state: &State, password: Option<Password>) -> ApiResult<Option<String>> {
    let Some(password) = password else { return Ok(None) };
    check_new(&password)?;
    state.auth.passwords.hash(password).await.map(Some)
}

//! All accounts, for administrators.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use facesocial_store::{CollectionId, NewUser, Role, User, UserChange, UserId};
use serde::Deserialize;
use serde_json::json;

use super::{Authorized, Users, login, names, passwords::Password};
use crate::{
    error::{ApiError, ApiResult},
    extract::{Fields, Fingerprint, IdempotencyKey, Listed, RequestInfo, changed, gone, page_request, write},
    routing::resource,
    state::State,
};

pub(super) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(resource("/users", "GET and POST", [web::get().to(list), web::post().to(create)])).service(resource(
        "/users/{id}",
        "GET, PATCH and DELETE",
        [web::get().to(show), web::patch().to(change), web::delete().to(delete)],
    ));
}

/// `GET /users`.
async fn list(_: Authorized<Users>, state: web::Data<State>, req: HttpRequest) -> ApiResult<web::Json<Listed<User>>> {
    let page = page_request(&Fields::of_query(&req)?)?;
    Ok(web::Json(Listed::of(state.store()?.users(page).await?, |user| user)))
}

/// `GET /users/{id}`.
async fn show(_: Authorized<Users>, state: web::Data<State>, id: web::Path<UserId>) -> ApiResult<web::Json<User>> {
    Ok(web::Json(state.store()?.user(*id).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    username: String,
    password: Password,
    email: Option<String>,
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
    role: Role,
    /// Identifiers of collections that the account is bound to; none for all.
    #[serde(default)]
    collections: Vec<CollectionId>,
}

/// `POST /users`.
async fn create(
    auth: Authorized<Users>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let body: New = login::body(&req, payload, &state).await?;
    names::username(&body.username)?;
    body.email.as_deref().map(names::email).transpose()?;
    names::display("first_name", &body.first_name)?;
    names::display("last_name", &body.last_name)?;
    known(&state, &body.collections).await?;
    let names = [Some(&body.username), body.email.as_ref(), Some(&body.first_name), Some(&body.last_name)];
    let fingerprint = fingerprint(&req, &json!([names, body.role, body.collections]));
    let new = NewUser {
        password_hash: state.auth.passwords.hash(body.password).await?,
        username: body.username,
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        role: body.role,
        collections: body.collections,
    };
    let made = state.store()?.create_user(&write(&auth.principal, &info, &key, fingerprint), new).await?;
    Ok(changed(StatusCode::CREATED, made, |user| user))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Change {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    password: Option<Password>,
    role: Option<Role>,
    collections: Option<Vec<CollectionId>>,
    is_active: Option<bool>,
}

/// `PATCH /users/{id}`. Role and collections count at once, also for those who are logged in.
async fn change(
    auth: Authorized<Users>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    id: web::Path<UserId>,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let body: Change = login::body(&req, payload, &state).await?;
    let own = auth.principal.user_id() == Some(*id);
    if own && (body.role.is_some_and(|role| role != Role::Admin) || body.is_active == Some(false)) {
        return Err(ApiError::invalid("an administrator cannot take its own rights away; another one can"));
    }
    names::new_email(body.email.as_deref())?;
    for (field, name) in [("first_name", &body.first_name), ("last_name", &body.last_name)] {
        name.as_deref().map(|name| names::display(field, name)).transpose()?;
    }
    known(&state, body.collections.as_deref().unwrap_or_default()).await?;
    let names = [&body.email, &body.first_name, &body.last_name];
    let asked = json!([names, body.password.is_some(), body.role, body.collections, body.is_active]);
    let fingerprint = fingerprint(&req, &asked);
    let change = UserChange {
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        role: body.role,
        collections: body.collections,
        is_active: body.is_active,
        password_hash: login::new_hash(&state, body.password).await?,
    };
    let write = write(&auth.principal, &info, &key, fingerprint);
    Ok(changed(StatusCode::OK, state.store()?.update_user(&write, *id, change).await?, |user| user))
}

/// `DELETE /users/{id}`: the account with its keys and logins.
async fn delete(
    auth: Authorized<Users>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    id: web::Path<UserId>,
    req: HttpRequest,
) -> ApiResult<HttpResponse> {
    if auth.principal.user_id() == Some(*id) {
        return Err(ApiError::invalid("an administrator cannot delete its own account; another one can"));
    }
    let write = write(&auth.principal, &info, &key, Fingerprint::of(&req).finish());
    Ok(gone(&state.store()?.delete_user(&write, *id).await?))
}

/// Refuses collections that do not exist.
pub(super) async fn known(state: &State, collections: &[CollectionId]) -> ApiResult<()> {
    for id in collections {
        state.store()?.collection_by_id(*id).await?;
    }
    Ok(())
}

/// Passwords are no part of it: a digest of one would be stored, and is easier to guess than a key.
fn fingerprint(req: &HttpRequest, body: &serde_json::Value) -> String {
    Fingerprint::of(req).part("body", body.to_string()).finish()
}

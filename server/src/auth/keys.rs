//! Keys of programs. A key is shown once, when it is made.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use facesocial_store::{ApiKey, ApiKeyId, CollectionId, NewApiKey, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Authorized, Keys, Principal,
    account::own,
    login, names,
    permission::ALL,
    tokens::{api_key, digest},
    users::known,
};
use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Fingerprint, IdempotencyKey, Listed, RequestInfo, changed, page_request, write},
    routing::resource,
    state::State,
};

/// Most collections that one key is bound to.
const MAX_COLLECTIONS: usize = 100;

pub(super) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(resource("/keys", "GET and POST", [web::get().to(list), web::post().to(create)])).service(resource(
        "/keys/{id}",
        "GET and DELETE",
        [web::get().to(show), web::delete().to(revoke)],
    ));
}

/// `GET /keys`: one's own; with `all=true`, for administrators, everybody's.
async fn list(
    auth: Authorized<Keys>,
    state: web::Data<State>,
    req: HttpRequest,
) -> ApiResult<web::Json<Listed<ApiKey>>> {
    let query = Fields::of_query(&req)?;
    let all = query.flag("all")?.unwrap_or(false);
    if all && auth.principal.role() != Role::Admin {
        return Err(ApiError::new(Code::Forbidden, "only an administrator may list everybody's keys"));
    }
    let user = if all { None } else { Some(own(&auth.principal)?) };
    Ok(web::Json(Listed::of(state.store()?.api_keys(user, page_request(&query)?).await?, |key| key)))
}

/// `GET /keys/{id}`.
async fn show(
    auth: Authorized<Keys>,
    state: web::Data<State>,
    id: web::Path<ApiKeyId>,
) -> ApiResult<web::Json<ApiKey>> {
    Ok(web::Json(find(&state, &auth.principal, *id).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    scopes: Vec<String>,
    /// Identifiers of collections that the key is bound to; none for all of its user's.
    #[serde(default)]
    collections: Vec<CollectionId>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

/// A key that was just made.
#[derive(Debug, Serialize)]
struct Made {
    /// The key itself; null when the answer is repeated, because it is not stored.
    key: Option<String>,
    #[serde(flatten)]
    stored: ApiKey,
}

/// `POST /keys`.
async fn create(
    auth: Authorized<Keys>,
    state: web::Data<State>,
    info: RequestInfo,
    idempotency: IdempotencyKey,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let user_id = own(&auth.principal)?;
    let body: New = login::body(&req, payload, &state).await?;
    check(&body, &auth.principal)?;
    known(&state, &body.collections).await?;
    let asked = json!([body.name, body.scopes, body.collections, body.expires_at.map(OffsetDateTime::unix_timestamp)]);
    let fingerprint = Fingerprint::of(&req).part("body", asked.to_string()).finish();
    let (key, prefix) = api_key()?;
    let new = NewApiKey {
        name: body.name,
        prefix,
        key_hash: digest(&key),
        user_id,
        scopes: body.scopes,
        collections: body.collections,
        expires_at: body.expires_at,
    };
    let write = write(&auth.principal, &info, &idempotency, fingerprint);
    let made = state.store()?.create_api_key(&write, new).await?;
    let key = (!made.replayed).then_some(key);
    Ok(changed(StatusCode::CREATED, made, |stored| Made { key, stored }))
}

/// A key may do nothing that its maker may not.
fn check(body: &New, principal: &Principal) -> ApiResult<()> {
    names::display("name", &body.name)?;
    if body.name.trim().is_empty() {
        return Err(ApiError::invalid("name is empty; say what the key is for"));
    }
    if body.scopes.is_empty() {
        return Err(ApiError::invalid("scopes is empty; name at least one permission"));
    }
    for (at, scope) in body.scopes.iter().enumerate() {
        let known = ALL.iter().find(|(name, _)| name == scope);
        let (name, least) = known.ok_or_else(|| {
            let allowed: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
            ApiError::invalid(format!("scopes[{at}] is no permission; allowed are {}", allowed.join(", ")))
        })?;
        if !principal.has(name, *least) {
            return Err(ApiError::new(
                Code::Forbidden,
                format!("a key cannot have the permission {name}, which its maker lacks"),
            ));
        }
    }
    if body.collections.len() > MAX_COLLECTIONS {
        return Err(ApiError::invalid(format!("collections has more than {MAX_COLLECTIONS} entries")));
    }
    if let Some(id) = body.collections.iter().find(|id| !principal.may_see(**id)) {
        // As if it did not exist.
        return Err(ApiError::new(Code::CollectionNotFound, format!("there is no collection \"{id}\"")));
    }
    if body.expires_at.is_some_and(|end| end <= OffsetDateTime::now_utc()) {
        return Err(ApiError::invalid("expires_at is in the past"));
    }
    Ok(())
}

/// `DELETE /keys/{id}`: the key serves no more; it stays in the list.
async fn revoke(
    auth: Authorized<Keys>,
    state: web::Data<State>,
    info: RequestInfo,
    idempotency: IdempotencyKey,
    id: web::Path<ApiKeyId>,
    req: HttpRequest,
) -> ApiResult<HttpResponse> {
    find(&state, &auth.principal, *id).await?;
    let write = write(&auth.principal, &info, &idempotency, Fingerprint::of(&req).finish());
    Ok(changed(StatusCode::OK, state.store()?.revoke_api_key(&write, *id).await?, |key| key))
}

/// A key of one's own; an administrator's, any.
async fn find(state: &State, principal: &Principal, id: ApiKeyId) -> ApiResult<ApiKey> {
    let key = state.store()?.api_key(id).await?;
    if principal.role() == Role::Admin || principal.user_id() == Some(key.user_id) {
        return Ok(key);
    }
    Err(ApiError::new(Code::ResourceNotFound, format!("there is no key \"{id}\"")))
}

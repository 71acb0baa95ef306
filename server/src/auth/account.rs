//! One's own account.

use actix_web::{HttpRequest, web};
use facesocial_store::{User, UserChange, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Account, Authorized, Principal, login, names,
    passwords::Password,
    permission::{ALL, role_has},
};
use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{Fingerprint, IdempotencyKey, RequestInfo, write},
    routing::resource,
    state::State,
};

pub(super) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(resource("/account", "GET and PATCH", [web::get().to(show), web::patch().to(change)]));
}

/// The account, and what the token or key that asks may do with it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    user: User,
    permissions: Vec<&'static str>,
}

impl Shown {
    fn of(user: User, principal: &Principal) -> Self {
        let had = ALL.iter().filter(|(name, least)| role_has(user.role, *least) && principal.has(name, *least));
        Self { permissions: had.map(|(name, _)| *name).collect(), user }
    }
}

/// `GET /account`.
async fn show(auth: Authorized<Account>, state: web::Data<State>) -> ApiResult<web::Json<Shown>> {
    let user = state.store()?.user(own(&auth.principal)?).await?;
    Ok(web::Json(Shown::of(user, &auth.principal)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Change {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    password: Option<Password>,
    /// Needed to change password or email.
    current_password: Option<Password>,
}

/// `PATCH /account`. A new password ends every login of the account.
async fn change(
    auth: Authorized<Account>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<Shown>> {
    let id = own(&auth.principal)?;
    let body: Change = login::body(&req, payload, &state).await?;
    names::new_email(body.email.as_deref())?;
    for (field, name) in [("first_name", &body.first_name), ("last_name", &body.last_name)] {
        name.as_deref().map(|name| names::display(field, name)).transpose()?;
    }
    let store = state.store()?;
    let user = store.user(id).await?;
    if body.password.is_some() || body.email.is_some() {
        login::confirm(&state, &info, &req, &user.username, body.current_password).await?;
    }
    // The password is no part of the digest: it would be stored, and is easier to guess than a key.
    let asked = json!([body.email, body.first_name, body.last_name, body.password.is_some()]).to_string();
    let fingerprint = Fingerprint::of(&req).part("body", asked).finish();
    let change = UserChange {
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        password_hash: login::new_hash(&state, body.password).await?,
        ..UserChange::default()
    };
    let changed = store.update_user(&write(&auth.principal, &info, &key, fingerprint), id, change).await?;
    Ok(web::Json(Shown::of(changed.value, &auth.principal)))
}

/// The account of who asks.
pub(super) fn own(principal: &Principal) -> ApiResult<UserId> {
    let none = || ApiError::new(Code::ResourceNotFound, "the caller has no account of its own");
    principal.user_id().ok_or_else(none)
}

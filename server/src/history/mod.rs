//! Stored analyses: what is kept of one, and how its owner finds and deletes it.

mod record;

use actix_web::{HttpResponse, http::header, web};
use facesocial_store::{Outcome, Role, Session, SessionDetail, SessionId, StoreError, UserId};

pub use self::record::session;
use crate::{
    auth::{HistoryRead, HistoryWrite, Permission, Principal, permission::role_has},
    cached,
    error::{ApiError, ApiResult, Code},
    extract::{Listed, gone},
    gallery::{ask::Ask, names},
    routing::{get, resource},
};

/// Adds the paths, relative to `/api/v1`.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(get("/sessions", list))
        .service(resource("/sessions/{id}", "GET and DELETE", [web::get().to(show), web::delete().to(delete)]))
        .service(get("/sessions/{id}/image", image));
}

/// Whose analyses the caller sees: everybody's if `None`.
fn owner(principal: &Principal) -> ApiResult<Option<UserId>> {
    if role_has(principal.role(), Role::Operator) {
        return Ok(None);
    }
    let nobody = || ApiError::new(Code::Forbidden, "only accounts and their keys have stored analyses of their own");
    principal.user_id().map(Some).ok_or_else(nobody)
}

/// `GET /api/v1/sessions`: one's own; from operators on, all.
async fn list(ask: Ask<HistoryRead>) -> ApiResult<web::Json<Listed<Session>>> {
    let principal = ask.principal();
    let page = ask.store()?.sessions(owner(principal)?, principal.collections(), ask.page()?).await?;
    Ok(web::Json(Listed::of(page, |session| session)))
}

/// An analysis that the caller may see. Of one that it may not, the existence is not told.
async fn find<P: Permission>(ask: &Ask<P>, id: &str) -> ApiResult<SessionDetail> {
    let id = SessionId(names::uuid("session", id)?);
    let (principal, found) = (ask.principal(), ask.store()?.session(id).await?);
    let owner = owner(principal)?;
    let visible = found.session.collection_id.is_none_or(|collection| principal.may_see(collection));
    if visible && owner.is_none_or(|user| found.session.user_id == Some(user)) {
        Ok(found)
    } else {
        Err(StoreError::NotFound { kind: "session", id: id.to_string() }.into())
    }
}

/// `GET /api/v1/sessions/{id}`, with its faces.
async fn show(ask: Ask<HistoryRead>, id: web::Path<String>) -> ApiResult<web::Json<SessionDetail>> {
    Ok(web::Json(find(&ask, &id).await?))
}

/// `GET /api/v1/sessions/{id}/image`, where images are kept.
async fn image(ask: Ask<HistoryRead>, id: web::Path<String>) -> ApiResult<HttpResponse> {
    let found = find(&ask, &id).await?;
    let image = ask.store()?.session_image(found.session.id).await?;
    let (media_type, bytes) = image.ok_or_else(|| {
        let detail = "the photo of this analysis is not kept; the server keeps photos only with --store-images";
        ApiError::new(Code::ResourceNotFound, detail)
    })?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, media_type)).body(bytes))
}

/// `DELETE /api/v1/sessions/{id}`.
async fn delete(ask: Ask<HistoryWrite>, id: web::Path<String>) -> ApiResult<HttpResponse> {
    let write = ask.bare_write();
    let first: Option<Outcome<()>> = ask.replayed(&write).await?;
    if let Some(first) = first {
        return Ok(gone(&first));
    }
    let session = find(&ask, &id).await?.session;
    let outcome = ask.store()?.delete_session(&write, session.id).await?;
    cached::forget(&ask.state, [&session.image_hash]).await;
    Ok(gone(&outcome))
}

//! What people may ask of whoever keeps their faces: everything that is kept about them, and who did what with it.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use facesocial_store::{AuditEntry, Collection, FaceId, NewAudit, PersonExport};
use facesocial_types::ModelId;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    auth::{Audit, Authorized, Embeddings, Privacy},
    error::ApiResult,
    extract::Listed,
    gallery::Ask,
    routing::get,
};

/// Adds the paths of export and audit trail, under `/api/v1`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(get("/collections/{name}/persons/{id}/export", export)).service(get("/audit", trail));
}

/// Everything about one person.
#[derive(Debug, Serialize)]
struct Export {
    #[serde(flatten)]
    person: PersonExport,
    /// Pictures of the faces, where they are kept.
    crops: Vec<Crop>,
}

/// A kept picture of a face.
#[derive(Debug, Serialize)]
struct Crop {
    face_id: FaceId,
    media_type: &'static str,
    /// In base64.
    image: String,
}

async fn export(
    ask: Ask<Privacy>,
    _: Authorized<Embeddings>,
    path: web::Path<(String, String)>,
) -> ApiResult<HttpResponse> {
    let (collection, person) = path.into_inner();
    let collection = ask.collection(&collection).await?;
    let person = ask.person(&collection, &person).await?;
    let exported = ask.store()?.export_person(collection.id, person.id).await?;
    let crops = crops(&ask, &collection, &exported).await?;
    // Before the answer: nobody takes a person's data along unseen.
    let entry = NewAudit {
        actor: ask.principal().actor(),
        request_id: ask.info.id.clone(),
        action: "person.export".to_owned(),
        subject: Some(format!("person:{}", person.id)),
        collection_id: Some(collection.id),
        outcome: "ok".to_owned(),
        details: json!({ "faces": exported.faces.len(), "history": exported.history.len() }),
    };
    ask.store()?.audit(entry).await?;
    let name = format!("attachment; filename=\"person-{}.json\"", person.id);
    let body = Export { person: exported, crops };
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_DISPOSITION, name)).json(body))
}

async fn crops(ask: &Ask<Privacy>, collection: &Collection, exported: &PersonExport) -> ApiResult<Vec<Crop>> {
    // No face has an embedding by this model, so that each is found with its crop.
    let none = ModelId::new("none", "export");
    let mut crops = Vec::new();
    for face in exported.faces.iter().map(|f| &f.face).filter(|f| f.has_crop) {
        let before = face.id.0.as_u128().checked_sub(1).map(|id| FaceId(Uuid::from_u128(id)));
        let found = ask.store()?.faces_without(collection.id, &none, before, 1).await?;
        if let Some((id, Some(image))) = found.into_iter().next().filter(|(id, _)| *id == face.id) {
            let media_type = if image.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" };
            crops.push(Crop { face_id: id, media_type, image: BASE64_STANDARD.encode(image) });
        }
    }
    Ok(crops)
}

/// The audit trail, newest first.
async fn trail(ask: Ask<Audit>) -> ApiResult<web::Json<Listed<AuditEntry>>> {
    let page = ask.store()?.audit_trail(ask.page()?).await?;
    Ok(web::Json(Listed::of(page, |entry| entry)))
}

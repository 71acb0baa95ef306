//! Asking for a job of analyses over HTTP.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, Bytes},
};
use futures_util::stream;

use super::{holds_embeddings, request::Request, results::Lines};
use crate::{
    auth::{Embeddings, Jobs},
    error::{ApiError, ApiResult},
    extract::{Fields, Fingerprint, parse_json, read_body},
    gallery::Ask,
    jobs::{
        api::{accepted, find},
        import::receive_form,
    },
};

/// `POST /jobs`: a form with an archive in `file`, or JSON with a folder or addresses in `source`.
pub(in crate::jobs) async fn start(ask: Ask<Jobs>, payload: web::Payload) -> ApiResult<HttpResponse> {
    let media_type = ask.req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (request, archive, write) = if media_type.to_ascii_lowercase().starts_with("multipart/") {
        let (archive, fields) = receive_form(&ask.state, &ask.req, payload).await?;
        let print = Fingerprint::of(&ask.req).part("archive", &archive.sha256);
        let print = fields.sorted().into_iter().fold(print, |print, (name, text)| print.part(name, text));
        (Request::of_form(&fields)?, Some(archive), ask.write(print.finish()))
    } else {
        // Ten thousand addresses are no small body; they are counted as an image is.
        let (bytes, _memory) = read_body(&ask.req, payload, &ask.state, 1).await?;
        let print = Fingerprint::of(&ask.req).part("body", &bytes).finish();
        (parse_json::<Request>(&bytes)?, None, ask.write(print))
    };
    if let Some(outcome) = ask.replayed(&write).await? {
        return Ok(accepted(&ask, outcome));
    }
    let new = request.check(&ask, archive.as_ref()).await?;
    let outcome = ask.store()?.create_job(&write, new).await?;
    if let Some(archive) = archive.filter(|_| !outcome.replayed) {
        archive.keep();
    }
    Ok(accepted(&ask, outcome))
}

/// `GET /jobs/{id}/results`: what was found so far, a line of JSON for each image in the order of the input, from line
/// `from` on, at most `limit`.
pub(in crate::jobs) async fn results(ask: Ask<Jobs>, path: web::Path<String>) -> ApiResult<HttpResponse> {
    let job = find(&ask, &path).await?;
    if job.kind != crate::jobs::Kind::Analyze.as_str() {
        return Err(ApiError::invalid("only jobs of the kind analyze have results by the line; see the job itself"));
    }
    if holds_embeddings(&job) {
        // The job may be somebody else's, and the key not the one that it was begun with.
        ask.principal().require::<Embeddings>()?;
    }
    let query = Fields::of_query(&ask.req)?;
    let from = query.number("from", 0..=u64::from(u32::MAX))?.unwrap_or(0);
    let limit = query.number("limit", 1..=u64::from(u32::MAX))?;
    let lines = Lines { state: ask.state.clone(), job: job.id, next: from, left: limit };
    // The first page is read before the answer begins, so that a database that is away is told as such.
    let (first, rest) = lines.page().await?;
    let rest = stream::unfold(rest, |at| async move {
        let lines = at?;
        match lines.page().await {
            Ok((page, _)) if page.is_empty() => None,
            Ok((page, rest)) => Some((Ok(page), rest)),
            // The answer ends without its end, so that nobody takes it for whole.
            Err(error) => Some((Err(error), None)),
        }
    });
    let body = futures_util::StreamExt::chain(stream::iter([Ok::<Bytes, ApiError>(first)]), rest);
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(body))
}

//! What other servers of this system ask: which networks run here, and what these say of crops and photos. Served on a
//! service's own port alone, and only where there is a secret that the servers know each other by.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};
use facesocial_pipeline::ClientId;
use facesocial_types::{ModelId, Service};
use facesocial_upstream::{CLIENT, NETWORKS, TIME_LEFT};
use serde_json::{Value, json};

use crate::{
    auth::Internal,
    config::{Limits, Role},
    error::{ApiError, ApiResult, Code},
    extract::read_bytes,
    pool,
    routing::{get, post},
    state::State,
};

/// Bytes of a pixel.
const PIXEL: usize = 3;
/// Bytes of a question that are no pixels, at most.
const OVERHEAD: usize = 1 << 20;
/// Bytes of a question's crops that are always taken, however small photos must be.
const CROPS: usize = 32 << 20;
/// What a question is.
const MEDIA_TYPE: &str = "application/octet-stream";

/// Adds the paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(get(NETWORKS, networks)).service(post(&format!("{NETWORKS}/{{name}}"), answer));
}

/// Whether a path is one of these.
pub fn is_internal(path: &str) -> bool {
    path.strip_prefix(NETWORKS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `GET /internal/v1/networks`: the networks that run here for the listener's service.
async fn networks(_: Internal, state: web::Data<State>, req: HttpRequest) -> ApiResult<web::Json<Value>> {
    let service = service(&req)?;
    let networks = state.ready()?.pipeline.engine().networks_of(service);
    let entry = |id: &ModelId| json!({ "name": id.name(), "version": id.version() });
    Ok(web::Json(json!({ "service": service.as_str(), "networks": networks.iter().map(entry).collect::<Vec<_>>() })))
}

/// `POST /internal/v1/networks/{name}`: what the network says of a question's items.
async fn answer(
    _: Internal,
    state: web::Data<State>,
    name: web::Path<String>,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (service, name) = (service(&req)?, name.into_inner());
    // A server that is about to stop takes nothing new: whoever asks has others to ask.
    let runs = state.ready()?.pipeline.engine().networks_of(service);
    if !runs.iter().any(|id| id.name() == name) {
        return Err(other_network(&runs));
    }
    let media_type = req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    if media_type != Some(MEDIA_TYPE) {
        return Err(ApiError::new(Code::UnsupportedMediaType, "a question is sent as application/octet-stream"));
    }
    let (client, time) = (client(&req)?, time_left(&req, state.limits.request_timeout)?);
    let question = read_bytes(&req, payload, &state, most_bytes(&state.limits), time).await?;
    let answer = pool::on_behalf_of_client(client, state.answer(service, name, question, time)).await?;
    Ok(HttpResponse::Ok().content_type(MEDIA_TYPE).body(answer))
}

/// Bytes of a question at most: a whole photo, as pixels.
fn most_bytes(limits: &Limits) -> usize {
    let photo = usize::try_from(limits.pixels).unwrap_or(usize::MAX).saturating_mul(PIXEL);
    photo.max(CROPS).saturating_add(OVERHEAD)
}

fn other_network(runs: &[ModelId]) -> ApiError {
    let runs: Vec<String> = runs.iter().map(ModelId::to_string).collect();
    let runs = if runs.is_empty() { "none of its networks".to_owned() } else { runs.join(", ") };
    ApiError::new(Code::ModelMismatch, format!("the service runs {runs} here"))
}

/// The service of the listener.
fn service(req: &HttpRequest) -> ApiResult<Service> {
    match req.app_data::<Role>() {
        Some(Role::Service(service)) => Ok(*service),
        _ => Err(ApiError::new(Code::NotFound, "networks are asked on their service's own port")),
    }
}

/// On whose behalf: clients of one gateway take turns here as they do there.
fn client(req: &HttpRequest) -> ApiResult<ClientId> {
    let Some(value) = req.headers().get(CLIENT) else { return Ok(ClientId::of("service")) };
    let number = value.to_str().ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.map(ClientId::from_number).ok_or_else(|| ApiError::invalid(format!("{CLIENT} is no number in hex")))
}

/// Within which time the answer is of use, at most as long as this server takes.
fn time_left(req: &HttpRequest, most: Duration) -> ApiResult<Duration> {
    let Some(value) = req.headers().get(TIME_LEFT) else { return Ok(most) };
    let left = value.to_str().ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    match left {
        None => Err(ApiError::invalid(format!("{TIME_LEFT} is no number of milliseconds"))),
        Some(Duration::ZERO) => Err(ApiError::new(Code::DeadlineExceeded, "the time for the answer is over")),
        Some(left) => Ok(left.min(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_paths_are_those_alone() {
        assert!(is_internal(NETWORKS) && is_internal(&format!("{NETWORKS}/mtcnn")));
        for other in ["/", "/internal", "/internal/v1", "/internal/v1/networksx", "/api/internal/v1/networks"] {
            assert!(!is_internal(other), "{other}");
        }
    }
}

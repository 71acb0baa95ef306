//! Around every request: its id, one log line, the headers that protect a browser, errors in one form.

pub mod access;
pub mod cors;
pub mod rate;

use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use facesocial_store::NewApiUsage;
use tracing::Instrument;

use crate::{
    auth::Identity,
    config::Role,
    error::{ApiError, Code},
    extract::RequestInfo,
    held::Held,
    metrics::{Answered, OneMore},
    state::State,
    telemetry,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The middleware.
///
/// # Errors
/// Only what fails before a service is chosen; handlers' errors become problem documents here.
pub async fn envelope(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let client_id = req.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let info = RequestInfo::begin(client_id);
    req.extensions_mut().insert(info.clone());
    let span = tracing::info_span!("request", request_id = info.id);
    #[cfg(feature = "otel")]
    telemetry::traces::continue_trace(&span, req.headers());
    let body = Held::take(&mut req);
    let tls = req.app_data::<web::Data<State>>().is_some_and(|state| state.tls);
    let _under_way = begin(&req);
    // The request itself must not be kept here: the router needs it for itself alone.
    let answer = next.call(req).instrument(span).await.map_err(|error| ApiError::of(&error))?;
    let (mut response, problem) = as_problem(answer.map_into_boxed_body(), &info);
    decorate(response.headers_mut(), &info, tls);
    note(&response, problem, &info);
    Ok(body.until_sent(response))
}

/// Counts the request until it is answered.
fn begin(req: &ServiceRequest) -> Option<OneMore> {
    let (state, role) = (req.app_data::<web::Data<State>>()?, req.app_data::<Role>()?);
    Some(state.metrics.request_begins(*role))
}

/// An error of any kind as a problem with the request's id, and its code; other answers pass.
fn as_problem(answer: ServiceResponse<BoxBody>, info: &RequestInfo) -> (ServiceResponse, Option<Code>) {
    let status = answer.status();
    let error = match answer.response().error() {
        Some(error) => Some(ApiError::of(error)),
        // The framework's own refusals come without a body.
        None if status.is_client_error() || status.is_server_error() => {
            let bare = !answer.headers().contains_key(header::CONTENT_TYPE);
            bare.then(|| ApiError::by_status(status))
        }
        None => None,
    };
    let Some(error) = error else { return (answer, None) };
    let mut problem = error.response(Some(&info.id));
    carry(answer.headers(), problem.headers_mut());
    (answer.into_response(problem), Some(error.code))
}

/// What a browser needs to show an error to its page, and what is left of a limit, hold for an error as well.
fn carry(from: &header::HeaderMap, to: &mut header::HeaderMap) {
    for (name, value) in from {
        let kept = ["access-control-", "ratelimit-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        if kept || *name == header::VARY {
            to.append(name.clone(), value.clone());
        }
    }
}

fn decorate(headers: &mut header::HeaderMap, info: &RequestInfo, tls: bool) {
    if let Ok(id) = HeaderValue::from_str(&info.id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers speak of people's faces: no cache keeps them. The console's files, which speak of nobody, say so themselves.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // A browser that came over TLS once does not come without it for a year. Over plain HTTP, this is the proxy's to say.
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// Counts a request, with one line and one row: nothing of what was sent but its method and the pattern of its path.
fn note(response: &ServiceResponse<BoxBody>, problem: Option<Code>, info: &RequestInfo) {
    let (request, status, took) = (response.request(), response.status(), info.started.elapsed());
    let route = request.match_pattern();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let state = request.app_data::<web::Data<State>>();
    if let Some(state) = state {
        if let Some(role) = request.app_data::<Role>() {
            let method = request.method().as_str();
            let (role, status) = (*role, status.as_u16());
            state.metrics.answered(&Answered { role, route: route.as_deref(), method, status, problem, took });
            if request.method() == Method::POST
                && let Some(counters) = state.counters(role)
            {
                counters.add(took);
            }
        }
        // Probes, and whatever else is not for somebody in particular, are no use of the API.
        if let (Some(identity), Some(route)) = (request.extensions().get::<Identity>(), &route) {
            state.usage.add(NewApiUsage {
                endpoint: route.clone(),
                method: request.method().to_string(),
                actor: identity.actor(),
                request_size_bytes: content_length(request.headers()),
                response_size_bytes: match response.response().body().size() {
                    BodySize::Sized(bytes) => bytes,
                    BodySize::None | BodySize::Stream => 0,
                },
                response_status: status.as_u16(),
                processing_time_ms: duration_ms,
            });
        }
    }
    if !state.is_none_or(|state| state.access_log) {
        return;
    }
    tracing::info!(
        target: telemetry::ACCESS,
        method = request.method().as_str(),
        route = route.as_deref().unwrap_or("unmatched"),
        status = status.as_u16(),
        duration_ms,
        request_id = info.id,
        "request"
    );
}

fn content_length(headers: &header::HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0)
}

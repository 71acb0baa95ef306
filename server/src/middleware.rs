//! Around every request: its id, one log line, the headers that protect a browser, errors in one form.

use actix_web::{
    Error, HttpMessage,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use tracing::Instrument;

use crate::{config::Role, error::ApiError, extract::RequestInfo, held::Held, state::State};

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
    let body = Held::take(&mut req);
    // The request itself must not be kept here: the router needs it for itself alone.
    let answer = next.call(req).instrument(span).await.map_err(|error| ApiError::of(&error))?;
    let mut response = as_problem(answer.map_into_boxed_body(), &info);
    decorate(response.headers_mut(), &info);
    log(response.request(), response.status(), &info);
    Ok(body.until_sent(response))
}

/// An error of any kind as a problem with the request's id; other answers pass.
fn as_problem(answer: ServiceResponse<BoxBody>, info: &RequestInfo) -> ServiceResponse {
    let status = answer.status();
    let problem = match answer.response().error() {
        Some(error) => Some(ApiError::of(error).response(Some(&info.id))),
        // The framework's own refusals come without a body.
        None if status.is_client_error() || status.is_server_error() => {
            let bare = !answer.headers().contains_key(header::CONTENT_TYPE);
            bare.then(|| ApiError::by_status(status).response(Some(&info.id)))
        }
        None => None,
    };
    match problem {
        Some(problem) => answer.into_response(problem),
        None => answer,
    }
}

fn decorate(headers: &mut header::HeaderMap, info: &RequestInfo) {
    if let Ok(id) = HeaderValue::from_str(&info.id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers speak of people's faces: no cache keeps them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}

/// One line per request: nothing of what was sent but its method and the pattern of its path.
fn log(request: &actix_web::HttpRequest, status: StatusCode, info: &RequestInfo) {
    let took = info.started.elapsed();
    if request.method() == Method::POST
        && let (Some(state), Some(role)) = (request.app_data::<web::Data<State>>(), request.app_data::<Role>())
        && let Some(counters) = state.counters(*role)
    {
        counters.add(took);
    }
    let route = request.match_pattern();
    tracing::info!(
        method = request.method().as_str(),
        route = route.as_deref().unwrap_or("unmatched"),
        status = status.as_u16(),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        request_id = info.id,
        "request"
    );
}

//! `GET /metrics`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web,
};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::{access::Reader, json, read, scope::Scope};
use crate::{
    config::Role,
    error::{ApiError, ApiResult},
    extract::Fields,
    state::State,
};

/// The forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The original gateway's.
    Json,
    /// Prometheus' text.
    Prometheus,
}

/// `GET /metrics?format=json|prometheus&scope=own|all`.
///
/// # Errors
/// An unknown format or scope.
pub async fn metrics(_: Reader, req: HttpRequest, state: web::Data<State>) -> ApiResult<HttpResponse> {
    let role = req.app_data::<Role>().copied();
    let query = Fields::of_query(&req)?;
    let format = match query.get("format") {
        Some("json") => Format::Json,
        Some("prometheus") => Format::Prometheus,
        Some(_) => return Err(ApiError::invalid("format is neither json nor prometheus")),
        None if role == Some(Role::Gateway) && !accepts_text(req.headers()) => Format::Json,
        None => Format::Prometheus,
    };
    let own = role.map_or(Scope::All, |role| Scope::Own { role, roles: state.roles.clone() });
    let scope = match query.get("scope") {
        None | Some("own") => own,
        Some("all") => Scope::All,
        Some(_) => return Err(ApiError::invalid("scope is neither own nor all")),
    };
    match format {
        Format::Json => Ok(HttpResponse::Ok().json(json::report(&state))),
        Format::Prometheus => text(&state, &scope).await,
    }
}

/// [`metrics`] where nobody is asked who they are: everything of the process, as text.
///
/// # Errors
/// A reading panicked.
pub async fn open(state: web::Data<State>) -> ApiResult<HttpResponse> {
    text(&state, &Scope::All).await
}

async fn text(state: &web::Data<State>, scope: &Scope) -> ApiResult<HttpResponse> {
    let families = scope.of(read::gather(state).await?);
    let text = TextEncoder::new().encode_to_string(&families).map_err(|e| ApiError::internal(&e))?;
    Ok(HttpResponse::Ok().content_type(TEXT_FORMAT).body(text))
}

/// Whether Prometheus asks: it names its text format with a version, or its successor.
fn accepts_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        match parts.next().as_deref() {
            Some("application/openmetrics-text") => true,
            Some("text/plain") => parts.any(|parameter| parameter.starts_with("version=")),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn prometheus_is_known_by_what_it_accepts_and_browsers_are_not() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            accepts_text(&headers)
        };
        assert!(of("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                    text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(of("text/plain; version=0.0.4"));
        for other in ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain", "application/json"] {
            assert!(!of(other), "{other}");
        }
        assert!(!accepts_text(&HeaderMap::new()));
    }
}

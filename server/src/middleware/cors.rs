//! Which pages of other origins may ask from a browser.

use actix_cors::Cors;
use actix_web::http::{Method, header};

/// How long a browser may remember the answer, in seconds.
const REMEMBERED: usize = 600;

/// Allows `origins` and nobody else. Credentials come in headers, never in cookies.
pub fn allow(origins: &[String]) -> Cors {
    let cors = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    cors.allowed_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT])
        .allowed_header("x-api-key")
        .allowed_header("x-request-id")
        .allowed_header("idempotency-key")
        .expose_headers([
            "x-request-id",
            "retry-after",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "idempotency-replayed",
        ])
        .max_age(REMEMBERED)
}

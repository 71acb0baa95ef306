//! Who asks, and since when.

use std::{
    future::{Ready, ready},
    time::Instant,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use uuid::Uuid;

use crate::error::ApiError;

/// Longest request id taken from a client.
const MAX_ID: usize = 64;

/// The request's id and the time it arrived.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// The client's id where it is sane, otherwise a new one.
    pub id: String,
    /// When the head of the request was read.
    pub started: Instant,
}

impl RequestInfo {
    /// A request that begins now.
    pub fn begin(client_id: Option<&str>) -> Self {
        let sane = |id: &&str| {
            (1..=MAX_ID).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let id = client_id.filter(sane).map_or_else(|| format!("req_{}", Uuid::new_v4().simple()), str::to_owned);
        Self { id, started: Instant::now() }
    }

    /// Seconds since the request arrived.
    pub fn seconds(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e4).round() / 1e4
    }

    /// Time since the request arrived, as `<n>ms`.
    pub fn elapsed_ms(&self) -> String {
        format!("{}ms", self.started.elapsed().as_millis())
    }
}

impl FromRequest for RequestInfo {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = req.extensions().get::<Self>().cloned();
        ready(Ok(known.unwrap_or_else(|| Self::begin(None))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_of_the_client_is_kept_and_any_other_replaced() {
        assert_eq!(RequestInfo::begin(Some("order-17.a_b")).id, "order-17.a_b");
        for odd in ["", "a b", "x\r\nSet-Cookie: y", "é", &"a".repeat(65)] {
            assert!(RequestInfo::begin(Some(odd)).id.starts_with("req_"), "{odd:?}");
        }
        assert_ne!(RequestInfo::begin(None).id, RequestInfo::begin(None).id);
    }
}

//! The client's key that makes a repeated change harmless, and what tells a repetition from another request.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder,
    dev::Payload,
    http::{StatusCode, header::HeaderName},
};
use facesocial_store::{Idempotency, Outcome, Write};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    auth::Principal,
    error::{ApiError, ApiResult},
    extract::RequestInfo,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set on the first answer that is given again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const MAX_KEY: usize = 255;

/// The header `Idempotency-Key`, if there is one.
#[derive(Debug, Clone, Default)]
pub struct IdempotencyKey(pub Option<String>);

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut given = req.headers().get_all(KEY);
        ready(match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => checked(value.as_bytes()).map(|key| Self(Some(key))),
            (Some(_), Some(_)) => Err(ApiError::invalid("the request has more than one Idempotency-Key; send one")),
        })
    }
}

fn checked(key: &[u8]) -> ApiResult<String> {
    let fine = (1..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let wrong = || {
        let allowed = format!("1 to {MAX_KEY} visible ASCII characters, such as a UUID");
        ApiError::invalid(format!("the Idempotency-Key is not one of the allowed: {allowed}"))
    };
    fine.then(|| String::from_utf8_lossy(key).into_owned()).ok_or_else(wrong)
}

/// What a request asks for, as a digest: method, path, and whatever parts of the body are added.
#[derive(Debug, Clone, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of a request whose body is not read yet.
    pub fn of(req: &HttpRequest) -> Self {
        Self(Sha256::new()).part("method", req.method().as_str()).part("path", req.path())
    }

    /// With a part of the body.
    #[must_use]
    pub fn part(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        // Lengths keep neighbouring parts apart.
        for bytes in [name.as_bytes(), value] {
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// The digest, hex.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a change by `principal` carries into the store.
pub fn write(principal: &Principal, info: &RequestInfo, key: &IdempotencyKey, fingerprint: String) -> Write {
    Write {
        actor: principal.actor(),
        request_id: info.id.clone(),
        idempotency: key.0.clone().map(|key| Idempotency { key, fingerprint }),
    }
}

/// The answer to a change; of a repetition it says so.
pub fn changed<T, B: Serialize>(status: StatusCode, outcome: Outcome<T>, body: impl FnOnce(T) -> B) -> HttpResponse {
    let mut response = builder(status, outcome.replayed);
    response.json(body(outcome.value))
}

/// The answer to a change that leaves nothing to tell.
pub fn gone<T>(outcome: &Outcome<T>) -> HttpResponse {
    builder(StatusCode::NO_CONTENT, outcome.replayed).finish()
}

/// The head of an answer to a change.
pub fn builder(status: StatusCode, replayed: bool) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn key(values: &[&str]) -> ApiResult<Option<String>> {
        let request = values.iter().fold(TestRequest::default(), |r, v| r.append_header((KEY, *v)));
        IdempotencyKey::from_request(&request.to_http_request(), &mut Payload::None).into_inner().map(|k| k.0)
    }

    #[test]
    fn a_key_is_one_visible_word() {
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["7f0c-1"]), Ok(Some("7f0c-1".to_owned())));
        assert_eq!(key(&[&"k".repeat(255)]).unwrap().unwrap().len(), 255);
        for odd in [&[""] as &[&str], &["two words"], &[&"k".repeat(256)], &["a", "b"]] {
            assert!(key(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn fingerprints_tell_requests_apart() {
        let of = |path: &str| Fingerprint::of(&TestRequest::post().uri(path).to_http_request());
        assert_eq!(of("/a").part("x", "1").finish(), of("/a").part("x", "1").finish());
        assert_eq!(of("/a").finish().len(), 64);
        let others = [of("/b").part("x", "1"), of("/a").part("x", "2"), of("/a"), of("/a").part("x1", "")];
        for other in others {
            assert_ne!(other.finish(), of("/a").part("x", "1").finish());
        }
        let deleting = Fingerprint::of(&TestRequest::delete().uri("/a").to_http_request());
        assert_ne!(deleting.finish(), of("/a").finish());
    }
}

//! Who may read the figures: operators, and whoever has the token for it.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    auth::{Authorized, Operate},
    config::Secret,
    error::ApiError,
};

/// Where the figures are.
pub const PATH: &str = "/metrics";

/// The token that opens the figures and nothing else. Kept as its digest, so that comparing tells nothing of it.
#[derive(Debug, Clone)]
pub struct ScrapeToken([u8; 32]);

/// The request showed the [`ScrapeToken`]; left in it by the middleware.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown;

impl ScrapeToken {
    /// Of the token's text.
    pub fn new(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose().as_bytes()).into())
    }

    /// Whether a request shows it, as `Authorization: Bearer TOKEN`.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let shown = value.to_str().ok().and_then(|text| text.split_once(' '));
        let bearer = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        bearer.is_some_and(|(_, token)| Sha256::digest(token.trim().as_bytes())[..].ct_eq(&self.0).into())
    }
}

/// Whoever may read the figures.
#[derive(Debug, Clone, Copy)]
pub struct Reader;

impl FromRequest for Reader {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if req.extensions().get::<Shown>().is_some() {
            return ready(Ok(Self));
        }
        ready(Authorized::<Operate>::from_request(req, payload).into_inner().map(|_| Self))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_shown_once_and_whole_or_not_at_all() {
        let token = ScrapeToken::new(&Secret::new("0123456789abcdef"));
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            token.is_shown(&headers)
        };
        assert!(shown(&["Bearer 0123456789abcdef"]) && shown(&["bearer  0123456789abcdef"]));
        for wrong in [
            &[] as &[&str],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789abcdef0"],
            &["Basic 0123456789abcdef"],
            &["0123456789abcdef"],
            &["Bearer 0123456789abcdef", "Bearer x"],
        ] {
            assert!(!shown(wrong), "{wrong:?}");
        }
    }
}

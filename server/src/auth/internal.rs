//! What the servers of one system know each other by: tokens of their own kind and of a secret of their own, good for nothing
//! but questions to networks; and no other token is good for those.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web,
};
use facesocial_upstream::Credentials;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{hs256, tokens::is_ahead};
use crate::{
    error::{ApiError, ApiResult, Code},
    state::State,
};

/// Who issues the tokens, and whom they are for.
const ISSUER: &str = "facesocial-internal";
const AUDIENCE: &str = "facesocial-internal";
/// Seconds that a token is good for: one question.
const TTL: i64 = 60;
/// Seconds that clocks of several machines may differ by.
const LEEWAY: i64 = 30;
/// Longest token that is looked at.
const MAX_LENGTH: usize = 1024;

/// Signs and checks the tokens.
pub struct InternalTokens {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
}

impl InternalTokens {
    /// Signs and checks with `secret`.
    pub fn new(secret: &[u8]) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.leeway = LEEWAY.unsigned_abs();
        Self { signing: EncodingKey::from_secret(secret), checking: DecodingKey::from_secret(secret), validation }
    }

    /// A token for one question.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn sign(&self) -> ApiResult<String> {
        let iat = OffsetDateTime::now_utc().unix_timestamp();
        let (iss, aud, sub) = (ISSUER.to_owned(), AUDIENCE.to_owned(), "gateway".to_owned());
        let claims = Claims { iss, aud, sub, iat, exp: iat + TTL };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(|e| ApiError::internal(&e))
    }

    /// Whether a server of this system made the token, a moment ago.
    pub fn is_good(&self, token: &str) -> bool {
        let found = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation);
        // One that is good for long, or from the future, was not made here.
        found.is_ok_and(|data| !is_ahead(data.claims.iat) && data.claims.exp.saturating_sub(data.claims.iat) <= TTL)
    }
}

/// What upstreams show.
pub fn credentials(tokens: Arc<InternalTokens>) -> Credentials {
    Arc::new(move || tokens.sign().ok())
}

/// The request comes from a server of this system. First among a handler's arguments, so that a request is refused before its
/// body is read.
#[derive(Debug, Clone, Copy)]
pub struct Internal;

impl FromRequest for Internal {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let tokens = req.app_data::<web::Data<State>>().and_then(|state| state.internal.clone());
        let good = tokens.is_some_and(|tokens| token(req.headers()).is_some_and(|token| tokens.is_good(token)));
        ready(if good { Ok(Self) } else { Err(refused()) })
    }
}

fn refused() -> ApiError {
    let detail = "this path is for the other servers of this system, and the request shows no good token of theirs";
    ApiError::new(Code::Unauthenticated, detail)
}

/// The one token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
    (token.len() <= MAX_LENGTH).then_some(token)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::tokens::Tokens;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn forged(change: &Value, algorithm: Algorithm, secret: &[u8]) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "gateway", "iat": now, "exp": now + TTL });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        hs256::forged(&claims, algorithm, secret)
    }

    #[test]
    fn only_a_fresh_token_of_the_same_secret_is_good() {
        let tokens = InternalTokens::new(SECRET);
        assert!(tokens.is_good(&tokens.sign().unwrap()));
        assert!(tokens.is_good(&forged(&json!({}), Algorithm::HS256, SECRET)));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        for (change, algorithm, secret) in [
            (json!({}), Algorithm::HS256, b"another secret, as long as needed" as &[u8]),
            (json!({}), Algorithm::HS512, SECRET),
            (json!({ "aud": "facesocial" }), Algorithm::HS256, SECRET),
            (json!({ "aud": "facesocial-service" }), Algorithm::HS256, SECRET),
            (json!({ "iss": "facesocial" }), Algorithm::HS256, SECRET),
            (json!({ "iat": now - 200, "exp": now - 140 }), Algorithm::HS256, SECRET),
            (json!({ "iat": now + 120, "exp": now + 120 + TTL }), Algorithm::HS256, SECRET),
            (json!({ "exp": now + 3600 }), Algorithm::HS256, SECRET),
            (json!({ "exp": null }), Algorithm::HS256, SECRET),
        ] {
            assert!(!tokens.is_good(&forged(&change, algorithm, secret)), "{change} {algorithm:?}");
        }
        for odd in ["", ".", "a.b.c", "\0"] {
            assert!(!tokens.is_good(odd), "{odd}");
        }
    }

    #[test]
    fn neither_kind_of_token_is_good_for_the_other_even_under_one_secret() {
        let (internal, public) = (InternalTokens::new(SECRET), Tokens::new(SECRET));
        assert!(!internal.is_good(&public.service("gateway").unwrap()));
        assert!(public.check(&internal.sign().unwrap()).is_err());
    }
}

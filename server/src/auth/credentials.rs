//! From a request's credentials to who asks.

use std::net::IpAddr;

use actix_web::{
    dev::ServiceRequest,
    http::header::{self, HeaderMap, HeaderName},
};
use facesocial_store::{ActorKind, StoreError};
use time::OffsetDateTime;

use super::{
    Principal,
    authorized::unauthenticated,
    login_group,
    tokens::{AccessClaims, Claims, KEY_PREFIX, digest, invalid},
};
use crate::{
    error::{ApiError, ApiResult, Code},
    state::State,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest token or key that is looked at.
const MAX_LENGTH: usize = 4096;

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Credentials {
    Token(String),
    Key(String),
}

/// Whether a request shows any credentials, good or not.
pub(crate) fn present(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY)
}

/// Address of the client, as far as the connection tells.
pub(crate) fn address(req: &ServiceRequest) -> Option<IpAddr> {
    req.peer_addr().map(|peer| peer.ip().to_canonical())
}

/// Who asks.
///
/// # Errors
/// [`Code::Unauthenticated`] without good credentials; [`Code::StoreUnavailable`] if that cannot be found out.
pub(crate) async fn identify(state: &State, headers: &HeaderMap, address: Option<IpAddr>) -> ApiResult<Principal> {
    if !state.auth.enabled {
        return Ok(Principal::anonymous(address));
    }
    match credentials(headers)? {
        Credentials::Key(key) => of_key(state, &key, address).await,
        Credentials::Token(token) => match state.auth.tokens()?.check(&token)? {
            Claims::Access(claims) => of_login(state, &claims, address).await,
            Claims::Service(_) => Ok(Principal::of_service(address)),
        },
    }
}

fn credentials(headers: &HeaderMap) -> ApiResult<Credentials> {
    let one = |name| {
        let mut values = headers.get_all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let text = value.to_str().map(str::trim).ok().filter(|t| (1..=MAX_LENGTH).contains(&t.len()));
                text.map(Some).ok_or_else(invalid)
            }
            (Some(_), Some(_)) => Err(several()),
        }
    };
    let (authorization, key) = (one(header::AUTHORIZATION)?, one(API_KEY)?);
    match (authorization, key) {
        (None, None) => Err(unauthenticated()),
        (Some(_), Some(_)) => Err(several()),
        (None, Some(key)) => Ok(Credentials::Key(key.to_owned())),
        (Some(authorization), None) => {
            let bearer = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = bearer.map(|(_, token)| token.trim()).ok_or_else(unauthenticated)?;
            // Clients that know only one header may show their key in it.
            let kind = if token.starts_with(KEY_PREFIX) { Credentials::Key } else { Credentials::Token };
            Ok(kind(token.to_owned()))
        }
    }
}

fn several() -> ApiError {
    ApiError::new(Code::Unauthenticated, "the request has several tokens or keys; send one")
}

async fn of_key(state: &State, key: &str, address: Option<IpAddr>) -> ApiResult<Principal> {
    if !key.starts_with(KEY_PREFIX) {
        return Err(invalid());
    }
    let found = state.store()?.api_key_by_hash(&digest(key), OffsetDateTime::now_utc()).await?;
    found.map(|(key, user)| Principal::of_key(&key, &user, address)).ok_or_else(invalid)
}

/// The store is asked each time: a cache may have lost that a login was ended, and the account may have changed since the
/// token was issued. What the cache does know, it tells faster, and also while the store is down.
async fn of_login(state: &State, claims: &AccessClaims, address: Option<IpAddr>) -> ApiResult<Principal> {
    let ended = || {
        let detail = "the login that this token belongs to has ended; log in again";
        ApiError::new(Code::Unauthenticated, detail)
    };
    if state.cache().is_revoked(&login_group(claims.sid)).await == Some(true) {
        return Err(ended());
    }
    let store = state.store()?;
    if !store.login_active(claims.sid).await? {
        return Err(ended());
    }
    match store.user(claims.sub).await {
        Ok(user) if user.is_active => Ok(Principal::of_login(&user, claims.sid, address)),
        Ok(_) | Err(StoreError::NotFound { .. }) => Err(ended()),
        Err(error) => Err(error.into()),
    }
}

/// The name under which requests of a principal are counted.
pub(crate) fn counter(principal: &Principal) -> Option<String> {
    let actor = principal.actor();
    match actor.kind {
        ActorKind::User | ActorKind::ApiKey => Some(actor.principal()),
        // Nobody in particular: the address counts.
        ActorKind::Service | ActorKind::Anonymous | ActorKind::System => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn of(given: &[(&'static str, &str)]) -> Result<Credentials, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map_err(|e| e.code)
    }

    #[test]
    fn tokens_and_keys_are_told_apart() {
        let token = |t: &str| Ok(Credentials::Token(t.to_owned()));
        let key = |k: &str| Ok(Credentials::Key(k.to_owned()));
        assert_eq!(of(&[("authorization", "Bearer a.b.c")]), token("a.b.c"));
        assert_eq!(of(&[("authorization", "bearer  a.b.c ")]), token("a.b.c"));
        assert_eq!(of(&[("authorization", "Bearer fsk_abc")]), key("fsk_abc"));
        assert_eq!(of(&[("x-api-key", "fsk_abc")]), key("fsk_abc"));
    }

    #[test]
    fn anything_else_is_no_credential() {
        let long = format!("Bearer {}", "x".repeat(5000));
        for odd in [
            &[] as &[(&str, &str)],
            &[("authorization", "")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer")],
            &[("authorization", &long)],
            &[("x-api-key", "")],
            &[("authorization", "Bearer a.b.c"), ("x-api-key", "fsk_abc")],
            &[("x-api-key", "fsk_abc"), ("x-api-key", "fsk_def")],
        ] {
            assert_eq!(of(odd), Err(Code::Unauthenticated), "{odd:?}");
        }
    }
}

//! Access tokens: short, signed, and good only while their login is. Refresh tokens and keys: random, stored hashed.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use facesocial_store::{LoginId, Role, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{authorized::unauthenticated, hs256};
use crate::error::{ApiError, ApiResult, Code};

/// Who issues the tokens.
const ISSUER: &str = "facesocial";
/// Audience of access tokens.
const AUDIENCE: &str = "facesocial";
/// Audience of the tokens that services show each other.
pub const SERVICE_AUDIENCE: &str = "facesocial-service";
/// How long a service's token is good for: one request.
const SERVICE_TTL: Duration = Duration::from_secs(60);
/// How long a service's token may be good for at most.
const MAX_SERVICE_TTL: i64 = 300;
/// Seconds that clocks of several machines may differ by.
const LEEWAY: u64 = 5;
/// Seconds that a token may have been issued ahead of this machine's clock. One from further ahead was made by whoever stole the
/// secret, to be used later, or by a clock that nothing else of the token can be believed by.
const MAX_AHEAD: i64 = 60;
/// How every API key begins.
pub const KEY_PREFIX: &str = "fsk_";
/// Characters of a key that are kept to recognise it by.
const SHOWN: usize = 12;

/// Signs and checks tokens.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    access: Validation,
    service: Validation,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account.
    pub sub: UserId,
    /// The account's role when it was issued, for clients; what counts is the stored one.
    pub role: Role,
    /// The login.
    pub sid: LoginId,
    /// The token.
    pub jti: Uuid,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

/// What the token of a service says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The service that asks.
    pub sub: String,
    /// The token.
    pub jti: Uuid,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

/// A token that was checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Claims {
    /// Somebody's who logged in.
    Access(AccessClaims),
    /// Another service's.
    Service(ServiceClaims),
}

impl Tokens {
    /// Signs and checks with `secret`.
    pub fn new(secret: &[u8]) -> Self {
        hs256::install();
        Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            access: validation(AUDIENCE),
            service: validation(SERVICE_AUDIENCE),
        }
    }

    /// A token for a login.
    ///
    /// # Errors
    /// The token cannot be signed.
    pub fn access(&self, user: UserId, role: Role, login: LoginId, ttl: Duration) -> ApiResult<String> {
        let (iat, exp) = span(ttl);
        let (iss, aud) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        self.sign(&AccessClaims { iss, aud, sub: user, role, sid: login, jti: Uuid::new_v4(), iat, exp })
    }

    /// The token by which `service` shows another one of this system that it is one, for one request.
    ///
    /// # Errors
    /// The token cannot be signed.
    pub fn service(&self, service: &str) -> ApiResult<String> {
        let (iat, exp) = span(SERVICE_TTL);
        let (iss, aud, sub) = (ISSUER.to_owned(), SERVICE_AUDIENCE.to_owned(), service.to_owned());
        self.sign(&ServiceClaims { iss, aud, sub, jti: Uuid::new_v4(), iat, exp })
    }

    fn sign(&self, claims: &impl Serialize) -> ApiResult<String> {
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing);
        signed.map_err(|e| ApiError::internal(&e))
    }

    /// What a token says; whether its login still holds is for the store to say.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: not signed here with HS256, expired, issued in the future, or for somebody else.
    pub fn check(&self, token: &str) -> ApiResult<Claims> {
        let access = jsonwebtoken::decode::<AccessClaims>(token, &self.checking, &self.access);
        if let Ok(access) = access {
            let claims = access.claims;
            return if is_ahead(claims.iat) { Err(invalid()) } else { Ok(Claims::Access(claims)) };
        }
        let service = jsonwebtoken::decode::<ServiceClaims>(token, &self.checking, &self.service);
        match service.map(|data| data.claims) {
            Ok(ServiceClaims { iat, exp, .. }) if is_ahead(iat) || exp.saturating_sub(iat) > MAX_SERVICE_TTL => {
                Err(invalid())
            }
            Ok(claims) => Ok(Claims::Service(claims)),
            // One sentence for all, but for the one that a client can do something about.
            _ if access.is_err_and(|e| *e.kind() == jsonwebtoken::errors::ErrorKind::ExpiredSignature) => {
                let detail = "the access token has expired; get a new one with the refresh token";
                Err(ApiError::new(Code::Unauthenticated, detail))
            }
            _ => Err(invalid()),
        }
    }
}

/// The refusal of a token that is not good.
pub fn invalid() -> ApiError {
    ApiError::new(Code::Unauthenticated, format!("the token or key is not valid; {}", unauthenticated().detail))
}

fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.leeway = LEEWAY;
    validation
}

/// Whether a token says that it was issued after now, by more than clocks differ.
pub(super) fn is_ahead(iat: i64) -> bool {
    iat > OffsetDateTime::now_utc().unix_timestamp().saturating_add(MAX_AHEAD)
}

fn span(ttl: Duration) -> (i64, i64) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    (now, now.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)))
}

/// 256 random bits as text.
///
/// # Errors
/// The system gives no random numbers.
pub fn random() -> ApiResult<String> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|e| ApiError::internal(&e))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// sha256 of a random token, hex: what is stored of it.
pub fn digest(token: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(token.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A new API key, and the part of it that is kept in clear.
///
/// # Errors
/// The system gives no random numbers.
pub fn api_key() -> ApiResult<(String, String)> {
    let key = format!("{KEY_PREFIX}{}", random()?);
    let shown = key.chars().take(SHOWN).collect();
    Ok((key, shown))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const TTL: Duration = Duration::from_secs(60);

    fn token() -> (Tokens, String) {
        let tokens = Tokens::new(SECRET);
        let token = tokens.access(UserId::new(), Role::User, LoginId::new(), TTL).unwrap();
        (tokens, token)
    }

    /// The claims of a good access token with some changed, signed with `secret` as `algorithm`.
    fn forged(change: Value, algorithm: Algorithm, secret: &[u8]) -> String {
        let (iat, exp) = span(TTL);
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": UserId::new(), "role": "admin", "sid": LoginId::new(),
            "jti": Uuid::new_v4(), "iat": iat, "exp": exp,
        });
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().shift_remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        hs256::forged(&claims, algorithm, secret)
    }

    fn assert_refused(token: &str) {
        let error = Tokens::new(SECRET).check(token).expect_err(token);
        assert_eq!(error.code, Code::Unauthenticated);
    }

    #[test]
    fn a_token_says_who_it_was_issued_for() {
        let (user, login) = (UserId::new(), LoginId::new());
        let tokens = Tokens::new(SECRET);
        let Claims::Access(claims) = tokens.check(&tokens.access(user, Role::Operator, login, TTL).unwrap()).unwrap()
        else {
            panic!("not an access token")
        };
        assert_eq!((claims.sub, claims.sid, claims.role), (user, login, Role::Operator));
        assert!(tokens.check(&forged(json!({}), Algorithm::HS256, SECRET)).is_ok(), "the forger's own form is right");
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let (_, token) = token();
        let [_, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"None"}"#, r#"{"alg":"NONE"}"#, r#"{"typ":"JWT"}"#] {
            let header = BASE64_URL_SAFE_NO_PAD.encode(header);
            for forged in
                [format!("{header}.{claims}."), format!("{header}.{claims}"), format!("{header}.{claims}.{signature}")]
            {
                assert_refused(&forged);
            }
        }
    }

    #[test]
    fn another_key_or_algorithm_is_refused() {
        assert_refused(&forged(json!({}), Algorithm::HS256, b"another secret that is long enough"));
        assert_refused(&forged(json!({}), Algorithm::HS384, SECRET));
        assert_refused(&forged(json!({}), Algorithm::HS512, SECRET));
    }

    #[test]
    fn an_expired_token_and_one_without_an_end_are_refused() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let expired = forged(json!({ "exp": now - 60 }), Algorithm::HS256, SECRET);
        assert!(Tokens::new(SECRET).check(&expired).unwrap_err().detail.contains("expired"));
        assert_refused(&forged(json!({ "exp": null }), Algorithm::HS256, SECRET));
        assert_refused(&forged(json!({ "exp": "never" }), Algorithm::HS256, SECRET));
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        for (aud, sub) in [(AUDIENCE, UserId::new().to_string()), (SERVICE_AUDIENCE, "gateway".to_owned())] {
            let issued = |iat: i64| {
                let exp = iat.saturating_add(60);
                forged(json!({ "aud": aud, "sub": sub, "iat": iat, "exp": exp }), Algorithm::HS256, SECRET)
            };
            // Clocks differ.
            assert!(Tokens::new(SECRET).check(&issued(now + 30)).is_ok(), "{aud}");
            for ahead in [now + 120, now + 1_000_000, i64::MAX] {
                assert_refused(&issued(ahead));
            }
        }
        assert_refused(&forged(json!({ "iat": null }), Algorithm::HS256, SECRET));
    }

    #[test]
    fn another_audience_or_issuer_is_refused() {
        for change in [
            json!({ "aud": "else" }),
            json!({ "aud": null }),
            json!({ "iss": "else" }),
            json!({ "iss": null }),
            json!({ "sub": null }),
            json!({ "sid": null }),
            json!({ "sub": "not a uuid" }),
        ] {
            assert_refused(&forged(change, Algorithm::HS256, SECRET));
        }
    }

    #[test]
    fn a_changed_token_is_refused() {
        let (_, token) = token();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let claims = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
        parts[1] = BASE64_URL_SAFE_NO_PAD.encode(claims.replace("\"user\"", "\"admin\""));
        assert_refused(&parts.join("."));
        for odd in ["", ".", "..", "a.b.c", "\0", &"x".repeat(100_000)] {
            assert_refused(odd);
        }
    }

    #[test]
    fn a_services_token_is_its_own_kind_and_short() {
        let tokens = Tokens::new(SECRET);
        let Claims::Service(claims) = tokens.check(&tokens.service("gateway").unwrap()).unwrap() else {
            panic!("not a service's token")
        };
        assert_eq!(claims.sub, "gateway");
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert_refused(&forged(
            json!({ "aud": SERVICE_AUDIENCE, "sub": "gateway", "iat": now, "exp": now + 3600 }),
            Algorithm::HS256,
            SECRET,
        ));
        // So long ago that the difference is no number any more.
        let ago = json!({ "aud": SERVICE_AUDIENCE, "sub": "gateway", "iat": i64::MIN, "exp": now + 60 });
        assert_refused(&forged(ago, Algorithm::HS256, SECRET));
    }

    #[test]
    fn keys_are_random_and_stored_as_a_digest() {
        let (key, shown) = api_key().unwrap();
        assert!(key.starts_with(&shown) && shown.len() == SHOWN && key.len() == KEY_PREFIX.len() + 43);
        assert_ne!(key, api_key().unwrap().0);
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}

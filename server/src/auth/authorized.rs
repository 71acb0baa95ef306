//! The extractor that names the permission in a handler's type.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};

use super::{Permission, Principal};
use crate::error::{ApiError, ApiResult, Code};

/// The request's principal has the permission `P`. First among a handler's arguments, so that a request is refused before
/// its body is read.
#[derive(Debug, Clone)]
pub struct Authorized<P: Permission> {
    /// Who asks.
    pub principal: Principal,
    permission: PhantomData<P>,
}

/// What the request's credentials came to; left in the request by the middleware.
#[derive(Debug, Clone)]
pub(crate) struct Identity(pub ApiResult<Principal>);

impl<P: Permission> FromRequest for Authorized<P> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authorize::<P>(req).map(|principal| Self { principal, permission: PhantomData }))
    }
}

fn authorize<P: Permission>(req: &HttpRequest) -> ApiResult<Principal> {
    // A path outside of the middleware has nobody's permission.
    let identity = req.extensions().get::<Identity>().cloned();
    let principal = identity.unwrap_or_else(|| Identity(Err(unauthenticated()))).0?;
    if principal.may::<P>() {
        return Ok(principal);
    }
    Err(ApiError::new(Code::Forbidden, format!("this needs the permission {}, which the caller does not have", P::NAME)))
}

/// The refusal of a request without credentials.
pub(crate) fn unauthenticated() -> ApiError {
    ApiError::new(
        Code::Unauthenticated,
        "send an access token as Authorization: Bearer TOKEN, or an API key in the header X-API-Key",
    )
}

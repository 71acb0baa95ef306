//! The extractor that names the permission in a handler's type.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    net::IpAddr,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use facesocial_store::{Actor, ActorKind};

use super::{Permission, Principal, audit};
use crate::{
    error::{ApiError, ApiResult, Code},
    extract::RequestInfo,
    state::State,
};

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
pub(crate) struct Identity {
    /// Who asks, or why that is not known.
    pub principal: ApiResult<Principal>,
    /// Address of the client.
    pub address: Option<IpAddr>,
}

impl Identity {
    /// Who is named among the requests.
    pub fn actor(&self) -> Actor {
        match &self.principal {
            Ok(principal) => principal.actor(),
            Err(_) => {
                Actor { kind: ActorKind::Anonymous, id: None, address: self.address.map(|address| address.to_string()) }
            }
        }
    }
}

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
    let principal = identity.map_or_else(|| Err(unauthenticated()), |identity| identity.principal)?;
    let Err(refusal) = principal.require::<P>() else { return Ok(principal) };
    if let Some(state) = req.app_data::<web::Data<State>>() {
        let info = req.extensions().get::<RequestInfo>().cloned().unwrap_or_else(|| RequestInfo::begin(None));
        audit::refused(state, &principal, &info, P::NAME, req.match_pattern().as_deref().unwrap_or("unmatched"));
    }
    Err(refusal)
}

/// The refusal of a request without credentials.
pub(super) fn unauthenticated() -> ApiError {
    ApiError::new(
        Code::Unauthenticated,
        "send an access token as Authorization: Bearer TOKEN, or an API key in the header X-API-Key",
    )
}

//! Before every request but the probes: who asks, and whether too often. Whether the one may ask for it is for the
//! handler's type to say.

use actix_web::{
    Error, HttpMessage,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use facesocial_store::ActorKind;

use super::rate::{Left, Limiter, is_upload};
use crate::{
    auth::{Identity, credentials, network},
    error::{ApiError, Code},
    state::State,
};

/// The middleware.
///
/// # Errors
/// Those of the service within.
pub async fn check(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Probes come from machines that have no key, and must not be kept from a busy server.
    if matches!(req.path(), "/healthz" | "/readyz") {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }
    let shared = (req.app_data::<web::Data<State>>().cloned(), req.app_data::<web::Data<Limiter>>().cloned());
    let (Some(state), Some(limiter)) = shared else {
        return Err(ApiError::internal(&std::io::Error::other("the app has no state")).into());
    };
    match enter(&req, &state, &limiter).await {
        Ok((identity, left)) => {
            req.extensions_mut().insert(identity);
            let mut answer = match next.call(req).await {
                Ok(answer) => answer.map_into_boxed_body(),
                Err(error) => return Err(error),
            };
            if let Some(left) = left {
                left.tell(answer.headers_mut());
            }
            Ok(answer)
        }
        Err(Refused { error, left }) => {
            let mut answer = req.error_response(error);
            if let Some(left) = left {
                left.tell(answer.headers_mut());
            }
            Ok(answer)
        }
    }
}

struct Refused {
    error: ApiError,
    left: Option<Left>,
}

async fn enter(req: &ServiceRequest, state: &State, limiter: &Limiter) -> Result<(Identity, Option<Left>), Refused> {
    if !state.auth.enabled && is_foreign(req) {
        let detail = "a page of another origin may not ask while authentication is off";
        return Err(Refused { error: ApiError::new(Code::Forbidden, detail), left: None });
    }
    let cache = state.cache().as_ref();
    let address = credentials::address(req);
    let network = address.map_or_else(|| "unknown".to_owned(), network);
    if state.auth.enabled && credentials::present(req.headers()) {
        within(limiter.count_guess(cache, &network).await)?;
    }
    let principal = credentials::identify(state, req.headers(), address).await;
    let identity = Identity { principal, address };
    let who = match &identity.principal {
        // The other services of this system answer for their clients' limits themselves.
        Ok(principal) if principal.actor().kind == ActorKind::Service => return Ok((identity, None)),
        Ok(principal) => credentials::counter(principal),
        Err(_) => None,
    };
    let who = who.unwrap_or_else(|| format!("address:{network}"));
    let left = within(limiter.count(cache, &who, is_upload(req.method(), req.headers())).await)?;
    Ok((identity, left))
}

fn within(left: Option<Left>) -> Result<Option<Left>, Refused> {
    match left.and_then(|left| left.exceeded()) {
        None => Ok(left),
        Some(seconds) => {
            let detail = format!("too many requests; try again in {seconds} seconds");
            Err(Refused { error: ApiError::new(Code::RateLimited, detail).after(seconds), left })
        }
    }
}

/// Whether a browser asks for a page that this server did not give. Without authentication, any page that somebody looks at
/// could otherwise write to the server on the same machine.
fn is_foreign(req: &ServiceRequest) -> bool {
    let Some(origin) = req.headers().get(header::ORIGIN) else { return false };
    let Ok(origin) = origin.to_str() else { return true };
    let host = req.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, authority)| authority);
    let allowed = req.app_data::<web::Data<Limiter>>().is_some_and(|limiter| limiter.allows(origin));
    !allowed && (own.is_none() || own != host)
}

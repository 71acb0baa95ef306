//! Before every request but the probes: who asks, and whether too often. Whoever is nobody gets no further than to the paths
//! that are for everybody. Whether somebody may ask for it is for the handler's type to say.

use std::net::IpAddr;

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
    internal,
    metrics::access as metrics,
    pool,
    state::State,
};

/// Paths that answer whoever asks: how to log in, what there is to be asked, the console. The connection of live video is
/// among them because a page can show its token only in the first message, before which nothing is taken.
const FOR_EVERYBODY: [&str; 8] = [
    "/docs",
    "/openapi.json",
    "/console",
    "/api/v1/auth/status",
    "/api/v1/auth/setup",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/live",
];
/// Below it lie the console's own files.
const CONSOLE: &str = "/console/";

/// The middleware.
///
/// # Errors
/// Those of the service within.
pub async fn check(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Its own token opens the figures while the database is away, and is no request of anybody's.
    if req.path() == metrics::PATH && shows_scrape_token(&req) {
        req.extensions_mut().insert(metrics::Shown);
        return Ok(next.call(req).await?.map_into_boxed_body());
    }
    // Probes come from machines that have no key, and must not be kept from a busy server.
    if matches!(req.path(), "/healthz" | "/readyz") {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }
    // Other servers have tokens of their own, which the paths for them look at themselves.
    if internal::is_internal(req.path()) {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }
    let shared = (req.app_data::<web::Data<State>>().cloned(), req.app_data::<web::Data<Limiter>>().cloned());
    let (Some(state), Some(limiter)) = shared else {
        return Err(ApiError::internal(&std::io::Error::other("the app has no state")).into());
    };
    match enter(&req, &state, &limiter).await {
        Ok(Entered { identity, left, who }) => {
            let refused = identity.principal.as_ref().err().filter(|_| !is_for_everybody(req.path())).cloned();
            req.extensions_mut().insert(identity);
            let mut answer = match refused {
                Some(error) => req.error_response(error),
                None => match pool::on_behalf_of(&who, next.call(req)).await {
                    Ok(answer) => answer.map_into_boxed_body(),
                    Err(error) => return Err(error),
                },
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

fn is_for_everybody(path: &str) -> bool {
    FOR_EVERYBODY.contains(&path) || path.starts_with(CONSOLE)
}

fn shows_scrape_token(req: &ServiceRequest) -> bool {
    let token = req.app_data::<web::Data<State>>().and_then(|state| state.scrape_token.as_ref());
    token.is_some_and(|token| token.is_shown(req.headers()))
}

struct Refused {
    error: ApiError,
    left: Option<Left>,
}

struct Entered {
    identity: Identity,
    left: Option<Left>,
    /// The client that takes turns with others.
    who: String,
}

async fn enter(req: &ServiceRequest, state: &State, limiter: &Limiter) -> Result<Entered, Refused> {
    if !state.auth.enabled && is_foreign(req) {
        let detail = "without authentication, only programs and pages of this machine are answered, under localhost or an \
                      address; see --cors-origin";
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
        Ok(principal) if principal.actor().kind == ActorKind::Service => {
            return Ok(Entered { identity, left: None, who: "service".to_owned() });
        }
        Ok(principal) => credentials::counter(principal),
        Err(_) => None,
    };
    let who = who.unwrap_or_else(|| format!("address:{network}"));
    let left = within(limiter.count(cache, &who, is_upload(req.method(), req.headers())).await)?;
    Ok(Entered { identity, left, who })
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
/// could otherwise use the server on the same machine: by its address, or by a name of the page's own that leads here.
fn is_foreign(req: &ServiceRequest) -> bool {
    let text = |name| req.headers().get(name).map(|v: &header::HeaderValue| v.to_str().unwrap_or_default());
    let limiter = req.app_data::<web::Data<Limiter>>();
    let listed = |origin: &str| limiter.is_some_and(|limiter| limiter.allows(origin));
    let host = text(header::HOST);
    match text(header::ORIGIN) {
        Some(origin) if listed(origin) => false,
        Some(origin) => origin.split_once("://").map(|(_, authority)| authority) != host || !host.is_some_and(is_here),
        None => host.is_some_and(|host| !is_here(host)),
    }
}

/// Whether a host is an address, or the name that every machine calls itself by.
pub(crate) fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::AccessConfig;

    #[test]
    fn pages_of_other_origins_are_told_from_programs_and_own_pages() {
        let foreign = |given: &[(&'static str, &str)]| {
            let config = AccessConfig { cors_origins: vec!["https://app.example".to_owned()], ..AccessConfig::open() };
            let request = TestRequest::default().app_data(web::Data::new(Limiter::new(&config)));
            is_foreign(&given.iter().fold(request, |r, header| r.insert_header(*header)).to_srv_request())
        };
        for own in [
            &[] as &[(&str, &str)],
            &[("host", "localhost:8000")],
            &[("host", "127.0.0.1:8000")],
            &[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")],
            &[("host", "localhost:8000"), ("origin", "http://localhost:8000")],
            &[("host", "localhost:8000"), ("origin", "https://app.example")],
        ] {
            assert!(!foreign(own), "{own:?}");
        }
        for other in [
            &[("host", "localhost:8000"), ("origin", "https://evil.example")] as &[(&str, &str)],
            &[("host", "localhost:8000"), ("origin", "null")],
            &[("host", "localhost:8000"), ("origin", "http://localhost:3000")],
            // A name of the page's own that was made to lead here.
            &[("host", "evil.example:8000")],
            &[("host", "evil.example:8000"), ("origin", "http://evil.example:8000")],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "localhost.evil.example:8000")],
        ] {
            assert!(foreign(other), "{other:?}");
        }
    }
}

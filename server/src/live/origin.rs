//! Which pages may open a live connection. A browser asks no server beforehand whether a page of another origin may open a
//! WebSocket, as it does for other requests; the server must look itself.

use actix_web::http::header::{self, HeaderMap};

use crate::{
    error::{ApiError, ApiResult, Code},
    middleware::rate::Limiter,
};

/// Lets programs pass, which send no origin, and pages of this server's own origin or of a listed one.
///
/// # Errors
/// [`Code::Forbidden`] for any other page.
pub fn check(headers: &HeaderMap, limiter: &Limiter) -> ApiResult<()> {
    let mut origins = headers.get_all(header::ORIGIN);
    let (origin, more) = (origins.next(), origins.next());
    let Some(origin) = origin else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let allowed = origin.to_str().is_ok_and(|origin| {
        let own = origin.split_once("://").map(|(_, authority)| authority);
        limiter.allows(origin) || (own.is_some() && own == host)
    });
    if allowed && more.is_none() {
        return Ok(());
    }
    let detail = "pages of this origin may not open a live connection; the server allows it with --cors-origin";
    Err(ApiError::new(Code::Forbidden, detail))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::AccessConfig;

    #[test]
    fn programs_own_pages_and_listed_origins_pass_and_nobody_else() {
        let config = AccessConfig { cors_origins: vec!["https://app.example".to_owned()], ..AccessConfig::open() };
        let limiter = Limiter::new(&config);
        let passes = |given: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            check(&headers, &limiter).is_ok()
        };
        let host = ("host", "faces.example:8000");
        for good in [
            &[host] as &[(&'static str, &'static str)],
            &[host, ("origin", "https://app.example")],
            &[host, ("origin", "http://faces.example:8000")],
        ] {
            assert!(passes(good), "{good:?}");
        }
        for bad in [
            &[host, ("origin", "https://evil.example")] as &[(&'static str, &'static str)],
            &[host, ("origin", "https://app.example.evil.example")],
            &[host, ("origin", "http://faces.example")],
            &[host, ("origin", "null")],
            &[host, ("origin", "")],
            &[("origin", "http://")],
            &[host, ("origin", "https://app.example"), ("origin", "https://evil.example")],
        ] {
            assert!(!passes(bad), "{bad:?}");
        }
    }
}

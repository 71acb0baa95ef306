//! The console: pages for a browser that use the API, served by the binary itself; and the document of the API with its
//! viewer.

mod files;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName, HeaderValue},
    web::{self, ServiceConfig},
};

use self::files::File;
use crate::{
    error::{ApiError, ApiResult, Code},
    routing::get,
};

/// What the console's pages may load: this server's own files and answers, and pictures that were made in the page. Nothing
/// inline, nothing of others.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                              media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                              frame-ancestors 'none'";
/// The same for the viewer of the API document, whose icons stand in its styles.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                           connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The console may ask for the camera; nobody else on its pages may, and for nothing else.
const PERMISSIONS: &str = "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()";

/// The document of the API.
const OPENAPI: &str = include_str!("../../openapi.json");

/// Adds the paths of the gateway's listener that are for browsers.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(get("/console", to_console))
        .service(get("/console/{path:.*}", console))
        .service(get("/docs", docs))
        .service(get("/openapi.json", openapi));
}

/// `GET /console`: paths in the page are relative to the folder.
async fn to_console() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/console/")).finish()
}

/// `GET /console/{path}`: a file; for anything that is no file's name, the page, which knows its own addresses.
async fn console(req: HttpRequest, path: web::Path<String>) -> ApiResult<HttpResponse> {
    if let Some(file) = files::find(&path).filter(|file| !file.is_page) {
        return Ok(answer(&req, file, CONSOLE_POLICY));
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if path.starts_with("assets/") || name.contains('.') {
        let detail = "the console has no such file; load the page again, it may be of another version of the server";
        return Err(ApiError::new(Code::NotFound, detail));
    }
    page(&req, "index.html", CONSOLE_POLICY)
}

/// `GET /docs`.
async fn docs(req: HttpRequest) -> ApiResult<HttpResponse> {
    page(&req, "docs.html", DOCS_POLICY)
}

fn page(req: &HttpRequest, name: &str, policy: &'static str) -> ApiResult<HttpResponse> {
    let missing = || ApiError::internal(&std::io::Error::other(format!("{name} is not compiled in")));
    Ok(answer(req, files::find(name).ok_or_else(missing)?, policy))
}

/// `GET /openapi.json`.
async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-cache")).body(OPENAPI)
}

fn answer(req: &HttpRequest, file: &'static File, policy: &'static str) -> HttpResponse {
    let sent = |name: HeaderName| req.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let packed = file.packed.as_ref().filter(|_| takes_gzip(sent(header::ACCEPT_ENCODING)));
    let tag = if packed.is_some() { &file.packed_tag } else { &file.tag };
    let known = sent(header::IF_NONE_MATCH).split(',').any(|given| given.trim().trim_start_matches("W/") == tag);
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Names of assets change with their content; pages are asked for anew each time.
    let keep = if file.is_asset { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer
        .insert_header((header::CACHE_CONTROL, keep))
        .insert_header((header::ETAG, tag.as_str()))
        .insert_header((header::VARY, "accept-encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)));
    if known {
        return answer.finish();
    }
    answer.insert_header((header::CONTENT_TYPE, file.media_type));
    match packed {
        Some(packed) => answer.insert_header((header::CONTENT_ENCODING, "gzip")).body(packed.as_slice()),
        None => answer.body(&*file.bytes),
    }
}

/// Whether a client says that it takes gzip; `gzip;q=0` says that it does not.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_takes_is_read_from_its_header() {
        for yes in ["gzip", "deflate, gzip", "br;q=1.0, GZIP;q=0.5"] {
            assert!(takes_gzip(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.0", "x-gzip"] {
            assert!(!takes_gzip(no), "{no}");
        }
    }
}

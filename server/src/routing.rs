//! Resources that refuse other methods as such: 405, not 404, with those that they answer in `Allow`.

use actix_web::{FromRequest, Handler, Resource, Responder, Route, web};

use crate::error::{ApiError, ApiResult, Code};

/// A path that answers GET and HEAD.
pub fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let resource = web::resource(path).route(web::head().to(handler.clone())).route(web::get().to(handler));
    refusing(resource, "GET and HEAD")
}

/// A path that answers POST.
pub fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    refusing(web::resource(path).route(web::post().to(handler)), "POST")
}

/// A path that answers several methods, of which `allowed` tells: as `GET and POST`.
pub fn resource(path: &str, allowed: &'static str, routes: impl IntoIterator<Item = Route>) -> Resource {
    refusing(routes.into_iter().fold(web::resource(path), Resource::route), allowed)
}

fn refusing(resource: Resource, allowed: &'static str) -> Resource {
    resource.default_service(web::to(move || async move { refuse(allowed) }))
}

fn refuse(allowed: &'static str) -> ApiResult<String> {
    Err(ApiError::new(Code::MethodNotAllowed, format!("this path answers {allowed} alone")).allowing(allowed))
}

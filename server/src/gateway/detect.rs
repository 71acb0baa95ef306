//! One detector's answer through the gateway.

use actix_web::web;
use serde_json::Value;

use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::Single,
    services::detection::{self, Method, service_defaults},
    state::State,
};

/// `POST /detect/faces`: the answer of the detection service named in `service`.
pub async fn detect_faces(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    form: Single,
) -> ApiResult<web::Json<Value>> {
    let method = detection::method(&form.fields, "service")?.unwrap_or(Method::Mediapipe);
    let options = detection::options(&form.fields, method, service_defaults(method))?;
    // The original's default left them out, but only because nobody read the flag.
    let landmarks = form.fields.flag("include_landmarks")?.unwrap_or(true);
    state.loaded()?.require_detector(method.detector())?;
    let found = state.photo(form.file, move |loaded, photo| detection::find(loaded, photo, method, options)).await?;
    let mut answer = detection::raw(&found);
    if !landmarks && let Some(faces) = answer["faces"].as_array_mut() {
        faces.iter_mut().for_each(|face| face["landmarks"] = Value::Null);
    }
    Ok(web::Json(answer))
}

//! A photo and what is wanted of it, as a form or as JSON.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use serde_json::{Map, Value};

use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{Base64Image, Fields, Fingerprint, Single, Upload, parse_json, read_body},
    state::State,
};

/// A form with the photo in `file`, or JSON with the photo in `image` in base64; the other fields are the same in both.
#[derive(Debug)]
pub struct PhotoRequest {
    /// The photo.
    pub image: Upload,
    /// sha256 of the photo's bytes, hex.
    pub image_hash: String,
    /// What is wanted of it.
    pub fields: Fields,
}

impl PhotoRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// Another media type, no photo, too large, too slow, not JSON.
    pub async fn read(req: &HttpRequest, payload: web::Payload, state: &State) -> ApiResult<Self> {
        let media_type = req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (image, fields) = if media_type.to_ascii_lowercase().starts_with("multipart/") {
            let mut payload: Payload = payload.into_inner();
            let Single { file, fields } = Single::from_request(req, &mut payload).await?;
            (file, fields)
        } else {
            json(req, payload, state).await?
        };
        let (image, image_hash) = image.digested().await?;
        Ok(Self { image, image_hash, fields })
    }

    /// What the request asks for; the same for both forms.
    pub fn fingerprint(&self, req: &HttpRequest) -> String {
        let with_image = Fingerprint::of(req).part("image", &self.image_hash);
        self.fields.sorted().into_iter().fold(with_image, |print, (name, text)| print.part(name, text)).finish()
    }
}

async fn json(req: &HttpRequest, payload: web::Payload, state: &State) -> ApiResult<(Upload, Fields)> {
    let (bytes, _memory) = read_body(req, payload, state, 1).await?;
    let mut members: Map<String, Value> = parse_json(&bytes)?;
    let image = members.remove("image").filter(|image| !image.is_null()).ok_or_else(|| {
        ApiError::new(Code::MissingField, "the JSON body has no image; send the file's bytes there, in base64")
    })?;
    let image: Base64Image =
        serde_json::from_value(image).map_err(|_| ApiError::invalid("image is no text; send the file in base64"))?;
    Ok((image.into_upload("image", state)?, Fields::of_json(members)))
}

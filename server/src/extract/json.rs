//! JSON bodies with images in base64, and bodies of bytes.

use std::{fmt, marker::PhantomData, time::Duration};

use actix_web::{HttpRequest, http::header, web};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use futures_util::StreamExt;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    error::{ApiError, ApiResult, Code},
    extract::Upload,
    state::{Reservation, State},
};

/// Clients disagree on padding; both forms say the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Room for the other members of the body.
const OVERHEAD: usize = 64 * 1024;
/// Most characters of a parser's sentence that are passed on.
const MAX_TOLD: usize = 300;

/// An image in base64, bare or as a data URL.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Base64Image(String);

impl Base64Image {
    /// The file.
    ///
    /// # Errors
    /// Not base64, or more bytes than one image may have.
    pub fn into_upload(self, name: &str, state: &State) -> ApiResult<Upload> {
        let text = match self.0.split_once(";base64,") {
            Some((head, data)) if head.starts_with("data:") => data,
            _ => &self.0,
        };
        let mut memory = state.reserve();
        memory.grow(text.len())?;
        let bytes = BASE64.decode(text.trim()).map_err(|_| {
            ApiError::invalid(format!(
                "{name} is not base64; send the file's bytes in standard base64 or as a data URL"
            ))
        })?;
        let limit = state.limits.image_bytes;
        if bytes.len() > limit {
            let detail = format!("{name} is larger than the {limit} bytes allowed for one image");
            return Err(ApiError::new(Code::PayloadTooLarge, detail));
        }
        Ok(Upload::new(None, Ok(bytes), Some(memory)))
    }
}

/// Reads a JSON body that holds up to `images` images.
///
/// # Errors
/// Not JSON, not of the expected form, too large, too slow.
pub async fn read_json<T: DeserializeOwned>(
    req: &HttpRequest,
    payload: web::Payload,
    state: &State,
    images: usize,
) -> ApiResult<T> {
    state.loaded()?;
    let (bytes, _memory) = read_body(req, payload, state, images).await?;
    parse_json(&bytes)
}

/// Reads a JSON body that holds up to `images` images, without looking into it.
///
/// # Errors
/// Another media type, too large, too slow.
pub async fn read_body(
    req: &HttpRequest,
    payload: web::Payload,
    state: &State,
    images: usize,
) -> ApiResult<(Vec<u8>, Reservation)> {
    let media_type = req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !media_type.to_ascii_lowercase().starts_with("application/json") {
        return Err(ApiError::new(Code::UnsupportedMediaType, "send JSON with Content-Type application/json"));
    }
    let limit = images.saturating_mul(state.limits.image_bytes / 3 * 4 + 4).saturating_add(OVERHEAD);
    read_within(payload, state, limit, state.limits.upload_timeout).await
}

/// Reads a body of at most `limit` bytes within `time`.
///
/// # Errors
/// Too large, which is told before it is read where the request says so; too slow.
pub async fn read_bytes(
    req: &HttpRequest,
    payload: web::Payload,
    state: &State,
    limit: usize,
    time: Duration,
) -> ApiResult<(Vec<u8>, Reservation)> {
    let declared = req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    read_within(payload, state, limit, time.min(state.limits.upload_timeout)).await
}

async fn read_within(
    payload: web::Payload,
    state: &State,
    limit: usize,
    time: Duration,
) -> ApiResult<(Vec<u8>, Reservation)> {
    tokio::time::timeout(time, read(payload, limit, state.reserve()))
        .await
        .map_err(|_| ApiError::new(Code::UploadTimeout, "the request body did not arrive in time"))?
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the request body is larger than the {limit} bytes that this endpoint takes");
    ApiError::new(Code::PayloadTooLarge, detail)
}

/// A JSON object. Structures by themselves are read from a list as well, member by member in the order of the source.
#[derive(Debug, Clone, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// A JSON object of the expected form.
///
/// # Errors
/// Not JSON, not of the expected form.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    serde_json::from_slice::<Object<T>>(bytes).map(|object| object.0).map_err(|e| {
        // The parser repeats values, which may be of any length and hold anything.
        let told: String = e.to_string().chars().filter(|c| !c.is_control()).take(MAX_TOLD).collect();
        ApiError::invalid(format!("the JSON body is not valid: {told}"))
    })
}

async fn read(mut payload: web::Payload, limit: usize, mut memory: Reservation) -> ApiResult<(Vec<u8>, Reservation)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await.transpose()? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        memory.grow(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Form {
        a: Option<u8>,
        inner: Option<Object<Inner>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        b: u8,
    }

    impl PartialEq for Object<Inner> {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    #[test]
    fn an_object_is_no_list_of_its_members() {
        let good = parse_json::<Form>(br#" { "a": 1, "inner": { "b": 2 } } "#).unwrap();
        assert_eq!(good, Form { a: Some(1), inner: Some(Object(Inner { b: 2 })) });
        assert_eq!(parse_json::<Form>(b"{}").unwrap(), Form::default());
        for wrong in
            ["[]", "[null,null]", "[1,null]", r#"{"inner":[2]}"#, r#"{"c":1}"#, "null", "1", "\"a\"", "", "{", "{}{}"]
        {
            let error = parse_json::<Form>(wrong.as_bytes()).expect_err(wrong);
            assert_eq!(error.code, Code::InvalidInput, "{wrong}");
            assert!(error.detail.starts_with("the JSON body is not valid: "), "{wrong}: {}", error.detail);
        }
    }
}

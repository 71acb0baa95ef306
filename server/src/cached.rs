//! What need not be computed twice for the same bytes: faces with their embeddings, and whole analyses.
//!
//! Everything kept about one image stands in one group, so that it can be forgotten together. Values are kept for minutes,
//! hold no more than the answer needs, and are found again only with the same networks and options.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header};
use base64::{Engine, prelude::BASE64_STANDARD};
use facesocial_types::{Embedding, ModelId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};

use crate::{error::ApiError, state::State};

/// How long values are kept.
const KEEP: Duration = Duration::from_secs(15 * 60);
/// Hex digits of an image's sha256 that name its group: those that the hash of a face begins with too.
pub const GROUP_DIGITS: usize = 40;

/// Whether the client lets answers be kept and taken from what was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// It says nothing against it.
    Allowed,
    /// It sent `Cache-Control: no-cache` or `no-store`.
    Refused,
}

impl FromRequest for Caching {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let directives = req.headers().get_all(header::CACHE_CONTROL).filter_map(|v| v.to_str().ok());
        let refuses = |d: &str| d.eq_ignore_ascii_case("no-cache") || d.eq_ignore_ascii_case("no-store");
        let refused = directives.flat_map(|d| d.split(',')).any(|d| refuses(d.trim()));
        ready(Ok(if refused { Self::Refused } else { Self::Allowed }))
    }
}

/// The group of an image, or of the image that a face was enrolled from; `hash` is either's.
pub fn group(hash: &str) -> String {
    format!("image:{}", hash.get(..GROUP_DIGITS).unwrap_or(hash))
}

/// What was kept about an image.
pub async fn get<T: DeserializeOwned>(state: &State, caching: Caching, image_hash: &str, field: &str) -> Option<T> {
    if caching == Caching::Refused {
        return None;
    }
    let bytes = state.cache().get(&group(image_hash), field).await?;
    // A value of another version of this program is no value.
    serde_json::from_slice(&bytes).ok()
}

/// Keeps something about an image.
pub async fn put<T: Serialize>(state: &State, caching: Caching, image_hash: &str, field: &str, value: &T) {
    if caching == Caching::Refused {
        return;
    }
    if let Ok(bytes) = serde_json::to_vec(value) {
        state.cache().put(&group(image_hash), field, bytes, KEEP).await;
    }
}

/// Forgets all that was kept about images, named by their hashes or by those of their faces. What cannot be reached ends
/// by itself within minutes.
pub async fn forget(state: &State, hashes: impl IntoIterator<Item = impl AsRef<str>>) {
    let mut groups: Vec<String> = hashes.into_iter().map(|hash| group(hash.as_ref())).collect();
    groups.sort_unstable();
    groups.dedup();
    if !groups.is_empty() && !state.cache().forget(&groups).await {
        tracing::warn!(groups = groups.len(), "the cache could not be told to forget; its values end within minutes");
    }
}

/// An embedding as it is kept: the vector's bytes in base64.
#[derive(Debug, Clone)]
pub struct Packed(pub Embedding);

#[derive(Serialize, Deserialize)]
struct PackedForm {
    model: ModelId,
    vector: String,
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect();
        PackedForm { model: self.0.model().clone(), vector: BASE64_STANDARD.encode(bytes) }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let PackedForm { model, vector } = PackedForm::deserialize(d)?;
        let bytes = BASE64_STANDARD.decode(vector).map_err(D::Error::custom)?;
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(D::Error::custom("a vector ends within a number"));
        }
        let vector = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        Embedding::new(model, vector).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_client_can_refuse_caching() {
        let of = |value: &str| {
            let request = TestRequest::default().insert_header((header::CACHE_CONTROL, value)).to_http_request();
            Caching::from_request(&request, &mut Payload::None).into_inner().unwrap()
        };
        assert_eq!(of("max-age=0"), Caching::Allowed);
        for refusal in ["no-cache", "No-Store", "max-age=0, no-cache"] {
            assert_eq!(of(refusal), Caching::Refused, "{refusal}");
        }
    }

    #[test]
    fn an_image_and_its_faces_share_a_group() {
        let image = "ab".repeat(32);
        let face = format!("{}{}", &image[..GROUP_DIGITS], "0".repeat(24));
        assert_eq!(group(&image), group(&face));
    }

    #[test]
    fn a_packed_embedding_is_the_same_embedding() {
        let embedding = Embedding::new(ModelId::new("net", "1"), vec![0.3, -0.2, 0.7]).unwrap();
        let json = serde_json::to_string(&Packed(embedding.clone())).unwrap();
        let Packed(read) = serde_json::from_str(&json).unwrap();
        assert_eq!(read.model(), embedding.model());
        assert!((read.cosine(&embedding).unwrap() - 1.0).abs() < 1e-6);
        assert!(serde_json::from_str::<Packed>(r#"{"model":"net@1","vector":"AAA="}"#).is_err());
    }
}

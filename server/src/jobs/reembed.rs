//! Embeds the faces of a collection by the model that runs now, from the crops that were kept at enrolment. Embeddings by
//! other models stay beside the new ones.

use facesocial_store::{CollectionId, FaceId, PageRequest};
use facesocial_types::{Embedding, ModelId};
use serde::{Deserialize, Serialize};

use super::run::{Run, patiently};
use crate::{
    error::{ApiResult, Code},
    extract::Upload,
    gallery::{crop, running_model},
};

/// Faces read at a time, with their crops.
const PAGE: u32 = 50;
/// Faces counted at a time.
const COUNT_PAGE: u32 = 500;
/// Most faces told by name that could not be embedded.
const MAX_TOLD: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Results {
    /// The model that the faces are embedded by.
    model: String,
    /// Faces that have its embedding now.
    embedded: u64,
    /// Faces whose crop was not kept: they need a new photo.
    without_crop: u64,
    /// Faces that were not found again in their crop: they need a new photo too.
    failed: u64,
    /// Faces that need a new photo, the first thousand.
    need_new_photo: Vec<FaceId>,
    /// The face that was looked at last; a resumed worker goes on after it.
    after: Option<FaceId>,
}

pub(super) async fn perform(run: &Run) -> ApiResult<()> {
    let collection = run.collection()?;
    let model = running_model(&run.state)?;
    let store = run.state.store()?;
    let mut results: Results = run.resumed();
    if results.model != model.to_string() {
        // Another model runs since: all faces are looked at again.
        results = Results { model: model.to_string(), ..Results::default() };
    }
    let done = |r: &Results| r.embedded + r.without_crop + r.failed;
    let total = done(&results) + left(run, collection, &model, results.after).await?;
    run.note_now(total, done(&results), results.without_crop + results.failed, &results);
    loop {
        let page = patiently(|| store.faces_without(collection, &model, results.after, PAGE)).await?;
        let last_page = page.len() < PAGE as usize;
        for (face, crop) in page {
            match crop {
                Some(crop) => match embed(run, crop).await {
                    Ok(embedding) => {
                        let embedding = &embedding;
                        let put = patiently(|| store.put_embedding(collection, face, embedding)).await;
                        match put {
                            Ok(()) => results.embedded += 1,
                            // Deleted meanwhile: nothing is left to embed.
                            Err(error) if error.code == Code::FaceNotFound => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Err(error) if matches!(error.code, Code::ModelUnavailable | Code::ServiceUnavailable) => {
                        return Err(error);
                    }
                    Err(_) => results.refuse(face, |r| &mut r.failed),
                },
                None => results.refuse(face, |r| &mut r.without_crop),
            }
            results.after = Some(face);
            run.note(total.max(done(&results)), done(&results), results.without_crop + results.failed, &results);
        }
        if last_page {
            break;
        }
    }
    run.note_now(done(&results), done(&results), results.without_crop + results.failed, &results);
    Ok(())
}

impl Results {
    fn refuse(&mut self, face: FaceId, count: fn(&mut Self) -> &mut u64) {
        *count(self) += 1;
        if self.need_new_photo.len() < MAX_TOLD {
            self.need_new_photo.push(face);
        }
    }
}

/// Faces after `after` that `model` has not embedded yet.
async fn left(run: &Run, collection: CollectionId, model: &ModelId, after: Option<FaceId>) -> ApiResult<u64> {
    let store = run.state.store()?;
    let (mut left, mut after) = (0u64, after.map(|face| face.0));
    loop {
        let page = PageRequest { after, limit: COUNT_PAGE };
        let page = patiently(|| store.faces(collection, None, page)).await?;
        left += page.items.iter().filter(|face| !face.models.contains(model)).count() as u64;
        after = page.next;
        if after.is_none() {
            return Ok(left);
        }
    }
}

/// Embeds the face of a kept crop.
async fn embed(run: &Run, crop: Vec<u8>) -> ApiResult<Embedding> {
    let crop = &crop;
    patiently(|| {
        let upload = Upload::new(None, Ok(crop.clone()), None);
        run.state.photo(upload, |loaded, photo| crop::embed(loaded, &photo.image))
    })
    .await
}

//! What surrounds an analysis: whether it is known already, whose faces it shows, and whether it is stored.

use std::time::Instant;

use facesocial_imaging::Format;
use facesocial_store::{Collection, SessionId, Write};
use facesocial_types::Service;

use super::{analyze::Comprehensive, plan::Plan};
use crate::{
    auth::{Embeddings, HistoryWrite, Principal, Search},
    cached::{self, Caching},
    error::ApiResult,
    extract::{Fingerprint, Upload},
    gallery::{ask, find_matches, match_form, running_model},
    history,
    services::face::score,
    state::State,
};

/// What is kept of a photo while it is analysed and afterwards.
#[derive(Debug, Clone)]
pub struct Sent {
    /// sha256 of the file, hex.
    pub hash: String,
    /// Bytes of the file.
    pub size: u64,
    /// By the file's content.
    pub media_type: &'static str,
    /// The file itself, only if it is to be stored.
    pub image: Option<Vec<u8>>,
}

/// The collection that faces are looked for in.
struct Gallery {
    collection: Collection,
    threshold: f32,
}

/// One request for analyses.
pub struct Work<'a> {
    state: &'a State,
    principal: &'a Principal,
    plan: &'a Plan,
    caching: Caching,
    /// Names the options and every network among what is known about a photo.
    field: String,
    gallery: Option<Gallery>,
    store: bool,
}

impl<'a> Work<'a> {
    /// Checks what the request needs beside the networks, before a photo is looked at.
    ///
    /// # Errors
    /// Not allowed; no such collection; no threshold for the network that runs; the store does not answer.
    pub async fn begin(
        state: &'a State,
        principal: &'a Principal,
        plan: &'a Plan,
        caching: Caching,
    ) -> ApiResult<Self> {
        if plan.embeddings {
            principal.require::<Embeddings>()?;
        }
        if plan.store == Some(true) {
            principal.require::<HistoryWrite>()?;
        }
        let gallery = match &plan.gallery {
            Some((name, options)) => {
                principal.require::<Search>()?;
                let threshold = options.threshold(state, &running_model(state)?)?;
                let collection = ask::collection(state.store()?, principal, name).await?;
                Some(Gallery { collection, threshold })
            }
            None => None,
        };
        let store = plan.store.unwrap_or(state.keeping.sessions);
        if store {
            // Told before the work, not after it.
            state.store()?;
        }
        Ok(Self { state, principal, plan, caching, field: field(state, plan)?, gallery, store })
    }

    /// What is kept of a photo.
    ///
    /// # Errors
    /// The file was refused while it was read.
    pub async fn take(&self, upload: Upload) -> ApiResult<(Upload, Sent)> {
        let (upload, hash) = upload.digested().await?;
        let bytes = upload.bytes()?;
        let keep = self.store && self.state.keeping.images;
        let sent = Sent {
            hash,
            size: bytes.len() as u64,
            media_type: Format::of(bytes).map_or("application/octet-stream", Format::media_type),
            image: keep.then(|| bytes.to_vec()),
        };
        Ok((upload, sent))
    }

    /// The analysis of the same bytes with the same options and networks, if it is known.
    pub async fn known(&self, sent: &Sent) -> Option<Comprehensive> {
        cached::get(self.state, self.caching, &sent.hash, &self.field).await
    }

    /// Keeps an analysis for a while, unless another time may bring more.
    pub async fn remember(&self, sent: &Sent, answer: &Comprehensive) {
        if answer.is_partial() {
            return;
        }
        cached::put(self.state, self.caching, &sent.hash, &self.field, answer).await;
    }

    /// Looks for the faces in the gallery, and stores the analysis, as far as that is wanted.
    ///
    /// # Errors
    /// The gallery holds faces of other networks alone; the store does not answer.
    pub async fn finish(
        &self,
        sent: Sent,
        answer: &mut Comprehensive,
        begun: Instant,
        write: &Write,
    ) -> ApiResult<Option<SessionId>> {
        if let (Some(gallery), Some((_, options))) = (&self.gallery, &self.plan.gallery) {
            let embeddings = answer.embeddings().to_vec();
            for (index, embedding) in embeddings.into_iter().enumerate() {
                let Some(packed) = embedding else { continue };
                let Gallery { collection, threshold } = gallery;
                let (matches, _) = find_matches(self.state, collection, options, *threshold, &packed.0).await?;
                answer.add_matches(
                    index,
                    matches.iter().map(|m| match_form(m, *threshold)).collect(),
                    score(*threshold),
                );
            }
        }
        if !self.store {
            return Ok(None);
        }
        let detector = if self.plan.detect_faces { self.plan.method.as_str() } else { "none" };
        let collection = self.gallery.as_ref().map(|gallery| gallery.collection.id);
        let took = begun.elapsed();
        let session = history::session(self.principal.user_id(), collection, sent, detector, took, answer.faces());
        Ok(Some(self.state.store()?.save_session(write, session).await?.value.id))
    }
}

fn field(state: &State, plan: &Plan) -> ApiResult<String> {
    let loaded = state.loaded()?;
    let print = Fingerprint::default().part("plan", plan.key());
    let with_models = Service::ALL
        .iter()
        .fold(print, |print, service| print.part(service.as_str(), loaded.model(*service).unwrap_or("none")));
    Ok(format!("analysis:1:{}", with_models.finish()))
}

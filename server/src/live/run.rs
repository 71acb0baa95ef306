//! From `start` to `stop`: the frames of one camera, followed on the compute pool, and looked for in a collection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Instant,
};

use actix_web::web;
use facesocial_imaging::Format;
use facesocial_pipeline::{
    DetectOptions,
    track::{Candidate, FollowOptions, Followed, Follower, TrackId, TrackOptions},
};
use facesocial_store::{Collection, MatchedPerson};
use facesocial_types::{AnalyzerSet, Embedding};
use serde_json::Value;

use super::{access::Access, answer, message::Wanted, slot::Frame};
use crate::{
    auth::{Principal, Search},
    error::{ApiError, ApiResult, Code},
    extract::Upload,
    gallery::{self, SearchOptions, find_matches, running_model},
    services::face::analyzer_service,
    state::State,
};

/// Faces that a search gives: several may be one person's.
const TOP: usize = 10;

/// The frames from one `start` to its `stop`.
pub struct Run {
    /// What is wanted of them.
    pub wanted: Wanted,
    gallery: Option<Gallery>,
    began: Instant,
    seen: Arc<Mutex<Seen>>,
}

/// Where faces are looked for.
struct Gallery {
    collection: Collection,
    options: SearchOptions,
    threshold: f32,
}

/// What the frames so far showed.
struct Seen {
    follower: Follower,
    /// The persons that were found, by identifier.
    people: HashMap<String, MatchedPerson>,
}

impl Run {
    /// Begins with no track.
    ///
    /// # Errors
    /// A network that is not there, a collection that the caller may not search, or none of that name.
    pub async fn begin(wanted: Wanted, access: &Access, state: &State) -> ApiResult<Self> {
        access.principal()?;
        if wanted.collection.is_some() {
            access.require::<Search>().await?;
        }
        let loaded = state.loaded()?;
        loaded.require_detector(wanted.detector)?;
        for service in wanted.analyzers.iter().filter_map(|analyzer| analyzer_service(*analyzer)) {
            loaded.require(service)?;
        }
        let gallery = match &wanted.collection {
            Some(name) => Some(Gallery::open(name, &wanted, access, state).await?),
            None => None,
        };
        let options = FollowOptions {
            detect: DetectOptions {
                detector: wanted.detector,
                min_score: wanted.min_score,
                min_size: wanted.min_size,
                max_faces: wanted.max_faces,
            },
            analyzers: wanted.analyzers.iter().copied().collect::<AnalyzerSet>(),
            track: TrackOptions::default(),
        };
        let follower = Follower::new(&loaded.pipeline, options);
        let seen = Seen { follower, people: HashMap::new() };
        Ok(Self { wanted, gallery, began: Instant::now(), seen: Arc::new(Mutex::new(seen)) })
    }

    /// Whether whoever asks now may still see what is told.
    pub fn is_allowed(&self, principal: &Principal) -> bool {
        let gallery = self.gallery.as_ref();
        gallery.is_none_or(|gallery| principal.may::<Search>() && principal.may_see(gallery.collection.id))
    }

    /// Analyses a frame.
    ///
    /// # Errors
    /// No usable image, the server is busy, a network fails. Tracks are then as they were.
    pub async fn frame(&self, state: &web::Data<State>, frame: Frame) -> ApiResult<Value> {
        if let Some(format) = Format::of(&frame.bytes)
            && !matches!(format, Format::Jpeg | Format::Png | Format::WebP)
        {
            let detail = format!("{format} is no format for frames; send JPEG, PNG or WebP");
            return Err(ApiError::new(Code::UnsupportedFormat, detail));
        }
        let (began, at) = (Instant::now(), frame.came.saturating_duration_since(self.began));
        let name = frame.name();
        let upload = Upload::new(None, Ok(frame.bytes.to_vec()), Some(frame.memory));
        let (seen, number) = (Arc::clone(&self.seen), frame.number);
        let followed = state
            .photo(upload, move |loaded, photo| {
                // A frame that took too long may still be under way, after its error was told.
                let mut seen = seen.try_lock().map_err(|error| match error {
                    TryLockError::WouldBlock => ApiError::new(Code::Overloaded, "the frame before is still worked on"),
                    TryLockError::Poisoned(error) => ApiError::internal(&std::io::Error::other(error.to_string())),
                })?;
                Ok(seen.follower.frame(&loaded.pipeline, &photo.image, number, at)?)
            })
            .await?;
        let (ballots, search_error) = self.search(state, &followed).await;
        let mut seen = self.lock();
        for (id, candidates, people) in ballots {
            seen.follower.identify(id, &candidates);
            seen.people.extend(people);
        }
        let times = answer::Times { waited: began.saturating_duration_since(frame.came), took: began.elapsed(), at };
        Ok(answer::frame(name, &followed, seen.follower.tracker(), &seen.people, &self.wanted, search_error, times))
    }

    /// The candidates of each face that was embedded, and why others have none.
    async fn search(&self, state: &State, followed: &Followed) -> (Vec<Ballot>, Option<ApiError>) {
        let Some(gallery) = &self.gallery else { return (Vec::new(), None) };
        let (mut ballots, mut failed) = (Vec::new(), None);
        for (id, embedding) in &followed.embedded {
            match gallery.candidates(state, embedding).await {
                Ok((candidates, people)) => ballots.push((*id, candidates, people)),
                Err(error) => failed = Some(error),
            }
        }
        (ballots, failed)
    }

    // Reading what a panic left behind is harmless here: the next frame is refused by the job itself.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ballot = (TrackId, Vec<Candidate>, Vec<(String, MatchedPerson)>);

impl Gallery {
    async fn open(name: &str, wanted: &Wanted, access: &Access, state: &State) -> ApiResult<Self> {
        let principal = access.require::<Search>().await?;
        let model = running_model(state)?;
        let options = SearchOptions { top_k: TOP, level: wanted.level, min_similarity: None, groups: Vec::new() };
        let threshold = options.threshold(state, &model)?;
        let collection = gallery::ask::collection(state.store()?, &principal, name).await?;
        Ok(Self { collection, options, threshold })
    }

    /// The persons that a face is like, each once.
    async fn candidates(
        &self,
        state: &State,
        embedding: &Embedding,
    ) -> ApiResult<(Vec<Candidate>, Vec<(String, MatchedPerson)>)> {
        let (matches, _) = find_matches(state, &self.collection, &self.options, self.threshold, embedding).await?;
        let (mut candidates, mut people): (Vec<Candidate>, Vec<_>) = (Vec::new(), Vec::new());
        for found in matches {
            // A face that is nobody's names nobody.
            let Some(person) = found.person else { continue };
            let key = person.id.to_string();
            // Most similar first: the first face of a person is the best.
            if candidates.iter().all(|c| c.person != key) {
                candidates.push(Candidate { person: key.clone(), similarity: found.similarity });
                people.push((key, person));
            }
        }
        Ok((candidates, people))
    }
}

//! Identification: whose faces a photo shows, among all of a collection.

use std::time::{Duration, Instant};

use facesocial_store::{Collection, Match, SearchQuery};
use facesocial_types::{Embedding, ModelId};

use super::{
    ask::Ask,
    names,
    probe::{Level, Probe, Target, probes, running_model},
    similarity,
    verify::mismatch,
};
use crate::{
    auth::Permission,
    cached::Caching,
    error::{ApiError, ApiResult},
    extract::{Fields, PhotoRequest},
    metrics::Compared,
    state::State,
};

/// Most matches of one face.
const MAX_MATCHES: usize = 100;
/// Matches of one face unless the client asks for another number.
const DEFAULT_MATCHES: usize = 5;
/// Most groups that a search is narrowed to.
const MAX_GROUPS: usize = 32;

/// How a collection is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Most matches of a face, 1 to 100.
    pub top_k: usize,
    /// How sure a match must be, unless a similarity is given.
    pub level: Level,
    /// The least similarity that the client asks for.
    pub min_similarity: Option<f32>,
    /// Only faces of these groups; empty for all.
    pub groups: Vec<String>,
}

impl SearchOptions {
    /// From `top_k`, `verification_level`, `min_similarity` and `face_groups`.
    ///
    /// # Errors
    /// A value that is not allowed.
    pub fn of(fields: &Fields) -> ApiResult<Self> {
        let groups: Vec<String> = match fields.get("face_groups") {
            Some(list) if list.starts_with('[') => fields.json("face_groups")?.unwrap_or_default(),
            Some(list) => list.split(',').map(|group| group.trim().to_owned()).collect(),
            None => Vec::new(),
        };
        if groups.len() > MAX_GROUPS {
            return Err(ApiError::invalid(format!("face_groups has {} groups; at most {MAX_GROUPS}", groups.len())));
        }
        groups.iter().try_for_each(|group| names::face_group(group))?;
        Ok(Self {
            top_k: fields.number("top_k", 1..=MAX_MATCHES)?.unwrap_or(DEFAULT_MATCHES),
            level: Level::of(fields)?,
            min_similarity: fields.number("min_similarity", -1.0..=1.0)?,
            groups,
        })
    }

    /// The similarity from which a face is a match.
    ///
    /// # Errors
    /// None was given, and none was measured for the network.
    pub fn threshold(&self, state: &State, model: &ModelId) -> ApiResult<f32> {
        self.min_similarity.map_or_else(|| self.level.threshold(state, model), |asked| Ok(similarity::least(asked)))
    }
}

/// `faces`: the largest face of a photo, or each.
///
/// # Errors
/// Neither `largest` nor `all`.
pub fn which(fields: &Fields) -> ApiResult<Target> {
    match fields.get("faces") {
        None | Some("largest") => Ok(Target::Largest),
        Some("all") => Ok(Target::All),
        Some(_) => Err(ApiError::invalid("faces is neither largest nor all")),
    }
}

/// Whom the faces of a photo are like.
#[derive(Debug)]
pub struct Identified {
    /// Each face with its matches, most similar first; or why it could not be searched for.
    pub faces: Vec<(Probe, ApiResult<Vec<Match>>)>,
    /// The network or ensemble.
    pub model: ModelId,
    /// The similarity from which a face is a match.
    pub threshold: f32,
    /// Embeddings of this network in the collection.
    pub searched: u64,
    /// Time of the searches alone.
    pub search_time: Duration,
    /// Whether the photo's faces had been computed before.
    pub cached: bool,
}

/// Looks for the faces of a photo in a collection.
///
/// # Errors
/// No usable photo; a collection of other networks' faces alone; no threshold; a wrong value.
pub async fn identify<P: Permission>(
    ask: &Ask<P>,
    collection: &Collection,
    options: &SearchOptions,
    target: Target,
    request: PhotoRequest,
    caching: Caching,
) -> ApiResult<Identified> {
    let state = &ask.state;
    let model = running_model(state)?;
    let threshold = options.threshold(state, &model)?;
    let PhotoRequest { image, image_hash, .. } = request;
    let found = probes(state, image, &image_hash, target, false, caching).await?;
    let started = Instant::now();
    let mut searched = 0;
    let mut faces = Vec::with_capacity(found.faces.len());
    for probe in found.faces {
        let matches = match probe.embedding() {
            Ok(embedding) => {
                let result = find_matches(state, collection, options, threshold, embedding).await?;
                searched = result.1;
                Ok(result.0)
            }
            Err(reason) if target == Target::All => Err(reason),
            Err(reason) => return Err(reason),
        };
        faces.push((probe, matches));
    }
    Ok(Identified { faces, model, threshold, searched, search_time: started.elapsed(), cached: found.cached })
}

/// The matches of one face, and how many embeddings were searched.
///
/// # Errors
/// The collection has faces, and none by this network; the store does not answer.
pub async fn find_matches(
    state: &State,
    collection: &Collection,
    options: &SearchOptions,
    threshold: f32,
    embedding: &Embedding,
) -> ApiResult<(Vec<Match>, u64)> {
    let query = SearchQuery {
        collection: collection.id,
        probe: embedding.clone(),
        limit: options.top_k,
        min_similarity: threshold,
        groups: options.groups.clone(),
        person: None,
    };
    let started = Instant::now();
    let found = state.store()?.search(&query).await?;
    state.metrics.gallery_searched(started.elapsed());
    // Nobody in sight is one thing, nothing to look at another.
    if found.searched == 0 && collection.faces > 0 {
        return Err(mismatch("", embedding.model()));
    }
    state.metrics.decided(Compared::Identification, !found.matches.is_empty());
    Ok((found.matches, found.searched))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> ApiResult<SearchOptions> {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push((*name).to_owned(), (*value).to_owned());
        }
        SearchOptions::of(&fields)
    }

    #[test]
    fn a_search_has_defaults_and_limits() {
        let plain = options(&[]).unwrap();
        assert_eq!((plain.top_k, plain.level, plain.min_similarity), (5, Level::Standard, None));
        assert_eq!(options(&[("top_k", "100")]).unwrap().top_k, 100);
        assert_eq!(options(&[("min_similarity", "0.5")]).unwrap().min_similarity, Some(0.5));
        for wrong in [("top_k", "0"), ("top_k", "101"), ("min_similarity", "1.5"), ("verification_level", "sure")] {
            assert!(options(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn groups_come_as_a_list_in_either_form() {
        for list in ["primary, alternate", r#"["primary","alternate"]"#] {
            assert_eq!(options(&[("face_groups", list)]).unwrap().groups, ["primary", "alternate"], "{list}");
        }
        assert!(options(&[("face_groups", "a b")]).is_err());
        assert!(options(&[("face_groups", "[1]")]).is_err());
    }
}

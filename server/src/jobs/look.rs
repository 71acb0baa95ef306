//! Searches on behalf of jobs.

use facesocial_store::{CollectionId, Match, SearchQuery};
use facesocial_types::Embedding;

use super::run::{Run, patiently};
use crate::error::ApiResult;

/// Matches that are asked for at first, and at most.
const LIMITS: [usize; 3] = [64, 256, 1024];

/// The faces most like `probe`; more and more of them until they are `enough` or all that there are. What stands in the way
/// are faces that the caller has no use for: a person with a hundred photos fills the first places with its own.
pub(super) async fn alike(
    run: &Run,
    collection: CollectionId,
    probe: &Embedding,
    min_similarity: f32,
    enough: impl Fn(&[Match]) -> bool,
) -> ApiResult<Vec<Match>> {
    let store = run.state.store()?;
    let mut matches = Vec::new();
    for limit in LIMITS {
        let query =
            SearchQuery { collection, probe: probe.clone(), limit, min_similarity, groups: Vec::new(), person: None };
        let query = &query;
        matches = patiently(|| store.search(query)).await?.matches;
        if matches.len() < limit || enough(&matches) {
            break;
        }
    }
    Ok(matches)
}

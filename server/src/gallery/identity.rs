//! Whether a face that is to be enrolled belongs where it is to go. Who enrols a face of their own under somebody's name passes
//! for that person afterwards, and who enrols one person under two names has two identities.

use std::str::FromStr;

use facesocial_store::{CollectionId, Match, MatchedPerson, PersonId, PersonRef, SearchQuery, Store, StoreError};
use facesocial_types::{Embedding, ModelId};
use serde::Serialize;
use serde_json::json;

use super::{probe::Level, similarity};
use crate::{
    error::{ApiError, ApiResult, Code},
    state::State,
};

/// Most other persons that are named.
const MOST: usize = 5;
/// Matches looked at for them: a person may have many faces.
const LOOKED_AT: usize = 50;

/// What is done about a face that does not seem to be whose it is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityCheck {
    /// Nothing is looked up.
    Off,
    /// The answer tells.
    #[default]
    Flag,
    /// The face is not enrolled.
    Refuse,
}

impl FromStr for IdentityCheck {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "off" => Ok(Self::Off),
            "flag" => Ok(Self::Flag),
            "refuse" => Ok(Self::Refuse),
            _ => Err("allowed are off, flag, refuse"),
        }
    }
}

/// What the gallery says of whose face it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Identity {
    /// Whether the face is like one that the person has already, as in a verification of the level `standard`; null where the
    /// person has none.
    pub matches_person: Option<bool>,
    /// Others whom it is like, as in an identification of the level `strict`; the most similar first, at most five.
    pub possible_duplicates: Vec<Resembled>,
}

/// Somebody else whom a face is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resembled {
    /// Cosine similarity to the most similar face, in steps of 0.01.
    similarity: f64,
    /// Whom it is like.
    person: MatchedPerson,
}

impl Identity {
    fn is_doubtful(&self) -> bool {
        self.matches_person == Some(false) || !self.possible_duplicates.is_empty()
    }

    /// Refuses a face that does not seem to be the person's, or seems to be another's.
    ///
    /// # Errors
    /// [`Code::IdentityConflict`], with what was found; whom the face is like only to those who `may_search`.
    pub fn require(&self, may_search: bool) -> ApiResult<()> {
        if !self.is_doubtful() {
            return Ok(());
        }
        let what = match (self.matches_person, self.possible_duplicates.is_empty()) {
            (Some(false), true) => "the face is not like those that the person has",
            (Some(false), false) => "the face is not like those that the person has, and is like another person's",
            _ => "the face is like another person's",
        };
        let detail = format!("{what}; look at both, and send identity_check=flag to enrol it all the same");
        let error = ApiError::new(Code::IdentityConflict, detail);
        Err(if may_search { error.with("identity", json!(self)) } else { error })
    }
}

/// Compares a face with those of its person, and with everybody else's. `None` if no thresholds were measured for the network.
///
/// # Errors
/// The store does not answer.
pub async fn identity(
    state: &State,
    collection: CollectionId,
    person: Option<&PersonRef>,
    face: &Embedding,
) -> ApiResult<Option<Identity>> {
    let store = state.store()?;
    let model: &ModelId = face.model();
    let (Ok(same), Ok(other)) = (Level::Standard.threshold(state, model), Level::Strict.threshold(state, model)) else {
        return Ok(None);
    };
    let own = match person {
        Some(person) => existing(&**store, collection, person).await?,
        None => None,
    };
    let mut most_similar: Option<f32> = None;
    if let Some(id) = own {
        for (_, known) in store.embeddings_of(collection, id, model).await? {
            let similarity = known.cosine(face).map_err(|e| ApiError::internal(&e))?;
            most_similar = Some(most_similar.map_or(similarity, |highest| highest.max(similarity)));
        }
    }
    let query = SearchQuery {
        collection,
        probe: face.clone(),
        limit: LOOKED_AT,
        min_similarity: other,
        groups: Vec::new(),
        person: None,
    };
    let possible_duplicates = others(store.search(&query).await?.matches, own, other);
    Ok(Some(Identity { matches_person: most_similar.map(|s| s >= same), possible_duplicates }))
}

/// The person, if it exists already.
async fn existing(store: &dyn Store, collection: CollectionId, person: &PersonRef) -> ApiResult<Option<PersonId>> {
    match person {
        PersonRef::Id(id) => Ok(Some(*id)),
        PersonRef::GetOrCreate(new) => match store.person_by_external_id(collection, &new.external_id).await {
            Ok(person) => Ok(Some(person.id)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        },
    }
}

/// Each other person once; matches come with the most similar first.
fn others(matches: Vec<Match>, own: Option<PersonId>, threshold: f32) -> Vec<Resembled> {
    let mut found: Vec<Resembled> = Vec::new();
    for Match { similarity, person, .. } in matches {
        let Some(person) = person.filter(|person| Some(person.id) != own) else { continue };
        if found.len() < MOST && found.iter().all(|other| other.person.id != person.id) {
            found.push(Resembled { similarity: similarity::shown(similarity, threshold), person });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use facesocial_store::FaceId;

    use super::*;

    fn a_match(person: Option<PersonId>, similarity: f32) -> Match {
        let person = person.map(|id| MatchedPerson { id, external_id: "x".to_owned(), name: "X".to_owned() });
        Match { face_id: FaceId::new(), similarity, face_group: "primary".to_owned(), metadata: json!({}), person }
    }

    #[test]
    fn each_other_person_is_named_once() {
        let people: Vec<PersonId> = (0..8).map(|_| PersonId::new()).collect();
        let mut matches = vec![a_match(Some(people[0]), 0.99), a_match(None, 0.98)];
        matches.extend(people.iter().flat_map(|p| [a_match(Some(*p), 0.957), a_match(Some(*p), 0.93)]));
        let found = others(matches, Some(people[0]), 0.835);
        assert_eq!(found.iter().map(|r| r.person.id).collect::<Vec<_>>(), people[1..6]);
        assert!(found.iter().all(|r| r.similarity == 0.95));
    }

    #[test]
    fn only_who_may_search_learns_whom_a_refused_face_is_like() {
        let duplicates = others(vec![a_match(Some(PersonId::new()), 0.9)], None, 0.835);
        let identity = |matches_person, possible_duplicates| Identity { matches_person, possible_duplicates };
        assert_eq!(identity(Some(true), Vec::new()).require(true), Ok(()));
        assert_eq!(identity(None, Vec::new()).require(true), Ok(()));
        let told = identity(None, duplicates.clone()).require(true).unwrap_err();
        assert_eq!(told.code, Code::IdentityConflict);
        assert!(told.members.unwrap().contains_key("identity"));
        let silent = identity(Some(false), duplicates).require(false).unwrap_err();
        assert!(silent.members.is_none() && silent.detail.contains("not like those that the person has"));
        assert!(identity(Some(false), Vec::new()).require(true).is_err());
    }
}

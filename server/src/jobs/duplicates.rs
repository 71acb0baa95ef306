//! Looks for persons that are one and the same: pairs whose faces are more alike than strangers' are.

use std::collections::BTreeMap;

use facesocial_store::{FaceId, Match, PersonId};
use facesocial_types::ModelId;
use serde::{Deserialize, Serialize};

use super::{
    look,
    run::{Run, patiently},
};
use crate::error::ApiResult;

/// Most pairs in one report.
const MAX_PAIRS: usize = 10_000;
/// Faces read at a time.
const PAGE: u32 = 100;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Options {
    /// From which similarity on a pair is reported.
    pub min_similarity: f32,
    /// The model whose embeddings are compared.
    pub model: ModelId,
}

/// The pairs so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Results {
    /// Faces of known persons that were compared with the collection.
    faces_compared: u64,
    /// Whether there were more pairs than the report holds.
    more: bool,
    pairs: Vec<Pair>,
    /// The face that was compared last; a resumed worker goes on after it.
    after: Option<FaceId>,
}

/// Two persons with the faces of theirs that are most alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair {
    persons: [PersonId; 2],
    faces: [FaceId; 2],
    similarity: f32,
}

/// The most similar pair of faces of each two persons.
#[derive(Debug, Default)]
struct Pairs {
    of: BTreeMap<[PersonId; 2], ([FaceId; 2], f32)>,
    more: bool,
}

impl Pairs {
    fn add(&mut self, a: (PersonId, FaceId), b: (PersonId, FaceId), similarity: f32) {
        if a.0 == b.0 {
            return;
        }
        let (a, b) = if a.0 < b.0 { (a, b) } else { (b, a) };
        let key = [a.0, b.0];
        if self.of.len() >= MAX_PAIRS && !self.of.contains_key(&key) {
            self.more = true;
            return;
        }
        let best = self.of.entry(key).or_insert(([a.1, b.1], similarity));
        if similarity > best.1 {
            *best = ([a.1, b.1], similarity);
        }
    }

    fn of_results(results: &Results) -> Self {
        let of = results.pairs.iter().map(|p| (p.persons, (p.faces, p.similarity))).collect();
        Self { of, more: results.more }
    }

    /// The most alike first.
    fn results(&self, faces_compared: u64, after: Option<FaceId>) -> Results {
        let pair = |(persons, (faces, similarity)): (&[PersonId; 2], &([FaceId; 2], f32))| Pair {
            persons: *persons,
            faces: *faces,
            similarity: *similarity,
        };
        let mut pairs: Vec<Pair> = self.of.iter().map(pair).collect();
        pairs.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.persons.cmp(&b.persons)));
        Results { faces_compared, more: self.more, pairs, after }
    }
}

pub(super) async fn perform(run: &Run) -> ApiResult<()> {
    let options: Options = run.input()?;
    let collection = run.collection()?;
    let store = run.state.store()?;
    let total = patiently(|| store.collection_by_id(collection)).await?.faces;
    let before: Results = run.resumed();
    let mut pairs = Pairs::of_results(&before);
    let (mut compared, mut after, mut done) = (before.faces_compared, before.after, run.job.processed_items);
    loop {
        let page = patiently(|| store.embeddings_after(collection, &options.model, after, PAGE)).await?;
        let last_page = page.len() < PAGE as usize;
        for (face, person, embedding) in page {
            if let Some(person) = person {
                let other = |m: &Match| m.person.as_ref().map(|p| (p.id, m.face_id)).filter(|(id, _)| *id != person);
                let enough = |matches: &[Match]| matches.iter().any(|m| other(m).is_some());
                let matches = look::alike(run, collection, &embedding, options.min_similarity, enough).await?;
                for m in &matches {
                    if let Some(other) = other(m) {
                        pairs.add((person, face), other, m.similarity);
                    }
                }
                compared += 1;
            }
            after = Some(face);
            done += 1;
            run.note(total.max(done), done, 0, &Later(|| pairs.results(compared, after)));
        }
        if last_page {
            break;
        }
    }
    run.note_now(done, done, 0, &pairs.results(compared, after));
    Ok(())
}

/// Made only if it is written down.
struct Later<F>(F);

impl<T: Serialize, F: Fn() -> T> Serialize for Later<F> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (self.0)().serialize(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_two_persons_are_told_once_by_their_most_similar_faces() {
        let [ann, bob, cem] = [PersonId::new(), PersonId::new(), PersonId::new()];
        let faces: Vec<FaceId> = (0..4).map(|_| FaceId::new()).collect();
        let mut pairs = Pairs::default();
        pairs.add((ann, faces[0]), (bob, faces[1]), 0.9);
        pairs.add((bob, faces[1]), (ann, faces[2]), 0.95);
        pairs.add((ann, faces[0]), (ann, faces[2]), 0.99);
        pairs.add((cem, faces[3]), (bob, faces[1]), 0.97);
        let results = pairs.results(4, Some(faces[3]));
        let expected = [
            Pair { persons: [bob, cem], faces: [faces[1], faces[3]], similarity: 0.97 },
            Pair { persons: [ann, bob], faces: [faces[2], faces[1]], similarity: 0.95 },
        ];
        assert_eq!((results.pairs.as_slice(), results.more), (&expected[..], false));
        // What was noted is what a resumed worker begins with.
        let noted = serde_json::from_value(serde_json::to_value(&results).unwrap()).unwrap();
        assert_eq!(Pairs::of_results(&noted).results(4, Some(faces[3])), results);
    }

    #[test]
    fn a_report_is_bounded_and_says_so() {
        let ann = PersonId::new();
        let mut pairs = Pairs::default();
        for _ in 0..=MAX_PAIRS {
            pairs.add((ann, FaceId::new()), (PersonId::new(), FaceId::new()), 0.9);
        }
        assert_eq!((pairs.of.len(), pairs.more), (MAX_PAIRS, true));
    }
}

//! Every probe against the whole gallery.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::set::Set;
use crate::eval::{embedded::Embedded, metrics::identification::Search};

/// A search, and the photos of the gallery that it came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub search: Search,
    /// Best photo of the right person, by its place in the gallery.
    pub right: Option<usize>,
    /// Best photo of anybody else.
    pub wrong: Option<usize>,
}

/// Looks for each probe by the embeddings of one model. A person is as alike as the most alike of its photos.
pub(super) fn search(set: &Set, gallery: &[Embedded], probes: &[Embedded], model: usize) -> Vec<Found> {
    let mut persons: BTreeMap<&str, usize> = BTreeMap::new();
    for photo in &set.gallery {
        let next = persons.len();
        persons.entry(photo.identity.as_str()).or_insert(next);
    }
    let vector = |embedded: &'_ Embedded| -> Option<Vec<f32>> { Some(embedded.as_ref()?[model].as_slice().to_vec()) };
    let enrolled: Vec<(usize, usize, Vec<f32>)> = set
        .gallery
        .iter()
        .zip(gallery)
        .enumerate()
        .filter_map(|(place, (photo, embedded))| Some((place, persons[photo.identity.as_str()], vector(embedded)?)))
        .collect();
    let one = |(photo, embedded): (&super::set::Photo, &Embedded)| {
        let person = persons.get(photo.identity.as_str()).copied();
        let best = vector(embedded).map(|probe| best_by_person(&probe, &enrolled, persons.len()));
        found(person, best.as_deref())
    };
    set.probes.par_iter().zip(probes).map(one).collect()
}

/// The best score of each person with its photo; `None` of a person without a face.
fn best_by_person(probe: &[f32], enrolled: &[(usize, usize, Vec<f32>)], persons: usize) -> Vec<Option<(f64, usize)>> {
    let mut best: Vec<Option<(f64, usize)>> = vec![None; persons];
    for (place, person, vector) in enrolled {
        let score = probe.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        // As a comparison tells it.
        let score = f64::from(score.clamp(-1.0, 1.0) as f32);
        if best[*person].is_none_or(|b| score > b.0) {
            best[*person] = Some((score, *place));
        }
    }
    best
}

fn found(person: Option<usize>, best: Option<&[Option<(f64, usize)>]>) -> Found {
    let best = best.unwrap_or_default();
    let right = person.and_then(|p| *best.get(p)?);
    let others = || best.iter().enumerate().filter(|(p, _)| Some(*p) != person).filter_map(|(_, b)| *b);
    let wrong = others().max_by(|a, b| a.0.total_cmp(&b.0));
    let rank = |score: f64| 1 + others().filter(|b| b.0 >= score).count();
    let search = Search { mated: person.is_some(), right: right.map(|r| (r.0, rank(r.0))), wrong: wrong.map(|w| w.0) };
    Found { search, right: right.map(|r| r.1), wrong: wrong.map(|w| w.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_as_alike_as_the_best_photo_and_ties_go_to_others() {
        let enrolled = vec![(0, 0, vec![1.0, 0.0]), (1, 1, vec![0.0, 1.0]), (2, 0, vec![0.6, 0.8])];
        let best = best_by_person(&[0.0, 1.0], &enrolled, 2);
        assert_eq!(best, [Some((f64::from(0.8_f32), 2)), Some((1.0, 1))]);
        let of_first = found(Some(0), Some(&best));
        assert_eq!((of_first.search.right.unwrap().1, of_first.right, of_first.wrong), (2, Some(2), Some(1)));
        let tied = [Some((0.5, 0)), Some((0.5, 1))];
        assert_eq!(found(Some(0), Some(&tied)).search.right, Some((0.5, 2)));
        let stranger = found(None, Some(&best));
        assert_eq!((stranger.search.mated, stranger.search.wrong), (false, Some(1.0)));
        let blind = found(Some(0), None);
        assert_eq!(blind.search, Search { mated: true, right: None, wrong: None });
    }
}

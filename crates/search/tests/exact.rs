//! The candidates always hold the exact answer, and their bounds always hold the exact cosine.

use std::collections::{BTreeMap, BTreeSet};

use facesocial_search::{Candidate, MAX_DIMENSION, Matrix, SearchError, cosine};
use fastrand::Rng;

/// What the matrix stands for: the vectors themselves.
type Vectors = BTreeMap<u128, Vec<f32>>;

/// One sample of the normal distribution, near enough: the sum of twelve uniform ones.
fn normal(rng: &mut Rng) -> f32 {
    (0..12).map(|_| rng.f32()).sum::<f32>() - 6.0
}

fn vector(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| normal(rng)).collect()
}

fn matrix(dimension: usize, vectors: &Vectors) -> Matrix {
    let mut matrix = Matrix::new(dimension);
    for (&key, vector) in vectors {
        matrix.insert(key, vector).unwrap();
    }
    assert_eq!(matrix.len(), vectors.len());
    matrix
}

/// Checks one search against the vectors themselves; the candidates are returned for further checks.
fn check(
    matrix: &Matrix,
    vectors: &Vectors,
    probe: &[f32],
    k: usize,
    at_least: f64,
    allowed: Option<&(dyn Fn(u128) -> bool + Sync)>,
) -> Vec<Candidate> {
    let found = matrix.candidates_above(probe, k, at_least, allowed).unwrap();
    for pair in found.windows(2) {
        assert!(pair[0].high >= pair[1].high, "not in order: {pair:?}");
    }
    for candidate in &found {
        let exact = cosine(probe, &vectors[&candidate.key]).unwrap();
        assert!(candidate.low <= exact && exact <= candidate.high, "{exact} is not within {candidate:?}");
    }
    let keys: BTreeSet<u128> = found.iter().map(|candidate| candidate.key).collect();
    assert_eq!(keys.len(), found.len(), "a key was returned twice");

    let mut exact: Vec<(f64, u128)> = vectors
        .iter()
        .filter(|(key, _)| allowed.is_none_or(|allowed| allowed(**key)))
        .map(|(&key, vector)| (cosine(probe, vector).unwrap(), key))
        .filter(|(score, _)| *score >= at_least)
        .collect();
    exact.sort_by(|a, b| b.0.total_cmp(&a.0));
    // All that tie with the k-th belong to an exact answer.
    let last = exact.get(k.wrapping_sub(1)).or(exact.last()).map_or(f64::INFINITY, |(score, _)| *score);
    for (score, key) in &exact {
        assert!(k == 0 || *score < last || keys.contains(key), "{key} with {score} is missing");
    }
    for key in keys {
        assert!(allowed.is_none_or(|allowed| allowed(key)), "{key} is not allowed");
    }
    found
}

#[test]
fn random_vectors_of_many_dimensions() {
    let mut rng = Rng::with_seed(1);
    for dimension in [1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 255, 300, 512, 513, 1025] {
        let vectors: Vectors = (0..300).map(|_| (rng.u128(..), vector(&mut rng, dimension))).collect();
        let matrix = matrix(dimension, &vectors);
        for k in [0, 1, 10, 299, 300, 301, usize::MAX] {
            let probe = vector(&mut rng, dimension);
            let found = check(&matrix, &vectors, &probe, k, -1.0, None);
            if k >= 300 {
                assert_eq!(found.len(), 300);
            }
            if k == 0 {
                assert_eq!(found, []);
            }
        }
        // A stored vector finds itself.
        let (&key, probe) = vectors.iter().nth(7).unwrap();
        let found = check(&matrix, &vectors, probe, 1, -1.0, None);
        assert!(found.iter().any(|candidate| candidate.key == key && candidate.high > 0.999));
    }
}

#[test]
fn identities_over_several_chunks() {
    let mut rng = Rng::with_seed(2);
    let mut vectors = Vectors::new();
    for _ in 0..5_000 {
        let centre = vector(&mut rng, 128);
        for _ in 0..4 {
            let face = centre.iter().map(|x| x + 0.6 * normal(&mut rng)).collect();
            vectors.insert(rng.u128(..), face);
        }
    }
    let matrix = matrix(128, &vectors);
    let probes: Vec<Vec<f32>> = vectors.values().step_by(1_999).cloned().collect();
    for probe in &probes {
        let face: Vec<f32> = probe.iter().map(|x| x + 0.6 * normal(&mut rng)).collect();
        for (k, at_least) in [(1, -1.0), (10, -1.0), (10, 0.5), (100, 0.2), (3, 0.99)] {
            let found = check(&matrix, &vectors, &face, k, at_least, None);
            assert!(found.len() <= 20 * k, "{} candidates for k = {k} rule too little out", found.len());
        }
        check(&matrix, &vectors, &face, 10, -1.0, Some(&|key| key % 7 == 0));
        assert_eq!(check(&matrix, &vectors, &face, 10, -1.0, Some(&|_| false)), []);
        assert_eq!(check(&matrix, &vectors, &face, 10, 1.1, None), []);
    }
    // Ascending similarity: each row is better than all before it.
    check(&matrix, &vectors, &probes[0], 5_000, -1.0, None);
}

#[test]
fn equal_vectors_are_all_returned() {
    let mut rng = Rng::with_seed(3);
    let same = vector(&mut rng, 512);
    let mut vectors: Vectors = (0..100).map(|key| (key, same.clone())).collect();
    vectors.extend((100..1_000).map(|key| (key, vector(&mut rng, 512))));
    let matrix = matrix(512, &vectors);
    let found = check(&matrix, &vectors, &same, 10, -1.0, None);
    assert_eq!(found.len(), 100);
}

#[test]
fn vectors_made_to_be_hard() {
    let mut rng = Rng::with_seed(4);
    for dimension in [5, 128, 512, 700] {
        let mut vectors = Vectors::new();
        for key in 0..400_u128 {
            let mut x = vector(&mut rng, dimension);
            let index = rng.usize(..dimension);
            match key % 10 {
                // One component swamps all others: their bytes are 0.
                0 => x[index] = 1e6,
                1 => x[index] = -1e30,
                // Far below and above the norm that is expected.
                2 => x.iter_mut().for_each(|x| *x *= 1e-30),
                3 => x.iter_mut().for_each(|x| *x = x.signum() * 1e-45),
                4 => x.iter_mut().for_each(|x| *x = x.signum() * f32::MAX),
                5 => x = (0..dimension).map(|i| if i == index { f32::MIN_POSITIVE } else { 0.0 }).collect(),
                // Halfway between two steps, all errors on the same side.
                6 => x.iter_mut().enumerate().for_each(|(i, x)| *x = if i == 0 { 127.0 } else { 0.5 }),
                7 => x.iter_mut().enumerate().for_each(|(i, x)| *x = if i == 0 { -127.0 } else { 7.5 }),
                // All components equal: sums as large as they get.
                8 => x.fill([1.0, -1.0][index % 2]),
                _ => {}
            }
            vectors.insert(key, x);
        }
        let matrix = matrix(dimension, &vectors);
        let probes: Vec<Vec<f32>> = vectors.values().step_by(3).cloned().collect();
        for probe in probes {
            for k in [1, 10, 400] {
                check(&matrix, &vectors, &probe, k, -1.0, None);
            }
        }
    }
}

#[test]
fn bounds_are_narrow_for_faces() {
    let mut rng = Rng::with_seed(5);
    let vectors: Vectors = (0..50).map(|key| (key, vector(&mut rng, 512))).collect();
    let matrix = matrix(512, &vectors);
    for candidate in check(&matrix, &vectors, &vector(&mut rng, 512), 50, -1.0, None) {
        assert!(candidate.high - candidate.low < 0.03, "{candidate:?}");
        assert!((candidate.low..=candidate.high).contains(&candidate.approximate()));
    }
}

#[test]
fn the_widest_vectors_do_not_overflow() {
    let ones = vec![1.0; MAX_DIMENSION];
    let minus: Vec<f32> = ones.iter().map(|x| -x).collect();
    let vectors = Vectors::from([(1, ones.clone()), (2, minus)]);
    let matrix = matrix(MAX_DIMENSION, &vectors);
    let found = check(&matrix, &vectors, &ones, 2, -1.0, None);
    assert_eq!(found.iter().map(|candidate| candidate.key).collect::<Vec<_>>(), [1, 2]);

    let mut wider = Matrix::new(MAX_DIMENSION + 1);
    assert_eq!(wider.insert(1, &vec![1.0; MAX_DIMENSION + 1]), Err(SearchError::TooWide(MAX_DIMENSION + 1)));
}

#[test]
fn changes_are_followed() {
    let mut rng = Rng::with_seed(6);
    let mut vectors = Vectors::new();
    let mut matrix = Matrix::new(33);
    // More than one chunk at its largest, so that rows move between chunks.
    for step in 0..40_000 {
        let key = u128::from(rng.u32(..12_000));
        let shrinking = (15_000..25_000).contains(&step);
        if rng.u32(..10) < if shrinking { 9 } else { 2 } {
            assert_eq!(matrix.remove(key), vectors.remove(&key).is_some());
            assert!(!matrix.contains(key));
        } else {
            let x = vector(&mut rng, 33);
            matrix.insert(key, &x).unwrap();
            vectors.insert(key, x);
            assert!(matrix.contains(key));
        }
        assert_eq!(matrix.len(), vectors.len());
        if step % 4_000 == 3_999 {
            let probe = vector(&mut rng, 33);
            check(&matrix, &vectors, &probe, 10, -1.0, None);
            check(&matrix, &vectors, &probe, vectors.len(), -1.0, None);
        }
    }
    let held = matrix.bytes();
    for key in std::mem::take(&mut vectors).into_keys() {
        assert!(matrix.remove(key));
    }
    assert!(matrix.is_empty() && matrix.bytes() < held);
    assert_eq!(matrix.candidates(&vector(&mut rng, 33), 10, None), Ok(Vec::new()));
    assert!(!matrix.remove(1));
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let mut matrix = Matrix::new(3);
    matrix.insert(1, &[1.0, 2.0, 3.0]).unwrap();
    let refusals: [(&[f32], SearchError); 5] = [
        (&[1.0, 2.0], SearchError::Dimension { expected: 3, actual: 2 }),
        (&[], SearchError::Dimension { expected: 3, actual: 0 }),
        (&[1.0, f32::NAN, 0.0], SearchError::NotFinite(1)),
        (&[1.0, 0.0, f32::NEG_INFINITY], SearchError::NotFinite(2)),
        (&[0.0, -0.0, 0.0], SearchError::Zero),
    ];
    for (vector, error) in refusals {
        assert_eq!(matrix.insert(2, vector), Err(error));
        assert_eq!(matrix.insert(1, vector), Err(error), "the one held stays");
        assert_eq!(matrix.candidates(vector, 1, None), Err(error));
    }
    assert_eq!((matrix.len(), matrix.contains(2)), (1, false));
    assert_eq!(matrix.candidates(&[1.0, 2.0, 3.0], 1, None).unwrap().len(), 1);

    let mut none = Matrix::new(0);
    assert_eq!(none.insert(1, &[]), Err(SearchError::Zero));
}

#[test]
fn memory_is_a_little_over_one_byte_per_component() {
    let mut rng = Rng::with_seed(7);
    let mut matrix = Matrix::new(512);
    let x = vector(&mut rng, 512);
    for key in 0..20_000 {
        matrix.insert(key, &x).unwrap();
    }
    let per_row = matrix.bytes() / matrix.len();
    // The last chunk is reserved in full, the map up to twice.
    assert!((556..760).contains(&per_row), "{per_row} bytes per row");
}

#[test]
fn cosine_is_that_of_the_definition() {
    assert_eq!(cosine(&[3.0, 4.0, 0.0, 0.0, 0.0], &[3.0, 4.0, 0.0, 0.0, 0.0]), Some(1.0));
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, -2.0]), Some(0.0));
    assert!((cosine(&[1.0, 0.0], &[1.0, 1.0]).unwrap() - 0.5_f64.sqrt()).abs() < 1e-15);
    assert_eq!(cosine(&[1.0], &[1.0, 2.0]), None);
    assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), None);
    assert_eq!(cosine(&[f32::INFINITY], &[1.0]), None);
    assert_eq!(cosine(&[f32::MAX; 9], &[1e-45; 9]), Some(1.0));
}

/// Several networks' vectors one after the other: a mean that all share, parts of very different size.
#[test]
fn uneven_vectors_are_told_apart() {
    let mut rng = Rng::with_seed(8);
    let shared = vector(&mut rng, 300);
    let uneven = |rng: &mut Rng| -> Vec<f32> {
        let part = |i: usize| [1.0, 0.4, 0.03][i / 100];
        shared.iter().enumerate().map(|(i, mean)| part(i) * (2.0 * mean + normal(rng))).collect()
    };
    let vectors: Vectors = (0..12_000).map(|_| (rng.u128(..), uneven(&mut rng))).collect();
    let matrix = matrix(300, &vectors);
    for _ in 0..3 {
        let probe = uneven(&mut rng);
        let found = check(&matrix, &vectors, &probe, 10, -1.0, None);
        assert!(found.len() <= 60, "{} candidates for 10", found.len());
    }
    check(&matrix, &vectors, &vectors.values().next().unwrap().clone(), 10, 0.99, None);
}

/// The first vectors say nothing about those that come later.
#[test]
fn what_comes_first_may_mislead() {
    let mut rng = Rng::with_seed(9);
    let same = vector(&mut rng, 64);
    let mut vectors: Vectors = (0..600).map(|key| (key, same.clone())).collect();
    vectors.extend((600..1_200).map(|key| (key, same.iter().map(|x| x + 1e-5 * normal(&mut rng)).collect())));
    vectors.extend((1_200..9_500).map(|key| (key, vector(&mut rng, 64))));
    vectors.extend((9_500..9_600).map(|key| (key, same.iter().map(|x| -x).collect())));
    let matrix = matrix(64, &vectors);
    for probe in [same, vector(&mut rng, 64), vectors[&9_550].clone(), vectors[&1_000].clone()] {
        for k in [1, 10, 700] {
            check(&matrix, &vectors, &probe, k, -1.0, None);
        }
    }
}

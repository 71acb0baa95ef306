//! Synthetic faces: persons in random directions, a few faces around each. Made again whenever they are needed, so that
//! the measured process does not hold them.
//!
//! Components differ in variance, which falls with their number to the power of -0.6. So strangers' cosines spread as they
//! do for networks of the ArcFace family: by 0.07, and one pair in a million reaches 0.35.

use std::sync::LazyLock;

use facesocial_search::cosine;
use fastrand::Rng;

/// Components of each vector.
pub const DIMENSION: usize = 512;
/// Nearest faces asked for.
pub const K: usize = 10;
/// Noise relative to the person's direction: two faces of one person have a cosine of about 0.6.
const NOISE: f32 = 0.8;
/// From here on, persons whom no gallery knows.
const STRANGERS: usize = 1 << 40;

/// Standard deviation of each component.
static SPREAD: LazyLock<Vec<f32>> = LazyLock::new(|| (1..=DIMENSION).map(|i| (i as f32).powf(-0.3)).collect());

/// Persons and vectors of `count` faces, one to nine of each person.
pub fn faces(count: usize) -> impl Iterator<Item = (usize, Vec<f32>)> {
    (0..).flat_map(|person| (0..=person % 9).map(move |face| (person, face_of(person, face)))).take(count)
}

/// New faces: half of persons in a gallery of `count` faces, half of strangers.
pub fn probes(count: usize, probes: usize) -> Vec<Vec<f32>> {
    let persons = count / 5;
    (0..probes)
        .map(|i| match i % 2 {
            0 => face_of(i * persons / probes, 9),
            _ => face_of(STRANGERS + i, 0),
        })
        .collect()
}

/// The K nearest faces of each probe, by a look at all: cosine and place in the order of [`faces`].
pub fn nearest(count: usize, probes: &[Vec<f32>]) -> Vec<Vec<(f64, usize)>> {
    let mut nearest: Vec<Vec<(f64, usize)>> = vec![Vec::new(); probes.len()];
    for (place, (_, face)) in faces(count).enumerate() {
        for (probe, best) in probes.iter().zip(&mut nearest) {
            let score = cosine(probe, &face).unwrap_or(-1.0);
            if best.len() < K || best[K - 1].0 < score {
                let at = best.partition_point(|(other, _)| *other >= score);
                best.insert(at, (score, place));
                best.truncate(K);
            }
        }
    }
    nearest
}

fn face_of(person: usize, face: usize) -> Vec<f32> {
    let mut of_person = rng(person, usize::MAX);
    let mut of_face = rng(person, face);
    let face: Vec<f32> =
        SPREAD.iter().map(|spread| spread * (normal(&mut of_person) + NOISE * normal(&mut of_face))).collect();
    let norm = face.iter().map(|x| x * x).sum::<f32>().sqrt();
    face.into_iter().map(|x| x / norm).collect()
}

fn rng(person: usize, face: usize) -> Rng {
    Rng::with_seed(
        (person as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (face as u64).wrapping_mul(0xd1b5_4a32_d192_ed03),
    )
}

/// One sample of the normal distribution, near enough: the sum of four uniform ones.
fn normal(rng: &mut Rng) -> f32 {
    let bits = rng.u64(..);
    let sum = (0..4).map(|i| f32::from((bits >> (16 * i)) as u16)).sum::<f32>() / 65_536.0;
    (sum - 2.0) * 3.0_f32.sqrt()
}

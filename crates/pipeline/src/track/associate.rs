//! Which face of a frame continues which track.
//!
//! The ideas are those of SORT (Bewley et al. 2016, arXiv:1602.00763: boxes predicted at constant velocity, matched by IoU),
//! of ByteTrack (Zhang et al. 2022, arXiv:2110.06864: sure faces first, then the unsure ones, which continue tracks and begin
//! none) and of DeepSORT (Wojke et al. 2017, arXiv:1703.07402: appearance beside motion). Differences: no Kalman filter, since
//! frames come at uneven times; greedy by the sum of IoU and appearance, which equals the optimum wherever faces do not
//! overlap.

use std::time::Duration;

use facesocial_types::{BBox, Embedding};

use super::TrackOptions;

/// What appearance weighs beside IoU: full likeness adds as much as half of the box.
const APPEARANCE: f32 = 0.5;

/// What is known of a track when a frame comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    /// Where the face is expected now.
    pub expected: BBox,
    /// Whether it was seen in the frame before, and that not long ago: its motion says where it is.
    pub fresh: bool,
    /// Whether it is told of already.
    pub confirmed: bool,
    /// What the face looks like, as far as that was computed.
    pub template: Option<&'a Embedding>,
}

/// What is known of a face of the frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    pub bbox: BBox,
    pub score: f32,
    pub embedding: Option<&'a Embedding>,
}

/// A face that continues a track, both by index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub track: usize,
    pub face: usize,
    /// Whether the embeddings agree; false where there was nothing to compare.
    pub by_appearance: bool,
}

/// Pairs tracks and faces, each at most once.
pub(super) fn associate(past: &[Past<'_>], present: &[Present<'_>], options: &TrackOptions) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let sure = |face: &Present<'_>| face.score >= options.birth_score;
    step(past, present, &mut pairs, |track, face| if sure(face) { affinity(track, face, options) } else { None });
    step(past, present, &mut pairs, |track, face| {
        let iou = track.expected.iou(&face.bbox);
        (!sure(face) && track.fresh && track.confirmed && iou >= options.unsure_iou).then_some((iou, false))
    });
    pairs
}

/// Takes the pairs of highest affinity among the tracks and faces that are still free.
fn step(
    past: &[Past<'_>],
    present: &[Present<'_>],
    pairs: &mut Vec<Pair>,
    affinity: impl Fn(&Past<'_>, &Present<'_>) -> Option<(f32, bool)>,
) {
    let free = |pairs: &[Pair], track: usize, face: usize| pairs.iter().all(|p| p.track != track && p.face != face);
    let mut possible: Vec<(f32, Pair)> = Vec::new();
    for (track, t) in past.iter().enumerate() {
        for (face, f) in present.iter().enumerate().filter(|(face, _)| free(pairs, track, *face)) {
            if let Some((value, by_appearance)) = affinity(t, f) {
                possible.push((value, Pair { track, face, by_appearance }));
            }
        }
    }
    // Stable: of equal ones the older track and the larger face.
    possible.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, pair) in possible {
        if free(pairs, pair.track, pair.face) {
            pairs.push(pair);
        }
    }
}

/// How well a face continues a track, and whether their embeddings agree; `None` if it cannot.
fn affinity(track: &Past<'_>, face: &Present<'_>, options: &TrackOptions) -> Option<(f32, bool)> {
    let iou = track.expected.iou(&face.bbox);
    let alike = track.template.zip(face.embedding).and_then(|(a, b)| a.cosine(b).ok()).zip(options.same_person);
    match alike {
        Some((similarity, same)) => {
            let agrees = similarity >= same;
            // Beyond the last frame motion proves nothing; whoever stands there must look the same.
            let possible = agrees || (track.fresh && iou >= options.min_iou);
            possible.then_some((iou + APPEARANCE * (similarity - same) / (1.0 - same).max(0.05), agrees))
        }
        // The looks are known and cannot be compared: it may be anybody.
        None if !track.fresh && track.template.is_some() && options.same_person.is_some() => None,
        None => (iou >= options.min_iou).then_some((iou, false)),
    }
}

/// The faces whose embedding the association would need: those that no fresh track claims while others have not been seen
/// for a while, and those that several tracks, or several faces of one track, compete for.
pub(super) fn undecided(past: &[Past<'_>], present: &[Present<'_>], options: &TrackOptions) -> Vec<bool> {
    let claims =
        |track: &Past<'_>, face: &Present<'_>| track.fresh && track.expected.iou(&face.bbox) >= options.min_iou;
    let missing = past.iter().any(|track| !track.fresh && track.template.is_some());
    let contested = |face: &Present<'_>| {
        let claimants = past.iter().filter(|track| claims(track, face));
        let mut known = claimants.clone().filter(|t| t.template.is_some());
        claimants.clone().count() > 1
            || known.any(|track| present.iter().filter(|other| claims(track, other)).count() > 1)
    };
    present
        .iter()
        .map(|face| {
            let claimed = past.iter().any(|track| claims(track, face));
            options.same_person.is_some() && if claimed { contested(face) } else { missing }
        })
        .collect()
}

/// Where a box is after `elapsed` at a velocity in pixels a second. A face does not fly far between frames that are long
/// apart: it is followed for half a second at most.
pub(super) fn moved(bbox: &BBox, velocity: (f32, f32), elapsed: Duration) -> BBox {
    let seconds = elapsed.as_secs_f32().min(0.5);
    BBox { x: bbox.x + velocity.0 * seconds, y: bbox.y + velocity.1 * seconds, ..*bbox }
}

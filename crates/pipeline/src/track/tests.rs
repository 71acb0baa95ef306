//! Scenes made up of boxes, scores and looks.

use facesocial_types::{
    AntiSpoof, BBox, HeadPose, Landmarks, LivenessDecision, ModelId, Outcome, Quality, QualityMetrics, QualityReason,
    Recognition,
};

use super::*;

const FRAME: Duration = Duration::from_millis(100);

/// Similarities at which the looks of [`looks`] agree and differ.
fn options() -> TrackOptions {
    TrackOptions { same_person: Some(0.8), other_person: Some(0.7), ..TrackOptions::default() }
}

fn face(x: f32, y: f32, size: f32) -> FaceAnalysis {
    FaceAnalysis {
        index: 0,
        bbox: BBox::new(x, y, size, size),
        score: 0.95,
        landmarks: Landmarks::default(),
        quality: None,
        recognition: None,
        antispoof: None,
        gender_age: None,
        deepfake: None,
    }
}

/// The looks of person `who`, at right angles to those of everybody else.
fn looks(who: usize) -> Embedding {
    let mut vector = vec![0.0; 16];
    vector[who] = 1.0;
    Embedding::new(ModelId::new("net", "1"), vector).unwrap()
}

fn like(face: FaceAnalysis, who: usize) -> FaceAnalysis {
    FaceAnalysis { recognition: Some(Outcome::Done(Recognition { embedding: looks(who) })), ..face }
}

fn live(face: FaceAnalysis, score: f32) -> FaceAnalysis {
    let decision = LivenessDecision::Uncertain;
    FaceAnalysis {
        antispoof: Some(Outcome::Done(AntiSpoof { model: ModelId::new("net", "1"), score, decision })),
        ..face
    }
}

fn of_quality(face: FaceAnalysis, score: f32, reasons: Vec<QualityReason>) -> FaceAnalysis {
    let metrics = QualityMetrics { pose: Some(HeadPose::default()), ..QualityMetrics::default() };
    FaceAnalysis { quality: Some(Outcome::Done(Quality { score, reasons, metrics })), ..face }
}

/// Feeds frames at [`FRAME`] after `start`; gives the ids of each frame's faces.
fn feed(tracker: &mut Tracker, start: u32, frames: Vec<Vec<FaceAnalysis>>) -> Vec<Vec<Option<u64>>> {
    let ids = |update: Update| update.tracks.into_iter().map(|id| id.map(|id| id.0)).collect();
    let frames = frames.into_iter().zip(start..);
    frames.map(|(faces, n)| ids(tracker.update(u64::from(n) + 1, FRAME * n, &faces))).collect()
}

#[test]
fn a_track_is_told_from_its_second_frame_on_and_ends_after_a_gap() {
    let mut tracker = Tracker::new(options());
    let shown = feed(&mut tracker, 0, vec![vec![face(10.0, 10.0, 80.0)]; 3]);
    assert_eq!(shown, [[None], [Some(1)], [Some(1)]]);
    feed(&mut tracker, 3, vec![vec![]; 19]);
    assert!(!tracker.track(TrackId(1)).unwrap().is_visible());
    let gone = tracker.update(0, FRAME * 23, &[]);
    assert_eq!(gone.ended.iter().map(|t| (t.id.0, t.hits)).collect::<Vec<_>>(), [(1, 3)]);
    assert_eq!(tracker.tracks().count(), 0);
}

#[test]
fn nothing_comes_of_frames_without_faces_or_with_unsure_ones() {
    let mut tracker = Tracker::new(options());
    feed(&mut tracker, 0, vec![vec![]; 5]);
    let unsure = FaceAnalysis { score: 0.55, ..face(10.0, 10.0, 80.0) };
    assert_eq!(feed(&mut tracker, 5, vec![vec![unsure.clone()]; 5]), vec![vec![None]; 5]);
    // A face that is seen once is none yet.
    assert_eq!(feed(&mut tracker, 10, vec![vec![face(300.0, 10.0, 80.0)], vec![]]), [vec![None], vec![]]);
    assert_eq!(tracker.finish(), []);
    // An unsure face continues what a sure one began.
    let mut tracker = Tracker::new(options());
    let sure = face(10.0, 10.0, 80.0);
    let shown = feed(&mut tracker, 0, vec![vec![sure.clone()], vec![sure], vec![unsure]]);
    assert_eq!(shown[2], [Some(1)]);
}

#[test]
fn ids_of_faces_apart_never_swap_however_they_move_and_in_whatever_order_they_come() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..60 {
        let people = random.usize(1..7);
        let mut at: Vec<(f32, f32)> = (0..people).map(|n| (300.0 * n as f32, 200.0 * random.f32())).collect();
        let mut names: Vec<Option<u64>> = vec![None; people];
        let mut tracker = Tracker::new(TrackOptions { same_person: None, other_person: None, ..options() });
        for frame in 0..40 {
            for place in &mut at {
                place.0 = place.0.clamp(-1e6, 1e6) + random.f32() * 20.0 - 10.0;
                place.1 += random.f32() * 20.0 - 10.0;
            }
            let mut order: Vec<usize> = (0..people).collect();
            random.shuffle(&mut order);
            // Detection misses a face now and then, never twice on end for long.
            order.retain(|_| frame < 3 || random.f32() > 0.1);
            let faces: Vec<FaceAnalysis> = order.iter().map(|&n| face(at[n].0, at[n].1, 100.0)).collect();
            let update = tracker.update(0, FRAME * frame, &faces);
            for (person, id) in order.iter().zip(update.tracks) {
                let Some(TrackId(id)) = id else { continue };
                assert_eq!(*names[*person].get_or_insert(id), id, "round {round}, frame {frame}, person {person}");
            }
        }
        let mut ids: Vec<u64> = names.into_iter().flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), people, "round {round}");
    }
}

#[test]
fn a_short_occlusion_keeps_the_id_and_with_known_looks_the_votes() {
    let mut tracker = Tracker::new(options());
    let seen = live(like(face(10.0, 10.0, 80.0), 0), 0.9);
    feed(&mut tracker, 0, vec![vec![seen.clone()]; 8]);
    feed(&mut tracker, 8, vec![vec![]; 6]);
    // Elsewhere in the picture: looks alone say who it is.
    let back = live(like(face(400.0, 60.0, 80.0), 0), 0.9);
    assert_eq!(feed(&mut tracker, 14, vec![vec![back]]), [[Some(1)]]);
    assert_eq!(tracker.track(TrackId(1)).unwrap().liveness.decision(), LivenessDecision::Live);
}

#[test]
fn after_an_occlusion_without_known_looks_the_id_stays_and_decisions_begin_anew() {
    let mut tracker = Tracker::new(options());
    let seen = live(face(10.0, 10.0, 80.0), 0.9);
    feed(&mut tracker, 0, vec![vec![seen.clone()]; 8]);
    assert_eq!(tracker.track(TrackId(1)).unwrap().liveness.decision(), LivenessDecision::Live);
    let shown = feed(&mut tracker, 8, vec![vec![], vec![], vec![seen]]);
    assert_eq!(shown[2], [Some(1)]);
    assert_eq!(tracker.track(TrackId(1)).unwrap().liveness.decision(), LivenessDecision::Uncertain);
}

#[test]
fn somebody_else_in_the_same_place_is_another_track() {
    // After a gap.
    let mut tracker = Tracker::new(options());
    feed(&mut tracker, 0, vec![vec![like(face(10.0, 10.0, 80.0), 0)]; 5]);
    let shown = feed(&mut tracker, 5, vec![vec![], vec![like(face(10.0, 10.0, 80.0), 1)]]);
    assert_eq!(shown[1], [None], "a newcomer");
    // Without one: an odd frame is borne, two are somebody else.
    let mut tracker = Tracker::new(TrackOptions { birth_hits: 1, ..options() });
    let (ann, bob) = (like(face(10.0, 10.0, 80.0), 0), like(face(10.0, 10.0, 80.0), 1));
    let shown = feed(&mut tracker, 0, vec![vec![ann.clone()], vec![bob.clone()], vec![ann], vec![bob.clone()]]);
    assert_eq!(shown, vec![[Some(1)]; 4]);
    let update = tracker.update(0, FRAME * 4, &[bob]);
    assert_eq!((update.tracks, update.ended[0].id), (vec![Some(TrackId(2))], TrackId(1)));
}

#[test]
fn a_head_that_turns_away_stays_itself() {
    let mut tracker = Tracker::new(TrackOptions { birth_hits: 1, ..options() });
    let turned = of_quality(like(face(10.0, 10.0, 80.0), 1), 0.5, vec![QualityReason::ExtremePose]);
    feed(&mut tracker, 0, vec![vec![like(face(10.0, 10.0, 80.0), 0)]; 2]);
    assert_eq!(feed(&mut tracker, 2, vec![vec![turned]; 6]), vec![[Some(1)]; 6]);
}

#[test]
fn where_two_cross_looks_tell_them_apart() {
    let mut tracker = Tracker::new(TrackOptions { birth_hits: 1, ..options() });
    for frame in 0..21 {
        let step = 10.0 * frame as f32;
        let (ann, bob) = (like(face(step, 10.0, 80.0), 0), like(face(200.0 - step, 10.0, 80.0), 1));
        let plan =
            tracker.plan(FRAME * frame, &[ann.clone(), bob.clone()], AnalyzerSet::NONE.with(Analyzer::Recognition));
        if (8..13).contains(&frame) {
            assert!(plan.iter().all(|set| set.contains(Analyzer::Recognition)), "frame {frame}: who is who is unclear");
        }
        let update = tracker.update(0, FRAME * frame, &[ann, bob]);
        assert_eq!(update.tracks, [Some(TrackId(1)), Some(TrackId(2))], "frame {frame}");
    }
}

#[test]
fn one_spoof_frame_turns_no_live_track_and_low_faces_have_no_say() {
    let mut tracker = Tracker::new(options());
    let frame = |score| vec![live(face(10.0, 10.0, 80.0), score)];
    feed(&mut tracker, 0, [vec![frame(0.95); 6], vec![frame(0.0)], vec![frame(0.95); 2]].concat());
    assert_eq!(tracker.track(TrackId(1)).unwrap().liveness.decision(), LivenessDecision::Live);
    let mut tracker = Tracker::new(options());
    feed(&mut tracker, 0, vec![vec![live(face(10.0, 10.0, 40.0), 1.0)]; 12]);
    let track = tracker.track(TrackId(1)).unwrap();
    assert_eq!((track.liveness.decision(), track.liveness.scores()), (LivenessDecision::Uncertain, 0));
}

#[test]
fn the_best_frame_is_the_one_of_highest_quality() {
    let mut tracker = Tracker::new(options());
    let qualities = [0.4, 0.6, 0.9, 0.5, 0.9];
    let frame = |(n, q): (usize, &f32)| vec![of_quality(face(10.0 + n as f32, 10.0, 80.0), *q, vec![])];
    feed(&mut tracker, 0, qualities.iter().enumerate().map(frame).collect());
    let best = tracker.finish()[0].best;
    assert_eq!((best.frame, best.at, best.quality, best.bbox.x), (3, FRAME * 2, 0.9, 12.0));
}

#[test]
fn costly_analyses_wait_for_a_confirmed_track_and_then_do_not_run_on_every_frame() {
    let wanted = AnalyzerSet::NONE.with(Analyzer::Recognition).with(Analyzer::GenderAge);
    let mut tracker = Tracker::new(options());
    let mut ran = Vec::new();
    for frame in 0..30 {
        let bare = of_quality(face(10.0, 10.0, 80.0), 0.5, vec![]);
        let plan = tracker.plan(FRAME * frame, std::slice::from_ref(&bare), wanted);
        let computed = if plan[0].contains(Analyzer::Recognition) { like(bare, 0) } else { bare };
        tracker.update(0, FRAME * frame, &[computed]);
        ran.push(plan[0].contains(Analyzer::Recognition));
    }
    let on: Vec<usize> = ran.iter().enumerate().filter_map(|(n, ran)| ran.then_some(n)).collect();
    assert_eq!(on, [1, 2, 3, 13, 23]);
}

#[test]
fn whatever_comes_ids_are_unique_in_a_frame_and_tell_of_real_faces() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..200 {
        let mut tracker = Tracker::new(options());
        let mut at = Duration::ZERO;
        let mut ended: Vec<TrackId> = Vec::new();
        for _ in 0..30 {
            at += Duration::from_millis(random.u64(0..1500));
            let any = |random: &mut fastrand::Rng| {
                let size = random.f32() * 120.0;
                let bare = face(random.f32() * 300.0, random.f32() * 200.0, size);
                let bare = FaceAnalysis { score: random.f32(), ..bare };
                let bare = live(bare, random.f32());
                if random.bool() { like(bare, random.usize(0..4)) } else { bare }
            };
            let faces: Vec<FaceAnalysis> = (0..random.usize(0..6)).map(|_| any(&mut random)).collect();
            assert_eq!(tracker.plan(at, &faces, AnalyzerSet::ALL).len(), faces.len());
            let update = tracker.update(0, at, &faces);
            assert_eq!(update.tracks.len(), faces.len());
            let mut ids: Vec<TrackId> = update.tracks.iter().flatten().copied().collect();
            let told = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), told, "one track in two places");
            assert!(ids.iter().all(|id| !ended.contains(id)), "an ended track came back");
            for (id, face) in update.tracks.iter().zip(&faces) {
                let Some(track) = id.and_then(|id| tracker.track(id)) else { continue };
                assert_eq!((track.bbox, track.last_seen, track.is_visible()), (face.bbox, at, true));
                assert!(track.hits >= 2 && track.first_seen <= track.last_seen);
            }
            ended.extend(update.ended.iter().map(|track| track.id));
        }
    }
}

//! Frames in, tracks out: runs detection on each frame, the other networks where they are due, and tells the tracker.

use std::time::Duration;

use facesocial_types::{Analyzer, AnalyzerSet, Detection, Embedding, Face, FaceAnalysis, Outcome, Recognition};
use image::RgbImage;

use super::{Candidate, Track, TrackId, TrackOptions, Tracker, Update};
use crate::{DetectOptions, FarTarget, Pipeline, Result};

/// What is wanted of the frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FollowOptions {
    /// How faces are looked for.
    pub detect: DetectOptions,
    /// What is said about each track: recognition, liveness, age and gender. Quality always is.
    pub analyzers: AnalyzerSet,
    /// How tracks begin, go on and end. The similarities of [`TrackOptions`] are set to those of the ensemble that runs.
    pub track: TrackOptions,
}

/// What a frame showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// Width of the upright frame in pixels.
    pub width: u32,
    /// Height of the upright frame in pixels.
    pub height: u32,
    /// See [`Detection::detector`].
    pub detector: String,
    /// How many faces it shows, those of no confirmed track included.
    pub faces: usize,
    /// Tracks that it shows, largest face first.
    pub visible: Vec<TrackId>,
    /// Embeddings computed on this frame of tracks that are confirmed: what to look for in a gallery.
    pub embedded: Vec<(TrackId, Embedding)>,
    /// Tracks that ended.
    pub ended: Vec<Track>,
}

/// Follows faces over the frames of one camera or file.
#[derive(Debug)]
pub struct Follower {
    options: FollowOptions,
    tracker: Tracker,
}

impl Follower {
    /// Without tracks. Looks are compared where recognition is wanted and its thresholds are known.
    pub fn new(pipeline: &Pipeline, options: FollowOptions) -> Self {
        let looks = |far| options.analyzers.contains(Analyzer::Recognition).then(|| pipeline.threshold(far)).flatten();
        let track = TrackOptions {
            same_person: looks(FarTarget::PerMille1),
            other_person: looks(FarTarget::Percent1),
            liveness: match pipeline.chosen_liveness_band() {
                Some(band) => options.track.liveness.within(band),
                None => options.track.liveness,
            },
            ..options.track
        };
        Self { options, tracker: Tracker::new(track) }
    }

    /// The tracks.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Adds a search's result to a track's ballots.
    pub fn identify(&mut self, id: TrackId, candidates: &[Candidate]) {
        self.tracker.identify(id, candidates);
    }

    /// Takes a frame by the caller's number and its time, which is not before that of the frame before. Blocks for the time
    /// of the inference.
    ///
    /// # Errors
    /// Those of [`Pipeline::detect`]; the tracks are then as they were. What fails for one analysis is no vote.
    pub fn frame(&mut self, pipeline: &Pipeline, image: &RgbImage, frame: u64, at: Duration) -> Result<Followed> {
        let Detection { detector, faces } = pipeline.detect(image, &self.options.detect)?;
        let quality = AnalyzerSet::NONE.with(Analyzer::Quality);
        let found = Detection { detector: detector.clone(), faces: faces.clone() };
        let mut seen = pipeline.analyze_faces(image, found, quality).faces;
        let plan = self.tracker.plan(at, &seen, self.options.analyzers);
        for (wanted, indices) in groups(&plan) {
            let of_group: Vec<Face> = indices.iter().filter_map(|&index| faces.get(index).cloned()).collect();
            let group = Detection { detector: detector.clone(), faces: of_group };
            let answers = pipeline.analyze_faces(image, group, wanted).faces;
            for (index, answer) in indices.into_iter().zip(answers) {
                if let Some(face) = seen.get_mut(index) {
                    merge(face, answer);
                }
            }
        }
        let Update { tracks, ended } = self.tracker.update(frame, at, &seen);
        let embedded = seen.iter().zip(&tracks).filter_map(|(face, id)| {
            let Some(Outcome::Done(Recognition { embedding })) = &face.recognition else { return None };
            id.map(|id| (id, embedding.clone()))
        });
        Ok(Followed {
            width: image.width(),
            height: image.height(),
            detector,
            faces: seen.len(),
            embedded: embedded.collect(),
            visible: tracks.into_iter().flatten().collect(),
            ended,
        })
    }

    /// Ends all tracks and gives the confirmed ones.
    pub fn finish(self) -> Vec<Track> {
        self.tracker.finish()
    }
}

/// The faces by what is wanted of them, so that each network runs once for each of few groups. Quality has run.
fn groups(plan: &[AnalyzerSet]) -> Vec<(AnalyzerSet, Vec<usize>)> {
    let mut groups: Vec<(AnalyzerSet, Vec<usize>)> = Vec::new();
    for (index, wanted) in plan.iter().enumerate() {
        let wanted: AnalyzerSet = wanted.iter().filter(|analyzer| *analyzer != Analyzer::Quality).collect();
        match groups.iter_mut().find(|(set, _)| *set == wanted) {
            _ if wanted == AnalyzerSet::NONE => {}
            Some((_, indices)) => indices.push(index),
            None => groups.push((wanted, vec![index])),
        }
    }
    groups
}

/// Adds the answers that a face did not have.
fn merge(face: &mut FaceAnalysis, answer: FaceAnalysis) {
    face.recognition = answer.recognition.or(face.recognition.take());
    face.antispoof = answer.antispoof.or(face.antispoof.take());
    face.gender_age = answer.gender_age.or(face.gender_age.take());
    face.deepfake = answer.deepfake.or(face.deepfake.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_of_the_same_wants_go_together() {
        let none = AnalyzerSet::NONE;
        let (live, both) = (none.with(Analyzer::Antispoof), none.with(Analyzer::Antispoof).with(Analyzer::Recognition));
        let quality_too = live.with(Analyzer::Quality);
        assert_eq!(groups(&[live, none, both, quality_too]), [(live, vec![0, 3]), (both, vec![2])]);
        assert_eq!(groups(&[none, none.with(Analyzer::Quality)]), []);
    }
}

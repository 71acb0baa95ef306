//! From the faces of successive frames to tracks: who is who from frame to frame, and what many frames together say.
//!
//! [`Tracker`] knows no clock and no network: the caller gives the time of each frame and what was found in it.
//! [`Follower`] runs the networks that are due and feeds it.

mod associate;
mod attributes;
mod follow;
mod identity;
mod liveness;
mod one;
mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use facesocial_types::{Analyzer, AnalyzerSet, Embedding, FaceAnalysis};

use self::{
    associate::{Pair, Past, Present, associate, undecided},
    one::quality,
};
pub use self::{
    attributes::AttributeVote,
    follow::{FollowOptions, Followed, Follower},
    identity::{Candidate, IdentityOptions, IdentityVote, Leading},
    liveness::{LivenessOptions, LivenessVote},
    one::{Best, Track, TrackId},
    schedule::Schedule,
};

/// How tracks begin, go on and end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackOptions {
    /// IoU of a face with the place where a track that was just seen is expected, from which it continues the track.
    pub min_iou: f32,
    /// The same for faces that the detector is unsure of.
    pub unsure_iou: f32,
    /// Detector's score from which a face begins a track; below, it only continues one.
    pub birth_score: f32,
    /// Frames on end in which a face is seen before its track is told.
    pub birth_hits: u32,
    /// Time after which a track that is not seen ends ...
    pub max_gap: Duration,
    /// ... if so many frames passed meanwhile.
    pub max_missed: u32,
    /// Cosine similarity from which two faces count as one person's; `None` compares no looks.
    pub same_person: Option<f32>,
    /// Cosine similarity below which a clear view of a face is another person's than the track's; `None` as above.
    pub other_person: Option<f32>,
    /// Votes on liveness.
    pub liveness: LivenessOptions,
    /// Lowest face, in pixels, whose liveness can be judged.
    pub min_liveness_height: f32,
    /// Votes on identity.
    pub identity: IdentityOptions,
    /// Which analyses run when.
    pub schedule: Schedule,
}

impl Default for TrackOptions {
    fn default() -> Self {
        Self {
            min_iou: 0.2,
            unsure_iou: 0.5,
            birth_score: 0.6,
            birth_hits: 2,
            max_gap: Duration::from_secs(2),
            max_missed: 3,
            same_person: None,
            other_person: None,
            liveness: LivenessOptions::default(),
            // Lower ones are uncertain in a single photo too.
            min_liveness_height: 64.0,
            identity: IdentityOptions::default(),
            schedule: Schedule::default(),
        }
    }
}

/// What a frame did to the tracks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    /// The track of each face, in the order of the faces; `None` for a face that belongs to none, or to one too new to tell.
    pub tracks: Vec<Option<TrackId>>,
    /// Confirmed tracks that ended, with what they came to.
    pub ended: Vec<Track>,
}

/// The tracks of one camera or file.
#[derive(Debug, Clone)]
pub struct Tracker {
    options: TrackOptions,
    tracks: Vec<Track>,
    next_id: u64,
}

impl Tracker {
    /// Without tracks.
    pub fn new(options: TrackOptions) -> Self {
        Self { options, tracks: Vec::new(), next_id: 1 }
    }

    /// The confirmed tracks, those out of sight for the moment included, oldest first.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| track.is_confirmed())
    }

    /// One confirmed track.
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks().find(|track| track.id == id)
    }

    /// Which of `wanted` should run on each face of the frame at `at`, before [`Self::update`] is told of it. `faces` carry
    /// their quality if that is known.
    pub fn plan(&self, at: Duration, faces: &[FaceAnalysis], wanted: AnalyzerSet) -> Vec<AnalyzerSet> {
        let (past, present) = (self.past(at), present(faces));
        let pairs = associate(&past, &present, &self.options);
        let needed = undecided(&past, &present, &self.options);
        let of_face = |(index, face): (usize, &FaceAnalysis)| {
            let track = pairs.iter().find(|pair| pair.face == index).and_then(|pair| self.tracks.get(pair.track));
            let mut due = match track {
                Some(track) => track.due(quality(face), wanted, &self.options),
                // Somebody who may have come back: with the looks, all else is wanted too.
                None if needed[index] => wanted,
                // The first frame of a track that needs only one to be told.
                None if self.options.birth_hits <= 1 && face.score >= self.options.birth_score => wanted,
                None => AnalyzerSet::NONE,
            };
            if needed[index] && wanted.contains(Analyzer::Recognition) {
                due = due.with(Analyzer::Recognition);
            }
            due
        };
        faces.iter().enumerate().map(of_face).collect()
    }

    /// Takes the faces of a frame with the analyses that ran. `frame` is the caller's number of it; its time is not before
    /// that of the frame before.
    pub fn update(&mut self, frame: u64, at: Duration, faces: &[FaceAnalysis]) -> Update {
        let pairs = associate(&self.past(at), &present(faces), &self.options);
        let mut ids = vec![None; faces.len()];
        let mut seen = vec![false; self.tracks.len()];
        let mut replaced = Vec::new();
        for Pair { track: index, face, by_appearance } in pairs {
            let (Some(track), Some(analysis)) = (self.tracks.get_mut(index), faces.get(face)) else { continue };
            if track.is_taken_over(analysis, &self.options) {
                replaced.push(face);
                continue;
            }
            track.see(at, frame, analysis, by_appearance, &self.options);
            seen[index] = true;
            ids[face] = Some(track.id);
        }
        let mut index = 0;
        let mut ended = Vec::new();
        let options = self.options;
        self.tracks.retain_mut(|track| {
            let was_seen = seen[index];
            index += 1;
            let goes_on = was_seen || track.miss(at, &options);
            if !goes_on && track.is_confirmed() {
                ended.push(track.clone());
            }
            goes_on
        });
        for (index, face) in faces.iter().enumerate() {
            // Also where somebody else stands in the place of a track: nothing of the track's is the newcomer's.
            let new = ids[index].is_none() && face.score >= self.options.birth_score;
            if new || replaced.contains(&index) {
                let id = TrackId(self.next_id);
                self.next_id += 1;
                self.tracks.push(Track::begin(id, at, frame, face, &self.options));
                ids[index] = Some(id);
            }
        }
        let told = |id: Option<TrackId>| id.filter(|id| self.track(*id).is_some());
        Update { tracks: ids.into_iter().map(told).collect(), ended }
    }

    /// Adds a search's result to a track's ballots; the track may have ended meanwhile.
    pub fn identify(&mut self, id: TrackId, candidates: &[Candidate]) {
        if let Some(track) = self.tracks.iter_mut().find(|track| track.id == id) {
            track.identity.add(candidates);
        }
    }

    /// Ends all tracks and gives the confirmed ones.
    pub fn finish(self) -> Vec<Track> {
        self.tracks.into_iter().filter(Track::is_confirmed).collect()
    }

    fn past(&self, at: Duration) -> Vec<Past<'_>> {
        self.tracks.iter().map(|track| track.past(at, &self.options)).collect()
    }
}

fn present(faces: &[FaceAnalysis]) -> Vec<Present<'_>> {
    faces.iter().map(|face| Present { bbox: face.bbox, score: face.score, embedding: embedding(face) }).collect()
}

/// The embedding of a face, if it was computed.
fn embedding(face: &FaceAnalysis) -> Option<&Embedding> {
    face.recognition.as_ref()?.done().map(|recognition| &recognition.embedding)
}

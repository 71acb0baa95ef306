//! One track: where the face is, what it looks like, what the frames so far say of it.

use std::{fmt, time::Duration};

use facesocial_types::{
    Analyzer, AnalyzerSet, BBox, Embedding, FaceAnalysis, Landmarks, Outcome, Quality, QualityReason,
};

use super::{
    AttributeVote, IdentityVote, LivenessVote, TrackOptions,
    associate::{Past, moved},
    embedding,
    schedule::Runs,
};

/// Quality below which a face says nothing of liveness or looks.
const MIN_QUALITY: f32 = 0.3;
/// What a new embedding weighs in the track's template.
const NEW_LOOKS: f32 = 0.2;
/// Clear views on end of somebody else that end a track.
const STRIKES: u32 = 2;

/// Name of a track, never given twice by a [`super::Tracker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The frame that shows a track's face best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The caller's number of the frame.
    pub frame: u64,
    /// Its time.
    pub at: Duration,
    /// Quality of the face there, 0..=1; its detector's score where quality was not assessed.
    pub quality: f32,
    /// Where the face is in it.
    pub bbox: BBox,
}

/// A face followed over frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its name.
    pub id: TrackId,
    /// Time of the first frame that shows it.
    pub first_seen: Duration,
    /// Time of the newest.
    pub last_seen: Duration,
    /// How many frames show it.
    pub hits: u32,
    /// Where the face was last seen.
    pub bbox: BBox,
    /// The detector's score there, 0..=1.
    pub score: f32,
    /// Its landmarks there.
    pub landmarks: Landmarks,
    /// Whether it is a live person.
    pub liveness: LivenessVote,
    /// Who it is.
    pub identity: IdentityVote,
    /// How old it looks.
    pub attributes: AttributeVote,
    /// The frame that shows it best.
    pub best: Best,
    missed: u32,
    /// Pixels a second.
    velocity: (f32, f32),
    template: Option<Embedding>,
    strikes: u32,
    confirmed: bool,
    runs: Runs,
}

impl Track {
    /// A track that begins with `face`.
    pub(super) fn begin(id: TrackId, at: Duration, frame: u64, face: &FaceAnalysis, options: &TrackOptions) -> Self {
        let mut track = Self {
            id,
            first_seen: at,
            last_seen: at,
            hits: 0,
            bbox: face.bbox,
            score: face.score,
            landmarks: Landmarks::default(),
            liveness: LivenessVote::new(options.liveness),
            identity: IdentityVote::new(options.identity),
            attributes: AttributeVote::default(),
            best: Best { frame, at, quality: 0.0, bbox: face.bbox },
            missed: 0,
            velocity: (0.0, 0.0),
            template: None,
            strikes: 0,
            confirmed: false,
            runs: Runs::default(),
        };
        track.see(at, frame, face, false, options);
        track
    }

    /// Whether it was seen often enough to be told of.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the newest frame shows it.
    pub fn is_visible(&self) -> bool {
        self.missed == 0
    }

    /// What is known of it when a frame comes.
    pub(super) fn past(&self, at: Duration, options: &TrackOptions) -> Past<'_> {
        let elapsed = at.saturating_sub(self.last_seen);
        Past {
            expected: moved(&self.bbox, self.velocity, elapsed),
            fresh: self.missed == 0 && elapsed <= options.max_gap,
            confirmed: self.confirmed,
            template: self.template.as_ref(),
        }
    }

    /// Which of `wanted` should run on its next sight, at this quality.
    pub(super) fn due(&self, quality: f32, wanted: AnalyzerSet, options: &TrackOptions) -> AnalyzerSet {
        if self.hits + 1 < options.birth_hits && !self.confirmed {
            return AnalyzerSet::NONE;
        }
        let due = |analyzer: &Analyzer| {
            let unsettled = *analyzer == Analyzer::Antispoof && !self.liveness.is_settled();
            self.runs.due(*analyzer, quality, unsettled, &options.schedule)
        };
        wanted.iter().filter(due).collect()
    }

    /// Looks whether a face in its place is clearly somebody else's: one odd embedding may err, two on end do not.
    pub(super) fn is_taken_over(&mut self, face: &FaceAnalysis, options: &TrackOptions) -> bool {
        let Some(similarity) = self.likeness(face) else { return false };
        if options.other_person.is_none_or(|limit| similarity >= limit) {
            self.strikes = 0;
            return false;
        }
        if is_clear(face) {
            self.strikes += 1;
            self.runs.hasten(Analyzer::Recognition);
        }
        self.strikes >= STRIKES
    }

    /// Takes a face that continues it.
    pub(super) fn see(
        &mut self,
        at: Duration,
        frame: u64,
        face: &FaceAnalysis,
        by_appearance: bool,
        options: &TrackOptions,
    ) {
        let elapsed = at.saturating_sub(self.last_seen);
        let gap = self.hits > 0 && (self.missed > 0 || elapsed > options.max_gap);
        if gap && !by_appearance {
            // Out of sight, somebody else may have taken the place: what was decided is not carried over.
            self.liveness.reset();
            self.attributes.reset();
            self.identity = IdentityVote::new(options.identity);
        }
        self.move_to(&face.bbox, elapsed, gap);
        self.hits = self.hits.saturating_add(1);
        self.confirmed |= self.hits >= options.birth_hits;
        (self.last_seen, self.missed, self.score) = (at, 0, face.score);
        self.landmarks = face.landmarks.clone();
        let quality = quality(face);
        if quality > self.best.quality {
            self.best = Best { frame, at, quality, bbox: face.bbox };
        }
        if self.strikes == 0 {
            self.learn(at, face, quality, options);
        }
        self.liveness.advance(at);
        self.runs.count(ran(face), quality);
    }

    /// Notes that a frame does not show it; false if it ends.
    pub(super) fn miss(&mut self, at: Duration, options: &TrackOptions) -> bool {
        self.missed = self.missed.saturating_add(1);
        self.liveness.advance(at);
        let gone = at.saturating_sub(self.last_seen) > options.max_gap && self.missed >= options.max_missed;
        self.confirmed && self.strikes < STRIKES && !gone
    }

    fn move_to(&mut self, bbox: &BBox, elapsed: Duration, gap: bool) {
        let seconds = elapsed.as_secs_f32();
        if gap || seconds <= 0.0 {
            self.velocity = (0.0, 0.0);
        } else {
            let (from, to) = (self.bbox.center(), bbox.center());
            let measured = ((to.x - from.x) / seconds, (to.y - from.y) / seconds);
            // Boxes tremble: half of what is measured, half of what was.
            self.velocity = ((self.velocity.0 + measured.0) / 2.0, (self.velocity.1 + measured.1) / 2.0);
        }
        self.bbox = *bbox;
    }

    /// Votes and looks.
    fn learn(&mut self, at: Duration, face: &FaceAnalysis, quality: f32, options: &TrackOptions) {
        if let Some(estimate) = face.gender_age.as_ref().and_then(Outcome::done) {
            self.attributes.add(estimate);
        }
        if quality < MIN_QUALITY {
            return;
        }
        if let Some(liveness) = face.antispoof.as_ref().and_then(Outcome::done)
            && face.bbox.height >= options.min_liveness_height
        {
            self.liveness.add(at, liveness.score);
        }
        let odd = self.likeness(face).zip(options.other_person).is_some_and(|(similarity, limit)| similarity < limit);
        if let Some(looks) = embedding(face).filter(|_| !odd) {
            self.template = Some(match &self.template {
                Some(template) => blend(template, looks).unwrap_or_else(|| looks.clone()),
                None => looks.clone(),
            });
        }
    }

    /// Similarity of a face to the template; `None` where either is not known.
    fn likeness(&self, face: &FaceAnalysis) -> Option<f32> {
        self.template.as_ref()?.cosine(embedding(face)?).ok()
    }
}

/// The template with a part of new looks; `None` if the models differ.
fn blend(template: &Embedding, looks: &Embedding) -> Option<Embedding> {
    template.cosine(looks).ok()?;
    let mixed = template.as_slice().iter().zip(looks.as_slice()).map(|(t, l)| t * (1.0 - NEW_LOOKS) + l * NEW_LOOKS);
    Embedding::new(template.model().clone(), mixed.collect()).ok()
}

/// Quality of a face; the detector's score where it was not assessed.
pub(super) fn quality(face: &FaceAnalysis) -> f32 {
    face.quality.as_ref().and_then(Outcome::done).map_or(face.score, |quality| quality.score)
}

/// Whether the face is seen so well that an unlike embedding means another person.
fn is_clear(face: &FaceAnalysis) -> bool {
    use QualityReason::{Blurred, CutOff, ExtremePose, Occluded, SmallFace};
    let spoilt = |reason: &QualityReason| matches!(reason, Blurred | CutOff | ExtremePose | Occluded | SmallFace);
    let assessed: Option<&Quality> = face.quality.as_ref().and_then(Outcome::done);
    assessed.is_none_or(|quality| quality.score >= MIN_QUALITY && !quality.reasons.iter().any(spoilt))
}

/// The analyses that ran on a face, whatever came of them.
fn ran(face: &FaceAnalysis) -> AnalyzerSet {
    [
        (Analyzer::Quality, face.quality.is_some()),
        (Analyzer::Recognition, face.recognition.is_some()),
        (Analyzer::Antispoof, face.antispoof.is_some()),
        (Analyzer::GenderAge, face.gender_age.is_some()),
        (Analyzer::Deepfake, face.deepfake.is_some()),
    ]
    .into_iter()
    .filter_map(|(analyzer, ran)| ran.then_some(analyzer))
    .collect()
}

//! Liveness over time: many weak answers about one face become one decision that a single frame cannot turn.

use std::{collections::VecDeque, time::Duration};

use facesocial_types::LivenessDecision;

use crate::Band;

/// When scores become a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LivenessOptions {
    /// Newest scores that count.
    pub window: usize,
    /// Older scores do not count, whatever their number.
    pub max_age: Duration,
    /// Scores needed for a decision.
    pub min_scores: usize,
    /// A mean from here on becomes live.
    pub live: f32,
    /// Live stays live down to here.
    pub stay_live: f32,
    /// A mean below becomes an attack.
    pub spoof: f32,
    /// An attack stays one below this.
    pub stay_spoof: f32,
}

impl Default for LivenessOptions {
    /// Thresholds of entry are those of a single photo.
    fn default() -> Self {
        Self {
            window: 9,
            max_age: Duration::from_secs(30),
            min_scores: 5,
            live: 0.7,
            stay_live: 0.55,
            spoof: 0.3,
            stay_spoof: 0.45,
        }
    }
}

impl LivenessOptions {
    /// The same with the thresholds of a single photo at the ends of `band`. A decision stays until the mean has gone three
    /// eighths of the way to the other end.
    #[must_use]
    pub fn within(self, band: Band) -> Self {
        let margin = (band.high() - band.low()) * 0.375;
        Self {
            live: band.high(),
            stay_live: band.high() - margin,
            spoof: band.low(),
            stay_spoof: band.low() + margin,
            ..self
        }
    }
}

/// The scores of one track, and what they come to.
#[derive(Debug, Clone, PartialEq)]
pub struct LivenessVote {
    options: LivenessOptions,
    scores: VecDeque<(Duration, f32)>,
    decision: LivenessDecision,
}

impl LivenessVote {
    /// Nothing seen: uncertain.
    pub fn new(options: LivenessOptions) -> Self {
        Self { options, scores: VecDeque::new(), decision: LivenessDecision::Uncertain }
    }

    /// One usable frame's score, 0 (attack) to 1 (live); what is no number counts as an attack.
    pub fn add(&mut self, at: Duration, score: f32) {
        let score = if score.is_finite() { score.clamp(0.0, 1.0) } else { 0.0 };
        self.scores.push_back((at, score));
        while self.scores.len() > self.options.window {
            self.scores.pop_front();
        }
        self.advance(at);
    }

    /// Lets scores grow old: a decision does not outlive the frames that it stands on.
    pub fn advance(&mut self, at: Duration) {
        while self.scores.front().is_some_and(|(seen, _)| at.saturating_sub(*seen) > self.options.max_age) {
            self.scores.pop_front();
        }
        self.decision = self.decide();
    }

    /// Forgets everything: somebody else may stand there now.
    pub fn reset(&mut self) {
        self.scores.clear();
        self.decision = LivenessDecision::Uncertain;
    }

    /// The decision; uncertain until enough scores agree, and to be treated as not live then.
    pub fn decision(&self) -> LivenessDecision {
        self.decision
    }

    /// Mean of the scores without the quarter at either end; `None` without scores.
    pub fn score(&self) -> Option<f32> {
        let mut sorted: Vec<f32> = self.scores.iter().map(|(_, score)| *score).collect();
        sorted.sort_by(f32::total_cmp);
        let cut = sorted.len() / 4;
        let kept = &sorted[cut..sorted.len() - cut];
        (!kept.is_empty()).then(|| kept.iter().sum::<f32>() / kept.len() as f32)
    }

    /// How many scores it stands on.
    pub fn scores(&self) -> usize {
        self.scores.len()
    }

    /// Whether there are enough scores for a decision.
    pub fn is_settled(&self) -> bool {
        self.scores.len() >= self.options.min_scores
    }

    fn decide(&self) -> LivenessDecision {
        let Some(mean) = self.score().filter(|_| self.is_settled()) else { return LivenessDecision::Uncertain };
        let LivenessOptions { live, stay_live, spoof, stay_spoof, .. } = self.options;
        match self.decision {
            LivenessDecision::Live if mean >= stay_live => LivenessDecision::Live,
            LivenessDecision::Spoof if mean < stay_spoof => LivenessDecision::Spoof,
            _ if mean >= live => LivenessDecision::Live,
            _ if mean < spoof => LivenessDecision::Spoof,
            _ => LivenessDecision::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_follow_those_of_a_photo() {
        let usual = LivenessOptions::default();
        let same = usual.within(Band::new(0.3, 0.7).unwrap());
        for (a, b) in [(same.stay_live, usual.stay_live), (same.stay_spoof, usual.stay_spoof)] {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        let strict = usual.within(Band::new(0.5, 0.9).unwrap());
        assert!((strict.live, strict.spoof) == (0.9, 0.5) && (strict.stay_live - 0.75).abs() < 1e-6);
    }

    fn vote(scores: &[f32]) -> LivenessVote {
        let mut vote = LivenessVote::new(LivenessOptions::default());
        for (frame, score) in scores.iter().enumerate() {
            vote.add(Duration::from_millis(200 * frame as u64), *score);
        }
        vote
    }

    #[test]
    fn nothing_is_decided_before_enough_frames() {
        for n in 0..5 {
            assert_eq!(vote(&vec![1.0; n]).decision(), LivenessDecision::Uncertain, "{n} frames");
            assert_eq!(vote(&vec![0.0; n]).decision(), LivenessDecision::Uncertain, "{n} frames");
        }
        assert_eq!(vote(&[1.0; 5]).decision(), LivenessDecision::Live);
        assert_eq!(vote(&[0.0; 5]).decision(), LivenessDecision::Spoof);
    }

    #[test]
    fn one_frame_turns_no_decision_wherever_it_falls() {
        for n in 5..=12 {
            for odd in 0..n {
                let mut scores = vec![0.95; n];
                scores[odd] = 0.0;
                assert_eq!(vote(&scores).decision(), LivenessDecision::Live, "{odd} of {n}");
                let attack: Vec<f32> = scores.iter().map(|s| 1.0 - s).collect();
                assert_eq!(vote(&attack).decision(), LivenessDecision::Spoof, "{odd} of {n}");
            }
        }
    }

    #[test]
    fn a_decision_near_its_threshold_does_not_flicker() {
        let mut vote = vote(&[0.75; 9]);
        let mut turns = 0;
        for frame in 0..40 {
            let before = vote.decision();
            vote.add(Duration::from_secs(3), if frame % 2 == 0 { 0.6 } else { 0.75 });
            turns += usize::from(vote.decision() != before);
        }
        assert_eq!((vote.decision(), turns), (LivenessDecision::Live, 0));
    }

    #[test]
    fn an_attack_that_goes_on_is_found() {
        let mut scores = vec![1.0; 9];
        scores.extend([0.05; 7]);
        assert_eq!(vote(&scores).decision(), LivenessDecision::Spoof);
    }

    #[test]
    fn old_scores_and_scores_that_are_no_numbers_make_nobody_live() {
        let mut old = vote(&[1.0; 9]);
        old.advance(Duration::from_secs(60));
        assert_eq!((old.decision(), old.scores()), (LivenessDecision::Uncertain, 0));
        assert_ne!(vote(&[f32::NAN; 9]).decision(), LivenessDecision::Live);
        let mut reset = vote(&[1.0; 9]);
        reset.reset();
        assert_eq!((reset.decision(), reset.score()), (LivenessDecision::Uncertain, None));
    }

    #[test]
    fn whatever_the_scores_live_needs_a_middle_that_is_live() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut vote = LivenessVote::new(LivenessOptions::default());
            for frame in 0..random.u64(1..30) {
                vote.add(Duration::from_millis(100 * frame), random.f32());
                let mean = vote.score().unwrap();
                assert!((0.0..=1.0).contains(&mean));
                match vote.decision() {
                    LivenessDecision::Live => assert!(vote.is_settled() && mean >= 0.55),
                    LivenessDecision::Spoof => assert!(vote.is_settled() && mean < 0.45),
                    LivenessDecision::Uncertain => assert!(!vote.is_settled() || (0.3..0.7).contains(&mean)),
                }
            }
        }
    }
}

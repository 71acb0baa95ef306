//! Which analyses a track is due for. Detection runs on every frame; what costs more does not.
//!
//! An analysis runs on the frame on which a track is confirmed and on those after it until it has run a few times, then on
//! every k-th frame of the track, and earlier on a frame that is clearly better than those it ran on.

use facesocial_types::{Analyzer, AnalyzerSet};

/// How often analyses run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Frames of a track between two runs of the same analysis, once it has run often enough; at least 1.
    pub every: u32,
    /// The same for liveness, where a long time between two looks is a gap to slip through.
    pub every_liveness: u32,
    /// Runs on successive frames at first.
    pub at_first: u32,
    /// Quality above that of all frames it ran on that brings the next run forward, 0..=1.
    pub better_by: f32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { every: 10, every_liveness: 4, at_first: 3, better_by: 0.1 }
    }
}

/// When each analysis last ran on one track.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Runs([Run; Analyzer::ALL.len()]);

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Run {
    times: u32,
    /// Frames of the track since.
    since: u32,
    best_quality: f32,
}

impl Runs {
    /// Whether `analyzer` should run on this frame of a track. `unsettled` is true while its vote lacks frames.
    pub fn due(&self, analyzer: Analyzer, quality: f32, unsettled: bool, schedule: &Schedule) -> bool {
        let run = self.0[analyzer as usize];
        let every = if analyzer == Analyzer::Antispoof { schedule.every_liveness } else { schedule.every };
        run.times < schedule.at_first
            || unsettled
            || run.since.saturating_add(1) >= every
            || quality >= run.best_quality + schedule.better_by
    }

    /// Counts a frame of the track on which `ran`.
    pub fn count(&mut self, ran: AnalyzerSet, quality: f32) {
        for (run, analyzer) in self.0.iter_mut().zip(Analyzer::ALL) {
            if ran.contains(*analyzer) {
                let best_quality = run.best_quality.max(quality);
                *run = Run { times: run.times.saturating_add(1), since: 0, best_quality };
            } else {
                run.since = run.since.saturating_add(1);
            }
        }
    }

    /// Makes `analyzer` due on the next frame.
    pub fn hasten(&mut self, analyzer: Analyzer) {
        self.0[analyzer as usize].since = u32::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames among the first `frames` on which the embedding is computed.
    fn frames(qualities: impl Fn(usize) -> f32, frames: usize) -> Vec<usize> {
        let (mut runs, schedule) = (Runs::default(), Schedule::default());
        let set = AnalyzerSet::NONE.with(Analyzer::Recognition);
        (0..frames)
            .filter(|&frame| {
                let due = runs.due(Analyzer::Recognition, qualities(frame), false, &schedule);
                runs.count(if due { set } else { AnalyzerSet::NONE }, qualities(frame));
                due
            })
            .collect()
    }

    #[test]
    fn a_new_track_is_looked_at_often_then_every_tenth_frame() {
        assert_eq!(frames(|_| 0.5, 35), [0, 1, 2, 12, 22, 32]);
    }

    #[test]
    fn a_better_frame_is_not_passed_over() {
        assert_eq!(frames(|frame| if frame >= 6 { 0.7 } else { 0.5 }, 20), [0, 1, 2, 6, 16]);
    }

    #[test]
    fn what_is_hastened_or_unsettled_runs_next() {
        let (mut runs, schedule) = (Runs::default(), Schedule::default());
        for _ in 0..4 {
            runs.count(AnalyzerSet::ALL, 0.9);
        }
        assert!(!runs.due(Analyzer::Recognition, 0.9, false, &schedule));
        assert!(runs.due(Analyzer::Antispoof, 0.9, true, &schedule));
        runs.hasten(Analyzer::Recognition);
        assert!(runs.due(Analyzer::Recognition, 0.9, false, &schedule));
    }
}

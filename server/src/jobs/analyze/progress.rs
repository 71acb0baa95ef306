//! How far a job of analyses has come, and how fast.

use std::time::{Duration, Instant};

use facesocial_store::JobResultStatus;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Done, source::Position};

/// How far a job has come: what is told of it, and what a resumed worker goes on from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// Images that were analysed.
    analysed: u64,
    /// Images that could not be.
    failed: u64,
    /// Faces found.
    faces: u64,
    /// By the worker that has the job now.
    images_per_second: Option<f64>,
    /// When it will be done if it goes on like this; RFC 3339.
    estimated_end: Option<String>,
    /// Where the next image is.
    pub position: Position,
}

impl Progress {
    /// Counts an image, the next in the order of the input.
    pub fn add(&mut self, done: &Done) {
        match done.result.status {
            JobResultStatus::Done => self.analysed += 1,
            JobResultStatus::Failed | JobResultStatus::Erased => self.failed += 1,
        }
        self.faces += done.faces;
        self.position = done.image.next();
    }

    /// Images that are done, failed ones included.
    pub fn index(&self) -> u64 {
        self.position.index
    }

    /// Images that failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// No end is estimated any more.
    pub fn end(&mut self) {
        self.estimated_end = None;
    }
}

/// Measures one worker's speed.
pub(super) struct Meter {
    begun: Instant,
    from: u64,
}

impl Meter {
    /// Begins where the worker does.
    pub fn begin(progress: &Progress) -> Self {
        Self { begun: Instant::now(), from: progress.index() }
    }

    /// Adds speed and estimated end.
    pub fn tell(&self, progress: &mut Progress, images: u64) {
        let (done, seconds) = (progress.index().saturating_sub(self.from), self.begun.elapsed().as_secs_f64());
        if done == 0 || seconds <= 0.0 {
            return;
        }
        let rate = done as f64 / seconds;
        progress.images_per_second = Some((rate * 100.0).round() / 100.0);
        let left = Duration::try_from_secs_f64(images.saturating_sub(progress.index()) as f64 / rate);
        let end = left.ok().and_then(|left| OffsetDateTime::now_utc().checked_add(left.try_into().ok()?));
        progress.estimated_end = end.and_then(|end| end.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
    }
}

#[cfg(test)]
mod tests {
    use facesocial_store::NewJobResult;

    use super::*;

    fn done(index: u64, status: JobResultStatus) -> Done {
        let result = NewJobResult { item: index, status, line: Vec::new(), faces: Vec::new() };
        Done { result, faces: 2, image: Position { index, ..Position::default() } }
    }

    #[test]
    fn speed_is_that_of_the_worker_and_the_end_follows_from_it() {
        let mut progress = Progress { position: Position { index: 100, ..Position::default() }, ..Progress::default() };
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let meter = Meter { begun, from: 100 };
        meter.tell(&mut progress, 200);
        assert_eq!(progress.images_per_second, None);
        for index in 100..120 {
            progress.add(&done(index, JobResultStatus::Done));
        }
        progress.add(&done(120, JobResultStatus::Failed));
        assert_eq!((progress.index(), progress.failed(), progress.analysed, progress.faces), (121, 1, 20, 42));
        meter.tell(&mut progress, 200);
        let rate = progress.images_per_second.unwrap();
        assert!((2.0..=2.11).contains(&rate), "{rate}");
        let end = OffsetDateTime::parse(progress.estimated_end.as_deref().unwrap(), &Rfc3339).unwrap();
        let left = (end - OffsetDateTime::now_utc()).whole_seconds();
        assert!((34..=40).contains(&left), "{left}");
        progress.end();
        let kept: Progress = serde_json::from_value(serde_json::to_value(&progress).unwrap()).unwrap();
        assert_eq!(kept, progress);
    }
}

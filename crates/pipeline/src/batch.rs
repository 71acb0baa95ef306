//! One analysis over all faces of a photo: crops handed to a network's line, answers put back in the order of the faces.

use std::time::Instant;

use facesocial_engine::{Caller, Engine, EngineError, on_pool};
use facesocial_types::{Face, Failure, Outcome};
use image::RgbImage;
use rayon::prelude::*;

use crate::watch::{Stage, Watch};

/// Sentence for a face that cannot be aligned.
pub(crate) const NO_LANDMARKS: &str = "no landmarks were found on this face, so it cannot be aligned";

/// The networks, on behalf of one request.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub engine: &'a Engine,
    pub caller: &'a Caller,
    /// Who is told how long it takes.
    pub watch: Option<&'a dyn Watch>,
}

impl Call<'_> {
    /// Does `work` and tells how long it took.
    pub fn timed<R>(self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let done = work();
        if let Some(watch) = self.watch {
            watch.stage(stage, started.elapsed());
        }
        done
    }
}

/// Cuts a crop for each face that has one, side by side.
pub(crate) fn cut<T: Send>(call: Call<'_>, faces: &[Face], crop: impl Fn(&Face) -> Option<T> + Sync) -> Vec<Option<T>> {
    call.timed(Stage::Align, || on_pool(|| faces.par_iter().map(&crop).collect()))
}

/// An analysis whose crops are in the line.
pub(crate) struct Begun<P> {
    /// Which faces have a crop.
    present: Vec<bool>,
    pending: Result<Option<P>, EngineError>,
}

impl<P> Begun<P> {
    /// Hands the crops that there are to `submit`.
    pub fn new<T>(crops: Vec<Option<T>>, submit: impl FnOnce(Vec<T>) -> Result<P, EngineError>) -> Self {
        let present = crops.iter().map(Option::is_some).collect();
        let crops: Vec<T> = crops.into_iter().flatten().collect();
        let pending = if crops.is_empty() { Ok(None) } else { submit(crops).map(Some) };
        Self { present, pending }
    }

    /// Waits for the answers, and gives one outcome per face; `answer` is given each face's place. `watch` is told the time
    /// that follows the wait.
    pub fn finish<T, U>(
        self,
        watch: Option<&dyn Watch>,
        wait: impl FnOnce(P) -> Vec<Result<T, EngineError>>,
        answer: impl Fn(usize, T) -> Outcome<U>,
    ) -> Vec<Outcome<U>> {
        let answers = match self.pending {
            Ok(pending) => pending.map(wait).unwrap_or_default(),
            Err(error) => return self.present.iter().map(|_| failed(&error)).collect(),
        };
        let started = Instant::now();
        let mut answers = answers.into_iter();
        let of = |(index, present): (usize, bool)| match present.then(|| answers.next()).flatten() {
            Some(Ok(value)) => answer(index, value),
            Some(Err(error)) => failed(&error),
            None => Outcome::Error { reason: NO_LANDMARKS.to_owned(), failure: Failure::Lasting },
        };
        let outcomes = self.present.into_iter().enumerate().map(of).collect();
        if let Some(watch) = watch {
            watch.stage(Stage::Post, started.elapsed());
        }
        outcomes
    }
}

/// An upright crop of each face by `crop`, which every face has.
pub(crate) fn whole(call: Call<'_>, faces: &[Face], crop: impl Fn(&Face) -> RgbImage + Sync) -> Vec<Option<RgbImage>> {
    cut(call, faces, |face| Some(crop(face)))
}

/// An engine's failure as the answer about a face.
pub(crate) fn failed<T>(error: &EngineError) -> Outcome<T> {
    match error {
        EngineError::Absent { reason, .. } | EngineError::Unreachable { reason, .. } => {
            Outcome::Unavailable { reason: reason.clone() }
        }
        other => Outcome::Error { reason: other.to_string(), failure: failure(other) },
    }
}

/// Whether the same question may be answered later.
fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Overloaded { retry_after, .. } => Failure::Overloaded { retry_after: *retry_after },
        EngineError::OutOfMemory { .. } | EngineError::NoRoom { .. } => Failure::OutOfMemory,
        EngineError::Cancelled | EngineError::Expired => Failure::Late,
        EngineError::Stopped => Failure::Stopped,
        _ => Failure::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_that_passes_is_told_from_one_that_lies_in_the_face() {
        let (network, retry_after) = ("x", Duration::from_secs(3));
        for (error, expected) in [
            (EngineError::Overloaded { network, retry_after }, Failure::Overloaded { retry_after }),
            (EngineError::NoRoom { network, needs: 3, used: 2, limit: 4 }, Failure::OutOfMemory),
            (EngineError::Expired, Failure::Late),
            (EngineError::Cancelled, Failure::Late),
            (EngineError::Stopped, Failure::Stopped),
            (EngineError::Panicked { network }, Failure::Lasting),
            (EngineError::Elsewhere { network, reason: "it fell".to_owned() }, Failure::Lasting),
        ] {
            let told = Outcome::<()>::Error { reason: error.to_string(), failure: expected };
            assert_eq!(failed(&error), told);
        }
    }

    #[test]
    fn answers_go_to_the_faces_that_had_a_crop() {
        let crops = vec![Some(1), None, Some(2), Some(3)];
        let begun = Begun::new(crops, |crops| Ok(crops.into_iter().map(|c| c * 10).collect::<Vec<_>>()));
        let wait = |crops: Vec<i32>| {
            crops.into_iter().map(|c| if c == 20 { Err(EngineError::Expired) } else { Ok(c) }).collect()
        };
        let outcomes = begun.finish(None, wait, |index, value| Outcome::Done((index, value)));
        assert_eq!(outcomes[0], Outcome::Done((0, 10)));
        let error = |reason: &str, failure| Outcome::Error { reason: reason.to_owned(), failure };
        assert_eq!(outcomes[1], error(NO_LANDMARKS, Failure::Lasting));
        assert_eq!(outcomes[2], error(&EngineError::Expired.to_string(), Failure::Late));
        assert_eq!(outcomes[3], Outcome::Done((3, 30)));
    }

    #[test]
    fn without_weights_every_face_is_told_so_and_without_crops_nothing_is_asked() {
        let absent = EngineError::Absent { network: "x", reason: "pull it".to_owned() };
        let begun = Begun::<()>::new(vec![Some(1), None], |_| Err(absent));
        let outcomes = begun.finish(None, |()| Vec::<Result<i32, _>>::new(), |_, value| Outcome::Done(value));
        assert!(outcomes.iter().all(|o| *o == Outcome::Unavailable { reason: "pull it".to_owned() }));
        let none = Begun::<()>::new(vec![None::<i32>], |_| panic!("nothing to ask"));
        assert_eq!(none.finish(None, |()| Vec::<Result<i32, _>>::new(), |_, v| Outcome::Done(v)).len(), 1);
    }
}

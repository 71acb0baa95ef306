//! Runs a batch so that one bad item fails alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use facesocial_models::ModelError;

use crate::error::{EngineError, Result};

/// What an output of the wrong length is called.
const WRONG_COUNT: &str = "a network that answers for another number of items than it was given";

/// Runs `forward` over all items; where that fails, over each half, down to single items. The answers are in the order of
/// the items, and only what fails alone is answered with its failure.
///
/// A panic inside counts as a failure: one photo must not end the process. So one bad item among n costs the others about
/// log2 n further runs of ever smaller batches.
pub(crate) fn in_halves<I, O>(
    network: &'static str,
    items: &[I],
    forward: &(impl Fn(&[I]) -> facesocial_models::Result<Vec<O>> + ?Sized),
) -> Vec<Result<O>> {
    if items.is_empty() {
        return Vec::new();
    }
    let failure = match guarded(network, || forward(items)) {
        Ok(outputs) if outputs.len() == items.len() => return outputs.into_iter().map(Ok).collect(),
        Ok(_) => EngineError::run(network, ModelError::NotFinite(WRONG_COUNT)),
        Err(failure) => failure,
    };
    if let [_] = items {
        return vec![Err(failure)];
    }
    let (first, second) = items.split_at(items.len() / 2);
    let mut answers = in_halves(network, first, forward);
    answers.extend(in_halves(network, second, forward));
    answers
}

/// Runs `f`; a panic inside is caught and becomes an error.
pub(crate) fn guarded<R>(network: &'static str, f: impl FnOnce() -> facesocial_models::Result<R>) -> Result<R> {
    // Networks are immutable values, so nothing can be left half-changed behind the unwinding.
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(answer) => answer.map_err(|source| EngineError::run(network, source)),
        Err(_) => Err(EngineError::Panicked { network }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_the_bad_item_fails() {
        for bad in 0..7 {
            let runs = Cell::new(0);
            let forward = |items: &[i32]| {
                runs.set(runs.get() + 1);
                if items.contains(&bad) { Err(ModelError::NotFinite("x")) } else { Ok(items.to_vec()) }
            };
            let answers = in_halves("x", &[0, 1, 2, 3, 4, 5, 6], &forward);
            for (item, answer) in (0..).zip(&answers) {
                assert_eq!(answer.as_ref().ok(), (item != bad).then_some(&item));
            }
            assert!(runs.get() <= 7, "{} runs", runs.get());
        }
    }

    #[test]
    fn a_panic_is_an_error_of_its_item() {
        let forward = |items: &[u8]| {
            assert!(!items.contains(&2), "a fault in a network");
            Ok(items.to_vec())
        };
        let answers = in_halves("x", &[1, 2, 3], &forward);
        assert!(matches!(&answers[..], [Ok(1), Err(EngineError::Panicked { network: "x" }), Ok(3)]));
    }

    #[test]
    fn a_network_that_answers_for_too_few_is_not_believed() {
        let answers = in_halves("x", &[1, 2], &|items: &[i32]| Ok(items[1..].to_vec()));
        assert!(answers.iter().all(Result::is_err));
        assert!(in_halves("x", &[], &|items: &[i32]| Ok(items.to_vec())).is_empty());
    }
}

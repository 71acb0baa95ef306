//! How long a network takes for a batch, and what it holds meanwhile.

use std::time::{Duration, Instant};

use crate::{error::Result, memory::Gauge};

/// What is timed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimingPlan {
    /// Sizes of the batches.
    pub batches: Vec<usize>,
    /// Timed passes of each size.
    pub passes: usize,
    /// Passes before them that are not timed.
    pub warm_up: usize,
}

/// What a network takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkTiming {
    /// Bytes that its weights take; `None` where nobody counts.
    pub weights: Option<usize>,
    /// In the order of the plan.
    pub batches: Vec<BatchTiming>,
}

/// What batches of one size take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchTiming {
    /// Items of the batch.
    pub size: usize,
    /// Time of each pass, in their order: from the items in the processor's memory to the answers there.
    pub passes: Vec<Duration>,
    /// Most bytes that were held beside the weights; `None` where nobody counts.
    pub peak: Option<usize>,
}

/// Loads a network and times it; `prepare` makes a batch, which `run` is given each time. `tell` is called after each timed
/// pass.
///
/// # Errors
/// Those of `load` and `run`.
pub(crate) fn time<B>(
    gauge: &Gauge,
    plan: &TimingPlan,
    tell: &mut dyn FnMut(),
    load: impl FnOnce() -> Result<()>,
    prepare: impl Fn(usize) -> B,
    run: impl Fn(&B) -> Result<()>,
) -> Result<NetworkTiming> {
    let (loaded, weights) = gauge.kept(load);
    loaded?;
    // Networks keep the memory of a batch for the next one, so that all sizes are measured from here.
    let before = gauge.allocated();
    let mut batches = Vec::with_capacity(plan.batches.len());
    for &size in &plan.batches {
        let batch = prepare(size);
        gauge.reset_peak();
        for _ in 0..plan.warm_up {
            run(&batch)?;
        }
        let mut passes = Vec::with_capacity(plan.passes);
        for _ in 0..plan.passes {
            let begun = Instant::now();
            run(&batch)?;
            passes.push(begun.elapsed());
            tell();
        }
        let peak = gauge.peak().zip(before).map(|(peak, before)| peak.saturating_sub(before));
        batches.push(BatchTiming { size, passes, peak });
    }
    Ok(NetworkTiming { weights: before.map(|_| weights), batches })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::EngineError;

    #[test]
    fn every_pass_of_the_plan_is_run_and_those_after_the_warm_up_are_timed() {
        let plan = TimingPlan { batches: vec![1, 4], passes: 3, warm_up: 2 };
        let (runs, mut told) = (RefCell::new(Vec::new()), 0);
        let run = |size: &usize| {
            runs.borrow_mut().push(*size);
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        };
        let timing = time(&Gauge::Blind, &plan, &mut || told += 1, || Ok(()), |size| size, run).unwrap();
        assert_eq!((runs.into_inner(), told), (vec![1, 1, 1, 1, 1, 4, 4, 4, 4, 4], 6));
        assert_eq!((timing.weights, timing.batches.len(), timing.batches[1].size), (None, 2, 4));
        assert!(timing.batches.iter().flat_map(|b| &b.passes).all(|t| *t >= Duration::from_millis(2)));
        assert_eq!(timing.batches[0].peak, None);
    }

    #[test]
    fn a_failure_ends_it() {
        let plan = TimingPlan { batches: vec![1], passes: 1, warm_up: 0 };
        let failed = time(&Gauge::Blind, &plan, &mut || {}, || Err(EngineError::Stopped), |_| (), |()| Ok(()));
        assert!(matches!(failed, Err(EngineError::Stopped)));
    }
}

//! Each network alone.

use std::time::Duration;

use anyhow::{Context, bail};
use facesocial_pipeline::{BatchTiming, NetworkTiming, Pipeline, TimingPlan};
use serde::Serialize;

use super::{
    BenchArgs,
    spread::{Spread, per_second},
};
use crate::cli::progress::Progress;

/// Passes before the timed ones: buffers are made, caches filled, clocks raised.
const WARM_UP: usize = 3;

/// What one network takes.
#[derive(Debug, Serialize)]
pub(super) struct NetworkFigures {
    pub network: String,
    /// Bytes; `None` where nobody counts.
    pub weights_bytes: Option<usize>,
    pub batches: Vec<BatchFigures>,
}

#[derive(Debug, Serialize)]
pub(super) struct BatchFigures {
    pub batch: usize,
    #[serde(flatten)]
    pub spread: Spread,
    pub items_per_second: f64,
    /// Most bytes beside the weights.
    pub peak_bytes: Option<usize>,
}

/// Times the networks that were asked for, one after the other.
pub(super) fn time(pipeline: &Pipeline, args: &BenchArgs) -> anyhow::Result<Vec<NetworkFigures>> {
    let all: Vec<String> = pipeline.engine().networks().iter().map(|n| n.id.name().to_owned()).collect();
    let names = chosen(&args.networks, &all)?;
    let plan = TimingPlan {
        batches: args.batch.iter().map(|b| b.get()).collect(),
        passes: args.passes.get(),
        warm_up: WARM_UP,
    };
    let progress = Progress::new(names.len() * plan.batches.len() * plan.passes, "passes");
    let one = |name: &String| {
        let timing = pipeline.engine().time_network(name, &plan, &mut || progress.step());
        Ok(figures(name, timing.with_context(|| format!("cannot time {name}"))?))
    };
    names.iter().map(one).collect()
}

fn chosen(asked: &[String], all: &[String]) -> anyhow::Result<Vec<String>> {
    if asked.is_empty() {
        return Ok(all.to_vec());
    }
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("{unknown} does not run here; these do: {}. --network and --ensemble choose others", all.join(", "));
    }
    Ok(asked.to_vec())
}

fn figures(name: &str, timing: NetworkTiming) -> NetworkFigures {
    let batch = |b: BatchTiming| {
        Some(BatchFigures {
            batch: b.size,
            spread: Spread::of(&b.passes)?,
            items_per_second: per_second(b.size * b.passes.len(), b.passes.iter().sum::<Duration>()),
            peak_bytes: b.peak,
        })
    };
    NetworkFigures {
        network: name.to_owned(),
        weights_bytes: timing.weights,
        batches: timing.batches.into_iter().filter_map(batch).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_is_named_with_what_does() {
        let all = ["mtcnn".to_owned(), "faceres".to_owned()];
        assert_eq!(chosen(&[], &all).unwrap(), all);
        assert_eq!(chosen(&all[1..], &all).unwrap(), ["faceres"]);
        let message = chosen(&["iris".to_owned()], &all).unwrap_err().to_string();
        assert!(message.starts_with("iris does not run here; these do: mtcnn, faceres"), "{message}");
    }

    #[test]
    fn passes_become_figures() {
        let passes = vec![Duration::from_millis(20); 4];
        let timing = NetworkTiming { weights: Some(7), batches: vec![BatchTiming { size: 8, passes, peak: Some(9) }] };
        let told = figures("x", timing);
        let b = &told.batches[0];
        assert_eq!((b.spread.p50_ms, b.spread.p99_ms, b.items_per_second), (20.0, 20.0, 400.0));
        assert_eq!((told.weights_bytes, b.peak_bytes), (Some(7), Some(9)));
    }
}

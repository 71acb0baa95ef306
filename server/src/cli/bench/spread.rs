//! What many times come to.

use std::time::Duration;

use serde::Serialize;

use crate::{cli::json::rounded, eval::metrics::interval::quantile};

/// Percentiles of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Spread {
    /// `None` without times.
    pub fn of(times: &[Duration]) -> Option<Self> {
        let mut ms: Vec<f64> = times.iter().map(|t| millis(*t)).collect();
        ms.sort_by(f64::total_cmp);
        Some(Self { p50_ms: rounded(quantile(&ms, 0.5)?, 3), p99_ms: rounded(quantile(&ms, 0.99)?, 3) })
    }
}

/// Things done in a second, of `count` done in `time`.
pub(super) fn per_second(count: usize, time: Duration) -> f64 {
    rounded(count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE), 2)
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_times() {
        let times: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!(Spread::of(&times), Some(Spread { p50_ms: 51.0, p99_ms: 100.0 }));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(per_second(8, Duration::from_millis(100)), 80.0);
    }
}

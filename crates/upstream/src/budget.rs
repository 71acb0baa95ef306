//! How much may be asked again: so much that a lost replica is not noticed, so little that a flood is not doubled.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Questions that may be asked again, for each that is asked.
const SHARE: f64 = 0.2;
/// Questions that may be asked again each second, however few are asked.
const A_SECOND: f64 = 3.0;
/// Most of them that are saved up.
const SAVED: f64 = 30.0;

/// What is left.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<Left>);

#[derive(Debug)]
struct Left {
    tokens: f64,
    at: Instant,
}

impl Budget {
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Left { tokens: SAVED, at: now }))
    }

    /// Counts a question that is asked for the first time.
    pub fn earn(&self, now: Instant) {
        self.change(now, |tokens| Some(tokens + SHARE));
    }

    /// Whether one more question may be asked again.
    pub fn spend(&self, now: Instant) -> bool {
        self.change(now, |tokens| (tokens >= 1.0).then_some(tokens - 1.0))
    }

    fn change(&self, now: Instant, to: impl FnOnce(f64) -> Option<f64>) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed: Duration = now.saturating_duration_since(left.at);
        left.at = left.at.max(now);
        left.tokens = (left.tokens + passed.as_secs_f64() * A_SECOND).min(SAVED);
        let changed = to(left.tokens);
        left.tokens = changed.unwrap_or(left.tokens).min(SAVED);
        changed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_asked_and_a_few_a_second_are_asked_again() {
        let begun = Instant::now();
        let budget = Budget::new(begun);
        let spent = |now| (0..1000).take_while(|_| budget.spend(now)).count();
        assert_eq!(spent(begun), 30, "what was saved up");
        assert_eq!(spent(begun), 0);
        (0..101).for_each(|_| budget.earn(begun));
        assert_eq!(spent(begun), 20);
        assert_eq!(spent(begun + Duration::from_secs(2)), 6);
        assert_eq!(spent(begun + Duration::from_secs(1)), 0, "a clock that goes back gives nothing");
        assert_eq!(spent(begun + Duration::from_secs(3600)), 30, "no more than may be saved up");
    }
}

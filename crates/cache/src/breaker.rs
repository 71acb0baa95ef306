//! Keeps calls from waiting for a Redis that was just found dead.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Whether Redis answers, as far as known, and when to look again.
pub(crate) struct Breaker {
    rest: Duration,
    /// When to look again; `None` while Redis answers.
    look_again: Mutex<Option<Instant>>,
}

/// What a call may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Ask Redis.
    Ask,
    /// Go on without.
    Rest,
    /// Go on without, and have somebody look meanwhile whether it answers again.
    RestAndProbe,
}

impl Breaker {
    /// One that lets `rest` pass between looks at a dead Redis.
    pub(crate) fn new(rest: Duration) -> Self {
        Self { rest, look_again: Mutex::new(None) }
    }

    /// What the next call may do.
    pub(crate) fn leave(&self) -> Leave {
        let mut look_again = self.look_again.lock().unwrap_or_else(PoisonError::into_inner);
        match *look_again {
            None => Leave::Ask,
            Some(at) if Instant::now() < at => Leave::Rest,
            Some(_) => {
                // Should the probe vanish with its runtime, another call sends the next.
                *look_again = Some(Instant::now() + self.rest);
                Leave::RestAndProbe
            }
        }
    }

    /// Redis did not answer; whether that is news.
    pub(crate) fn failed(&self) -> bool {
        self.set(Some(Instant::now() + self.rest)).is_none()
    }

    /// Redis answers; whether that is news.
    pub(crate) fn answered(&self) -> bool {
        self.set(None).is_some()
    }

    fn set(&self, look_again: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.look_again.lock().unwrap_or_else(PoisonError::into_inner), look_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_each_rest_sends_a_probe() {
        let breaker = Breaker::new(Duration::from_millis(50));
        assert_eq!(breaker.leave(), Leave::Ask);
        assert!(!breaker.answered());
        assert!(breaker.failed());
        assert!(!breaker.failed());
        assert_eq!(breaker.leave(), Leave::Rest);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(breaker.leave(), Leave::RestAndProbe);
        assert_eq!(breaker.leave(), Leave::Rest);
        assert!(breaker.answered());
        assert_eq!(breaker.leave(), Leave::Ask);
    }
}

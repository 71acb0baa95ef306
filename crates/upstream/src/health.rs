//! Whether a replica is asked: failures in a row take it out for a while that grows, a probe brings it back.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which a replica is left alone.
const FAILURES: u32 = 3;
/// How long it is left alone the first time; twice as long each time after.
const FIRST: Duration = Duration::from_millis(500);
/// How long it is left alone at most.
const LONGEST: Duration = Duration::from_secs(30);
/// A replica that answered for so long begins anew.
const STEADY: Duration = Duration::from_secs(60);
/// A replica that was not heard of for so long is probed, so that what is said of it is true.
const QUIET: Duration = Duration::from_secs(5);

/// Why a replica is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It does not answer, or not what was asked.
    Failing,
    /// It does not know the secret, or has none.
    Refusing,
    /// It runs other networks, or other weights.
    OtherVersion,
}

/// What is known of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: u32,
    /// Times that it was taken out since it was steady.
    ejections: u32,
    out: Option<Out>,
    /// When it was last heard of.
    heard: Option<Instant>,
    /// When it came back.
    back: Option<Instant>,
}

/// Left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Out {
    pub until: Instant,
    pub why: Why,
    pub reason: String,
}

impl Health {
    pub const fn new() -> Self {
        Self { failures: 0, ejections: 0, out: None, heard: None, back: None }
    }

    /// Why it is left alone.
    pub const fn out(&self) -> Option<&Out> {
        self.out.as_ref()
    }

    /// Whether it has answered at all.
    pub const fn is_known(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether it is time to probe it: half open once it was left alone long enough, and when nothing was heard of it.
    pub fn probe_due(&self, now: Instant) -> bool {
        match (&self.out, self.heard) {
            (Some(out), _) => out.until <= now,
            (None, Some(heard)) => heard + QUIET <= now,
            (None, None) => true,
        }
    }

    /// It answered a question. While it is left alone, only a probe brings it back.
    pub fn answered(&mut self, now: Instant) {
        if self.out.is_none() {
            self.failures = 0;
            self.heard = Some(now);
            if self.back.is_some_and(|back| back + STEADY <= now) {
                self.ejections = 0;
            }
        }
    }

    /// It answered a probe. Whether that brought it back.
    pub fn probed(&mut self, now: Instant) -> bool {
        let came_back = self.out.take().is_some();
        if came_back {
            self.back = Some(now);
        }
        self.answered(now);
        came_back
    }

    /// It failed a question or a probe. How long it is left alone from now on, if that was one too many.
    pub fn failed(&mut self, now: Instant, reason: impl Into<String>) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        match &self.out {
            // Questions that were under way when it was taken out say nothing new.
            Some(out) if out.until > now => None,
            // The probe failed.
            Some(_) => Some(self.eject(now, Why::Failing, reason)),
            None if self.failures >= FAILURES => Some(self.eject(now, Why::Failing, reason)),
            None => None,
        }
    }

    /// Leaves it alone; tells for how long.
    pub fn eject(&mut self, now: Instant, why: Why, reason: impl Into<String>) -> Duration {
        let time = FIRST.saturating_mul(1 << self.ejections.min(16)).min(LONGEST);
        self.ejections = self.ejections.saturating_add(1);
        self.out = Some(Out { until: now + time, why, reason: reason.into() });
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn failures_in_a_row_take_it_out_for_a_time_that_grows() {
        let (mut health, begun) = (Health::new(), Instant::now());
        assert!(health.probe_due(begun) && !health.is_known());
        assert_eq!(health.failed(begun, "x"), None);
        assert_eq!(health.failed(begun, "x"), None);
        health.answered(begun);
        assert_eq!(health.failed(begun, "x"), None, "not in a row");
        assert_eq!(health.failed(begun, "x"), None);
        assert_eq!(health.failed(begun, "x"), Some(FIRST));
        assert_eq!(health.failed(begun, "x"), None, "was under way");
        assert!(!health.probe_due(begun) && health.probe_due(begun + FIRST));
        // An answer to an old question does not bring it back, a probe does.
        health.answered(begun);
        assert!(health.out().is_some());
        let mut now = begun;
        for times in 1..12 {
            now += LONGEST;
            let expected = FIRST.saturating_mul(1 << times).min(LONGEST);
            assert_eq!(health.failed(now, "a probe"), Some(expected), "the {times}th time");
        }
    }

    #[test]
    fn a_probe_brings_it_back_and_time_forgives() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        assert_eq!(health.eject(now, Why::OtherVersion, "x"), FIRST);
        assert_eq!(health.out().map(|out| (out.why, out.reason.as_str())), Some((Why::OtherVersion, "x")));
        now += FIRST;
        assert!(health.probed(now) && health.out().is_none() && health.is_known());
        assert!(!health.probed(now), "it was there already");
        assert!(!health.probe_due(now) && health.probe_due(now + QUIET));
        // One that comes and goes is left alone longer each time.
        assert_eq!(health.eject(now, Why::Failing, "x"), FIRST * 2);
        now += seconds(2.0);
        assert!(health.probed(now));
        now += STEADY;
        health.answered(now);
        assert_eq!(health.eject(now, Why::Failing, "x"), FIRST);
    }
}

//! When a failed request is tried again.

use std::time::{Duration, SystemTime};

/// How often, and after which pause, a request is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row, without a byte that came, after which the download is given up.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each further one.
    pub base: Duration,
    /// Longest pause unless the server names one.
    pub longest: Duration,
    /// Longest pause that a server may ask for with `Retry-After`.
    pub longest_asked: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(300),
        }
    }
}

impl Retry {
    /// The pause after failure number `failure` (from 1). `asked` is the server's wish. `share` from 0 to 1 spreads
    /// clients that failed at the same moment over the upper half of the pause.
    pub(crate) fn delay(&self, failure: u32, asked: Option<Duration>, share: f64) -> Duration {
        if let Some(asked) = asked {
            return asked.min(self.longest_asked);
        }
        let doubled = self.base.saturating_mul(2u32.saturating_pow(failure.saturating_sub(1)));
        doubled.min(self.longest).mul_f64(0.5 + 0.5 * share.clamp(0.0, 1.0))
    }
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that has passed means: now.
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let retry = Retry::default();
        let at = |failure, share| retry.delay(failure, None, share).as_secs_f64();
        assert_eq!([at(1, 1.0), at(2, 1.0), at(3, 1.0), at(6, 1.0), at(60, 1.0)], [1.0, 2.0, 4.0, 30.0, 30.0]);
        assert_eq!([at(1, 0.0), at(1, 0.5)], [0.5, 0.75]);
    }

    #[test]
    fn the_servers_wish_is_followed_up_to_a_limit() {
        let retry = Retry::default();
        assert_eq!(retry.delay(1, Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
        assert_eq!(retry.delay(1, Some(Duration::from_secs(86_400)), 0.0), Duration::from_secs(300));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}

//! Requests since the last look, for the rows of `service_metrics`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use facesocial_store::NewServiceMetric;

/// What was answered since the last look, by service and pattern of the path.
#[derive(Debug, Default)]
pub struct Minute(Mutex<HashMap<(&'static str, String), Tally>>);

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    requests: u64,
    /// Answers of the server's own failure: status 500 and above.
    errors: u64,
    total: Duration,
    shortest: Duration,
    longest: Duration,
}

impl Minute {
    /// Adds an answered request.
    pub fn add(&self, service: &'static str, route: &str, status: u16, took: Duration) {
        // Nothing that can panic runs while it is locked.
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry((service, route.to_owned())).or_default();
        tally.shortest = if tally.requests == 0 { took } else { tally.shortest.min(took) };
        tally.longest = tally.longest.max(took);
        tally.total += took;
        tally.requests += 1;
        tally.errors += u64::from(status >= 500);
    }

    /// What was answered since the last look; the next look begins anew.
    pub fn take(&self) -> Vec<NewServiceMetric> {
        let tallies = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let row = |((service, route), tally): ((&'static str, String), Tally)| NewServiceMetric {
            service_name: service.to_owned(),
            endpoint: route,
            request_count: tally.requests,
            avg_response_time_ms: ms(tally.total) / tally.requests.max(1) as f64,
            min_response_time_ms: ms(tally.shortest),
            max_response_time_ms: ms(tally.longest),
            error_count: tally.errors,
        };
        tallies.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_count_mean_and_ends_and_the_next_begins_anew() {
        let minute = Minute::default();
        for (status, ms) in [(200, 30), (503, 10), (404, 20)] {
            minute.add("mtcnn", "/detect", status, Duration::from_millis(ms));
        }
        let rows = minute.take();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.service_name.as_str(), row.endpoint.as_str()), ("mtcnn", "/detect"));
        assert_eq!((row.request_count, row.error_count), (3, 1));
        let times = [row.min_response_time_ms, row.avg_response_time_ms, row.max_response_time_ms];
        assert_eq!(times.map(f64::round), [10.0, 20.0, 30.0]);
        assert!(minute.take().is_empty());
    }
}

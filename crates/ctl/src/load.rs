//! Closed-loop clients: throughput, latencies and refusals by the number of clients.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Client,
    header::{CACHE_CONTROL, RETRY_AFTER},
    multipart::{Form, Part},
};
use serde::Serialize;

use crate::{CtlError, Result, process::Looker};

/// What is sent, where and how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the photo is posted to.
    pub url: String,
    /// The photo, sent in the field `file`.
    pub photo: Vec<u8>,
    /// Fields of the form beside it.
    pub fields: Vec<(String, String)>,
    /// Token or key of the caller.
    pub token: Option<String>,
    /// How long.
    pub time: Duration,
    /// Ask again at once after a refusal, instead of when the answer says.
    pub hammer: bool,
    /// Process whose resident memory is told.
    pub pid: Option<u32>,
}

/// What a number of clients saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How many asked at a time.
    pub clients: usize,
    /// Requests that were answered with success.
    pub answered: usize,
    /// Answers per second.
    pub per_second: f64,
    /// Half of the answers took no longer, in milliseconds; `None` without an answer.
    pub p50_ms: Option<f64>,
    /// 95 in 100.
    pub p95_ms: Option<f64>,
    /// 99 in 100.
    pub p99_ms: Option<f64>,
    /// The slowest one.
    pub slowest_ms: Option<f64>,
    /// Other answers, by status, and requests without one.
    pub others: BTreeMap<String, usize>,
    /// Resident memory of the process afterwards in MiB.
    pub memory_mb: Option<u64>,
}

#[derive(Default)]
struct Seen {
    answered: Vec<Duration>,
    others: BTreeMap<String, usize>,
}

impl Load {
    /// Lets `clients` ask at a time: each sends the photo again as soon as it has its answer. Answers that the server
    /// remembers are asked not to be used.
    ///
    /// # Errors
    /// No client can be made.
    pub async fn run(self: &Arc<Self>, clients: usize) -> Result<Figures> {
        let begun = Instant::now();
        let until = begun + self.time;
        let client = Client::builder()
            .pool_max_idle_per_host(clients)
            .build()
            .map_err(|e| CtlError::Server { url: self.url.clone(), what: e.to_string() })?;
        let running: Vec<_> = (0..clients).map(|_| tokio::spawn(Arc::clone(self).one(client.clone(), until))).collect();
        let mut seen = Seen::default();
        for one in running {
            let one = one.await.map_err(|e| CtlError::Server { url: self.url.clone(), what: e.to_string() })?;
            seen.answered.extend(one.answered);
            for (answer, times) in one.others {
                *seen.others.entry(answer).or_default() += times;
            }
        }
        let memory_mb = self.pid.and_then(|pid| Looker::new().ok()?.memory(pid)).map(|bytes| bytes >> 20);
        Ok(figures(clients, begun.elapsed(), seen, memory_mb))
    }

    async fn one(self: Arc<Self>, client: Client, until: Instant) -> Seen {
        let mut seen = Seen::default();
        while Instant::now() < until {
            let form = self.fields.iter().fold(Form::new(), |f, (name, value)| f.text(name.clone(), value.clone()));
            let form = form.part("file", Part::bytes(self.photo.clone()).file_name("photo"));
            let mut request = client.post(&self.url).header(CACHE_CONTROL, "no-cache").multipart(form);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let begun = Instant::now();
            match request.send().await {
                Ok(answer) if answer.status().is_success() => match answer.bytes().await {
                    Ok(_) => seen.answered.push(begun.elapsed()),
                    Err(_) => *seen.others.entry("cut off".to_owned()).or_default() += 1,
                },
                Ok(answer) => {
                    let told = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                    *seen.others.entry(answer.status().as_u16().to_string()).or_default() += 1;
                    if let (false, Some(seconds)) = (self.hammer, told) {
                        let left = until.saturating_duration_since(Instant::now());
                        tokio::time::sleep(Duration::from_secs(seconds).min(left)).await;
                    }
                }
                Err(_) => {
                    *seen.others.entry("no answer".to_owned()).or_default() += 1;
                    // A server that is away is not to be asked a million times.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        seen
    }
}

fn figures(clients: usize, took: Duration, mut seen: Seen, memory_mb: Option<u64>) -> Figures {
    seen.answered.sort_unstable();
    let at = |share: f64| {
        let index = ((seen.answered.len() as f64 * share).ceil() as usize).saturating_sub(1);
        seen.answered.get(index).map(|d| d.as_secs_f64() * 1e3)
    };
    Figures {
        clients,
        answered: seen.answered.len(),
        per_second: seen.answered.len() as f64 / took.as_secs_f64(),
        p50_ms: at(0.50),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        slowest_ms: at(1.0),
        others: seen.others,
        memory_mb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_answers_alone() {
        let answered = (1..=200).map(Duration::from_millis).collect();
        let others = BTreeMap::from([("429".to_owned(), 7)]);
        let told = figures(8, Duration::from_secs(2), Seen { answered, others }, None);
        assert_eq!((told.answered, told.per_second), (200, 100.0));
        assert_eq!((told.p50_ms, told.p95_ms, told.p99_ms), (Some(100.0), Some(190.0), Some(198.0)));
        assert_eq!((told.slowest_ms, told.others["429"]), (Some(200.0), 7));
        let none = figures(1, Duration::from_secs(1), Seen::default(), None);
        assert_eq!((none.answered, none.p50_ms), (0, None));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_told() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let load = Arc::new(Load {
            url: format!("http://{free}/analyze/comprehensive"),
            photo: vec![1, 2, 3],
            fields: Vec::new(),
            token: None,
            time: Duration::from_millis(150),
            hammer: true,
            pid: None,
        });
        let told = load.run(2).await.unwrap();
        assert_eq!(told.answered, 0);
        assert!(told.others["no answer"] >= 2, "{told:?}");
    }
}

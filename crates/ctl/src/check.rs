//! Whether a running deployment does what it should: each service is asked once or a few times.

use std::time::{Duration, Instant};

use reqwest::{
    Client,
    header::CACHE_CONTROL,
    multipart::{Form, Part},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    CtlError, Result,
    probe::{Probe, plain},
};

/// Inference on a busy machine without a card.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server's code for a photo in which there is nobody.
const NO_FACE: &str = "NO_FACE";

/// What was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// In words.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Milliseconds of each attempt.
    pub took_ms: Vec<f64>,
    /// What was seen.
    pub detail: String,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// It says itself that it cannot, and why.
    Unavailable,
}

impl Outcome {
    /// As it is written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Check {
    /// Half of the attempts took no longer.
    pub fn median_ms(&self) -> Option<f64> {
        let mut sorted = self.took_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }
}

/// Asks the gateway at `probe` for its state, then each service and the gateway's analysis for `photo`, `times` times.
///
/// # Errors
/// No client can be made. What fails on the other side is a check that failed.
pub async fn run(probe: &Probe, token: Option<&str>, photo: &[u8], times: usize) -> Result<Vec<Check>> {
    let client = Client::builder().timeout(PATIENCE).build();
    let client = client.map_err(|e| CtlError::Server { url: probe.base().to_owned(), what: e.to_string() })?;
    let mut checks = Vec::new();
    for (name, path) in [("the process answers", "/healthz"), ("it is ready", "/readyz"), ("health", "/health")] {
        checks.push(state(probe, name, path).await);
    }
    let (services, listed) = services(probe).await;
    checks.push(listed);
    let asker = Asker { client: &client, probe, token, photo, times };
    for service in services {
        checks.push(asker.service(&service).await);
    }
    let all = [
        ("detect_faces", "true"),
        ("recognize_faces", "true"),
        ("detect_spoofing", "true"),
        ("predict_gender_age", "true"),
        ("detect_deepfake", "true"),
    ];
    checks.push(asker.ask("comprehensive analysis", "/analyze/comprehensive", "file", &all).await);
    checks.push(asker.ask("batch analysis", "/analyze/batch", "files", &[]).await);
    Ok(checks)
}

async fn state(probe: &Probe, name: &str, path: &str) -> Check {
    let begun = Instant::now();
    let answer = probe.get(path).await;
    let took_ms = vec![begun.elapsed().as_secs_f64() * 1e3];
    let (outcome, detail) = match answer {
        Ok((status, told)) if status.is_success() => match told["status"].as_str() {
            Some(state @ ("degraded" | "unhealthy")) => (Outcome::Unavailable, state.to_owned()),
            state => (Outcome::Passed, state.unwrap_or_default().to_owned()),
        },
        Ok((status, told)) => (Outcome::Failed, problem(status.as_u16(), &told)),
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    Check { name: name.to_owned(), outcome, took_ms, detail }
}

/// A service as `/services` tells of it.
struct Listed {
    name: String,
    endpoint: String,
    /// Why it cannot answer, if it cannot.
    reason: Option<String>,
}

async fn services(probe: &Probe) -> (Vec<Listed>, Check) {
    let begun = Instant::now();
    let answer = probe.get("/services").await;
    let took_ms = vec![begun.elapsed().as_secs_f64() * 1e3];
    let check = |outcome, detail| Check { name: "services are listed".to_owned(), outcome, took_ms, detail };
    match answer {
        Ok((status, told)) if status.is_success() => {
            let entries = told["data"]["services"].as_object().cloned().unwrap_or_default();
            let listed: Vec<Listed> = entries
                .into_iter()
                .map(|(name, entry)| Listed {
                    name,
                    endpoint: entry["endpoint"].as_str().unwrap_or_default().to_owned(),
                    reason: (entry["available"] != Value::Bool(true))
                        .then(|| entry["reason"].as_str().unwrap_or("it does not say why").to_owned()),
                })
                .collect();
            let outcome = if listed.is_empty() { Outcome::Failed } else { Outcome::Passed };
            let detail = format!("{} services", listed.len());
            (listed, check(outcome, detail))
        }
        Ok((status, told)) => (Vec::new(), check(Outcome::Failed, problem(status.as_u16(), &told))),
        Err(error) => (Vec::new(), check(Outcome::Failed, error.to_string())),
    }
}

struct Asker<'a> {
    client: &'a Client,
    probe: &'a Probe,
    token: Option<&'a str>,
    photo: &'a [u8],
    times: usize,
}

impl Asker<'_> {
    async fn service(&self, service: &Listed) -> Check {
        if let Some(reason) = &service.reason {
            return Check {
                name: service.name.clone(),
                outcome: Outcome::Unavailable,
                took_ms: Vec::new(),
                detail: reason.clone(),
            };
        }
        self.ask(&service.name, &service.endpoint, "file", &[]).await
    }

    async fn ask(&self, name: &str, path: &str, field: &'static str, options: &[(&str, &str)]) -> Check {
        let mut took_ms = Vec::with_capacity(self.times);
        let mut last = (Outcome::Failed, "not tried".to_owned());
        for _ in 0..self.times.max(1) {
            let begun = Instant::now();
            last = self.post(path, field, options).await;
            took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            if last.0 == Outcome::Failed {
                break;
            }
        }
        Check { name: name.to_owned(), outcome: last.0, took_ms, detail: last.1 }
    }

    async fn post(&self, path: &str, field: &'static str, options: &[(&str, &str)]) -> (Outcome, String) {
        let form = options.iter().fold(Form::new(), |f, (name, value)| f.text((*name).to_owned(), (*value).to_owned()));
        let form = form.part(field, Part::bytes(self.photo.to_vec()).file_name("photo"));
        let url = format!("{}{path}", self.probe.base());
        let mut request = self.client.post(url).header(CACHE_CONTROL, "no-cache").multipart(form);
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                let told: Value = answer.json().await.unwrap_or_default();
                match status.is_success() {
                    true => (Outcome::Passed, seen(&told)),
                    // A photo without a face is answered so, by a service that looked.
                    false if told["code"] == NO_FACE => (Outcome::Passed, problem(status.as_u16(), &told)),
                    false => (Outcome::Failed, problem(status.as_u16(), &told)),
                }
            }
            Err(error) => (Outcome::Failed, plain(&error)),
        }
    }
}

/// How many faces an answer speaks of, where it says.
fn seen(told: &Value) -> String {
    let data = &told["data"];
    let count = [told, data, &data["face_detection"]]
        .into_iter()
        .flat_map(|place| [&place["total_faces"], &place["total_faces_detected"]])
        .find_map(Value::as_u64)
        .or_else(|| told["faces"].as_array().map(|faces| faces.len() as u64));
    count.map_or_else(String::new, |n| format!("{n} faces"))
}

fn problem(status: u16, told: &Value) -> String {
    let detail = told["detail"].as_str().unwrap_or_default();
    format!("{status} {} {detail}", told["code"].as_str().unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_told_in_short() {
        assert_eq!(seen(&json!({ "total_faces": 3 })), "3 faces");
        assert_eq!(seen(&json!({ "faces": [1, 2] })), "2 faces");
        assert_eq!(seen(&json!({ "data": { "face_detection": { "total_faces": 1 } } })), "1 faces");
        assert_eq!(seen(&json!({})), "");
        assert_eq!(
            problem(401, &json!({ "code": "UNAUTHENTICATED", "detail": "no token" })),
            "401 UNAUTHENTICATED no token"
        );
    }

    #[test]
    fn the_median_is_of_the_attempts() {
        let check = Check {
            name: String::new(),
            outcome: Outcome::Passed,
            took_ms: vec![9.0, 1.0, 2.0],
            detail: String::new(),
        };
        assert_eq!(check.median_ms(), Some(2.0));
        assert_eq!(Check { took_ms: Vec::new(), ..check }.median_ms(), None);
    }

    #[tokio::test]
    async fn a_gateway_that_is_away_fails_every_check() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let probe = Probe::new(&format!("http://{free}"), None).unwrap();
        let checks = run(&probe, None, b"photo", 1).await.unwrap();
        assert_eq!(checks.len(), 6);
        assert!(checks.iter().all(|c| c.outcome == Outcome::Failed), "{checks:?}");
    }
}

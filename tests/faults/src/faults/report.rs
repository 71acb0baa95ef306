//! What a fault showed, judged, as a row of a table.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    inject::Fault,
    load::{Attempt, Kept, Kind},
    rig::REQUEST_TIMEOUT,
};
use crate::server::Trouble;

/// No answer may take longer: the time for a photo, the thirty seconds that a database is waited for, and a little.
const LONGEST: Duration = Duration::from_secs(REQUEST_TIMEOUT + 30 + 2);
/// Most lines told of one kind of trouble.
const TOLD: usize = 5;

/// Everything seen of a fault.
pub struct Seen {
    pub attempts: Vec<Attempt>,
    pub broken: Instant,
    pub mended: Instant,
    /// From the mending until the server was ready and took a write.
    pub healthy: Option<Duration>,
    /// `None` where it was not possible to look.
    pub kept: Option<Kept>,
    /// How the process ended when it was told to.
    pub ended: String,
    pub trouble: Trouble,
    pub notes: Vec<String>,
    pub violations: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// By kind of request: answers while it went wrong, and until all was well.
    pub answers: BTreeMap<Kind, BTreeMap<String, usize>>,
    /// Refusals that say when to try again.
    pub with_retry_after: usize,
    /// Refusals that should.
    pub to_retry: usize,
    pub longest_ms: u64,
    pub longest: Option<Kind>,
    pub healthy_after_ms: Option<u64>,
    pub acknowledged: usize,
    pub lost: Vec<String>,
    pub twice: Vec<String>,
    pub ended: String,
    pub trouble: Trouble,
    pub notes: Vec<String>,
    /// What the server must not have done.
    pub violations: Vec<String>,
}

impl Row {
    /// Judges what was seen.
    pub fn of(fault: &Fault, seen: Seen) -> Self {
        let Seen { attempts, broken, mended, healthy, kept, ended, trouble, notes, mut violations } = seen;
        let well = mended + healthy.unwrap_or_default();
        let mut row = Self {
            name: fault.name,
            what: fault.what,
            answers: BTreeMap::new(),
            with_retry_after: 0,
            to_retry: 0,
            longest_ms: 0,
            longest: None,
            healthy_after_ms: healthy.map(|time| time.as_millis() as u64),
            acknowledged: kept.as_ref().map_or(0, |kept| kept.acknowledged),
            lost: kept.as_ref().map(|kept| kept.lost.clone()).unwrap_or_default(),
            twice: kept.as_ref().map(|kept| kept.twice.clone()).unwrap_or_default(),
            ended,
            trouble,
            notes,
            violations: Vec::new(),
        };
        let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
        for attempt in &attempts {
            let during = attempt.ended() >= broken && attempt.sent <= well;
            if during {
                row.count(attempt);
            }
            if let Some(why) = is_wrong(fault, attempt, during) {
                *wrong.entry(why).or_default() += 1;
            }
        }
        violations.extend(wrong.into_iter().map(|(why, times)| format!("{why}, {times} times")));
        if healthy.is_none() {
            violations.push("not well again within a minute".to_owned());
        }
        for (what, found) in [("lost", &row.lost), ("there twice", &row.twice), ("panic", &row.trouble.panics)] {
            violations.extend(found.iter().take(TOLD).map(|one| format!("{what}: {one}")));
        }
        if row.ended != "code 0" {
            violations.push(format!("SIGTERM in the end: {}", row.ended));
        }
        row.violations = violations;
        row
    }

    fn count(&mut self, attempt: &Attempt) {
        let Attempt { kind, answer, .. } = attempt;
        *self.answers.entry(*kind).or_default().entry(answer.label()).or_default() += 1;
        if matches!(answer.status, Ok(429 | 503 | 504)) {
            self.to_retry += 1;
            self.with_retry_after += usize::from(answer.retry_after.is_some());
        }
        let took = answer.took.as_millis() as u64;
        if took > self.longest_ms {
            (self.longest_ms, self.longest) = (took, Some(*kind));
        }
    }

    /// A line about it.
    pub fn summary(&self) -> String {
        let well = self.healthy_after_ms.map_or("never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
        let mut line = format!(
            "well after {well}; longest answer {:.1} s; {} acknowledged, {} lost, {} twice; {} errors logged",
            self.longest_ms as f64 / 1e3,
            self.acknowledged,
            self.lost.len(),
            self.twice.len(),
            self.trouble.errors.len(),
        );
        for violation in &self.violations {
            let _ = write!(line, "\n    NOT ALLOWED: {violation}");
        }
        line
    }

    fn answered(&self) -> String {
        let kinds = self.answers.iter().map(|(kind, answers)| {
            let answers: Vec<String> = answers.iter().map(|(answer, times)| format!("{answer}: {times}")).collect();
            format!("{}: {}", format!("{kind:?}").to_lowercase(), answers.join(", "))
        });
        kinds.collect::<Vec<_>>().join("; ")
    }
}

/// Why an answer is one that the server must not give.
fn is_wrong(fault: &Fault, Attempt { kind, answer, .. }: &Attempt, during: bool) -> Option<String> {
    let kind = format!("{kind:?}").to_lowercase();
    if answer.took > LONGEST {
        return Some(format!("{kind}: no answer within {} s", LONGEST.as_secs()));
    }
    let fine = match &answer.status {
        Ok(200..=299) => true,
        // Another attempt with the key is under way: the first one's client gave up.
        Ok(409) => answer.code.as_deref() == Some("IDEMPOTENCY_KEY_IN_USE"),
        Ok(429 | 503 | 504) => during && answer.retry_after.is_some(),
        Ok(_) => false,
        Err(_) => during && fault.ends,
    };
    let when = if during { "" } else { " while nothing was wrong" };
    let without = if matches!(answer.status, Ok(429 | 503 | 504)) && answer.retry_after.is_none() {
        " without Retry-After"
    } else {
        ""
    };
    (!fine).then(|| format!("{kind}: {}{without}{when}", answer.label()))
}

/// Writes `faults.json` and `faults.md` and prints the table; whether nothing was not allowed.
///
/// # Errors
/// A file cannot be written.
pub fn write(rows: &[Row], failed: &[String], folder: &Path) -> anyhow::Result<bool> {
    let mut text = String::from(
        "| fault | what clients saw | Retry-After | longest answer | well again after | acknowledged, lost, twice |\n",
    );
    text.push_str("|---|---|---:|---:|---:|---:|\n");
    for row in rows {
        let well = row.healthy_after_ms.map_or("never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
        let notes = if row.notes.is_empty() { String::new() } else { format!(" ({})", row.notes.join("; ")) };
        let _ = writeln!(
            text,
            "| `{}`: {} | {}{notes} | {} of {} | {:.1} s, {} | {well} | {}, {}, {} |",
            row.name,
            row.what,
            row.answered(),
            row.with_retry_after,
            row.to_retry,
            row.longest_ms as f64 / 1e3,
            row.longest.map_or(String::new(), |kind| format!("{kind:?}").to_lowercase()),
            row.acknowledged,
            row.lost.len(),
            row.twice.len(),
        );
    }
    for row in rows.iter().filter(|row| !row.violations.is_empty()) {
        let _ = writeln!(text, "\n`{}` did what it must not: {}.", row.name, row.violations.join("; "));
    }
    if !failed.is_empty() {
        let _ = writeln!(text, "\nNot run to the end: {}.", failed.join("; "));
    }
    println!("\n{text}");
    fs::write(folder.join("faults.md"), &text)?;
    fs::write(folder.join("faults.json"), serde_json::to_string_pretty(rows)?)?;
    Ok(failed.is_empty() && rows.iter().all(|row| row.violations.is_empty()))
}

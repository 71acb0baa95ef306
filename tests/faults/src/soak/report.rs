//! What the soak found: verdicts, a table by kind and minute, files.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Sample, Seen, Store,
    drawing::{Panel, draw},
    plan::{Kind, SHARES},
};
use crate::{
    server::Trouble,
    statistics::{change, mean, median, percentile},
};

const MIB: f64 = 1_048_576.0;
/// Length of the times that are compared.
const WINDOW: f64 = 600.0;
/// Most hundredths by which memory, descriptors, threads and tasks may rise.
const FLAT: f64 = 2.0;
/// Most hundredths by which the slowest answers may become slower.
const SLOWER: f64 = 10.0;

/// Everything that was seen.
pub struct Report<'a> {
    pub store: Store,
    pub threads: usize,
    pub server_cpus: Option<String>,
    pub minutes: u64,
    pub capacity: f64,
    pub rate: f64,
    pub clients: usize,
    pub seen: &'a [Seen],
    /// What the server's log says of each request: seconds from the start of what counts, and its milliseconds.
    pub logged: Vec<(f64, f64)>,
    pub unexpected: Vec<String>,
    pub samples: Vec<Sample>,
    /// Some seconds after the last answer.
    pub quiet: Option<Sample>,
    pub ended: String,
    pub ended_after: Duration,
    pub trouble: Trouble,
}

/// One line of the verdict.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    before: String,
    after: String,
    change: String,
    allowed: String,
    kept: bool,
}

type Figure = fn(&Sample) -> f64;

/// Figures that must not rise.
const STEADY: [(&str, &str, Figure); 5] = [
    ("resident memory", "MiB", |s| s.resident / MIB),
    ("anonymous memory", "MiB", |s| s.anonymous / MIB),
    ("open descriptors", "", |s| s.descriptors),
    ("threads", "", |s| s.threads),
    ("tasks", "", |s| s.tasks),
];

impl Report<'_> {
    /// Writes `soak.json`, `soak.md` and `soak.svg`, and prints the table; whether every verdict is good.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<bool> {
        let lines = self.verdicts();
        let good = lines.iter().all(|line| line.kept);
        let markdown = self.markdown(&lines);
        println!("{markdown}");
        fs::write(folder.join("soak.md"), &markdown)?;
        fs::write(folder.join("soak.json"), serde_json::to_string_pretty(&self.json(&lines))?)?;
        fs::write(folder.join("soak.svg"), self.drawing())?;
        Ok(good)
    }

    fn end(&self) -> f64 {
        (self.minutes * 60) as f64
    }

    /// Where the first time to compare begins and ends: minutes 10 to 20, or the second sixth of a shorter soak.
    fn first(&self) -> (f64, f64) {
        let window = WINDOW.min(self.end() / 6.0);
        (window, 2.0 * window)
    }

    /// The last ten minutes, or the last sixth.
    fn last(&self) -> (f64, f64) {
        (self.end() - WINDOW.min(self.end() / 6.0), self.end())
    }

    fn samples(&self, (from, to): (f64, f64), value: Figure) -> Vec<f64> {
        self.samples.iter().filter(|s| (from..to).contains(&s.at)).map(value).collect()
    }

    /// Milliseconds of the answers to these kinds.
    fn times(&self, (from, to): (f64, f64), kind: Option<Kind>) -> Vec<f64> {
        let within = |seen: &&Seen| seen.at.is_some_and(|at| (from..to).contains(&at.as_secs_f64()));
        let seen = self.seen.iter().filter(within).filter(|seen| kind.is_none_or(|kind| seen.kind == kind));
        seen.map(|seen| seen.took.as_secs_f64() * 1e3).collect()
    }

    fn verdicts(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (what, unit, value) in STEADY {
            // A large image may be in memory at the moment of a sample; counts are small whole numbers.
            let called = if unit.is_empty() { "mean" } else { "median" };
            let middle = |values: &[f64]| if unit.is_empty() { mean(values) } else { median(values) };
            let [before, after] =
                [self.first(), self.last()].map(|window| middle(&self.samples(window, value)).unwrap_or(f64::NAN));
            let rise = change(before, after);
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            lines.push(Line {
                what: format!("{what}, {called}"),
                before: format!("{before:.1}{unit}"),
                after: format!("{after:.1}{unit}"),
                change: format!("{rise:+.1} %"),
                allowed: format!("at most {FLAT:+} %"),
                kept: rise <= FLAT,
            });
        }
        let window = WINDOW.min(self.end() / 6.0);
        let logged = |(from, to): (f64, f64)| -> Vec<f64> {
            self.logged.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect()
        };
        let seen = |window| self.times(window, None);
        let windows = [(0.0, window), self.last()];
        // A client that shares its cores with others is late itself; the server's log knows nothing of that.
        for (who, [before, after]) in
            [("as clients saw it", windows.map(seen)), ("as the server's log has it", windows.map(logged))]
        {
            let [before, after] = [before, after].map(|times| percentile(&times, 0.99).unwrap_or(f64::NAN));
            let slower = change(before, after);
            lines.push(Line {
                what: format!("99 in 100 answers within, {who}"),
                before: format!("{before:.0} ms"),
                after: format!("{after:.0} ms"),
                change: format!("{slower:+.1} %"),
                allowed: format!("at most {SLOWER:+} %"),
                kept: slower <= SLOWER,
            });
        }
        let count = |what: &str, found: usize| Line {
            what: what.to_owned(),
            before: String::new(),
            after: found.to_string(),
            change: String::new(),
            allowed: "0".to_owned(),
            kept: found == 0,
        };
        lines.push(count("answers that a server that works does not give", self.unexpected.len()));
        lines.push(count("panics in the log", self.trouble.panics.len()));
        lines.push(count("errors in the log", self.trouble.errors.len()));
        let left = self.quiet.map_or(f64::NAN, |s| s.in_flight);
        lines.push(Line {
            what: "requests under way after the last answer".to_owned(),
            before: String::new(),
            after: format!("{left}"),
            change: String::new(),
            allowed: "0".to_owned(),
            kept: left == 0.0,
        });
        lines.push(Line {
            what: "end after SIGTERM".to_owned(),
            before: String::new(),
            after: format!("{}, {:.1} s", self.ended, self.ended_after.as_secs_f64()),
            change: String::new(),
            allowed: "code 0".to_owned(),
            kept: self.ended == "code 0",
        });
        lines
    }

    fn markdown(&self, lines: &[Line]) -> String {
        let mut text = String::new();
        let total = self.seen.iter().filter(|seen| seen.at.is_some()).count();
        let late: Vec<f64> = self.seen.iter().map(|seen| seen.late.as_secs_f64() * 1e3).collect();
        let (cpus, threads) = (self.server_cpus.as_deref().unwrap_or("all"), self.threads);
        let store = match self.store {
            Store::Sqlite => "the embedded database",
            Store::Postgres => "Postgres",
        };
        let share = 100.0 * self.rate / self.capacity;
        let _ = writeln!(
            text,
            "{} minutes, {total} requests, {store}, {threads} computing thread(s), cores of the server: {cpus}. Capacity \
             {:.2} requests/s ({} clients without a pause); load {:.2} requests/s, {share:.0} %. Requests were sent at most \
             {:.0} ms later than planned (99 in 100: {:.1} ms); times count from the plan. {} MiB at the peak of a sample, \
             database {:.1} MiB at the end.\n",
            self.minutes,
            self.capacity,
            self.clients,
            self.rate,
            percentile(&late, 1.0).unwrap_or(0.0),
            percentile(&late, 0.99).unwrap_or(0.0),
            percentile(&self.samples.iter().map(|s| s.resident / MIB).collect::<Vec<_>>(), 1.0).unwrap_or(0.0).round(),
            self.samples.last().map_or(0.0, |s| s.database / MIB),
        );
        let ((a, b), (c, d)) = (self.first(), self.last());
        let _ = writeln!(
            text,
            "Memory, descriptors, threads and tasks: minutes {:.0} to {:.0} against {:.0} to {:.0}. Times: minutes 0 to {:.0} \
             against {:.0} to {:.0}; every ten minutes have the same requests at the same times.\n",
            a / 60.0,
            b / 60.0,
            c / 60.0,
            d / 60.0,
            WINDOW.min(self.end() / 6.0) / 60.0,
            c / 60.0,
            d / 60.0,
        );
        text.push_str("| what | before | after | change | allowed | |\n|---|---:|---:|---:|---|---|\n");
        for Line { what, before, after, change, allowed, kept } in lines {
            let kept = if *kept { "kept" } else { "**not kept**" };
            let _ = writeln!(text, "| {what} | {before} | {after} | {change} | {allowed} | {kept} |");
        }
        text.push_str(
            "\n| request | per 1000 | made | p50 first | p50 last | p99 first | p99 last | not as expected |\n",
        );
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
        let window = WINDOW.min(self.end() / 6.0);
        for (kind, share) in SHARES {
            let (first, last) = (self.times((0.0, window), Some(kind)), self.times(self.last(), Some(kind)));
            let of = |times: &[f64], share| percentile(times, share).map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
            let made = self.seen.iter().filter(|s| s.kind == kind && s.at.is_some());
            let wrong = made.clone().filter(|s| !s.expected).count();
            let _ = writeln!(
                text,
                "| {} | {share} | {} | {} | {} | {} | {} | {wrong} |",
                kind.name(),
                made.count(),
                of(&first, 0.5),
                of(&last, 0.5),
                of(&first, 0.99),
                of(&last, 0.99),
            );
        }
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for answer in &self.unexpected {
            *found.entry(answer.split(" at ").next().unwrap_or(answer)).or_default() += 1;
        }
        for (answer, times) in found {
            let _ = writeln!(text, "\nNot as expected: {answer}, {times} times.");
        }
        text
    }

    fn json(&self, lines: &[Line]) -> Value {
        let minutes: Vec<Value> = (0..self.minutes).map(|minute| self.minute(minute)).collect();
        json!({
            "store": self.store,
            "threads": self.threads,
            "server_cpus": self.server_cpus,
            "minutes": self.minutes,
            "capacity_per_second": self.capacity,
            "load_per_second": self.rate,
            "verdicts": lines,
            "unexpected": self.unexpected,
            "trouble": self.trouble,
            "quiet": self.quiet,
            "samples": self.samples,
            "by_minute": minutes,
        })
    }

    fn minute(&self, minute: u64) -> Value {
        let window = ((minute * 60) as f64, (minute * 60 + 60) as f64);
        let figures = |kind| {
            let times = self.times(window, kind);
            json!({ "answers": times.len(), "p50_ms": median(&times), "p99_ms": percentile(&times, 0.99) })
        };
        let kinds = SHARES.iter().map(|(kind, _)| (kind.name().to_owned(), figures(Some(*kind))));
        json!({ "minute": minute, "all": figures(None), "kinds": kinds.collect::<serde_json::Map<_, _>>() })
    }

    fn drawing(&self) -> String {
        let over_time =
            |value: Figure| -> Vec<(f64, f64)> { self.samples.iter().map(|s| (s.at / 60.0, value(s))).collect() };
        let slowest = |share| -> Vec<(f64, f64)> {
            let of = |minute: u64| {
                let window = ((minute * 60) as f64, (minute * 60 + 60) as f64);
                Some((minute as f64 + 0.5, percentile(&self.times(window, None), share)?))
            };
            (0..self.minutes).filter_map(of).collect()
        };
        draw(&[
            Panel {
                title: "memory, MiB: resident, anonymous",
                lines: vec![over_time(STEADY[0].2), over_time(STEADY[1].2)],
            },
            Panel {
                title: "open descriptors, threads, tasks",
                lines: STEADY[2..].iter().map(|s| over_time(s.2)).collect(),
            },
            Panel { title: "answers of a minute, ms: 50 and 99 in 100", lines: vec![slowest(0.5), slowest(0.99)] },
            Panel { title: "database, MiB", lines: vec![over_time(|s| s.database / MIB)] },
        ])
    }
}

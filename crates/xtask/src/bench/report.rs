//! Medians, spreads and ratios of what was measured, as a table and as JSON.

use std::{
    fs,
    io::{self, Write},
    process::Command,
};

use serde_json::{Value, json};

use crate::root;

/// A network at a batch on a number of threads: the milliseconds of every pass.
pub(super) struct Row {
    pub(super) network: &'static str,
    pub(super) batch: usize,
    pub(super) threads: usize,
    pub(super) runtime: &'static str,
    pub(super) version: String,
    pub(super) instructions: String,
    pub(super) goal: Option<f64>,
    pub(super) difference: Option<f32>,
    pub(super) golden_difference: Option<f64>,
    /// The share of the processor's time that others took meanwhile.
    pub(super) others: Option<f64>,
    /// Ticks of the processor that this project's side took, and the other.
    pub(super) processor: Option<Vec<f64>>,
    pub(super) our_ms: Vec<f64>,
    pub(super) peer_ms: Vec<f64>,
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    /// Of a sample that is not empty; between two values, the line between them.
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "lower_quartile": self.lower, "upper_quartile": self.upper })
    }

    fn text(self) -> String {
        let digits = if self.median < 10.0 { 2 } else { 1 };
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.lower, self.upper)
    }
}

impl Row {
    fn spreads(&self) -> [Spread; 2] {
        [Spread::of(&self.our_ms), Spread::of(&self.peer_ms)]
    }

    /// This project's median by the other's.
    fn ratio(&self) -> f64 {
        let [our, peer] = self.spreads();
        our.median / peer.median
    }

    /// The same of the processor's time, on one thread: there, others hardly touch it. On more, whoever waits by spinning
    /// takes what he does not use.
    fn ratio_of_processor(&self) -> Option<f64> {
        match self.processor.as_deref() {
            Some([our, peer]) if self.threads == 1 && *peer > 0.0 => Some(our / peer),
            _ => None,
        }
    }

    /// `-` without a goal, `ok`, or `OVER`.
    fn verdict(&self) -> &'static str {
        match self.goal {
            None => "-",
            Some(goal) if self.ratio() <= goal => "ok",
            Some(_) => "OVER",
        }
    }

    fn line(&self) -> String {
        let [our, peer] = self.spreads();
        let goal = self.goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
        format!(
            "{:<26} {:>5} {:>7}  {:<15} {:>22} {:>22} {:>6.2} {:>9} {:>6} {:>5} {}",
            self.network,
            self.batch,
            self.threads,
            self.runtime,
            peer.text(),
            our.text(),
            self.ratio(),
            self.ratio_of_processor().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            self.others.map_or_else(|| "-".to_owned(), |others| format!("{:.0} %", 100.0 * others)),
            goal,
            self.verdict()
        )
    }

    /// A row of a table in Markdown.
    fn markdown(&self) -> String {
        let [our, peer] = self.spreads();
        let goal = match self.goal {
            Some(goal) if self.ratio() <= goal => format!("{goal:.2}"),
            Some(goal) => format!("**{goal:.2}**"),
            None => String::new(),
        };
        let others = self.others.map_or_else(String::new, |others| format!("{:.0} %", 100.0 * others));
        let processor = self.ratio_of_processor().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (network, batch, threads, runtime) = (self.network, self.batch, self.threads, self.runtime);
        let (peer, our, ratio) = (peer.text(), our.text(), self.ratio());
        format!(
            "| {network} | {batch} | {threads} | {runtime} | {peer} | {our} | {ratio:.2} | {processor} | {goal} | {others} |"
        )
    }

    fn json(&self) -> Value {
        let [our, peer] = self.spreads();
        json!({
            "network": self.network,
            "batch": self.batch,
            "threads": self.threads,
            "runtime": self.runtime,
            "version": self.version,
            "instructions": self.instructions,
            "ours_ms": our.json(),
            "peer_ms": peer.json(),
            "passes": self.our_ms.len(),
            "ratio": self.ratio(),
            "ratio_of_processor": self.ratio_of_processor(),
            "goal": self.goal,
            "met": self.goal.map(|goal| self.ratio() <= goal),
            "difference": self.difference,
            "golden_difference": self.golden_difference,
            "others": self.others,
        })
    }
}

/// A run.
pub(super) struct Report {
    vs: &'static str,
    kernels: Option<String>,
    rows: Vec<Row>,
}

impl Report {
    /// Prints the head.
    pub(super) fn begin(vs: &'static str, kernels: Option<String>) -> Self {
        if let Some(kernels) = &kernels {
            print(&format!("kernels held to {kernels}; of the others, PyTorch alone can be held to AVX2, and is"));
        }
        print(&format!(
            "{:<26} {:>5} {:>7}  {:<15} {:>22} {:>22} {:>6} {:>9} {:>6} {:>5}",
            "network",
            "batch",
            "threads",
            "peer",
            "peer ms (quartiles)",
            "ours ms (quartiles)",
            "ratio",
            "processor",
            "others",
            "goal"
        ));
        Self { vs, kernels, rows: Vec::new() }
    }

    /// Prints a row and keeps it.
    pub(super) fn add(&mut self, row: Row) {
        print(&row.line());
        self.rows.push(row);
    }

    /// Prints how many goals were met.
    pub(super) fn end(&self) {
        let with_goal = self.rows.iter().filter(|row| row.goal.is_some()).count();
        let over = self.rows.iter().filter(|row| row.verdict() == "OVER").count();
        print(&format!("{} of {with_goal} rows with a goal meet it", with_goal - over));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        print(&format!(
            "{}, {cores} cores; others: the share of the processor's time that other programs took",
            processor()
        ));
    }

    /// A table in Markdown; goals that are not met stand out.
    pub(super) fn markdown(&self) -> String {
        let head = [
            "| network | batch | threads | peer | peer, ms | here, ms | ratio | processor | goal | others |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ];
        let rows = head.into_iter().map(str::to_owned).chain(self.rows.iter().map(Row::markdown));
        rows.map(|row| row + "\n").collect()
    }

    /// Everything.
    pub(super) fn json(&self) -> Value {
        json!({
            "vs": self.vs,
            "kernels": self.kernels,
            "processor": processor(),
            "commit": commit(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

/// What the processor calls itself.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    named.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The commit that was built, if the checkout has git.
fn commit() -> Option<String> {
    let output = Command::new("git").current_dir(root()).args(["rev-parse", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn print(line: &str) {
    // A closed pipe is no reason to stop: the figures may go to a file, too.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Option<f64>) -> Row {
        Row {
            network: "vit",
            batch: 1,
            threads: 2,
            runtime: "onnxruntime",
            version: "1".to_owned(),
            instructions: "avx2".to_owned(),
            goal,
            difference: Some(1e-6),
            golden_difference: None,
            others: Some(0.01),
            processor: Some(vec![30.0, 60.0]),
            our_ms: vec![1.0, 3.0, 2.0],
            peer_ms: vec![4.0, 4.0, 9.0],
        }
    }

    #[test]
    fn quartiles_lie_between_values() {
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Spread { lower: 1.75, median: 2.5, upper: 3.25 });
        assert_eq!(Spread::of(&[7.0]), Spread { lower: 7.0, median: 7.0, upper: 7.0 });
    }

    #[test]
    fn a_row_over_its_goal_is_marked() {
        assert_eq!([None, Some(0.5), Some(0.49)].map(|goal| row(goal).verdict()), ["-", "ok", "OVER"]);
        let met = |goal| row(goal).json()["met"].clone();
        assert_eq!(row(None).ratio_of_processor(), None);
        assert_eq!(Row { threads: 1, ..row(None) }.ratio_of_processor(), Some(0.5));
        assert_eq!([met(None), met(Some(0.5)), met(Some(0.4))], [json!(null), json!(true), json!(false)]);
    }
}

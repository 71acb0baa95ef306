//! One side of a comparison: a process that answers a line of JSON with another.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::python;

/// What a side is asked.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) network: &'a str,
    /// Images a pass.
    pub(super) batch: usize,
    /// Timed passes; one goes before them.
    pub(super) passes: usize,
    /// Whether a sample of the outputs is wanted.
    pub(super) outputs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) photo: Option<PathBuf>,
}

/// What a side answers.
#[derive(Deserialize)]
pub(super) struct Answer {
    /// Milliseconds of each pass.
    pub(super) wall_ms: Vec<f64>,
    pub(super) outputs: Option<Vec<Output>>,
    /// Of the other runtime.
    pub(super) version: Option<String>,
    /// Of this project's kernels.
    pub(super) instructions: Option<String>,
    /// Of the other side from the golden file, as a part of the largest value.
    pub(super) golden_difference: Option<f64>,
}

/// A sample of an output.
#[derive(Deserialize)]
pub(super) struct Output {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Error { error: String },
    Answer(Answer),
}

/// A running side; it ends when this is dropped.
pub(super) struct Child {
    name: String,
    log: PathBuf,
    process: process::Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts `command`, whose standard error goes to a file of this name below target/peers.
    pub(super) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let log = python::folder().join(name).with_extension("log");
        let errors = File::create(&log).with_context(|| log.display().to_string())?;
        let program = command.get_program().to_owned();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{} cannot be started", Path::new(&program).display()))?;
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        let answers = BufReader::new(answers.context("a process without standard output")?);
        Ok(Self { name: name.to_owned(), log, process, requests, answers })
    }

    /// The process's number.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The answer to `request`.
    pub(super) fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let gone = format!("{} ended; it says why in {}", self.name, self.log.display());
        let requests = self.requests.as_mut().context("a process without standard input")?;
        writeln!(requests, "{}", serde_json::to_string(request)?).with_context(|| gone.clone())?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!(gone);
        }
        match serde_json::from_str(&line).with_context(|| format!("{} says {}", self.name, line.trim()))? {
            Line::Error { error } => bail!("{}: {error}", self.name),
            Line::Answer(answer) => Ok(answer),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

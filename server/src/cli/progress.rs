//! A progress bar for people who wait.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Fewer items are done before a bar could be read.
const FEW: usize = 4;

/// A bar on standard error, drawn only if that is a terminal and there is much to do.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over `len` items, `what` in the plural.
    pub fn new(len: usize, what: &'static str) -> Self {
        if len < FEW || !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(len as u64).with_style(style).with_message(what);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// One item more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Writes to standard output with the bar out of the way.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn print(&self, text: &str) -> io::Result<()> {
        self.0.suspend(|| io::stdout().write_all(text.as_bytes()))
    }

    /// Writes a line to standard error with the bar out of the way.
    pub fn complain(&self, line: &str) {
        // Nobody is left to tell when standard error is closed.
        self.0.suspend(|| writeln!(io::stderr(), "{line}").ok());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! Tells how a pull goes on: bars on a terminal, lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use facesocial_hub::{Event, Observer};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

/// Off a terminal a line is written after so many bytes.
const STEP: u64 = 64 << 20;

/// Writes to standard error.
pub struct Teller {
    quiet: bool,
    terminal: bool,
    state: Mutex<Current>,
}

/// The download that is under way.
#[derive(Default)]
struct Current {
    bar: Option<ProgressBar>,
    done: u64,
    total: Option<u64>,
}

impl Teller {
    /// `quiet` tells errors alone.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: io::stderr().is_terminal(), state: Mutex::default() }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes a line whether quiet or not.
    pub fn line(&self, line: &str) {
        // Nobody is left to tell when standard error is closed.
        writeln!(io::stderr(), "{line}").ok();
    }

    fn note(&self, line: &str) {
        self.finish();
        self.line(line);
    }

    fn start(&self, file: &str, url: &str, offset: u64, total: Option<u64>) {
        let size = total.map_or_else(String::new, |total| format!(", {}", DecimalBytes(total)));
        let from = if offset > 0 { format!(", from {} on", DecimalBytes(offset)) } else { String::new() };
        self.note(&format!("  {file}{size}{from}: {url}"));
        let bar = self.terminal.then(|| {
            let template = if total.is_some() {
                "  {bar:30} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
            } else {
                "  {spinner} {decimal_bytes}, {decimal_bytes_per_sec}"
            };
            // The templates are constants; a mistake in one costs the bar its looks alone.
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style);
            bar.set_position(offset);
            bar.reset_eta();
            bar
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Current { bar, done: offset, total };
    }

    fn bytes(&self, n: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.done;
        state.done += n;
        match &state.bar {
            Some(bar) => bar.inc(n),
            None if before / STEP != state.done / STEP => {
                let of = state.total.map_or_else(String::new, |total| format!(" of {}", DecimalBytes(total)));
                self.line(&format!("  {}{of}", DecimalBytes(state.done)));
            }
            None => {}
        }
    }
}

impl Observer for Teller {
    fn event(&self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        match event {
            Event::WaitingForLock => self.note("another pull works in the folder; waiting for it to end"),
            Event::Network { name, licence } => self.note(&format!("{name} (licence: {licence})")),
            Event::Download { url, file, offset, total } => self.start(file, url, offset, total),
            Event::Bytes(n) => self.bytes(n),
            Event::Restart { reason } => self.note(&format!("  starting over: {reason}")),
            Event::Retry { reason, delay, attempt, of } => {
                let delay = delay.as_secs_f32();
                self.note(&format!("  attempt {attempt} of {of} failed ({reason}); the next one in {delay:.1} s"));
            }
            Event::Downloaded { .. } => self.finish(),
            Event::Found { file, place } => self.note(&format!("  {file}: taken from {place}")),
            Event::Converting { .. } => self.note("  converting"),
            // Events of later versions.
            _ => {}
        }
    }
}

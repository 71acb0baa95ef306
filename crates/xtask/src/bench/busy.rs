//! How much of the machine somebody else takes while something is measured. Linux alone tells it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// The share of the processor's time that others may take in a quiet machine.
pub(super) const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(1);

/// Ticks of the clock that all cores passed, and those in which they worked, since the machine started; and those of some
/// processes.
#[derive(Clone)]
pub(super) struct Ticks {
    all: f64,
    worked: f64,
    own: Vec<f64>,
}

impl Ticks {
    /// Now; `None` where the system does not tell. `own` are the processes that are measured.
    pub(super) fn now(own: &[u32]) -> Option<Self> {
        let (all, worked) = cores(&fs::read_to_string("/proc/stat").ok()?)?;
        let ticks = |id: &u32| process(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?);
        Some(Self { all, worked, own: own.iter().map(ticks).collect::<Option<_>>()? })
    }

    /// The share of the processor's time that others took since, 0..=1.
    pub(super) fn others_until(&self, later: &Self) -> Option<f64> {
        let all = later.all - self.all;
        let others = later.worked - self.worked - self.own_until(later).iter().sum::<f64>();
        (all > 0.0).then(|| (others / all).clamp(0.0, 1.0))
    }

    /// What each of the measured processes took since.
    pub(super) fn own_until(&self, later: &Self) -> Vec<f64> {
        self.own.iter().zip(&later.own).map(|(before, after)| after - before).collect()
    }
}

/// All ticks and those at work, from the first line of `/proc/stat`: user, nice, system, idle, waiting for a disk, interrupts
/// (two), stolen by other machines.
fn cores(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks = line.split_whitespace().take(8).map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
    let all: f64 = ticks.iter().sum();
    Some((all, all - ticks.get(3)? - ticks.get(4)?))
}

/// Ticks of all threads of a process, from its `/proc/ID/stat`; its name may hold blanks and brackets.
fn process(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}

/// Waits until the machine is quiet, or until `deadline`.
pub(super) fn wait_until_quiet(deadline: Instant) {
    while Instant::now() < deadline {
        let before = Ticks::now(&[]);
        thread::sleep(LOOK);
        let busy = before.zip(Ticks::now(&[])).and_then(|(before, after)| before.others_until(&after));
        if busy.is_none_or(|busy| busy <= QUIET) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_systems_lines() {
        assert_eq!(cores("cpu  10 2 3 80 4 0 1 0 0 0\ncpu0 1 1"), Some((100.0, 16.0)));
        assert_eq!(cores("intr 1"), None);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 30 12 0 0 20 0 1 0";
        assert_eq!(process(stat), Some(42.0));
    }

    #[test]
    fn others_are_what_the_measured_processes_did_not_take() {
        let at = |all, worked, own| Ticks { all, worked, own: vec![own, 0.0] };
        assert_eq!(at(0.0, 0.0, 0.0).others_until(&at(100.0, 60.0, 50.0)), Some(0.1));
        assert_eq!(at(0.0, 0.0, 1.0).own_until(&at(9.0, 9.0, 5.0)), [4.0, 0.0]);
        assert_eq!(at(5.0, 0.0, 0.0).others_until(&at(5.0, 0.0, 0.0)), None);
    }
}

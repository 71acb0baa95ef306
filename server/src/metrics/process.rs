//! What the system tells of the process and of the machine's memory; nothing where there is no `/proc`.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Ticks a second in which Linux tells processor time to programs, on every architecture that this program is built for.
const TICKS: f64 = 100.0;
/// Asked again within this time, the processor's share is the one of before: over a moment it says nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// Figures of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Seconds that all cores together computed for it.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Bytes in use.
    pub resident: Option<u64>,
    /// Bytes of addresses reserved.
    pub reserved: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<u64>,
    /// How many may be open.
    pub open_files_limit: Option<u64>,
}

impl Process {
    /// Now.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Self {
            cpu_seconds: cpu_seconds(),
            threads: field(&status, "Threads:"),
            resident: kib(&status, "VmRSS:"),
            reserved: kib(&status, "VmSize:"),
            // The folder that is being read counts itself.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
            open_files_limit: limit.and_then(|rest| rest.split_whitespace().next()?.parse().ok()),
        }
    }
}

/// Memory of the machine in bytes: all of it, and what programs could still take.
pub fn machine_memory() -> Option<(u64, u64)> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    Some((kib(&info, "MemTotal:")?, kib(&info, "MemAvailable:")?))
}

fn cpu_seconds() -> Option<f64> {
    ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks as f64 / TICKS)
}

/// User and system time together. The program's name, the second field, may hold anything between its brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name).map(|kib| kib * 1024)
}

/// The share of one core that the process took since it was asked for last.
#[derive(Debug)]
pub struct CpuShare(Mutex<Share>);

#[derive(Debug)]
struct Share {
    since: Instant,
    seconds: f64,
    percent: Option<f64>,
}

impl Default for CpuShare {
    fn default() -> Self {
        Self(Mutex::new(Share { since: Instant::now(), seconds: cpu_seconds().unwrap_or(0.0), percent: None }))
    }
}

impl CpuShare {
    /// Percent of one core since the last time, or since the start: 200 of two cores that compute without pause. `None`
    /// where the system does not tell.
    pub fn percent(&self) -> Option<f64> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = share.since.elapsed();
        if share.percent.is_none() || passed >= SHORTEST {
            let seconds = cpu_seconds()?;
            let percent = (seconds - share.seconds) / passed.as_secs_f64().max(0.01) * 100.0;
            *share = Share { since: Instant::now(), seconds, percent: Some((percent.max(0.0) * 10.0).round() / 10.0) };
        }
        share.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let fields = (3..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(ticks(&format!("77 (a) b (c)) {fields}")), Some(14 + 15));
        assert_eq!(ticks("77 no brackets"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_everything() {
        let process = Process::read();
        assert!(process.threads.is_some_and(|n| n >= 1) && process.open_files.is_some_and(|n| n >= 3), "{process:?}");
        assert!(process.resident.is_some_and(|n| n > 1 << 20) && process.cpu_seconds.is_some(), "{process:?}");
        assert!(process.reserved >= process.resident && process.open_files_limit.is_some(), "{process:?}");
        let (all, left) = machine_memory().unwrap();
        assert!(left < all);
        assert!(CpuShare::default().percent().is_some_and(|p| p >= 0.0));
    }
}

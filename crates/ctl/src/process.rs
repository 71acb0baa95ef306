//! Processes of this machine: which they are, how they are, how they end.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, Signal, System};
use tokio::time::{Instant, sleep};

use crate::{CtlError, Result};

/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A process by its number and by when it was started, so that another one that gets its number later is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// Seconds since 1970.
    pub started: u64,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Resident memory in bytes.
    pub memory: u64,
    /// Share of one core in percent, since the look before.
    pub cpu: f32,
    /// Seconds since its start.
    pub uptime: u64,
}

/// Starts a program in `directory` that goes on when this one ends; what it says is added to `log`.
///
/// # Errors
/// The program cannot be run, the log cannot be written.
pub fn start(program: &Path, arguments: &[String], directory: &Path, log: &Path) -> Result<Identity> {
    let file = File::options().create(true).append(true).open(log).map_err(CtlError::file(log))?;
    let other = file.try_clone().map_err(CtlError::file(log))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(file).stderr(other);
    detach(&mut command);
    let failed = |what: String| CtlError::Program { command: program.display().to_string(), what };
    let child = command.spawn().map_err(|e| failed(format!("cannot be run: {e}")))?;
    let pid = child.id();
    let mut looker = Looker::new()?;
    match looker.started(pid) {
        Some(started) => Ok(Identity { pid, started }),
        None => Err(failed(format!("ended at once; see {}", log.display()))),
    }
}

/// What ends the terminal's commands is not to end servers.
#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

#[cfg(not(any(unix, windows)))]
fn detach(_: &mut Command) {}

/// Looks at processes; the load of one is told from the second look on.
#[derive(Debug)]
pub struct Looker(System);

impl Looker {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// The system does not tell of its processes.
    pub fn new() -> Result<Self> {
        System::new().map(Self).map_err(|e| CtlError::Processes(e.to_string()))
    }

    fn started(&mut self, pid: u32) -> Option<u64> {
        let pid = Pid::from_u32(pid);
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
        self.0.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        let process = self.0.process(pid)?;
        let ended = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
        (!ended).then(|| process.start_time())
    }

    /// How it is; `None` if it has ended.
    pub fn figures(&mut self, identity: Identity) -> Option<Figures> {
        if self.started(identity.pid)? != identity.started {
            return None;
        }
        let process = self.0.process(Pid::from_u32(identity.pid))?;
        Some(Figures { memory: process.memory(), cpu: process.cpu_usage(), uptime: process.run_time() })
    }

    /// Resident memory in bytes of whatever process has this number.
    pub fn memory(&mut self, pid: u32) -> Option<u64> {
        self.started(pid)?;
        self.0.process(Pid::from_u32(pid)).map(sysinfo::Process::memory)
    }

    /// Whether it runs.
    pub fn runs(&mut self, identity: Identity) -> bool {
        self.figures(identity).is_some()
    }

    /// Asks it to end and waits; ends it by force if it takes longer than `patience`. Says whether it is gone. Where
    /// processes cannot be asked (Windows), force is all there is.
    pub async fn end(&mut self, identity: Identity, patience: Duration) -> bool {
        if !self.signal(identity, Some(Signal::Term)) || self.gone_within(identity, patience).await {
            return true;
        }
        self.signal(identity, None);
        self.gone_within(identity, patience.min(Duration::from_secs(5))).await
    }

    /// False if it does not run any more.
    fn signal(&mut self, identity: Identity, signal: Option<Signal>) -> bool {
        if !self.runs(identity) {
            return false;
        }
        if let Some(process) = self.0.process(Pid::from_u32(identity.pid)) {
            let asked = signal.and_then(|signal| process.kill_with(signal));
            if asked.is_none() {
                process.kill();
            }
        }
        true
    }

    async fn gone_within(&mut self, identity: Identity, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.runs(identity) {
            if Instant::now() >= until {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sleeper(folder: &Path, script: &str) -> Identity {
        start(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], folder, &folder.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_process_is_started_seen_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let identity = sleeper(folder.path(), "echo up; exec sleep 60");
        let mut looker = Looker::new().unwrap();
        assert!(looker.figures(identity).is_some_and(|f| f.uptime < 60));
        // Another process under the same number is another process.
        assert!(!looker.runs(Identity { started: identity.started - 5, ..identity }));
        assert!(looker.end(identity, Duration::from_secs(20)).await);
        assert!(!looker.runs(identity));
        assert!(looker.end(identity, Duration::from_secs(1)).await, "what has ended is gone");
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_ended_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let identity = sleeper(folder.path(), "trap '' TERM; echo up; while :; do sleep 1; done");
        let log = folder.path().join("log");
        while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
            sleep(LOOK).await;
        }
        let mut looker = Looker::new().unwrap();
        assert!(looker.end(identity, Duration::from_millis(200)).await);
        assert!(!looker.runs(identity));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            start(Path::new("/nowhere/facesocial"), &[], folder.path(), &folder.path().join("log")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/facesocial"), "{error}");
    }
}

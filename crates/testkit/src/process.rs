//! Private servers for tests: a port, signals, and an end that comes even if the test process is killed.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Says that something was not tested, and what would make it so. The test harness does not swallow it.
pub fn not_run(what: &str, remedy: &str) {
    // `eprintln!` of a test that passes is not shown; this is.
    writeln!(io::stderr(), "NOT RUN: {what}. {remedy}").ok();
}

/// A number nobody can guess before it is made.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A port of 127.0.0.1 that nobody listens on, below those that the system gives to clients: between a server's death and
/// its restart, no other connection takes it.
pub fn free_port() -> u16 {
    loop {
        let port = 15_000 + u16::try_from(random() % 17_000).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal, `KILL` for one, to processes; those that are gone do not matter.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    let mut command = Command::new("sh");
    command.args(["-c", "for pid; do kill -s \"$0\" \"$pid\" 2>/dev/null; done", name]);
    command.args(pids.iter().map(u32::to_string)).status().expect("sh runs");
}

/// Processes that `parent` started and that still run, where the system has /proc.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| state_and_parent(pid).is_some_and(|(state, p)| p == parent && state != "Z")).collect()
}

/// Whether a process runs; a dead one that nobody has asked for yet does not.
pub(crate) fn runs(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z")
}

fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Waits until `done`, looking every 20 ms; false after [`PATIENCE`].
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Ends a server and removes its folder when the test process ends without having done so: killed, aborted, or with the
/// server in a `static`, which is never dropped.
pub(crate) struct Watchdog {
    shell: Child,
}

/// Name of the file, in the watched folder, that holds the server's process number.
const PID_FILE: &str = "server.pid";

impl Watchdog {
    /// Watches over the server of `folder`, to be ended by the signal `name`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        // A line says that all is done; the end of input says that nobody is left to say so.
        let script = "read -r line && exit 0
            pid=$(cat \"$1/server.pid\" 2>/dev/null) && kill -s \"$0\" \"$pid\" && sleep 1
            rm -rf \"$1\" || { sleep 5; rm -rf \"$1\"; }";
        let shell = Command::new("sh")
            .args(["-c", script, name])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends the tests' group; this one must outlive them.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        Self { shell }
    }

    /// Notes which process is the server, or that there is none.
    pub(crate) fn note(folder: &Path, pid: Option<u32>) {
        let file = folder.join(PID_FILE);
        match pid {
            Some(pid) => fs::write(file, pid.to_string()).expect("the server's folder can be written"),
            None => drop(fs::remove_file(file)),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            stdin.write_all(b"done\n").ok();
        }
        self.shell.wait().ok();
    }
}

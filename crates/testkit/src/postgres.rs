//! A private Postgres for tests.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use crate::process::{self, Watchdog, not_run, wait_until};

/// Names the folder of `initdb`, `postgres` and `psql`.
const BIN: &str = "FACESOCIAL_TEST_PG_BIN";
/// Postgres refuses to run as root; the traditional number of nobody.
const NOBODY: u32 = 65534;

/// A cluster of its own in a temporary folder, on a free port of 127.0.0.1, behind a password. What it commits is flushed
/// to disk, so that killing it tests something. Dropping it ends it and removes everything.
pub struct Postgres {
    // Before the folder: it must not act once that is removed.
    watchdog: Option<Watchdog>,
    server: Option<Child>,
    bin: PathBuf,
    folder: TempDir,
    /// Whom the server runs as, if not as this process.
    user: Option<u32>,
    port: u16,
    password: String,
}

static SHARED: LazyLock<Option<Postgres>> = LazyLock::new(Postgres::start);

impl Postgres {
    /// Starts one with the programs of the folder that `FACESOCIAL_TEST_PG_BIN` names. `None`, and a word about it, if it
    /// names none.
    ///
    /// # Panics
    /// The folder is named, but no server comes up.
    pub fn start() -> Option<Self> {
        Self::start_in(&env::temp_dir())
    }

    /// [`Self::start`] with its data in a new folder within `place`, such as a disk of its own.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_in(place: &Path) -> Option<Self> {
        let Some(bin) = env::var_os(BIN).filter(|v| !v.is_empty()) else {
            not_run(
                "a test with Postgres",
                &format!(
                    "Set {BIN} to the folder of the programs initdb, postgres and psql of Postgres 16 with pgvector"
                ),
            );
            return None;
        };
        let bin = fs::canonicalize(&bin).unwrap_or_else(|e| panic!("{BIN} {}: {e}", Path::new(&bin).display()));
        let folder = tempfile::Builder::new().prefix("facesocial-pg-").tempdir_in(place).expect("a temporary folder");
        let owner = fs::metadata(folder.path()).expect("the new folder").uid();
        let user = (owner == 0).then_some(NOBODY);
        if user.is_some() {
            chown(folder.path(), user, user).expect("root may give a folder away");
        }
        let mut postgres = Self {
            watchdog: Some(Watchdog::new(folder.path(), "QUIT")),
            server: None,
            bin,
            folder,
            user,
            port: process::free_port(),
            password: format!("{:016x}", process::random()),
        };
        postgres.init();
        // Somebody else may have taken the port meanwhile.
        for _ in 0..3 {
            if postgres.launch() {
                return Some(postgres);
            }
            postgres.port = process::free_port();
        }
        panic!("Postgres does not start: {}", postgres.log());
    }

    /// The one that all tests of this process share, each with a database of its own; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        SHARED.as_ref()
    }

    /// URL of the database `postgres`, whose user may do everything.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// URL of the database `name`.
    pub fn url_of(&self, name: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{name}", self.password, self.port)
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Panics
    /// It cannot be made: the name is taken, the server is down.
    pub fn create_database(&self, name: &str) -> String {
        self.psql(&format!("CREATE DATABASE \"{name}\""));
        self.url_of(name)
    }

    /// Makes an empty database with a name that no other has, and gives its URL.
    pub fn fresh_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.create_database(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Runs one statement in the database `postgres` and gives its rows, columns parted by `|`.
    ///
    /// # Panics
    /// It fails.
    pub fn psql(&self, statement: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command"])
            .arg(statement)
            .arg(self.url())
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The folder of `pg_dump` and the other programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Kills the server and all its processes at once, as a loss of power would; data that was not flushed is lost only
    /// from the server's own memory.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let mut pids = process::children(server.id());
        pids.insert(0, server.id());
        process::signal("KILL", &pids);
        server.wait().expect("the server was started here");
        Watchdog::note(self.folder.path(), None);
        // One that was being started while the list was made ends by itself when it misses its parent.
        assert!(wait_until(|| !pids.iter().any(|&pid| process::runs(pid))), "killed, but not gone");
    }

    /// Stops all its processes where they stand: the system still accepts connections for it, but nobody answers.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let server = self.server.as_ref().expect("the server runs").id();
        let mut pids = process::children(server);
        pids.insert(0, server);
        process::signal(name, &pids);
    }

    /// Stops the server in order; connections are cut.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Starts the server again on the same port, after [`Self::kill`] or [`Self::stop`]. What was committed is there.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "Postgres does not start again: {}", self.log());
    }

    fn init(&self) {
        let secret = self.folder.path().join("password");
        fs::write(&secret, &self.password).expect("the folder can be written");
        if self.user.is_some() {
            chown(&secret, self.user, self.user).expect("root may give a file away");
        }
        let output = self
            .command("initdb")
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg(argument("--pwfile=", &secret))
            .arg(argument("--pgdata=", &self.data()))
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}", self.bin.join("initdb").display()));
        assert!(
            output.status.success(),
            "initdb{}: {}",
            self.user.map(|user| format!(" as user {user}")).unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts the server and waits for it; false if it ends instead.
    fn launch(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("the folder can be written");
        let port = self.port.to_string();
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=32MB",
            // Nobody replicates it, and less is written so; a crash loses nothing by it.
            "wal_level=minimal",
            "max_wal_senders=0",
        ];
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &port]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let stderr = log.try_clone().expect("one more handle");
        let mut server = command.stdin(Stdio::null()).stdout(log).stderr(stderr).spawn().expect("postgres runs");
        Watchdog::note(self.folder.path(), Some(server.id()));
        let mut alive = true;
        let answers = wait_until(|| {
            alive = matches!(server.try_wait(), Ok(None));
            !alive || self.answers()
        });
        self.server = Some(server);
        if !(alive && answers) {
            self.end("QUIT");
        }
        alive && answers
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(self.bin.join("pg_isready"));
        command.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        command.status().is_ok_and(|status| status.success())
    }

    fn end(&mut self, signal: &str) {
        let Some(mut server) = self.server.take() else { return };
        process::signal(signal, &[server.id()]);
        // One that is paused hears it only then.
        let mut pids = process::children(server.id());
        pids.insert(0, server.id());
        process::signal("CONT", &pids);
        server.wait().expect("the server was started here");
        Watchdog::note(self.folder.path(), None);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // Ctrl-C must not reach it before the one who can clean up.
        command.current_dir(self.folder.path()).process_group(0);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The end of the server's log.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("QUIT");
        self.watchdog.take();
    }
}

fn argument(name: &str, value: &Path) -> std::ffi::OsString {
    [OsStr::new(name), value.as_os_str()].into_iter().collect()
}

//! A private Redis for tests.

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use tempfile::TempDir;

use crate::process::{self, Watchdog, not_run, wait_until};

/// Names the program.
const SERVER: &str = "FACESOCIAL_TEST_REDIS_SERVER";

/// A server that keeps nothing on disk, on a free port of 127.0.0.1, behind a password. Dropping it ends it.
pub struct Redis {
    // Before the folder: it must not act once that is removed.
    watchdog: Option<Watchdog>,
    server: Option<Child>,
    program: OsString,
    folder: TempDir,
    port: u16,
    password: String,
}

static SHARED: LazyLock<Option<Redis>> = LazyLock::new(Redis::start);

impl Redis {
    /// Starts the program that `FACESOCIAL_TEST_REDIS_SERVER` names, else `redis-server`. `None`, and a word about it, if
    /// none is named and the other is not there.
    ///
    /// # Panics
    /// The program is there, but no server comes up.
    pub fn start() -> Option<Self> {
        let named = env::var_os(SERVER).filter(|v| !v.is_empty());
        let program = named.clone().unwrap_or_else(|| "redis-server".into());
        let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        match found {
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
                not_run("a test with Redis", &format!("Install redis-server, or set {SERVER} to the program"));
                return None;
            }
            Err(error) => panic!("{}: {error}", program.display()),
            Ok(_) => {}
        }
        let folder = tempfile::Builder::new().prefix("facesocial-redis-").tempdir().expect("a temporary folder");
        let mut redis = Self {
            watchdog: Some(Watchdog::new(folder.path(), "KILL")),
            server: None,
            program,
            folder,
            port: process::free_port(),
            password: format!("{:016x}", process::random()),
        };
        // Somebody else may have taken the port meanwhile.
        for _ in 0..3 {
            if redis.launch() {
                return Some(redis);
            }
            redis.port = process::free_port();
        }
        panic!("{} does not start", redis.program.display());
    }

    /// The one that all tests of this process share; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        SHARED.as_ref()
    }

    /// URL of its first database.
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    /// Kills it at once. Connections are cut, and everything it held is lost.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // Reaches a stopped process too.
        server.kill().expect("the server was started here");
        server.wait().expect("the server was started here");
        Watchdog::note(self.folder.path(), None);
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "{} does not start again", self.program.display());
    }

    /// Stops it where it stands: the system still accepts connections for it, but nobody answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let server = self.server.as_ref().expect("the server runs");
        process::signal(name, &[server.id()]);
    }

    /// Starts the server and waits for it; false if it ends instead.
    fn launch(&mut self) -> bool {
        let mut command = Command::new(&self.program);
        // Ctrl-C must not reach it before the one who can clean up.
        command.arg("-").current_dir(self.folder.path()).process_group(0);
        let mut server =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it ran before");
        Watchdog::note(self.folder.path(), Some(server.id()));
        let config =
            format!("port {}\nbind 127.0.0.1\nrequirepass {}\nsave \"\"\nappendonly no\n", self.port, self.password);
        // Dropped at once: the end of input is the end of the configuration.
        let written = server.stdin.take().map(|mut stdin| stdin.write_all(config.as_bytes()));
        let mut alive = written.is_some_and(|w| w.is_ok());
        let answers = wait_until(|| {
            alive = alive && matches!(server.try_wait(), Ok(None));
            !alive || self.answers().unwrap_or(false)
        });
        self.server = Some(server);
        if !(alive && answers) {
            self.kill();
        }
        alive && answers
    }

    fn answers(&self) -> io::Result<bool> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("AUTH {}\r\nPING\r\n", self.password).as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+OK\r\n+PONG\r\n")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        self.watchdog.take();
    }
}

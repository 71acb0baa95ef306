//! The servers of one fault: the program, its database, its cache, the ways between them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use facesocial_testkit::{Postgres, Redis, not_run};
use tempfile::TempDir;

use crate::{
    client::{Account, Asker, key_of},
    proxy::Proxy,
    server::{Server, Start},
};

/// Seconds for a photo.
pub const REQUEST_TIMEOUT: u64 = 15;
/// Seconds to end in.
pub const SHUTDOWN_TIMEOUT: u64 = 10;
const SCOPES: [&str; 4] = ["gallery:read", "gallery:write", "search", "analyze"];

/// What stands around a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The embedded database.
    Sqlite,
    /// The embedded database, on a disk of its own of 24 MiB.
    SqliteOnSmallDisk,
    /// The embedded database, and a clock that can be set.
    SqliteWithClock,
    /// A Postgres behind a proxy.
    Postgres,
    /// A Postgres on a disk of its own of 256 MiB.
    PostgresOnSmallDisk,
    /// A Redis behind a proxy, and the embedded database.
    Redis,
    /// Recognition in a process of its own behind a proxy, and the embedded database.
    Service,
}

/// The servers of one fault, ready.
pub struct Rig {
    // Servers end before what they need.
    pub server: Server,
    pub service: Option<Server>,
    pub start: Start,
    pub service_start: Option<Start>,
    pub proxy: Option<Proxy>,
    pub postgres: Option<Postgres>,
    pub redis: Option<Redis>,
    pub disk: Option<Disk>,
    /// What is worth telling beside the figures.
    pub notes: Vec<String>,
    /// What the server must not have done.
    pub violations: Vec<String>,
    /// Connections that nobody uses.
    pub idle: Vec<tokio::net::TcpStream>,
    pub asker: Asker,
    _folder: TempDir,
}

/// A small disk in memory, unmounted when dropped.
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mount(place: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(place)?;
        let size = format!("size={mebibytes}m,mode=777");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).status()?;
        if !status.success() {
            bail!("a small disk cannot be mounted (mount -t tmpfs), which only root may");
        }
        Ok(Self { place: place.to_owned() })
    }

    /// Takes all its room.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        let of = format!("of={}", self.place.join("ballast").display());
        // It ends with an error when the disk is full, as it is to be.
        Command::new("dd").args(["if=/dev/zero", &of, "bs=64k"]).stderr(Stdio::null()).status()?;
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn empty(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.place.join("ballast"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.place).status().ok();
    }
}

impl Rig {
    /// Starts everything; `None`, and a word about it, where something is not installed.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn new(binary: &Path, setting: Setting) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("facesocial-faults-").tempdir()?;
        let (timeout, end) =
            (format!("--request-timeout={REQUEST_TIMEOUT}"), format!("--shutdown-timeout={SHUTDOWN_TIMEOUT}"));
        let mut start = Start::new(binary, &folder.path().join("gateway")).with(&[
            &timeout,
            &end,
            "--threads=1",
            "--rate-limit=1000000",
            "--upload-rate-limit=1000000",
        ]);
        let (mut proxy, mut postgres, mut redis, mut disk) = (None, None, None, None);
        let mut service_start = None;
        match setting {
            Setting::Sqlite => {}
            Setting::SqliteOnSmallDisk => disk = Some(Disk::mount(&start.data(), 24)?),
            Setting::SqliteWithClock => match clock(&start)? {
                Some(with_clock) => start = with_clock,
                None => return Ok(None),
            },
            Setting::Postgres | Setting::PostgresOnSmallDisk => {
                let place = folder.path().join("postgres");
                fs::create_dir_all(&place)?;
                // Postgres is another user.
                for folder in [folder.path(), &place] {
                    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
                }
                if setting == Setting::PostgresOnSmallDisk {
                    disk = Some(Disk::mount(&place, 256)?);
                }
                let Some(started) = Postgres::start_in(&place) else { return Ok(None) };
                let url = started.create_database("faults");
                let way = Proxy::to(port_of(&url)?).await?;
                start = start.set("DATABASE_URL", through(&url, &way)?);
                (proxy, postgres) = (Some(way), Some(started));
            }
            Setting::Redis => {
                let Some(started) = Redis::start() else { return Ok(None) };
                let way = Proxy::to(port_of(&started.url())?).await?;
                start = start.set("REDIS_URL", through(&started.url(), &way)?);
                (proxy, redis) = (Some(way), Some(started));
            }
            Setting::Service => {
                let secret = folder.path().join("secret");
                fs::write(&secret, "what the servers of this system know each other by")?;
                let known = format!("--internal-secret-file={}", secret.display());
                let mut alone = Start::new(binary, &folder.path().join("service"));
                let listen = format!("--listen=recognition=127.0.0.1:{}", alone.port);
                alone = alone.with(&["--services=recognition", "--no-gateway", "--internal-only", "--threads=1"]);
                alone = alone.with(&[&listen, &known, &timeout, &end]);
                alone.behind = None;
                let way = Proxy::to(SocketAddr::from(([127, 0, 0, 1], alone.port))).await?;
                let upstream = format!("--upstream=recognition=http://127.0.0.1:{}", way.port());
                start = start.with(&[&upstream, &known]);
                if let Some(services) = &mut start.behind {
                    services.retain(|service| *service != "recognition");
                }
                (proxy, service_start) = (Some(way), Some(alone));
            }
        }
        let service = match &service_start {
            Some(start) => Some(start.ready().await?),
            None => None,
        };
        let account = make_admin(&start)?;
        let server = start.ready().await?;
        let stranger = Asker::new(server.url(""))?;
        let asker = stranger.with_key(key_of(&stranger, &account, &SCOPES).await?);
        let rig = Self {
            server,
            service,
            start,
            service_start,
            proxy,
            postgres,
            redis,
            disk,
            notes: Vec::new(),
            violations: Vec::new(),
            idle: Vec::new(),
            asker,
            _folder: folder,
        };
        Ok(Some(rig))
    }

    /// The way to the database, the cache or the service.
    ///
    /// # Errors
    /// There is none in this setting.
    pub fn way(&self) -> anyhow::Result<&Proxy> {
        self.proxy.as_ref().context("this setting has no proxy")
    }

    /// The database.
    ///
    /// # Errors
    /// There is none in this setting.
    pub fn postgres(&mut self) -> anyhow::Result<&mut Postgres> {
        self.postgres.as_mut().context("this setting has no Postgres")
    }

    /// Where the database itself listens.
    ///
    /// # Errors
    /// There is none in this setting.
    pub fn postgres_address(&mut self) -> anyhow::Result<SocketAddr> {
        port_of(&self.postgres()?.url())
    }

    /// The cache.
    ///
    /// # Errors
    /// There is none in this setting.
    pub fn redis(&mut self) -> anyhow::Result<&mut Redis> {
        self.redis.as_mut().context("this setting has no Redis")
    }

    /// Sets the clock of the server, in the words of libfaketime, such as `+2h`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_clock(&self, offset: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.start.folder.join("clock"), offset)?)
    }

    /// An account that may do everything, for whoever logs in.
    pub fn account(&self) -> Account {
        account()
    }
}

fn account() -> Account {
    Account { username: "faults-admin".to_owned(), password: "a password for the faults".to_owned() }
}

fn make_admin(start: &Start) -> anyhow::Result<Account> {
    fs::create_dir_all(&start.folder)?;
    let (account, password) = (account(), start.folder.join("password"));
    fs::write(&password, &account.password)?;
    let (data, password) = (start.data().display().to_string(), password.display().to_string());
    let arguments = ["admin", "create", &account.username, "--password-file", &password, "--data-dir", &data];
    let output = start.command(&arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("no account can be made: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(account)
}

/// A server whose clock can be set, where libfaketime is installed.
fn clock(start: &Start) -> anyhow::Result<Option<Start>> {
    let found = fs::read_dir("/usr/lib")?.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let Some(library) = found.into_iter().find(|path| path.exists()) else {
        not_run("a clock that jumps", "Install libfaketime, Debian's package faketime");
        return Ok(None);
    };
    fs::create_dir_all(&start.folder)?;
    let file = start.folder.join("clock");
    fs::write(&file, "+0")?;
    let set = start.clone().set("LD_PRELOAD", library.display().to_string());
    let set = set.set("FAKETIME_TIMESTAMP_FILE", file.display().to_string());
    // Each look at the clock sees the file as it is; the clock that only measures goes on, as on a real machine.
    Ok(Some(set.set("FAKETIME_NO_CACHE", "1").set("FAKETIME_DONT_FAKE_MONOTONIC", "1")))
}

/// Where a URL with a port leads to on this machine.
fn port_of(url: &str) -> anyhow::Result<SocketAddr> {
    let (_, after) = url.rsplit_once('@').context("the URL has no host")?;
    Ok(after.split('/').next().unwrap_or(after).parse()?)
}

/// The URL with the proxy's port.
fn through(url: &str, way: &Proxy) -> anyhow::Result<String> {
    Ok(url.replace(&format!("@{}", port_of(url)?), &format!("@127.0.0.1:{}", way.port())))
}

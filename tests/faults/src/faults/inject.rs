//! The faults: what goes wrong, for how long, and how it is mended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::sleep};

use super::{
    load::Load,
    rig::{Rig, SHUTDOWN_TIMEOUT, Setting},
};
use crate::{
    client::{Asker, How},
    photos::Photos,
    proxy::Way,
    server::how,
};

/// Longer than the ten seconds that a request waits for a connection to the database.
const LONG: Duration = Duration::from_secs(16);
const SHORT: Duration = Duration::from_secs(8);
/// Connections that a Postgres takes.
const POSTGRES_CONNECTIONS: usize = 200;

/// Something that goes wrong.
#[derive(Debug)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What stands around the server.
    pub setting: Setting,
    /// Whether the server's own process ends, so that connections are lost.
    pub ends: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    PostgresStopped,
    PostgresRestarted,
    PostgresKilled,
    Way(Way, Duration),
    ConnectionsTaken,
    DiskFull,
    RedisStopped,
    RedisKilled,
    ServiceKilled,
    ServiceHung,
    ClockJumps,
    DescriptorsTaken,
    AddressSpace,
    MemoryGroup,
    Terminated,
    TerminatedWithoutDatabase,
    Killed,
}

const fn fault(name: &'static str, what: &'static str, setting: Setting, kind: Kind) -> Fault {
    let ends = matches!(
        kind,
        Kind::AddressSpace | Kind::MemoryGroup | Kind::Terminated | Kind::TerminatedWithoutDatabase | Kind::Killed
    );
    Fault { name, what, setting, ends, kind }
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    fault(
        "postgres-stopped",
        "all processes of Postgres stop where they stand (SIGSTOP), 16 s",
        Setting::Postgres,
        Kind::PostgresStopped,
    ),
    fault(
        "postgres-restarted",
        "Postgres is stopped in order and started again after 3 s",
        Setting::Postgres,
        Kind::PostgresRestarted,
    ),
    fault(
        "postgres-killed",
        "Postgres is killed (SIGKILL) three times and started again after 2 s",
        Setting::Postgres,
        Kind::PostgresKilled,
    ),
    fault(
        "postgres-slow",
        "each piece on the way to and from Postgres takes 150 ms longer, 16 s",
        Setting::Postgres,
        Kind::Way(Way::Slow(Duration::from_millis(150)), LONG),
    ),
    fault(
        "postgres-narrow",
        "10 kB/s pass between the server and Postgres, each way of each connection, 16 s",
        Setting::Postgres,
        Kind::Way(Way::Narrow(10_000.0), LONG),
    ),
    fault("postgres-reset", "connections to Postgres are reset, 8 s", Setting::Postgres, Kind::Way(Way::Reset, SHORT)),
    fault(
        "postgres-silent",
        "the network to Postgres takes bytes and brings none, 16 s; open connections stay dead",
        Setting::Postgres,
        Kind::Way(Way::Silent, LONG),
    ),
    fault(
        "postgres-garbled",
        "one byte in 200 that Postgres says is another, 8 s",
        Setting::Postgres,
        Kind::Way(Way::Garbled(200), SHORT),
    ),
    fault(
        "postgres-connections",
        "others take every connection of Postgres, and the server's are cut, 16 s",
        Setting::Postgres,
        Kind::ConnectionsTaken,
    ),
    fault("postgres-disk", "the disk of Postgres is full, 8 s", Setting::PostgresOnSmallDisk, Kind::DiskFull),
    fault("sqlite-disk", "the disk of the embedded database is full, 8 s", Setting::SqliteOnSmallDisk, Kind::DiskFull),
    fault("redis-stopped", "Redis stops where it stands (SIGSTOP), 8 s", Setting::Redis, Kind::RedisStopped),
    fault(
        "redis-killed",
        "Redis is killed (SIGKILL) three times and started again after 2 s",
        Setting::Redis,
        Kind::RedisKilled,
    ),
    fault(
        "redis-slow",
        "each piece on the way to and from Redis takes 500 ms longer, 8 s",
        Setting::Redis,
        Kind::Way(Way::Slow(Duration::from_millis(500)), SHORT),
    ),
    fault("redis-garbage", "what Redis says is random, 8 s", Setting::Redis, Kind::Way(Way::Nonsense, SHORT)),
    fault(
        "redis-garbled",
        "one byte in 50 that Redis says is another, 8 s",
        Setting::Redis,
        Kind::Way(Way::Garbled(50), SHORT),
    ),
    fault(
        "service-killed",
        "the server that runs recognition is killed (SIGKILL) and started again after 8 s",
        Setting::Service,
        Kind::ServiceKilled,
    ),
    fault(
        "service-hung",
        "the server that runs recognition stops where it stands (SIGSTOP), 16 s",
        Setting::Service,
        Kind::ServiceHung,
    ),
    fault(
        "service-nonsense",
        "what the server that runs recognition says is random, 8 s",
        Setting::Service,
        Kind::Way(Way::Nonsense, SHORT),
    ),
    fault(
        "service-garbled",
        "one byte in 200 that the server that runs recognition says is another, 8 s",
        Setting::Service,
        Kind::Way(Way::Garbled(200), SHORT),
    ),
    fault(
        "clock",
        "the clock jumps 2 hours ahead, 3 days back, 400 days ahead, and to the right time, 5 s each",
        Setting::SqliteWithClock,
        Kind::ClockJumps,
    ),
    fault(
        "descriptors",
        "the server may open 8 more files, and 100 idle connections want one each, 8 s",
        Setting::Sqlite,
        Kind::DescriptorsTaken,
    ),
    fault(
        "address-space",
        "the server may map 48 MiB more (RLIMIT_AS) and is sent images of 50 megapixels",
        Setting::Sqlite,
        Kind::AddressSpace,
    ),
    fault(
        "memory-group",
        "the control group of the server may hold 32 MiB more and is sent images of 50 megapixels",
        Setting::Sqlite,
        Kind::MemoryGroup,
    ),
    fault("term-sqlite", "SIGTERM under load, three times", Setting::Sqlite, Kind::Terminated),
    fault("term-postgres", "SIGTERM under load, three times", Setting::Postgres, Kind::Terminated),
    fault(
        "term-stopped",
        "SIGTERM under load while Postgres is stopped (SIGSTOP)",
        Setting::Postgres,
        Kind::TerminatedWithoutDatabase,
    ),
    fault("kill-sqlite", "SIGKILL under load, five times", Setting::Sqlite, Kind::Killed),
    fault("kill-postgres", "SIGKILL under load, five times", Setting::Postgres, Kind::Killed),
];

impl Fault {
    /// Lets it go wrong, holds it so, and mends it.
    ///
    /// # Errors
    /// What is needed for it is not there; the server ended, or did not end, where it must not.
    pub async fn inject(&self, rig: &mut Rig, load: &Arc<Load>) -> anyhow::Result<()> {
        match self.kind {
            Kind::PostgresStopped => {
                rig.postgres()?.pause();
                sleep(LONG).await;
                rig.postgres()?.resume();
            }
            Kind::PostgresRestarted => {
                rig.postgres()?.stop();
                sleep(Duration::from_secs(3)).await;
                rig.postgres()?.restart();
            }
            Kind::PostgresKilled => {
                for _ in 0..3 {
                    rig.postgres()?.kill();
                    sleep(Duration::from_secs(2)).await;
                    rig.postgres()?.restart();
                    sleep(Duration::from_secs(2)).await;
                }
            }
            Kind::Way(way, time) => {
                if way == Way::Silent {
                    // So that many statements are on their way when nothing comes any more.
                    rig.way()?.set(Way::Slow(Duration::from_millis(300)));
                    sleep(Duration::from_secs(2)).await;
                }
                rig.way()?.set(way);
                sleep(time).await;
                rig.way()?.set(Way::Open);
            }
            Kind::ConnectionsTaken => take_connections(rig).await?,
            Kind::DiskFull => {
                let disk = rig.disk.as_ref().context("there is no small disk")?;
                disk.fill()?;
                sleep(SHORT).await;
                disk.empty()?;
            }
            Kind::RedisStopped => {
                rig.redis()?.pause();
                sleep(SHORT).await;
                rig.redis()?.resume();
            }
            Kind::RedisKilled => {
                for _ in 0..3 {
                    rig.redis()?.kill();
                    sleep(Duration::from_secs(2)).await;
                    rig.redis()?.restart();
                    sleep(Duration::from_secs(2)).await;
                }
            }
            Kind::ServiceKilled => {
                rig.service.as_mut().context("there is no service")?.kill();
                sleep(SHORT).await;
                rig.service = Some(rig.service_start.as_ref().context("there is no service")?.ready().await?);
            }
            Kind::ServiceHung => {
                let service = rig.service.as_ref().context("there is no service")?;
                service.signal("STOP");
                sleep(LONG).await;
                service.signal("CONT");
            }
            Kind::ClockJumps => clock_jumps(rig).await?,
            Kind::DescriptorsTaken => take_descriptors(rig).await?,
            Kind::AddressSpace => {
                let now = mapped(rig.server.pid())?;
                limit(rig.server.pid(), &format!("--as={}", now + (48 << 20)))?;
                send_huge(rig).await?;
                back_up(rig).await?;
            }
            Kind::MemoryGroup => {
                let group = Group::around(rig.server.pid(), 32 << 20)?;
                send_huge(rig).await?;
                back_up(rig).await?;
                drop(group);
            }
            Kind::Terminated => {
                for _ in 0..3 {
                    terminate(rig, load).await?;
                    start_again(rig).await?;
                    sleep(Duration::from_secs(2)).await;
                }
            }
            Kind::TerminatedWithoutDatabase => {
                rig.postgres()?.pause();
                sleep(Duration::from_secs(1)).await;
                let ended = terminate(rig, load).await;
                rig.postgres()?.resume();
                ended?;
                start_again(rig).await?;
            }
            Kind::Killed => {
                for _ in 0..5 {
                    rig.server.kill();
                    start_again(rig).await?;
                    sleep(Duration::from_secs(2)).await;
                }
            }
        }
        Ok(())
    }
}

/// Starts the server, and notes how long that took.
async fn start_again(rig: &mut Rig) -> anyhow::Result<()> {
    let begun = Instant::now();
    rig.server = rig.start.ready().await?;
    rig.notes.push(format!("started, it was ready after {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// `SIGTERM`, and the end. What was asked before must be answered.
async fn terminate(rig: &mut Rig, load: &Arc<Load>) -> anyhow::Result<()> {
    let told = Instant::now();
    rig.server.signal("TERM");
    let patience = Duration::from_secs(SHUTDOWN_TIMEOUT + 5);
    let ended = rig.server.wait_end(patience).await?;
    let took = told.elapsed();
    match ended {
        Some(status) => {
            rig.notes.push(format!("ended {:.1} s after SIGTERM ({})", took.as_secs_f64(), how(status)));
            if !status.success() {
                rig.violations.push(format!("SIGTERM: {}", how(status)));
            }
        }
        None => {
            rig.violations.push(format!("still there {} s after SIGTERM", patience.as_secs()));
            rig.server.kill();
        }
    }
    let lost =
        load.attempts().into_iter().filter(|a| a.sent < told && a.ended() > told && a.answer.status.is_err()).count();
    if lost > 0 {
        rig.violations.push(format!("{lost} requests sent before SIGTERM were not answered"));
    }
    Ok(())
}

/// Takes every connection that Postgres has. A client that has said who it is and not yet shown it holds one for a minute.
async fn take_connections(rig: &mut Rig) -> anyhow::Result<()> {
    let to = rig.postgres_address()?;
    let mut hello = Vec::new();
    let who = b"user\0postgres\0database\0faults\0\0";
    hello.extend_from_slice(&(8 + who.len() as u32).to_be_bytes());
    hello.extend_from_slice(&196_608_u32.to_be_bytes());
    hello.extend_from_slice(who);
    let begun = Instant::now();
    let take = async |rig: &mut Rig| -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(&hello).await?;
        rig.idle.push(stream);
        Ok(())
    };
    for _ in 0..POSTGRES_CONNECTIONS {
        take(rig).await?;
    }
    // The server's own go, and others are in their places before it asks again.
    rig.way()?.set(Way::Reset);
    for _ in 0..40 {
        take(rig).await?;
    }
    rig.way()?.set(Way::Open);
    for _ in 0..20 {
        take(rig).await?;
        sleep(Duration::from_millis(50)).await;
    }
    sleep(LONG.saturating_sub(begun.elapsed())).await;
    rig.idle.clear();
    Ok(())
}

async fn clock_jumps(rig: &mut Rig) -> anyhow::Result<()> {
    let (stranger, account) = (Asker::new(rig.server.url(""))?, rig.account());
    let mut before = stranger.post("/api/v1/auth/login", &account.login(), None).await;
    for offset in ["+2h", "-3d", "+400d", "+0"] {
        rig.set_clock(offset)?;
        sleep(Duration::from_secs(1)).await;
        let token = before.body["access_token"].as_str().unwrap_or_default().to_owned();
        let old = stranger.with_key(token).get("/api/v1/account").await;
        let refresh = json!({ "refresh_token": before.body["refresh_token"] });
        let refreshed = stranger.post("/api/v1/auth/refresh", &refresh, None).await;
        let login = stranger.post("/api/v1/auth/login", &account.login(), None).await;
        let token = login.body["access_token"].as_str().unwrap_or_default().to_owned();
        let new = stranger.with_key(token).get("/api/v1/account").await;
        rig.notes.push(format!(
            "{offset}: the former token {}, its refresh {}, a login {}, its token {}",
            old.label(),
            refreshed.label(),
            login.label(),
            new.label()
        ));
        if !login.is(200) || !new.is(200) {
            rig.violations.push(format!("nobody can log in after {offset}: {} {}", login.label(), new.label()));
        }
        before = login;
        sleep(Duration::from_secs(4)).await;
    }
    Ok(())
}

async fn take_descriptors(rig: &mut Rig) -> anyhow::Result<()> {
    let pid = rig.server.pid();
    let open = rig.server.process().context("the server is gone")?.descriptors;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let before = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let before = before.context("the system does not tell how many files may be open")?;
    limit(pid, &format!("--nofile={}:", open + 8))?;
    let begun = Instant::now();
    for _ in 0..100 {
        rig.idle.push(TcpStream::connect(("127.0.0.1", rig.start.port)).await?);
    }
    sleep(SHORT.saturating_sub(begun.elapsed())).await;
    rig.idle.clear();
    limit(pid, &format!("--nofile={before}:"))
}

/// Sends images that need 150 MB each, and waits for the answers.
async fn send_huge(rig: &mut Rig) -> anyhow::Result<()> {
    let photos = Photos::new(true)?;
    let mut sending = JoinSet::new();
    for n in 0..8 {
        let (asker, photo) = (rig.asker.clone(), photos.huge[n % photos.huge.len()].clone());
        sending.spawn(async move { asker.photo("/detect/faces", photo, &[], How::default()).await.label() });
    }
    let mut answers: Vec<String> = sending.join_all().await;
    answers.sort();
    rig.notes.push(format!("8 images of 50 megapixels: {}", answers.join(", ")));
    Ok(())
}

/// Starts the server again if it ended; else takes its limits away.
async fn back_up(rig: &mut Rig) -> anyhow::Result<()> {
    sleep(Duration::from_secs(1)).await;
    match rig.server.ended()? {
        Some(status) => {
            rig.notes.push(format!("the server ended ({}) and was started again", how(status)));
            start_again(rig).await?;
        }
        None => {
            rig.notes.push("the server went on".to_owned());
            limit(rig.server.pid(), "--as=unlimited")?;
        }
    }
    Ok(())
}

/// Bytes of addresses that a process has mapped.
fn mapped(pid: u32) -> anyhow::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').next().context("statm is empty")?.parse()?;
    Ok(pages * 4096)
}

fn limit(pid: u32, what: &str) -> anyhow::Result<()> {
    let status =
        Command::new("prlimit").arg(format!("--pid={pid}")).arg(what).status().context("prlimit is missing")?;
    if !status.success() {
        bail!("prlimit {what} failed");
    }
    Ok(())
}

/// A control group around a process, of the first or the second version; taken away when dropped.
struct Group(PathBuf);

impl Group {
    /// A group that may hold so much. What the process has already stays with the group that it had it in.
    fn around(pid: u32, more: u64) -> anyhow::Result<Self> {
        let first = Path::new("/sys/fs/cgroup/memory");
        let (parent, limit) = match first.exists() {
            true => (first, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let folder = parent.join(format!("facesocial-faults-{pid}"));
        fs::create_dir(&folder).context("no control group can be made, which only root may")?;
        let group = Self(folder);
        fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
        fs::write(group.0.join(limit), more.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is still in it goes back to the group above.
        let (parent, own) = (self.0.parent().map(|p| p.join("cgroup.procs")), self.0.join("cgroup.procs"));
        for pid in fs::read_to_string(own).unwrap_or_default().lines() {
            if let Some(parent) = &parent {
                fs::write(parent, pid).ok();
            }
        }
        fs::remove_dir(&self.0).ok();
    }
}

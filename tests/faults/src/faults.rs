//! One fault at a time under a steady load: what clients see, how long until all is well again, what is lost.

mod inject;
mod load;
mod report;
mod rig;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;

use self::{
    inject::{FAULTS, Fault},
    load::Load,
    report::{Row, Seen, write},
    rig::Rig,
};
use crate::server::{how, trouble};

/// Load before anything goes wrong, and after all is well again.
const CALM: Duration = Duration::from_secs(3);
/// How long it may take until all is well again.
const HEALING: Duration = Duration::from_secs(60);

/// Options of the faults.
#[derive(Debug, Args)]
pub struct FaultArgs {
    /// The server's program.
    #[arg(long, value_name = "FILE", default_value = "target/release/facesocial")]
    binary: PathBuf,
    /// Only faults whose name begins so; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Folder of the reports, and of the logs of servers that did not behave.
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    out: PathBuf,
    /// Writes the names of the faults and ends.
    #[arg(long)]
    list: bool,
}

/// Runs the faults; whether the server behaved in all of them.
///
/// # Errors
/// A server cannot be started; files cannot be written.
pub async fn faults(args: FaultArgs) -> anyhow::Result<bool> {
    if args.list {
        FAULTS.iter().for_each(|fault| println!("{}: {}", fault.name, fault.what));
        return Ok(true);
    }
    fs::create_dir_all(&args.out)?;
    let wanted = |fault: &&Fault| args.only.is_empty() || args.only.iter().any(|name| fault.name.starts_with(name));
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for fault in FAULTS.iter().filter(wanted) {
        println!("{}: {}", fault.name, fault.what);
        match Rig::new(&args.binary, fault.setting).await? {
            Some(rig) => match run(fault, rig, &args).await {
                Ok(row) => {
                    println!("    {}", row.summary());
                    rows.push(row);
                }
                Err(error) => {
                    println!("    NOT RUN TO ITS END: {error:#}");
                    failed.push(format!("`{}`: {error:#}", fault.name));
                }
            },
            None => failed.push(format!("`{}`: something is not installed", fault.name)),
        }
    }
    write(&rows, &failed, &args.out)
}

async fn run(fault: &Fault, mut rig: Rig, args: &FaultArgs) -> anyhow::Result<Row> {
    let load = Load::new(rig.asker.clone()).await?;
    let mut clients = load.run();
    tokio::time::sleep(CALM).await;
    let broken = Instant::now();
    let outcome = fault.inject(&mut rig, &load).await;
    let mended = Instant::now();
    let healthy = match &outcome {
        Ok(()) => heal(&mut rig, &load).await,
        Err(_) => None,
    };
    tokio::time::sleep(CALM).await;
    load.stop();
    while clients.join_next().await.is_some() {}
    outcome?;
    let kept = if healthy.is_some() { Some(load.kept().await?) } else { None };
    rig.server.signal("TERM");
    let ended = rig.server.wait_end(Duration::from_secs(rig::SHUTDOWN_TIMEOUT + 10)).await?;
    let (trouble, _) = trouble(&rig.start.log(), 0)?;
    let row = Row::of(
        fault,
        Seen {
            attempts: load.attempts(),
            broken,
            mended,
            healthy,
            kept,
            ended: ended.map_or_else(|| "not at all".to_owned(), how),
            trouble,
            notes: std::mem::take(&mut rig.notes),
            violations: std::mem::take(&mut rig.violations),
        },
    );
    if !row.violations.is_empty() {
        fs::copy(rig.start.log(), args.out.join(format!("{}.log", fault.name))).ok();
    }
    Ok(row)
}

/// Waits until the server says that it is ready and takes a write; `None` if it does not in time.
async fn heal(rig: &mut Rig, load: &Arc<Load>) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < HEALING {
        if rig.server.is_ready().await && load.probe().await {
            return Some(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

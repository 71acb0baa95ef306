//! `facesocial ctl test`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use facesocial_ctl::{
    CtlError, Manager,
    check::{self, Check, Outcome},
    load::{Figures, Load},
    probe::Probe,
};
use serde_json::json;
use time::{OffsetDateTime, macros::format_description};

use super::PlaceArgs;
use crate::{cli::table::TextTable, config::Seconds};

/// Attempts at each service with `--detailed`.
const DETAILED: usize = 5;
/// Where a server listens unless told otherwise.
const USUAL: &str = "http://127.0.0.1:8000";

/// Options of `facesocial ctl test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// A gateway; that of the deployment unless given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A photo to ask about. Without one, a grey picture is sent, in which there is nobody.
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// Token or key of the caller.
    #[arg(long, env = "FACESOCIAL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Asks each service several times and tells how long it takes.
    #[arg(long)]
    detailed: bool,
    /// Then lets more and more clients ask at a time.
    #[arg(long)]
    load: bool,
    /// Numbers of clients.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    clients: Vec<usize>,
    /// How long each number of clients asks.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    seconds: Seconds,
    /// What the clients ask.
    #[arg(long, value_name = "PATH", default_value = "/analyze/comprehensive")]
    path: String,
    /// Fields of their form beside the photo, as recognize_faces=true.
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    field: Vec<String>,
    /// Clients ask again at once after a refusal, instead of when the answer says.
    #[arg(long)]
    hammer: bool,
    /// File for the results; test-results-TIME.json with --load unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Asks every service; exit code 1 if a check failed.
///
/// # Errors
/// A photo that cannot be read; an address that is none.
pub(super) async fn run(args: TestArgs) -> anyhow::Result<ExitCode> {
    let manager = args.place.manager()?;
    let probe = Probe::new(&url(&args, &manager), args.token.clone())?;
    let photo = photo(args.photo.as_deref())?;
    let times = if args.detailed { DETAILED } else { 1 };
    let checks = check::run(&probe, args.token.as_deref(), &photo, times).await?;
    let failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
    let mut out = io::stdout();
    if !args.json {
        write!(out, "{}", checks_table(&checks))?;
    }
    let mut figures = Vec::new();
    if args.load && !failed {
        let load = Arc::new(Load {
            url: format!("{}{}", probe.base(), args.path),
            photo,
            fields: fields(&args.field)?,
            token: args.token.clone(),
            time: Duration::from(args.seconds),
            hammer: args.hammer,
            pid: gateway_pid(&manager).await,
        });
        for &clients in &args.clients {
            figures.push(load.run(clients).await?);
            if !args.json {
                // Long work shows how far it is.
                let table = load_table(&figures);
                let lines: Vec<&str> = table.lines().collect();
                let shown = if figures.len() == 1 { lines.join("\n") } else { lines[lines.len() - 1].to_owned() };
                writeln!(out, "{shown}")?;
            }
        }
    }
    let results = json!({ "url": probe.base(), "photo": args.photo, "checks": checks, "load": figures });
    if let Some(file) = results_file(&args)? {
        fs::write(&file, format!("{results:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
        if !args.json {
            writeln!(out, "\nresults: {}", file.display())?;
        }
    }
    if args.json {
        writeln!(out, "{results:#}")?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn url(args: &TestArgs, manager: &Manager) -> String {
    let deployed = || match manager {
        Manager::Local(local) => local.topology().ok().map(|topology| topology.gateway_url()),
        Manager::Compose(_) => None,
    };
    args.url.clone().or_else(deployed).unwrap_or_else(|| USUAL.to_owned())
}

fn photo(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    match file {
        Some(file) => fs::read(file).with_context(|| format!("cannot read {}", file.display())),
        None => {
            let mut bytes = io::Cursor::new(Vec::new());
            image::RgbImage::from_pixel(640, 480, image::Rgb([128; 3]))
                .write_to(&mut bytes, image::ImageFormat::Png)?;
            Ok(bytes.into_inner())
        }
    }
}

fn fields(given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |field: &String| {
        let (name, value) = field.split_once('=').with_context(|| format!("\"{field}\" is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

/// The process whose memory the table shows, where it is one of this machine.
async fn gateway_pid(manager: &Manager) -> Option<u32> {
    let Manager::Local(local) = manager else { return None };
    let rows = local.rows().await.map_err(|_: CtlError| ()).ok()?;
    rows.iter().find(|row| row.unit == "gateway")?.pid
}

fn results_file(args: &TestArgs) -> anyhow::Result<Option<PathBuf>> {
    if args.out.is_some() || !args.load {
        return Ok(args.out.clone());
    }
    let time = OffsetDateTime::now_utc().format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    Ok(Some(PathBuf::from(format!("test-results-{time}.json"))))
}

fn checks_table(checks: &[Check]) -> String {
    let mut table = TextTable::new(["check", "outcome", "ms", "seen"]);
    for check in checks {
        let ms = check.median_ms().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        table.row([check.name.clone(), check.outcome.as_str().to_owned(), ms, check.detail.clone()]);
    }
    table.render()
}

fn load_table(figures: &[Figures]) -> String {
    let head = ["clients", "answers/s", "p50 ms", "p95 ms", "p99 ms", "slowest ms", "MiB", "other answers"];
    let mut table = TextTable::new(head);
    for f in figures {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"));
        let others: Vec<String> = f.others.iter().map(|(answer, times)| format!("{answer} x {times}")).collect();
        table.row([
            f.clients.to_string(),
            format!("{:.2}", f.per_second),
            ms(f.p50_ms),
            ms(f.p95_ms),
            ms(f.p99_ms),
            ms(f.slowest_ms),
            f.memory_mb.map_or_else(|| "-".to_owned(), |mb| mb.to_string()),
            others.join(", "),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_without_anybody_can_be_decoded() {
        let decoded = image::load_from_memory(&photo(None).unwrap()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (640, 480));
        assert!(photo(Some(Path::new("/nowhere.jpg"))).unwrap_err().to_string().contains("/nowhere.jpg"));
    }

    #[test]
    fn fields_are_pairs() {
        assert_eq!(fields(&["a=b=c".to_owned()]).unwrap(), [("a".to_owned(), "b=c".to_owned())]);
        assert!(fields(&["a".to_owned()]).is_err());
    }
}

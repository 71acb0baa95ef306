//! `facesocial ctl deploy`.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use facesocial_ctl::{CtlError, Manager, secrets, topology::Topology};
use rand::{TryRng, rngs::SysRng};

use super::{PlaceArgs, status};
use crate::extract::hex;

/// Bytes of a secret that nobody needs to remember.
const SECRET_BYTES: usize = 32;

/// Options of `facesocial ctl deploy`.
#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// A gateway and a process for each service, instead of one process for all.
    #[arg(long)]
    distributed: bool,
    /// Address that clients reach the gateway at.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port of the gateway; the services take those after it.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// Processes of this machine even where docker compose is found.
    #[arg(long)]
    processes: bool,
    /// Containers: build the image instead of bringing it.
    #[arg(long)]
    build: bool,
    /// Further options of `facesocial serve`, behind `--`.
    #[arg(last = true, value_name = "SERVE OPTION")]
    serve: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Puts a server in place, starts it and tells how it is.
///
/// # Errors
/// The options contradict each other; a process that does not become ready; docker refuses.
pub(super) async fn run(args: DeployArgs) -> anyhow::Result<ExitCode> {
    let manager = if args.processes { Manager::Local(args.place.local()?) } else { args.place.manager()? };
    match &manager {
        Manager::Local(local) => {
            if args.build {
                bail!("--build is for containers; here processes are deployed");
            }
            if let Some(own) = args.serve.iter().find(|a| is_own(a)) {
                bail!("{own} is set by the deployment; use --bind, --port and --distributed before `--`");
            }
            let topology = Topology {
                program: env::current_exe().context("this program's own path cannot be told")?,
                directory: env::current_dir().context("the folder that this runs in cannot be told")?,
                distributed: args.distributed,
                bind: args.bind,
                port: args.port,
                arguments: args.serve,
                scale: BTreeMap::new(),
                running: Vec::new(),
            };
            let url = topology.gateway_url();
            local.deploy(topology, &random()?).await?;
            if !args.json {
                writeln!(
                    io::stdout(),
                    "the gateway answers at {url}; a first start writes its admin token to the log:"
                )?;
                writeln!(io::stdout(), "  facesocial ctl logs gateway\n")?;
            }
        }
        Manager::Compose(compose) => {
            if args.distributed || !args.serve.is_empty() {
                bail!("containers are configured in their compose file; --distributed and `--` are for processes");
            }
            let made = secrets::make(&compose.secrets(), random)?;
            if !args.json && !made.is_empty() {
                writeln!(io::stdout(), "made in {}: {}", compose.secrets().display(), made.join(", "))?;
            }
            compose.deploy(args.build).await?;
        }
    }
    status::print(&manager.rows().await?, args.json)
}

/// What the deployment itself says to `facesocial serve`.
fn is_own(argument: &str) -> bool {
    const OWN: [&str; 8] = [
        "--bind",
        "--gateway-port",
        "--listen",
        "--services",
        "--no-gateway",
        "--upstream",
        "--internal-secret-file",
        "--internal-only",
    ];
    OWN.contains(&argument.split('=').next().unwrap_or_default())
}

/// A secret in letters and digits.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn random() -> Result<String, CtlError> {
    let mut bytes = [0; SECRET_BYTES];
    SysRng.try_fill_bytes(&mut bytes).map_err(|e| CtlError::NoRandom(e.to_string()))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_deployment_are_not_taken_twice() {
        assert!(is_own("--bind=0.0.0.0") && is_own("--listen"));
        assert!(!is_own("--auth") && !is_own("off") && !is_own("--services-like"));
    }

    #[test]
    fn secrets_differ() {
        let (a, b) = (random().unwrap(), random().unwrap());
        assert!(a.len() >= 64 && a != b);
    }
}

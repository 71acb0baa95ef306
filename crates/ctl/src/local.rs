//! Servers as processes of this machine: one for everything, or one per service and a gateway in front of them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    CtlError, Result, Row, State, Unit, logs,
    probe::{Probe, Readiness},
    process::{self, Identity, Looker},
    topology::{MOST_REPLICAS, Replica, Topology},
};

/// Loading and measuring the networks takes seconds, on a busy machine a minute.
const UNTIL_READY: Duration = Duration::from_secs(180);
/// A little more than a server gives its requests to finish.
const UNTIL_GONE: Duration = Duration::from_secs(40);
/// Between two questions whether a server is ready.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at a process, to tell its load.
const LOAD_OVER: Duration = Duration::from_millis(250);
/// Lines of a log that are told when a server ends at its start.
const TAIL: usize = 12;
const SECRET: &str = "internal.secret";

/// The deployment of one folder.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
}

impl Local {
    /// The deployment in `folder`, if there is one.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where topology, logs and secret are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is deployed.
    ///
    /// # Errors
    /// Nothing is.
    pub fn topology(&self) -> Result<Topology> {
        Topology::read(&self.folder)
    }

    /// Puts a deployment in place of the one that is there, and starts it.
    ///
    /// # Errors
    /// The folder cannot be written to; a process that cannot be started or does not become ready. What was started goes on.
    pub async fn deploy(&self, topology: Topology, secret: &str) -> Result<()> {
        match self.topology() {
            Ok(_) => self.stop(&[]).await?,
            Err(CtlError::NotDeployed(_)) => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(self.logs_folder()).map_err(CtlError::file(self.logs_folder()))?;
        if topology.distributed {
            write_secret(&self.secret(), secret)?;
        }
        Topology { running: Vec::new(), ..topology }.write(&self.folder)?;
        self.start(&[]).await
    }

    /// Starts the named parts, or all, as far as they do not run, and waits until they are ready.
    ///
    /// # Errors
    /// A part that is not there; a process that cannot be started or does not become ready.
    pub async fn start(&self, named: &[Unit]) -> Result<()> {
        let mut topology = self.topology()?;
        let mut looker = Looker::new()?;
        let mut awaited = Vec::new();
        for unit in topology.chosen(named)? {
            // The last one: it would leave alone for a while whom it asks before that one listens.
            if unit == Unit::Gateway {
                for (unit, number, process) in awaited.drain(..) {
                    self.wait(&topology, unit, number, process).await?;
                }
            }
            for number in 1..=topology.replicas(unit) {
                let known = topology.running.iter().find(|r| r.unit == unit && r.number == number);
                let runs = known.map(|r| r.process).filter(|p| looker.runs(*p));
                let process = match runs {
                    Some(process) => process,
                    None => {
                        let line = topology.command_line(unit, number, &self.secret());
                        let process =
                            process::start(&topology.program, &line, &topology.directory, &self.log(unit, number))?;
                        topology.running.retain(|r| r.unit != unit || r.number != number);
                        topology.running.push(Replica { unit, number, process });
                        // A process that is not known could not be stopped.
                        topology.write(&self.folder)?;
                        process
                    }
                };
                awaited.push((unit, number, process));
            }
        }
        for (unit, number, process) in awaited {
            self.wait(&topology, unit, number, process).await?;
        }
        Ok(())
    }

    async fn wait(&self, topology: &Topology, unit: Unit, number: u16, process: Identity) -> Result<()> {
        let probe = Probe::new(&format!("http://{}", reachable(topology, unit, number)), None)?;
        let until = Instant::now() + UNTIL_READY;
        let mut looker = Looker::new()?;
        loop {
            if !looker.runs(process) {
                let log = self.log(unit, number);
                return Err(CtlError::Ended { unit, tail: logs::tail(&log, TAIL)?, log });
            }
            if probe.readiness().await == Readiness::Ready {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(CtlError::NotReady { unit, seconds: UNTIL_READY.as_secs() });
            }
            sleep(LOOK).await;
        }
    }

    /// Stops the named parts, or all; the gateway first, so that it does not miss the others.
    ///
    /// # Errors
    /// A part that is not there; a process that does not end.
    pub async fn stop(&self, named: &[Unit]) -> Result<()> {
        let mut topology = self.topology()?;
        for unit in topology.chosen(named)?.into_iter().rev() {
            self.end(&mut topology, unit, 0).await?;
        }
        Ok(())
    }

    /// Ends the replicas of a part after the first `keep` ones.
    async fn end(&self, topology: &mut Topology, unit: Unit, keep: u16) -> Result<()> {
        let mut looker = Looker::new()?;
        let ending: Vec<Replica> =
            topology.running.iter().filter(|r| r.unit == unit && r.number > keep).cloned().collect();
        for replica in ending {
            if !looker.end(replica.process, UNTIL_GONE).await {
                return Err(CtlError::DoesNotEnd { unit, pid: replica.process.pid });
            }
            topology.running.retain(|r| *r != replica);
            topology.write(&self.folder)?;
        }
        Ok(())
    }

    /// Runs `replicas` of a service. The gateway, which is told of them at its start, is started anew: requests under way are
    /// finished, new ones are refused for the seconds that this takes.
    ///
    /// # Errors
    /// One process holds everything; the part is the gateway; a number out of range; a process that does not become ready.
    pub async fn scale(&self, unit: Unit, replicas: u16) -> Result<()> {
        let mut topology = self.topology()?;
        if !topology.distributed {
            return Err(CtlError::OneProcess);
        }
        if unit == Unit::Gateway {
            return Err(CtlError::OneGateway);
        }
        if !(1..=MOST_REPLICAS).contains(&replicas) {
            return Err(CtlError::Replicas(replicas));
        }
        let before = topology.replicas(unit);
        topology.scale.insert(unit, replicas);
        topology.write(&self.folder)?;
        if replicas == before {
            return self.start(&[unit]).await;
        }
        self.start(&[unit]).await?;
        self.stop(&[Unit::Gateway]).await?;
        self.start(&[Unit::Gateway]).await?;
        self.end(&mut self.topology()?, unit, replicas).await
    }

    /// Starts every process anew with `program`: one replica after the other, the gateway last.
    ///
    /// # Errors
    /// A process that does not end, cannot be started or does not become ready; those after it were not touched.
    pub async fn update(&self, program: PathBuf) -> Result<()> {
        let mut topology = self.topology()?;
        topology.program = program;
        topology.write(&self.folder)?;
        let mut looker = Looker::new()?;
        for unit in topology.units() {
            for replica in topology.running.clone().into_iter().filter(|r| r.unit == unit) {
                if !looker.end(replica.process, UNTIL_GONE).await {
                    return Err(CtlError::DoesNotEnd { unit, pid: replica.process.pid });
                }
                self.start(&[unit]).await?;
            }
        }
        self.start(&[]).await
    }

    /// What runs and how it is.
    ///
    /// # Errors
    /// Nothing is deployed.
    pub async fn rows(&self) -> Result<Vec<Row>> {
        let topology = self.topology()?;
        let mut looker = Looker::new()?;
        for replica in &topology.running {
            looker.figures(replica.process);
        }
        sleep(LOAD_OVER).await;
        let mut rows = Vec::new();
        for unit in topology.units() {
            for number in 1..=topology.replicas(unit) {
                let known = topology.running.iter().find(|r| r.unit == unit && r.number == number);
                let figures = known.and_then(|r| looker.figures(r.process));
                let address = reachable(&topology, unit, number);
                let state = match (known, figures) {
                    (None, _) => State::Stopped,
                    (Some(_), None) => State::Ended,
                    (Some(_), Some(_)) => match Probe::new(&format!("http://{address}"), None)?.readiness().await {
                        Readiness::Ready => State::Ready,
                        Readiness::NotReady | Readiness::Silent => State::NotReady,
                    },
                };
                rows.push(Row {
                    unit: unit.to_string(),
                    replica: number,
                    state,
                    address: Some(address),
                    pid: figures.and(known).map(|r| r.process.pid),
                    memory_mb: figures.map(|f| f.memory >> 20),
                    cpu_percent: figures.map(|f| f.cpu),
                    uptime_seconds: figures.map(|f| f.uptime),
                });
            }
        }
        Ok(rows)
    }

    /// Writes the ends of the logs of the named parts, or of all; then what is added, if `follow` is set.
    ///
    /// # Errors
    /// A part that is not there; a log that cannot be read.
    pub async fn logs(&self, named: &[Unit], lines: usize, follow: bool, out: &mut (impl Write + Send)) -> Result<()> {
        let topology = self.topology()?;
        let mut files = Vec::new();
        for unit in topology.chosen(named)? {
            let replicas = topology.replicas(unit);
            for number in 1..=replicas {
                let name = if replicas == 1 { unit.to_string() } else { format!("{unit}-{number}") };
                files.push((name, self.log(unit, number)));
            }
        }
        logs::show(&files, lines, follow, out).await
    }

    fn logs_folder(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn log(&self, unit: Unit, number: u16) -> PathBuf {
        self.logs_folder().join(format!("{unit}-{number}.log"))
    }

    fn secret(&self) -> PathBuf {
        self.folder.join(SECRET)
    }
}

/// Where this machine reaches a replica.
fn reachable(topology: &Topology, unit: Unit, number: u16) -> String {
    match unit {
        Unit::Gateway => topology.gateway_url().trim_start_matches("http://").to_owned(),
        Unit::Service(_) => topology.address(unit, number).to_string(),
    }
}

/// Writes a secret that its owner alone may read; one that is there stays.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => file.write_all(secret.as_bytes()).map_err(CtlError::file(path)),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(CtlError::file(path)(e)),
    }
}

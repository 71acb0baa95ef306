//! What was deployed as processes of this machine, kept in a file between commands.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{CtlError, Result, Unit, process::Identity};

/// Most replicas of one service: their ports are ten apart.
pub const MOST_REPLICAS: u16 = 8;
/// Between the ports of two replicas of a service.
const STEP: u16 = 10;
const FILE: &str = "topology.json";

/// A deployment as processes of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The program that is run.
    pub program: PathBuf,
    /// Where it was deployed from: paths among the arguments are meant from there.
    pub directory: PathBuf,
    /// Whether each service has a process of its own.
    pub distributed: bool,
    /// Address that the gateway listens on. The services of a distributed deployment listen on loopback.
    pub bind: IpAddr,
    /// Port of the gateway; the services have those after it.
    pub port: u16,
    /// Further arguments of `facesocial serve`.
    pub arguments: Vec<String>,
    /// Replicas of each service.
    pub scale: BTreeMap<Unit, u16>,
    /// The processes that were started.
    pub running: Vec<Replica>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Which part it is.
    pub unit: Unit,
    /// From 1.
    pub number: u16,
    /// Which process.
    pub process: Identity,
}

impl Topology {
    /// Reads what is deployed in `folder`.
    ///
    /// # Errors
    /// Nothing is; the file cannot be read or is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(CtlError::NotDeployed(folder.to_owned()));
            }
            Err(e) => return Err(CtlError::file(path)(e)),
        };
        serde_json::from_slice(&bytes).map_err(|e| CtlError::Damaged { path, what: e.to_string() })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| CtlError::Damaged { path: path.clone(), what: e.to_string() })?;
        fs::write(&new, text).map_err(CtlError::file(&new))?;
        fs::rename(&new, &path).map_err(CtlError::file(path))
    }

    /// The parts it has, in the order in which they are started.
    pub fn units(&self) -> Vec<Unit> {
        if self.distributed { Unit::all().collect() } else { vec![Unit::Gateway] }
    }

    /// How many of a part there are to be.
    pub fn replicas(&self, unit: Unit) -> u16 {
        self.scale.get(&unit).copied().unwrap_or(1)
    }

    /// Where a replica listens; `number` is from 1.
    pub fn address(&self, unit: Unit, number: u16) -> SocketAddr {
        let after = unit.default_port() - Unit::Gateway.default_port();
        let port = self.port.saturating_add(after).saturating_add((number - 1).saturating_mul(STEP));
        match unit {
            Unit::Gateway => SocketAddr::new(self.bind, port),
            Unit::Service(_) => SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where clients of this machine reach the gateway.
    pub fn gateway_url(&self) -> String {
        let address = self.address(Unit::Gateway, 1);
        if address.ip().is_unspecified() {
            return format!("http://127.0.0.1:{}", address.port());
        }
        format!("http://{address}")
    }

    /// The parts that are meant: all, or those that are named.
    ///
    /// # Errors
    /// One that this deployment does not have.
    pub fn chosen(&self, named: &[Unit]) -> Result<Vec<Unit>> {
        let all = self.units();
        if let Some(unit) = named.iter().find(|unit| !all.contains(unit)) {
            let has = all.iter().map(|u| u.as_str()).collect::<Vec<_>>().join(", ");
            return Err(CtlError::NoSuchUnit { unit: unit.to_string(), has });
        }
        Ok(if named.is_empty() { all } else { all.into_iter().filter(|u| named.contains(u)).collect() })
    }

    /// The command line of a replica, but for the program.
    ///
    /// `secret` is the file that the processes of a distributed deployment know each other by.
    pub fn command_line(&self, unit: Unit, number: u16, secret: &Path) -> Vec<String> {
        let address = self.address(unit, number);
        let mut line = vec!["serve".to_owned()];
        match unit {
            Unit::Gateway if !self.distributed => {
                line.extend(["--bind".to_owned(), self.bind.to_string()]);
                // The services' ports move with the gateway's.
                for unit in Unit::all() {
                    line.extend(["--listen".to_owned(), format!("{unit}={}", self.beside(unit))]);
                }
            }
            Unit::Gateway => {
                line.extend(["--listen".to_owned(), format!("gateway={address}")]);
                for service in Unit::all().filter(|u| *u != Unit::Gateway) {
                    let urls = (1..=self.replicas(service)).map(|n| format!("http://{}", self.address(service, n)));
                    let urls = urls.collect::<Vec<_>>().join(",");
                    line.extend(["--upstream".to_owned(), format!("{service}={urls}")]);
                }
                line.extend(["--internal-secret-file".to_owned(), secret.display().to_string()]);
            }
            Unit::Service(_) => {
                line.extend(["--services".to_owned(), unit.to_string(), "--no-gateway".to_owned()]);
                line.extend(["--listen".to_owned(), format!("{unit}={address}"), "--internal-only".to_owned()]);
                line.extend(["--internal-secret-file".to_owned(), secret.display().to_string()]);
            }
        }
        line.extend(self.arguments.iter().cloned());
        line
    }

    /// Where a part listens if one process is all.
    fn beside(&self, unit: Unit) -> SocketAddr {
        SocketAddr::new(self.bind, self.address(unit, 1).port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(distributed: bool) -> Topology {
        Topology {
            program: PathBuf::from("facesocial"),
            directory: PathBuf::from("/srv"),
            distributed,
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 9000,
            arguments: vec!["--auth".to_owned(), "off".to_owned()],
            scale: BTreeMap::from([("yolo".parse().unwrap(), 2)]),
            running: Vec::new(),
        }
    }

    #[test]
    fn it_is_kept_between_commands() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Topology::read(folder.path()), Err(CtlError::NotDeployed(_))));
        let written = topology(true);
        written.write(folder.path()).unwrap();
        assert_eq!(Topology::read(folder.path()).unwrap(), written);
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(matches!(Topology::read(folder.path()), Err(CtlError::Damaged { .. })));
    }

    #[test]
    fn replicas_have_ports_of_their_own() {
        let t = topology(true);
        let mut ports: Vec<u16> = Unit::all()
            .flat_map(|u| (1..=MOST_REPLICAS).map(move |n| (u, n)))
            .map(|(u, n)| t.address(u, n).port())
            .collect();
        ports.sort_unstable();
        let all = ports.len();
        ports.dedup();
        assert_eq!(ports.len(), all);
    }

    #[test]
    fn command_lines_name_every_replica_to_the_gateway() {
        let secret = Path::new("secret");
        let t = topology(true);
        let gateway = t.command_line(Unit::Gateway, 1, secret).join(" ");
        assert!(gateway.contains("--upstream yolo=http://127.0.0.1:9002,http://127.0.0.1:9012"), "{gateway}");
        let second = t.command_line("yolo".parse().unwrap(), 2, secret).join(" ");
        assert!(second.starts_with("serve --services yolo --no-gateway --listen yolo=127.0.0.1:9012"), "{second}");
        assert!(second.ends_with("--auth off"), "{second}");
        let one = topology(false).command_line(Unit::Gateway, 1, secret).join(" ");
        assert!(one.contains("--listen gateway=127.0.0.1:9000") && one.contains("deepfake=127.0.0.1:9007"), "{one}");
        assert!(!one.contains("secret"), "{one}");
    }

    #[test]
    fn parts_that_are_not_there_are_named() {
        let yolo: Unit = "yolo".parse().unwrap();
        assert_eq!(topology(true).chosen(&[yolo]).unwrap(), [yolo]);
        assert_eq!(topology(true).chosen(&[]).unwrap().len(), 8);
        assert!(topology(false).chosen(&[yolo]).unwrap_err().to_string().contains("has gateway"));
    }
}

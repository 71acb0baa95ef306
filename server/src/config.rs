//! What `facesocial serve` can be told: flags, their environment variables, their defaults.

mod access;
mod data;
mod distributed;
mod jobs;
mod live;
mod observe;
mod secret;
mod tls;
mod upkeep;

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    str::FromStr,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use facesocial_types::Service;

pub use self::{
    access::{AccessArgs, AccessConfig, Switch},
    data::{KeepArgs, Keeping, StoreArgs, StoreConfig},
    distributed::{Audience, DistributedArgs, DistributedConfig, Upstream},
    jobs::{JobArgs, JobConfig},
    live::{LiveArgs, LiveConfig},
    observe::{ObserveArgs, ObserveConfig},
    secret::Secret,
    tls::{TlsArgs, TlsConfig},
    upkeep::{UpkeepArgs, UpkeepConfig},
};
use crate::{engine_args::MemoryArgs, networks::NetworkArgs};

const MIB: usize = 1024 * 1024;
/// Fewest bytes of a secret that tokens are signed with: as many as its digest has.
const MIN_SECRET: usize = 32;

/// Options of `facesocial serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Which networks run.
    #[command(flatten)]
    pub networks: NetworkArgs,
    /// What they may hold.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Where people, faces and history are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// What of analyses and faces is kept.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Who may ask, and how often.
    #[command(flatten)]
    pub access: AccessArgs,
    /// How long rows are kept, and how large an import may be.
    #[command(flatten)]
    pub upkeep: UpkeepArgs,
    /// Where jobs may take photos from, and whom they may tell.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// How much live video is looked at.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Which services other servers run.
    #[command(flatten)]
    pub distributed: DistributedArgs,
    /// What is told of the server, and to whom.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// The certificate that the server shows.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Services to run, separated by commas; all seven when left out.
    #[arg(long, env = "FACESOCIAL_SERVICES", value_name = "LIST", value_delimiter = ',')]
    pub services: Vec<Service>,
    /// Run the services without the gateway in front of them. Detectors that are not among them are loaded when a client sends
    /// a photo to a service's own port.
    #[arg(long, env = "FACESOCIAL_NO_GATEWAY")]
    pub no_gateway: bool,
    /// Address to listen on. Without --tls-cert, passwords, keys and photos cross the network as they are: away from this
    /// machine, give one, or put a proxy with TLS in front.
    #[arg(long, env = "FACESOCIAL_BIND", value_name = "ADDR", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Port of the gateway; the services take the seven ports after 8000 whatever this is.
    #[arg(long, env = "FACESOCIAL_GATEWAY_PORT", value_name = "PORT", default_value_t = GATEWAY_PORT)]
    pub gateway_port: u16,
    /// Where one service (or `gateway`) listens; may be given several times. Port 0 takes any free port.
    #[arg(long, env = "FACESOCIAL_LISTEN", value_name = "SERVICE=HOST:PORT", value_delimiter = ',')]
    pub listen: Vec<Listen>,
    /// Largest image file, in bytes or as 20MiB.
    #[arg(long, env = "FACESOCIAL_MAX_IMAGE_BYTES", value_name = "SIZE", default_value = "20MiB")]
    pub max_image_bytes: ByteSize,
    /// Largest image in pixels (width times height). Decoding takes about 3 bytes of memory per pixel, some formats twice that.
    #[arg(long, env = "FACESOCIAL_MAX_PIXELS", value_name = "N", default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Most images in one call of the gateway's batch endpoints; the services' own limits are lower.
    #[arg(long, env = "FACESOCIAL_MAX_BATCH", value_name = "N", default_value = "20")]
    pub max_batch: NonZeroUsize,
    /// Memory that all uploads together may hold while they are read and wait.
    #[arg(long, env = "FACESOCIAL_MAX_UPLOAD_MEMORY", value_name = "SIZE", default_value = "1GiB")]
    pub max_upload_memory: ByteSize,
    /// Photos worked on at the same time, so that their faces can share batches; four times the threads when left out. Each
    /// holds about 3 bytes of memory per pixel.
    #[arg(long, env = "FACESOCIAL_MAX_IN_FLIGHT", value_name = "N")]
    pub max_in_flight: Option<NonZeroUsize>,
    /// Requests that may wait beside them before further ones are turned away. A longer line answers later, not faster.
    #[arg(long, env = "FACESOCIAL_MAX_WAITING", value_name = "N", default_value_t = 64)]
    pub max_waiting: usize,
    /// Seconds within which a photo must be answered, waiting included.
    #[arg(long, env = "FACESOCIAL_REQUEST_TIMEOUT", value_name = "SECONDS", default_value = "60")]
    pub request_timeout: Seconds,
    /// Seconds within which an upload must have arrived.
    #[arg(long, env = "FACESOCIAL_UPLOAD_TIMEOUT", value_name = "SECONDS", default_value = "120")]
    pub upload_timeout: Seconds,
    /// Seconds that running requests get to finish when the server is told to stop.
    #[arg(long, env = "FACESOCIAL_SHUTDOWN_TIMEOUT", value_name = "SECONDS", default_value = "30")]
    pub shutdown_timeout: Seconds,
}

/// Photos worked on at the same time for each thread that computes, unless told.
const IN_FLIGHT: usize = 4;
/// Port of the gateway unless told otherwise.
const GATEWAY_PORT: u16 = 8000;

/// Who answers on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The gateway in front of the services.
    Gateway,
    /// One service.
    Service(Service),
}

impl Role {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Service(service) => service.as_str(),
        }
    }

    /// Its port in the original system.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Gateway => GATEWAY_PORT,
            Self::Service(Service::Mediapipe) => 8001,
            Self::Service(Service::Yolo) => 8002,
            Self::Service(Service::Mtcnn) => 8003,
            Self::Service(Service::Recognition) => 8004,
            Self::Service(Service::Antispoof) => 8005,
            Self::Service(Service::GenderAge) => 8006,
            Self::Service(Service::Deepfake) => 8007,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s.eq_ignore_ascii_case("gateway") {
            return Ok(Self::Gateway);
        }
        s.parse().map(Self::Service).map_err(|e: facesocial_types::ParseNameError| format!("{e}, gateway"))
    }
}

/// A listener's address as given with `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    role: Role,
    address: String,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (role, address) = s
            .split_once('=')
            .ok_or_else(|| format!("\"{s}\" is not SERVICE=HOST:PORT, such as mtcnn=127.0.0.1:9003"))?;
        let port = address.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
        port.parse::<u16>().map_err(|_| format!("\"{address}\" does not end in a port between 0 and 65535"))?;
        Ok(Self { role: role.trim().parse()?, address: address.trim().to_owned() })
    }
}

/// A number of bytes: plain, or with KiB, MiB or GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let s = s.trim();
        let digits = s.len() - s.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match s[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => 1024,
            "mib" => MIB,
            "gib" => 1024 * MIB,
            _ => return Err(format!("\"{s}\" is not a size; write bytes, or a number with KiB, MiB or GiB")),
        };
        let bytes = s[..digits].parse::<usize>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
        bytes.map(Self).ok_or_else(|| format!("\"{s}\" is not a size above 0"))
    }
}

/// A whole number of seconds above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let seconds = s.trim().parse().ok().filter(|n| *n > 0);
        seconds.map(Self).ok_or_else(|| format!("\"{s}\" is not a whole number of seconds above 0"))
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(seconds.0)
    }
}

/// What a request may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one image file.
    pub image_bytes: usize,
    /// Pixels of one image.
    pub pixels: u64,
    /// Images in one call of the gateway's batch endpoints.
    pub batch: usize,
    /// Bytes that all uploads together may hold.
    pub upload_memory: usize,
    /// Photos worked on at the same time.
    pub at_once: usize,
    /// Requests that may wait beside them.
    pub waiting: usize,
    /// Time for one photo, waiting included.
    pub request_timeout: Duration,
    /// Time for an upload to arrive.
    pub upload_timeout: Duration,
}

/// The settings of one server, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which networks run.
    pub networks: NetworkArgs,
    /// What they may hold.
    pub memory: MemoryArgs,
    /// The services that run.
    pub services: Vec<Service>,
    /// Who listens where.
    pub listeners: Vec<(Role, SocketAddr)>,
    /// What a request may cost.
    pub limits: Limits,
    /// Where people, faces and history are kept.
    pub store: StoreConfig,
    /// What of analyses and faces is kept.
    pub keeping: Keeping,
    /// Who may ask, and how often.
    pub access: AccessConfig,
    /// How long rows are kept, and how large an import may be.
    pub upkeep: UpkeepConfig,
    /// Where jobs may take photos from, and whom they may tell.
    pub jobs: JobConfig,
    /// How much live video is looked at.
    pub live: LiveConfig,
    /// Which services other servers run, and what servers know each other by.
    pub distributed: DistributedConfig,
    /// What is told of the server, and to whom.
    pub observe: ObserveConfig,
    /// The certificate that the server shows; `None` for plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Time to finish running requests after the signal to stop.
    pub shutdown_timeout: Duration,
}

impl TryFrom<ServeArgs> for Config {
    type Error = anyhow::Error;

    /// Puts defaults and choices together.
    ///
    /// # Errors
    /// A `--listen` for a service that does not run, or whose host is unknown; upstreams without a gateway; a secret that
    /// cannot be read; an origin that is none.
    fn try_from(args: ServeArgs) -> anyhow::Result<Self> {
        let distributed = DistributedConfig::try_from(args.distributed)?;
        let elsewhere = |service: &Service| distributed.upstreams.contains_key(service);
        if args.no_gateway && !distributed.upstreams.is_empty() {
            anyhow::bail!("--upstream is for the gateway; leave out --no-gateway");
        }
        if distributed.audience == Audience::Servers && !args.no_gateway {
            anyhow::bail!("--internal-only is for services; add --no-gateway");
        }
        let mut services = if args.services.is_empty() { Service::ALL.to_vec() } else { args.services };
        services.extend(distributed.upstreams.keys());
        services.sort();
        services.dedup();
        let gateway = (!args.no_gateway).then_some(Role::Gateway);
        // A service that other servers run has its ports there; here it is found under the gateway.
        let own = services.iter().copied().filter(|service| !elsewhere(service)).map(Role::Service);
        let roles: Vec<Role> = gateway.into_iter().chain(own).collect();
        if let Some(listen) = args.listen.iter().find(|l| !roles.contains(&l.role)) {
            if matches!(listen.role, Role::Service(service) if elsewhere(&service)) {
                anyhow::bail!("--listen names {}, which other servers run by --upstream", listen.role);
            }
            anyhow::bail!("--listen names {}, which does not run; add it to --services", listen.role);
        }
        let listeners = roles.into_iter().map(|role| {
            // The last one wins, as with every other flag.
            let given = args.listen.iter().rev().find(|l| l.role == role);
            let address = match given {
                Some(listen) => resolve(&listen.address)?,
                None if role == Role::Gateway => SocketAddr::new(args.bind, args.gateway_port),
                None => SocketAddr::new(args.bind, role.default_port()),
            };
            Ok((role, address))
        });
        let threads = args.networks.engine.threads();
        Ok(Self {
            networks: args.networks,
            memory: args.memory,
            listeners: listeners.collect::<anyhow::Result<_>>()?,
            services,
            limits: Limits {
                image_bytes: args.max_image_bytes.0,
                pixels: args.max_pixels,
                batch: args.max_batch.get(),
                upload_memory: args.max_upload_memory.0,
                at_once: args.max_in_flight.map_or(threads.get() * IN_FLIGHT, NonZeroUsize::get),
                waiting: args.max_waiting,
                request_timeout: args.request_timeout.into(),
                upload_timeout: args.upload_timeout.into(),
            },
            store: args.store.config()?,
            keeping: args.keep.into(),
            access: args.access.try_into()?,
            upkeep: args.upkeep.into(),
            jobs: args.jobs.into(),
            live: args.live.into(),
            distributed,
            observe: args.observe.try_into()?,
            tls: args.tls.config(),
            shutdown_timeout: args.shutdown_timeout.into(),
        })
    }
}

impl Config {
    /// Services whose networks are loaded when a photo needs them: the detectors of a server that runs other services alone,
    /// which are of use only to clients that send it photos of their own.
    pub fn on_demand(&self) -> Vec<Service> {
        if self.listeners.iter().any(|(role, _)| *role == Role::Gateway) {
            return Vec::new();
        }
        let detectors = [Service::Mediapipe, Service::Yolo, Service::Mtcnn];
        detectors.into_iter().filter(|service| !self.services.contains(service)).collect()
    }
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut found = address.to_socket_addrs().with_context(|| format!("cannot resolve {address}"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        Config::try_from(Cli::try_parse_from([&["serve"], args].concat())?.serve)
    }

    #[test]
    fn everything_listens_on_the_originals_ports_by_default() {
        let config = config(&[]).unwrap();
        let ports: Vec<u16> = config.listeners.iter().map(|(_, a)| a.port()).collect();
        assert_eq!(ports, [8000, 8001, 8002, 8003, 8004, 8005, 8006, 8007]);
        assert!(config.listeners.iter().all(|(_, a)| a.ip().is_loopback()));
    }

    #[test]
    fn a_subset_runs_with_the_gateway_unless_it_is_refused() {
        let roles = |args: &[&str]| config(args).unwrap().listeners.into_iter().map(|(r, _)| r).collect::<Vec<_>>();
        assert_eq!(roles(&["--services", "mtcnn"]), [Role::Gateway, Role::Service(Service::Mtcnn)]);
        assert_eq!(roles(&["--services", "mtcnn,mtcnn", "--no-gateway"]), [Role::Service(Service::Mtcnn)]);
    }

    #[test]
    fn a_service_alone_leaves_the_detectors_until_they_are_asked_for() {
        let on_demand = |args: &[&str]| config(args).unwrap().on_demand();
        assert_eq!(on_demand(&["--services", "recognition"]), []);
        let alone = on_demand(&["--services", "recognition,yolo", "--no-gateway"]);
        assert_eq!(alone, [Service::Mediapipe, Service::Mtcnn]);
    }

    #[test]
    fn what_other_servers_run_has_no_port_here() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "x".repeat(40)).unwrap();
        let secret = ["--internal-secret-file", secret.to_str().unwrap()];
        let upstream = ["--upstream", "recognition=http://a:8004,http://b:8004", "--upstream", "mtcnn=http://c:8003"];
        let all = config(&[&upstream[..], &secret].concat()).unwrap();
        assert_eq!((all.services.len(), all.listeners.len()), (7, 6));
        assert_eq!(all.distributed.upstreams[&Service::Recognition].len(), 2);
        let some = config(&[&["--services", "yolo"], &upstream[..], &secret].concat()).unwrap();
        assert_eq!(some.services, [Service::Yolo, Service::Mtcnn, Service::Recognition]);
        assert_eq!(some.listeners.len(), 2);
        let message = |args: &[&str]| config(&[args, &upstream, &secret].concat()).unwrap_err().to_string();
        assert!(message(&["--listen", "mtcnn=127.0.0.1:0"]).contains("other servers run"));
        assert!(message(&["--no-gateway"]).contains("--no-gateway"));
        let only = config(&[&["--services", "yolo", "--no-gateway", "--internal-only"], &secret[..]].concat()).unwrap();
        assert_eq!((only.distributed.audience, only.listeners.len()), (Audience::Servers, 1));
        let refused = |args: &[&str]| config(args).unwrap_err().to_string();
        assert!(refused(&[&["--internal-only"], &secret[..]].concat()).contains("--no-gateway"));
        assert!(refused(&["--internal-only", "--no-gateway"]).contains("--internal-secret-file"));
    }

    #[test]
    fn each_listener_can_be_moved() {
        let config = config(&["--listen", "mtcnn=127.0.0.2:0", "--gateway-port", "9000"]).unwrap();
        let of = |role| config.listeners.iter().find(|(r, _)| *r == role).unwrap().1.to_string();
        assert_eq!(of(Role::Service(Service::Mtcnn)), "127.0.0.2:0");
        assert_eq!(of(Role::Gateway), "127.0.0.1:9000");
    }

    #[test]
    fn wrong_values_are_refused_with_a_hint() {
        let message = |args: &[&str]| config(args).unwrap_err().to_string();
        assert!(message(&["--services", "foo"]).contains("allowed are mediapipe"));
        assert!(message(&["--listen", "mtcnn"]).contains("SERVICE=HOST:PORT"));
        assert!(message(&["--services", "yolo", "--listen", "mtcnn=127.0.0.1:1"]).contains("does not run"));
        assert!(message(&["--max-image-bytes", "20 MB"]).contains("MiB"));
        assert!(message(&["--request-timeout", "0"]).contains("above 0"));
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!("20MiB".parse(), Ok(ByteSize(20 * MIB)));
        assert_eq!("4096".parse(), Ok(ByteSize(4096)));
        assert!("0".parse::<ByteSize>().is_err());
        assert!("MiB".parse::<ByteSize>().is_err());
    }
}

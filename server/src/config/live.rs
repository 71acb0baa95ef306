//! How much live video is looked at.

use std::time::Duration;

use clap::Args;

use super::Seconds;

/// How much live video is looked at.
#[derive(Debug, Clone, Args)]
pub struct LiveArgs {
    /// Live connections at a time. Each may hold one frame of the largest size while it arrives.
    #[arg(long, env = "FACESOCIAL_MAX_LIVE", value_name = "N", default_value_t = 32)]
    pub max_live: usize,
    /// Live connections at a time of one account, one key, or one address without either.
    #[arg(long, env = "FACESOCIAL_MAX_LIVE_EACH", value_name = "N", default_value_t = 4)]
    pub max_live_each: usize,
    /// Most frames a second that are analysed of one live connection.
    #[arg(long, env = "FACESOCIAL_LIVE_FPS", value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub live_fps: u32,
    /// Seconds after which a live connection that is silent is closed; it is pinged before.
    #[arg(long, env = "FACESOCIAL_LIVE_IDLE", value_name = "SECONDS", default_value = "60")]
    pub live_idle: Seconds,
    /// Seconds after which a live connection is closed in any case.
    #[arg(long, env = "FACESOCIAL_LIVE_TIME", value_name = "SECONDS", default_value = "3600")]
    pub live_time: Seconds,
}

/// How much live video is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time of one account, key or address.
    pub connections_each: usize,
    /// Most analysed frames a second of one connection.
    pub fps: u32,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// Time that ends a connection.
    pub time: Duration,
    /// Time within which a connection must show who asks.
    pub sign_in: Duration,
    /// Time between two looks whether who asks still may.
    pub recheck: Duration,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            connections: 32,
            connections_each: 4,
            fps: 15,
            idle: Duration::from_secs(60),
            time: Duration::from_secs(3600),
            sign_in: Duration::from_secs(10),
            recheck: Duration::from_secs(30),
        }
    }
}

impl From<LiveArgs> for LiveConfig {
    fn from(args: LiveArgs) -> Self {
        Self {
            connections: args.max_live,
            connections_each: args.max_live_each,
            fps: args.live_fps,
            idle: args.live_idle.into(),
            time: args.live_time.into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        live: LiveArgs,
    }

    #[test]
    fn the_defaults_of_flags_and_code_agree() {
        let read =
            |args: &[&str]| Cli::try_parse_from([&["serve"], args].concat()).map(|cli| LiveConfig::from(cli.live));
        assert_eq!(read(&[]).unwrap(), LiveConfig::default());
        assert_eq!(read(&["--live-fps", "5"]).unwrap(), LiveConfig { fps: 5, ..LiveConfig::default() });
        assert!(read(&["--live-fps", "0"]).is_err());
    }
}

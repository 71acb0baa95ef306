//! What is taken away by the hour, and how large an import may be.

use clap::Args;
use facesocial_store::Retention;

use super::ByteSize;

/// How long rows are kept, and how large an import may be.
#[derive(Debug, Clone, Args)]
pub struct UpkeepArgs {
    /// Days that stored analyses are kept; 0 keeps them.
    #[arg(long, env = "FACESOCIAL_RETAIN_SESSIONS", value_name = "DAYS", default_value_t = 90)]
    pub retain_sessions: u32,
    /// Days that figures of services and their health are kept; 0 keeps them.
    #[arg(long, env = "FACESOCIAL_RETAIN_METRICS", value_name = "DAYS", default_value_t = 30)]
    pub retain_metrics: u32,
    /// Days that requests are kept; 0 keeps them.
    #[arg(long, env = "FACESOCIAL_RETAIN_API_USAGE", value_name = "DAYS", default_value_t = 30)]
    pub retain_api_usage: u32,
    /// Days that ended jobs and their reports are kept; 0 keeps them.
    #[arg(long, env = "FACESOCIAL_RETAIN_JOBS", value_name = "DAYS", default_value_t = 30)]
    pub retain_jobs: u32,
    /// Days that the audit trail is kept; 0 keeps it.
    #[arg(long, env = "FACESOCIAL_RETAIN_AUDIT", value_name = "DAYS", default_value_t = 365)]
    pub retain_audit: u32,
    /// Largest archive that can be imported at once. It waits in the data folder until its photos are enrolled; up to
    /// sixteen may wait.
    #[arg(long, env = "FACESOCIAL_MAX_IMPORT_BYTES", value_name = "SIZE", default_value = "1GiB")]
    pub max_import_bytes: ByteSize,
}

/// How long rows are kept, and how large an import may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpkeepConfig {
    /// How long rows are kept.
    pub retention: Retention,
    /// Bytes of one archive.
    pub import_bytes: u64,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self { retention: Retention::default(), import_bytes: 1 << 30 }
    }
}

impl From<UpkeepArgs> for UpkeepConfig {
    fn from(args: UpkeepArgs) -> Self {
        let days = |n: u32| (n > 0).then_some(n);
        Self {
            retention: Retention {
                sessions: days(args.retain_sessions),
                metrics: days(args.retain_metrics),
                api_usage: days(args.retain_api_usage),
                jobs: days(args.retain_jobs),
                audit: days(args.retain_audit),
            },
            import_bytes: args.max_import_bytes.0 as u64,
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
        upkeep: UpkeepArgs,
    }

    #[test]
    fn nought_keeps_and_the_defaults_are_the_stores() {
        let read = |args: &[&str]| UpkeepConfig::from(Cli::parse_from([&["serve"], args].concat()).upkeep);
        assert_eq!(read(&[]), UpkeepConfig::default());
        let kept = read(&["--retain-audit", "0", "--retain-jobs", "7"]).retention;
        assert_eq!((kept.audit, kept.jobs, kept.sessions), (None, Some(7), Some(90)));
    }
}

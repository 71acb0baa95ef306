//! Where jobs may take photos from, and whom they may tell.

use std::path::PathBuf;

use clap::Args;
use facesocial_outbound::{Hosts, Listed};

/// Where jobs may take photos from, and whom they may tell.
#[derive(Debug, Clone, Default, Args)]
pub struct JobArgs {
    /// Folders of this machine whose photos jobs may analyse, subfolders included; none unless given. Whoever may run jobs
    /// may then see what is said about these photos.
    #[arg(long, env = "FACESOCIAL_JOB_FOLDERS", value_name = "LIST", value_delimiter = ',')]
    pub job_folders: Vec<PathBuf>,
    /// Hosts that jobs may fetch photos from, such as images.example.org or images.example.org:8443; none unless given. One
    /// without TLS begins with http://, one on a private network ends with =private. Link-local addresses are never asked.
    #[arg(long, env = "FACESOCIAL_JOB_URL_HOSTS", value_name = "LIST", value_delimiter = ',')]
    pub job_url_hosts: Vec<Listed>,
    /// Hosts that jobs may tell their progress and end, written in the same way; none unless given.
    #[arg(long, env = "FACESOCIAL_WEBHOOK_HOSTS", value_name = "LIST", value_delimiter = ',')]
    pub webhook_hosts: Vec<Listed>,
}

/// Where jobs may take photos from, and whom they may tell; by default nowhere and nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobConfig {
    /// Folders of this machine.
    pub folders: Vec<PathBuf>,
    /// Hosts that photos are fetched from.
    pub url_hosts: Hosts,
    /// Hosts that are told.
    pub webhook_hosts: Hosts,
}

impl From<JobArgs> for JobConfig {
    fn from(args: JobArgs) -> Self {
        Self {
            folders: args.job_folders.into_iter().filter(|folder| !folder.as_os_str().is_empty()).collect(),
            url_hosts: Hosts::new(args.job_url_hosts),
            webhook_hosts: Hosts::new(args.webhook_hosts),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        jobs: JobArgs,
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_listed() {
        let read =
            |args: &[&str]| Cli::try_parse_from([&["serve"], args].concat()).map(|cli| JobConfig::from(cli.jobs));
        let bare = read(&[]).unwrap();
        assert_eq!(bare, JobConfig::default());
        assert!(bare.folders.is_empty() && bare.url_hosts.is_empty() && bare.webhook_hosts.is_empty());
        let listed =
            read(&["--job-folders", "/data/a,/data/b", "--job-url-hosts", "a.example,http://nas=private"]).unwrap();
        assert_eq!(listed.folders.len(), 2);
        assert!(listed.url_hosts.target("http://nas/1.jpg").is_ok() && listed.webhook_hosts.is_empty());
        assert!(read(&["--webhook-hosts", "*.example.org"]).unwrap_err().to_string().contains("=private"));
    }
}

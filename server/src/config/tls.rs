//! The certificate that the server shows.

use std::path::PathBuf;

use clap::Args;

/// The certificate that the server shows.
#[derive(Debug, Clone, Args)]
pub struct TlsArgs {
    /// File with the certificate, in PEM, followed by those that it was issued with: every listener but that of
    /// --metrics-listen then speaks TLS (1.2 and 1.3) alone. Read again when it changes.
    #[arg(long, env = "FACESOCIAL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, in PEM.
    #[arg(long, env = "FACESOCIAL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, in PEM, followed by those that it was issued with.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl TlsArgs {
    /// Both files, or none.
    pub fn config(self) -> Option<TlsConfig> {
        Some(TlsConfig { certificate: self.tls_cert?, key: self.tls_key? })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        tls: TlsArgs,
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let read = |args: &[&str]| Cli::try_parse_from([&["serve"], args].concat()).map(|cli| cli.tls.config());
        assert_eq!(read(&[]).unwrap(), None);
        let both = read(&["--tls-cert", "a.pem", "--tls-key", "b.pem"]).unwrap();
        assert_eq!(both, Some(TlsConfig { certificate: "a.pem".into(), key: "b.pem".into() }));
        assert!(read(&["--tls-cert", "a.pem"]).is_err() && read(&["--tls-key", "b.pem"]).is_err());
    }
}

//! TLS without a proxy: the certificate is read from files, and again when they change, so that a renewed one needs no restart.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::MissedTickBehavior;

use crate::config::TlsConfig;

/// Time between looks at the files.
const LOOK: Duration = Duration::from_secs(60);

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds no PEM of the wanted kind.
    #[error("cannot read {path}: {reason}; it must be {wanted} in PEM", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        wanted: &'static str,
        /// What is wrong with it.
        reason: pem::Error,
    },
    /// A certificate and a key that do not belong together, or of a kind that is not supported.
    #[error("the certificate in {certificate} cannot be shown with the key in {key}: {source}",
            certificate = certificate.display(), key = key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// A certificate that is shown to clients, and renewed from its files.
#[derive(Debug)]
pub struct Certificate {
    files: TlsConfig,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// They are not a certificate and its key.
    pub fn read(files: TlsConfig) -> Result<Self, TlsError> {
        let shown = RwLock::new(Arc::new(read(&files)?));
        Ok(Self { files, shown })
    }

    /// What a listener needs: TLS 1.2 and 1.3, no certificates of clients.
    ///
    /// # Errors
    /// None, unless the cryptography lacks what these versions need.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let builder =
            ServerConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions()?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _))
    }

    /// Shows a renewed certificate as soon as both files are there; never returns. One that cannot be read leaves the old one.
    pub async fn renew(&self) {
        let mut known = self.changed();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let now = self.changed();
            if now == known {
                continue;
            }
            match self.read_again() {
                Ok(()) => {
                    known = now;
                    tracing::info!("the certificate was read again");
                }
                // Told each time, because a certificate that nobody renews runs out.
                Err(error) => {
                    tracing::warn!(%error, "the certificate changed and cannot be used; the former one is shown")
                }
            }
        }
    }

    fn read_again(&self) -> Result<(), TlsError> {
        let renewed = Arc::new(read(&self.files)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// When the files were written last.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.files.certificate, &self.files.key].map(|file| fs::metadata(file).and_then(|m| m.modified()).ok())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn read(files: &TlsConfig) -> Result<CertifiedKey, TlsError> {
    let TlsConfig { certificate, key } = files;
    let unreadable = |path: &Path, wanted| {
        let path = path.to_owned();
        move |reason| TlsError::File { path, wanted, reason }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .and_then(|chain: Vec<_>| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(unreadable(certificate, "a certificate"))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "a private key"))?;
    // Compares the two as well, where the kind of key allows it.
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| TlsError::Pair {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    fn write(files: &TlsConfig, made: &Made<rcgen::KeyPair>) {
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn made() -> Made<rcgen::KeyPair> {
        generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.shown.read().unwrap().cert[0].to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_shown_and_a_broken_one_leaves_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsConfig { certificate: folder.path().join("a.pem"), key: folder.path().join("b.pem") };
        let (first, second) = (made(), made());
        write(&files, &first);
        let certificate = Certificate::read(files.clone()).unwrap();
        assert_eq!(shown(&certificate), first.cert.der().to_vec());
        // Half of a renewal: the certificate is written before its key.
        fs::write(&files.certificate, second.cert.pem()).unwrap();
        assert!(matches!(certificate.read_again(), Err(TlsError::Pair { .. })));
        assert_eq!(shown(&certificate), first.cert.der().to_vec());
        write(&files, &second);
        certificate.read_again().unwrap();
        assert_eq!(shown(&certificate), second.cert.der().to_vec());
    }

    #[test]
    fn what_is_no_certificate_is_named_with_what_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsConfig { certificate: folder.path().join("a.pem"), key: folder.path().join("b.pem") };
        let error = || Certificate::read(files.clone()).unwrap_err().to_string();
        assert!(error().contains("a.pem") && error().contains("a certificate in PEM"), "{}", error());
        write(&files, &made());
        fs::write(&files.key, "no key").unwrap();
        assert!(error().contains("b.pem") && error().contains("a private key in PEM"), "{}", error());
    }
}

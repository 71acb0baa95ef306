//! Why upstreams cannot be used.

use std::io;

/// Failure to begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The system refuses a thread.
    #[error("cannot start the thread that asks other servers")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
    /// An address begins with https, and nothing can be trusted.
    #[error("the system has no certificates to trust, so that https upstreams cannot be asked")]
    NoCertificates,
    /// The library for TLS refuses its settings.
    #[error("cannot speak TLS")]
    Tls {
        /// Its reason.
        source: rustls::Error,
    },
}

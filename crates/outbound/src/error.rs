//! Why nothing came back.

/// Why a request was refused, or has no answer. No variant holds more of an address than its host: what follows may be a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// Not an address of a web server.
    #[error("the address is not a valid https:// address")]
    Malformed,
    /// It holds a user name or password.
    #[error("the address holds a user name or password; leave them out")]
    Credentials,
    /// The host is not listed, or not with this scheme and port.
    #[error("{origin} is not among the hosts that this server asks")]
    NotListed {
        /// Scheme, host and port.
        origin: String,
    },
    /// A name leads to an address that must not be asked.
    #[error("{host} leads to an address that this server does not ask: it is not a public one")]
    Address {
        /// The host.
        host: String,
    },
    /// The server leads elsewhere.
    #[error("{host} leads to another place; only redirects within one host are followed")]
    Redirect {
        /// The host that was asked.
        host: String,
    },
    /// Not a success.
    #[error("{host} answered with status {status}")]
    Status {
        /// The host.
        host: String,
        /// The answer's status.
        status: u16,
    },
    /// More bytes than allowed.
    #[error("the file is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// Too slow.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host.
        host: String,
    },
    /// No connection, no name, no valid certificate, or a connection that broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What went wrong.
        reason: String,
    },
}

impl OutboundError {
    /// Whether another attempt may succeed.
    pub fn passes(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

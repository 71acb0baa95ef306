//! The one error type of the crate.

use std::{io, path::PathBuf};

use facesocial_convert::error::ConvertError;

/// Result of this crate.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Why a network could not be brought, found or checked. The messages say what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting of the environment cannot be used.
    #[error("{name} is {value:?}: {reason}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The platform tells no folder for a user's data.
    #[error("the platform names no folder for user data; name one with --dir DIR or FACESOCIAL_MODELS_DIR")]
    NoDataFolder,
    /// No network of that name.
    #[error("no network is called {name}; known are {}", .known.join(", "))]
    UnknownNetwork {
        /// The name asked for.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// A bundled network, which is not pulled.
    #[error(
        "{name} belongs to the bundled networks, whose weights come with the program, but {found}; \
         name the folder that has them with --weights DIR, or in a checkout {again}"
    )]
    Bundled {
        /// The network.
        name: String,
        /// What is wrong with the weights, as the end of a sentence.
        found: String,
        /// What brings them in a checkout.
        again: String,
    },
    /// The weights of a network are not there.
    #[error("{name} is {found}; bring it with `facesocial models pull {name}`")]
    Absent {
        /// The network.
        name: String,
        /// "not pulled" or what is damaged.
        found: String,
    },
    /// A manifest cannot be used.
    #[error("the manifest of {name}: {reason}")]
    Manifest {
        /// The network.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Licences that somebody has to accept first.
    #[error("{}", licence_message(.0))]
    Licence(
        /// Network and licence.
        Vec<(String, String)>,
    ),
    /// Neither the platform nor the named file has root certificates.
    #[error(
        "no root certificates to check servers with ({reason}); install the system's certificates (often the package \
         ca-certificates) or name a PEM file with SSL_CERT_FILE"
    )]
    NoRoots {
        /// What was tried.
        reason: String,
    },
    /// An address that is not HTTPS.
    #[error("{url} is not https; only this machine may be asked by plain http (allow more with --allow-http)")]
    Insecure {
        /// The address.
        url: String,
    },
    /// Downloads are switched off.
    #[error("{url} is needed and HF_HUB_OFFLINE forbids to ask Hugging Face; unset it, or pass --from DIR with {file}")]
    Offline {
        /// The address.
        url: String,
        /// The file that a folder must have.
        file: String,
    },
    /// The server does not have the file.
    #[error(
        "{url} is not there (HTTP {status}): it may have moved; look at the page of its publisher, and if you have the \
         file, pass --from DIR with {file}"
    )]
    NotFound {
        /// The address.
        url: String,
        /// 404 or 410.
        status: u16,
        /// The file that a folder must have.
        file: String,
    },
    /// The server wants to know who asks.
    #[error("{url} is refused (HTTP {status}): {advice}")]
    Denied {
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
        /// What to do.
        advice: String,
    },
    /// A server's certificate is not trusted.
    #[error(
        "the certificate of {host} is not trusted ({reason}); if a proxy of your network signs it, name its certificate \
         with SSL_CERT_FILE"
    )]
    Certificate {
        /// The host.
        host: String,
        /// What the check said.
        reason: String,
    },
    /// A server answers in a way that cannot be used.
    #[error("{url}: {reason}")]
    Answer {
        /// The address.
        url: String,
        /// What it answered.
        reason: String,
    },
    /// The file did not come in any of the attempts.
    #[error("{url} could not be downloaded in {attempts} attempts, the last one: {reason}; {kept}")]
    Unreachable {
        /// The address.
        url: String,
        /// Number of attempts.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
        /// What becomes of the part that came.
        kept: String,
    },
    /// A file is larger than it may be.
    #[error("{what} is larger than the {limit} bytes it may have; nothing was kept of it")]
    TooLarge {
        /// The address or file.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A file is not the one that the manifest pins.
    #[error(
        "{what} has sha256 {found}, the manifest pins {expected}; it was {}. If it stays so with a fresh copy, the \
         publisher has replaced the file, and this version of the program cannot use it", fate(*.removed)
    )]
    Digest {
        /// The address or file.
        what: String,
        /// sha256 in the manifest.
        expected: String,
        /// sha256 of what was found.
        found: String,
        /// Whether the file was removed: what the user put somewhere is left alone.
        removed: bool,
    },
    /// A file is not the one that was recorded when it was first pulled.
    #[error(
        "{what} has sha256 {found}, the first pull recorded {expected}; it was {}. If the publisher says that it was \
         replaced, accept it with `facesocial models pull {network} --accept-changed`", fate(*.removed)
    )]
    Changed {
        /// The network.
        network: String,
        /// The address or file.
        what: String,
        /// sha256 in `sources.lock`.
        expected: String,
        /// sha256 of what was found.
        found: String,
        /// Whether the file was removed: what the user put somewhere is left alone.
        removed: bool,
    },
    /// The disk is full, or would be.
    #[error("no space left in {folder}: {}; {kept}", space(*.needed, *.free), folder = folder.display())]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// Bytes still to be written, if the size of the file is known.
        needed: Option<u64>,
        /// Bytes free, if the platform tells.
        free: Option<u64>,
        /// What becomes of the part that came.
        kept: String,
    },
    /// A mirror lacks a file.
    #[error("{mirror} has none of {}; put one of them there", .tried.join(", "))]
    MirrorLacks {
        /// Folder or address.
        mirror: String,
        /// The names tried.
        tried: Vec<String>,
    },
    /// An archive cannot be read or lacks a file.
    #[error("{archive}: {reason}")]
    Archive {
        /// The archive.
        archive: String,
        /// What is wrong.
        reason: String,
    },
    /// A lock file cannot be used.
    #[error("{path}: {reason}; mend it, or remove it to start anew", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The source files do not convert.
    #[error("{network} cannot be converted: {source}; the source files are in {kept}", kept = kept.display())]
    Convert {
        /// The network.
        network: String,
        /// Why.
        source: Box<ConvertError>,
        /// Folder of the source files.
        kept: PathBuf,
    },
}

impl HubError {
    /// Says whether the file that is not the expected one was removed.
    pub(crate) fn removed(mut self, yes: bool) -> Self {
        if let Self::Digest { removed, .. } | Self::Changed { removed, .. } = &mut self {
            *removed = yes;
        }
        self
    }

    /// Wraps an I/O error with the path it concerns.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

fn fate(removed: bool) -> &'static str {
    if removed { "removed" } else { "left where it is" }
}

fn space(needed: Option<u64>, free: Option<u64>) -> String {
    let needed = needed.map_or_else(|| "more bytes are needed".to_owned(), |n| format!("{n} bytes are needed"));
    // Where the platform does not tell, a write has just failed.
    format!("{needed}, {} are free", free.map_or_else(|| "none".to_owned(), |n| n.to_string()))
}

fn licence_message(networks: &[(String, String)]) -> String {
    let flags: Vec<_> = networks.iter().map(|(name, _)| format!("--accept-licence {name}")).collect();
    let lines: Vec<_> = networks.iter().map(|(name, licence)| format!("  {name}: {licence}")).collect();
    format!(
        "these licences restrict what the networks may be used for; nothing was downloaded:\n{}\nread them, and if you \
         accept them add {}",
        lines.join("\n"),
        flags.join(" ")
    )
}

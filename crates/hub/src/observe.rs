//! What a pull tells while it works.

use std::time::Duration;

/// One step of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process pulls into the same folder; this one waits for it.
    WaitingForLock,
    /// Work on a network begins.
    Network {
        /// Its name.
        name: &'a str,
        /// Its licence.
        licence: &'a str,
    },
    /// A download begins or goes on.
    Download {
        /// The address.
        url: &'a str,
        /// Name of the file.
        file: &'a str,
        /// Bytes that are there already.
        offset: u64,
        /// Size of the whole file, if known.
        total: Option<u64>,
    },
    /// Bytes came.
    Bytes(u64),
    /// The bytes that had come are of no use; the download starts over.
    Restart {
        /// Why.
        reason: &'a str,
    },
    /// An attempt failed; another follows.
    Retry {
        /// Why.
        reason: &'a str,
        /// How long is waited.
        delay: Duration,
        /// Number of the attempt that failed, from 1.
        attempt: u32,
        /// Number of attempts in all.
        of: u32,
    },
    /// A file is complete and checked.
    Downloaded {
        /// Name of the file.
        file: &'a str,
        /// Its size.
        bytes: u64,
    },
    /// A file was found and not downloaded.
    Found {
        /// Name of the file.
        file: &'a str,
        /// Where it was found.
        place: &'a str,
    },
    /// The network is converted.
    Converting {
        /// Its name.
        name: &'a str,
    },
}

/// Who is told.
pub trait Observer: Sync {
    /// Takes note of a step; called from the thread that pulls.
    fn event(&self, event: Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

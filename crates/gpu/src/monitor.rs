//! A connection to the driver that answers often and asks seldom.

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;

use crate::{error::Unavailable, figures::Figures};

/// How long an answer serves again. The driver itself samples about once a second, and asking it takes milliseconds.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// An open connection to the driver.
pub struct Monitor {
    nvml: Nvml,
    last: Mutex<Option<(Instant, Arc<Figures>)>>,
}

impl Monitor {
    /// Loads the driver's library, `library` or the one that the system finds.
    ///
    /// # Errors
    /// There is no driver, or it does not answer.
    pub fn open(library: Option<&OsStr>) -> Result<Self, Unavailable> {
        let mut builder = Nvml::builder();
        if let Some(library) = library {
            builder.lib_path(library);
        }
        Ok(Self { nvml: builder.init()?, last: Mutex::default() })
    }

    /// The figures of all cards, at most [`FRESH_FOR`] old.
    ///
    /// # Errors
    /// The driver answers no longer, or has no card.
    pub fn read(&self) -> Result<Arc<Figures>, Unavailable> {
        // Held while asking, so that many callers at once ask once.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, figures)) = last.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(figures));
        }
        let figures = Arc::new(Figures::of(&self.nvml)?);
        *last = Some((Instant::now(), Arc::clone(&figures)));
        Ok(figures)
    }
}

//! How much the database holds: too much work for every scrape, so that it is looked up by the minute.

use std::sync::{Mutex, PoisonError};

/// What the database held when it was looked up last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes on disk.
    pub bytes: u64,
    /// Collections.
    pub collections: u64,
    /// Enrolled persons.
    pub persons: u64,
    /// Enrolled faces.
    pub faces: u64,
}

/// The last [`Size`], if there is one.
#[derive(Debug, Default)]
pub struct LastSize(Mutex<Option<Size>>);

impl LastSize {
    /// What was found last; `None` before the first look, and after one that failed.
    pub fn known(&self) -> Option<Size> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was found.
    pub fn note(&self, size: Option<Size>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = size;
    }
}

//! Lists in pages.

use serde::Serialize;
use uuid::Uuid;

/// Which part of a list: the `limit` items after the one named.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// The last item of the page before; `None` for the first page.
    pub after: Option<Uuid>,
    /// Most items, 1 and more.
    pub limit: u32,
}

impl PageRequest {
    /// The first `limit` items.
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

/// A part of a list in the order of making.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The last item's identifier if more follow: `after` of the next page.
    pub next: Option<Uuid>,
}

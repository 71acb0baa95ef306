//! What the store speaks of.

mod accounts;
mod gallery;
mod history;
mod ids;
mod jobs;
mod operations;
mod page;
mod write;

pub use accounts::*;
pub use gallery::*;
pub use history::*;
pub use ids::*;
pub use jobs::*;
pub use operations::*;
pub use page::*;
pub use write::*;

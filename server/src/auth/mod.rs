//! Who asks, and what may be asked for.

mod authorized;
pub mod permission;
mod principal;

pub use self::{
    authorized::Authorized,
    permission::{
        Account, Analyze, Audit, CollectionsWrite, GalleryRead, GalleryWrite, HistoryRead, HistoryWrite, Jobs, Keys,
        Operate, Permission, Privacy, Search, Users,
    },
    principal::Principal,
};

//! Why a cache could not be set up.

/// Why a cache could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The address of Redis cannot be used. The reason does not repeat it, since it may hold a password.
    #[error("the URL of Redis: {0}; allowed is redis://[user:password@]host[:port][/database]")]
    Url(String),
}

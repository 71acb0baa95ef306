//! Who asks, and what may be asked for.

mod account;
mod audit;
mod authorized;
pub(crate) mod credentials;
mod hs256;
mod internal;
mod keys;
mod login;
pub(crate) mod names;
pub(crate) mod passwords;
pub mod permission;
mod principal;
mod setup;
mod throttle;
pub mod tokens;
mod users;

use std::{sync::OnceLock, time::Duration};

use actix_web::web;
use facesocial_store::LoginId;

pub(crate) use self::authorized::Identity;
use self::{audit::Refusals, passwords::Passwords, setup::SetupToken, tokens::Tokens};
pub use self::{
    authorized::Authorized,
    internal::{Internal, InternalTokens, credentials as internal_credentials},
    permission::{
        Account, Analyze, Audit, CollectionsWrite, Embeddings, GalleryRead, GalleryWrite, HistoryRead, HistoryWrite,
        Jobs, Keys, Operate, Permission, Privacy, Search, Users,
    },
    principal::Principal,
    throttle::network,
};
use crate::{
    config::AccessConfig,
    error::{ApiError, ApiResult, Code},
};

/// What the checks of access share.
pub struct Auth {
    /// Whether requests need an account or a key.
    pub enabled: bool,
    /// Attempts at the password of one account in a quarter of an hour.
    login_attempts: u32,
    access_ttl: Duration,
    refresh_ttl: Duration,
    tokens: OnceLock<Tokens>,
    passwords: Passwords,
    setup: SetupToken,
    refusals: Refusals,
}

impl Auth {
    /// Before the secret for tokens is known.
    pub fn new(config: &AccessConfig) -> Self {
        Self {
            enabled: config.auth,
            login_attempts: config.login_attempts,
            access_ttl: config.access_token_ttl,
            refresh_ttl: config.refresh_token_ttl,
            tokens: OnceLock::new(),
            passwords: Passwords::default(),
            setup: SetupToken::default(),
            refusals: Refusals::default(),
        }
    }

    /// Signs and checks tokens with `secret` from now on.
    pub fn set_secret(&self, secret: &str) {
        // A second secret would come from a second start-up, which does not happen; the first one stays.
        let _ = self.tokens.set(Tokens::new(secret.as_bytes()));
    }

    /// Lets the first account be made by whoever reads standard error.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn begin_setup(&self) -> ApiResult<()> {
        self.setup.begin()
    }

    /// Signs and checks tokens.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] until the secret is read from the database.
    pub fn tokens(&self) -> ApiResult<&Tokens> {
        let closed = || ApiError::new(Code::StoreUnavailable, "the database has not been opened yet");
        self.tokens.get().ok_or_else(closed)
    }
}

/// The name of a login among revocations.
fn login_group(login: LoginId) -> String {
    format!("login:{login}")
}

/// Adds the paths of accounts, under `/api/v1`.
pub fn configure(cfg: &mut web::ServiceConfig) {
    login::configure(cfg);
    account::configure(cfg);
    users::configure(cfg);
    keys::configure(cfg);
}

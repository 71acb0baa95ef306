//! Accounts, keys, logins. Secrets come hashed; the store never sees a password or a key.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::ids::{ApiKeyId, CollectionId, LoginId, UserId};

/// What an account may do, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Runs the server: models, jobs, configuration, no accounts.
    Operator,
    /// Enrols, searches, analyses.
    User,
    /// Searches and looks.
    ReadOnly,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::User, Self::ReadOnly];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::User => "user",
            Self::ReadOnly => "read-only",
        }
    }

    /// From the stored name.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == s)
    }
}

/// An account, without its password's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its identifier.
    pub id: UserId,
    /// Unique, compared without regard to case.
    pub username: String,
    /// Unique where given, compared without regard to case.
    pub email: Option<String>,
    /// For people.
    pub first_name: String,
    /// For people.
    pub last_name: String,
    /// What it may do.
    pub role: Role,
    /// Collections it is bound to; empty for all.
    pub collections: Vec<CollectionId>,
    /// Whether it may log in.
    pub is_active: bool,
    /// Whether its email address was confirmed.
    pub is_verified: bool,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Unique, compared without regard to case.
    pub username: String,
    /// Unique where given, compared without regard to case.
    pub email: Option<String>,
    /// Hash in the PHC or the bcrypt form.
    pub password_hash: String,
    /// For people.
    pub first_name: String,
    /// For people.
    pub last_name: String,
    /// What it may do.
    pub role: Role,
    /// Collections it is bound to; empty for all.
    pub collections: Vec<CollectionId>,
}

/// A change of an account; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// Unique where given.
    pub email: Option<String>,
    /// For people.
    pub first_name: Option<String>,
    /// For people.
    pub last_name: Option<String>,
    /// What it may do.
    pub role: Option<Role>,
    /// Collections it is bound to.
    pub collections: Option<Vec<CollectionId>>,
    /// Whether it may log in. Ends all logins when false.
    pub is_active: Option<bool>,
    /// A new hash. Ends all logins.
    pub password_hash: Option<String>,
}

/// What a login is checked with.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The account.
    pub user: User,
    /// Hash in the PHC or the bcrypt form.
    pub password_hash: String,
}

/// A key of a program, without its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its identifier.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// The first characters of the key, to recognise it by.
    pub prefix: String,
    /// Who made it, and whose end it ends with.
    pub user_id: UserId,
    /// What it may do, at most what its user may.
    pub scopes: Vec<String>,
    /// Collections it is bound to; empty for all of its user's.
    pub collections: Vec<CollectionId>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was used last, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// For people.
    pub name: String,
    /// The first characters of the key.
    pub prefix: String,
    /// sha256 of the key, hex. Keys are random, so that a plain digest cannot be guessed.
    pub key_hash: String,
    /// Who makes it.
    pub user_id: UserId,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Collections it is bound to; empty for all of its user's.
    pub collections: Vec<CollectionId>,
    /// When it ends.
    pub expires_at: Option<OffsetDateTime>,
}

/// A refresh token of a login. Each serves once; a second use ends the login.
#[derive(Debug, Clone)]
pub struct NewRefreshToken {
    /// The login it belongs to.
    pub login_id: LoginId,
    /// The account.
    pub user_id: UserId,
    /// sha256 of the token, hex.
    pub token_hash: String,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// What using a refresh token gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Rotation {
    /// The token was good and is now replaced by the new one.
    Rotated(User),
    /// Used before: somebody has a copy. The whole login has been ended.
    Reused(UserId),
    /// Unknown, expired, revoked, or of an account that may not log in.
    Refused,
}

//! Passwords: argon2id for new ones, bcrypt accepted from elsewhere and replaced at the next login.

use std::{fmt, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::Error as HashError,
};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    error::{ApiError, ApiResult},
    pool::ComputePool,
};

/// Characters of a password.
const LENGTH: std::ops::RangeInclusive<usize> = 12..=128;
/// Memory of one hash in KiB, its passes and its lanes: the second recommended option of RFC 9106.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);
/// Passwords checked at the same time; each takes 64 MiB and most of a core.
const CONCURRENT: usize = 2;
/// Logins that may wait for that.
const WAITING: usize = 32;
/// Time for one login, waiting included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A hash that no password has, of the same cost as the others: an account that does not exist takes as long as a wrong
/// password.
const NOBODY: &str =
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password as somebody typed it. Never printed; its memory is cleared when it is dropped.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(typed: String) -> Self {
        Self(Zeroizing::new(typed))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Hashes and checks passwords, few at a time.
#[derive(Debug)]
pub struct Passwords(ComputePool);

/// Whether a password was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It was; the hash is replaced by this one if it is not of today's kind.
    Right(Option<String>),
    /// It was not, or there is no such account.
    Wrong,
}

impl Default for Passwords {
    fn default() -> Self {
        Self(ComputePool::new(CONCURRENT, WAITING, TIMEOUT))
    }
}

impl Passwords {
    /// The hash of a new password.
    ///
    /// # Errors
    /// Too short, too long, with a NUL; too many logins wait.
    pub async fn hash(&self, password: Password) -> ApiResult<String> {
        check_new(&password)?;
        self.0.admit(1)?.run(move |_| hash(&password.0)).await
    }

    /// Checks a password against a hash; without one, for as long as with one.
    ///
    /// # Errors
    /// A stored hash of unknown form; too many logins wait.
    pub async fn verify(&self, password: Password, stored: Option<String>) -> ApiResult<Checked> {
        self.0.admit(1)?.run(move |_| verify(&password.0, stored.as_deref())).await
    }
}

/// Whether a new password is allowed.
///
/// # Errors
/// Says what is allowed.
pub fn check_new(Password(password): &Password) -> ApiResult<()> {
    let characters = password.chars().count();
    if !LENGTH.contains(&characters) {
        let (least, most) = (LENGTH.start(), LENGTH.end());
        return Err(ApiError::invalid(format!(
            "a password has {least} to {most} characters; this one has {characters}"
        )));
    }
    if password.contains('\0') {
        return Err(ApiError::invalid("a password has no NUL character"));
    }
    Ok(())
}

fn argon2() -> ApiResult<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|e| ApiError::internal(&e))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> ApiResult<String> {
    let hash: PasswordHash = argon2()?.hash_password(password.as_bytes()).map_err(|e| ApiError::internal(&e))?;
    Ok(hash.to_string())
}

fn verify(password: &str, stored: Option<&str>) -> ApiResult<Checked> {
    let stored = stored.unwrap_or(NOBODY);
    if stored.starts_with("$2") {
        // What comes after 72 bytes did not count when these hashes were made.
        let right = bcrypt::verify(password, stored).map_err(|e| ApiError::internal(&e))?;
        return Ok(if right { Checked::Right(Some(hash(password)?)) } else { Checked::Wrong });
    }
    let parsed = PasswordHash::new(stored).map_err(|e| ApiError::internal(&e))?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(ApiError::internal(&std::io::Error::other("a stored password hash is incomplete")));
    }
    match argon2()?.verify_password(password.as_bytes(), &parsed) {
        Ok(()) if parsed.params == PasswordHash::new(NOBODY).map_err(|e| ApiError::internal(&e))?.params => {
            Ok(Checked::Right(None))
        }
        Ok(()) => Ok(Checked::Right(Some(hash(password)?))),
        Err(HashError::PasswordInvalid) => Ok(Checked::Wrong),
        Err(e) => Err(ApiError::internal(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_hashed_with_argon2id_and_found_right() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"), "{stored}");
        assert_eq!(verify("correct horse battery", Some(&stored)).unwrap(), Checked::Right(None));
        assert_eq!(verify("correct horse batterz", Some(&stored)).unwrap(), Checked::Wrong);
        assert_ne!(hash("correct horse battery").unwrap(), stored, "the salt is random");
    }

    #[test]
    fn nobodys_hash_costs_as_much_as_a_new_one_and_is_never_right() {
        let new = PasswordHash::new(&hash("correct horse battery").unwrap()).unwrap();
        let nobody = PasswordHash::new(NOBODY).unwrap();
        assert_eq!((nobody.algorithm, nobody.version, &nobody.params), (new.algorithm, new.version, &new.params));
        assert_eq!(nobody.hash.map(|h| h.len()), new.hash.map(|h| h.len()));
        assert_eq!(verify("", None).unwrap(), Checked::Wrong);
    }

    #[test]
    fn bcrypt_is_accepted_and_replaced() {
        // Both forms of the prefix that libraries write.
        let stored = bcrypt::hash("an old password", 4).unwrap();
        for stored in [stored.clone(), stored.replacen("$2b$", "$2a$", 1)] {
            let Checked::Right(Some(new)) = verify("an old password", Some(&stored)).unwrap() else {
                panic!("not accepted")
            };
            assert_eq!(verify("an old password", Some(&new)).unwrap(), Checked::Right(None));
            assert_eq!(verify("another password", Some(&stored)).unwrap(), Checked::Wrong);
        }
    }

    #[test]
    fn a_weaker_hash_is_replaced() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).unwrap());
        let stored = weak.hash_password(b"correct horse battery").unwrap().to_string();
        assert!(matches!(verify("correct horse battery", Some(&stored)).unwrap(), Checked::Right(Some(_))));
    }

    #[test]
    fn a_damaged_hash_is_a_failure_and_no_login() {
        for stored in ["", "plain", "$2b$04$short", "$argon2id$v=19$m=65536"] {
            assert!(verify("correct horse battery", Some(stored)).is_err(), "{stored}");
        }
    }

    #[test]
    fn new_passwords_have_12_to_128_characters_and_no_nul() {
        let check = |password: String| check_new(&Password::from(password));
        assert!(check("ä".repeat(12)).is_ok() && check("x".repeat(128)).is_ok());
        for wrong in ["x".repeat(11), "x".repeat(129), "x".repeat(10_000), "correct\0horse battery".to_owned()] {
            assert!(check(wrong).is_err());
        }
    }
}

//! The first account: whoever can read the server's standard error makes it.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use subtle::ConstantTimeEq;

use super::tokens::{digest, random};
use crate::error::ApiResult;

/// The one-time token, as a digest; there is none once the first account is made.
#[derive(Debug, Default)]
pub struct SetupToken(Mutex<Option<String>>);

impl SetupToken {
    /// Makes a token and prints it. It goes to standard error itself and not to the log, which others read and keep.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn begin(&self) -> ApiResult<()> {
        let token = random()?;
        *self.slot() = Some(digest(&token));
        let told = format!(
            "\nThere is no account yet. Make the first one, an administrator, with this token, which serves once:\n\n    \
             {token}\n\n    curl -X POST http://HOST:PORT/api/v1/auth/setup -H 'Content-Type: application/json' \\\n      \
             -d '{{\"token\": \"TOKEN\", \"username\": \"NAME\", \"password\": \"12 characters or more\"}}'\n\n"
        );
        // Nobody reads standard error: then nobody can make the first account this way, and nothing else is harmed.
        io::stderr().write_all(told.as_bytes()).ok();
        Ok(())
    }

    /// Whether a token was printed and not used yet.
    pub fn is_open(&self) -> bool {
        self.slot().is_some()
    }

    /// Whether it is this one.
    pub fn is(&self, token: &str) -> bool {
        let given = digest(token);
        self.slot().as_ref().is_some_and(|kept| kept.as_bytes().ct_eq(given.as_bytes()).into())
    }

    /// Ends the token.
    pub fn end(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // An assignment cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_none_is_right() {
        let setup = SetupToken::default();
        assert!(!setup.is_open() && !setup.is("") && !setup.is("x"));
        *setup.slot() = Some(digest("token"));
        assert!(setup.is_open() && setup.is("token") && !setup.is("toke") && !setup.is(""));
        setup.end();
        assert!(!setup.is("token"));
    }
}

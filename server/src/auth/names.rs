//! Names and addresses of accounts and keys.

use crate::error::{ApiError, ApiResult};

/// Longest address that mail is delivered to.
const MAX_EMAIL: usize = 254;
/// Longest name of a person or key.
const MAX_NAME: usize = 100;

/// A user name: 3 to 50 ASCII letters, digits, and `.`, `_`, `-`; so it is never mistaken for an email address, and no two
/// look alike.
///
/// # Errors
/// Says what is allowed.
pub fn username(name: &str) -> ApiResult<()> {
    let fine = (3..=50).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let wrong =
        || ApiError::invalid("a user name has 3 to 50 characters: ASCII letters, digits, dot, underscore, hyphen");
    fine.then_some(()).ok_or_else(wrong)
}

/// An email address, by its form alone.
///
/// # Errors
/// Says what is allowed.
pub fn email(address: &str) -> ApiResult<()> {
    let form = address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.starts_with('.') && !domain.ends_with('.')
    });
    let fine = form
        && address.len() <= MAX_EMAIL
        && address.matches('@').count() == 1
        && !address.chars().any(|c| c.is_whitespace() || c.is_control());
    let wrong =
        || ApiError::invalid(format!("email is not of the form name@domain with at most {MAX_EMAIL} characters"));
    fine.then_some(()).ok_or_else(wrong)
}

/// An email address in a change: an empty one takes the old one away.
///
/// # Errors
/// Says what is allowed.
pub fn new_email(address: Option<&str>) -> ApiResult<()> {
    address.filter(|address| !address.is_empty()).map_or(Ok(()), email)
}

/// A name for people.
///
/// # Errors
/// Says what is allowed.
pub fn display(field: &str, name: &str) -> ApiResult<()> {
    let fine = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    let wrong = || ApiError::invalid(format!("{field} has at most {MAX_NAME} characters and no control characters"));
    fine.then_some(()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_short_and_plain() {
        assert!(username("ann").is_ok() && username("A.b_c-9").is_ok() && username(&"x".repeat(50)).is_ok());
        let long = "x".repeat(10_000);
        for odd in ["", "ab", "a b", "a@b.c", "ann\0", "änn", "ann'--", "../../etc", "ann\n", &long] {
            assert!(username(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn an_address_has_two_sides() {
        assert!(email("ann@example.org").is_ok() && email("ä.b+c@sub.example.org").is_ok());
        let long = format!("{}@example.org", "x".repeat(300));
        for odd in ["", "@", "ann", "@example.org", "ann@", "a@b@c", "a b@c", "a@.c", "a@c.", "a\0@c", "a\n@c", &long] {
            assert!(email(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn names_for_people_take_any_script() {
        assert!(display("first_name", "").is_ok() && display("first_name", "ศิริ 李").is_ok());
        assert!(display("first_name", &"x".repeat(101)).is_err() && display("first_name", "a\0b").is_err());
    }
}

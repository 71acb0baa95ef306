//! What strings and JSON may hold, checked before they reach a database.

use serde_json::Value;

use crate::error::{Result, StoreError};

/// Most characters of a name that something is looked up by. Postgres indexes no key of more than 2.7 kB.
pub(crate) const MAX_KEY: usize = 255;
/// Most characters of a name for people.
pub(crate) const MAX_NAME: usize = 1000;
/// Most bytes of metadata, written as JSON.
pub(crate) const MAX_JSON: usize = 64 * 1024;

/// A string of at most `max` characters without NUL, which Postgres cannot store.
pub(crate) fn check_text(what: &str, value: &str, max: usize) -> Result<()> {
    if value.contains('\0') {
        return Err(StoreError::Invalid(format!("{what} must not contain a NUL character")));
    }
    if value.len() > max && value.chars().count() > max {
        return Err(StoreError::Invalid(format!("{what} must have at most {max} characters")));
    }
    Ok(())
}

/// As [`check_text`], and not empty.
pub(crate) fn check_key(what: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(StoreError::Invalid(format!("{what} must not be empty")));
    }
    check_text(what, value, MAX_KEY)
}

/// JSON of at most [`MAX_JSON`] bytes without NUL in any of its strings.
pub(crate) fn check_json(what: &str, value: &Value) -> Result<()> {
    check_json_within(what, value, MAX_JSON)
}

/// JSON of at most `max` bytes without NUL in any of its strings.
pub(crate) fn check_json_within(what: &str, value: &Value, max: usize) -> Result<()> {
    if holds_nul(value) {
        return Err(StoreError::Invalid(format!("{what} must not contain a NUL character")));
    }
    if value.to_string().len() > max {
        return Err(StoreError::Invalid(format!("{what} must have at most {max} bytes")));
    }
    Ok(())
}

/// Depth is bounded: `serde_json` reads no deeper than 128.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(s) => s.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

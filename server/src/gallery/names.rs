//! Rules for what clients name and keep: short, printable, bounded.

use facesocial_store::PersonId;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{ApiError, ApiResult};

/// Longest name of a collection or group.
const MAX_WORD: usize = 64;
/// Longest name or external identifier, in characters.
pub const MAX_NAME: usize = 255;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 1000;
/// Most bytes of metadata, as JSON.
const MAX_METADATA: usize = 16 * 1024;
/// Before an external identifier in a path.
const EXTERNAL: &str = "external:";

/// The name of a collection.
///
/// # Errors
/// Empty, longer than 64 characters, or with others than letters, digits, `.`, `_` and `-`.
pub fn collection(name: &str) -> ApiResult<()> {
    word("the name of a collection", name)
}

/// The group of a face.
///
/// # Errors
/// As [`collection`].
pub fn face_group(group: &str) -> ApiResult<()> {
    word("face_group", group)
}

fn word(what: &str, text: &str) -> ApiResult<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    // Of dots alone are names that clients resolve in paths.
    let fine = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(allowed) && text.bytes().any(|b| b != b'.');
    let wrong =
        || format!("{what} has 1 to {MAX_WORD} letters, digits, points, underscores and hyphens, not points alone");
    if fine { Ok(()) } else { Err(ApiError::invalid(wrong())) }
}

/// The client's own name for a person.
///
/// # Errors
/// Empty, too long, or with control characters.
pub fn external_id(text: &str) -> ApiResult<()> {
    if text.trim().is_empty() {
        return Err(ApiError::invalid(format!("external_id is empty; it has 1 to {MAX_NAME} characters")));
    }
    printable("external_id", text, MAX_NAME)
}

/// The name of a person.
///
/// # Errors
/// Too long, or with control characters.
pub fn name(text: &str) -> ApiResult<()> {
    printable("name", text, MAX_NAME)
}

/// The description of a collection.
///
/// # Errors
/// Too long, or with control characters.
pub fn description(text: &str) -> ApiResult<()> {
    printable("description", text, MAX_DESCRIPTION)
}

fn printable(what: &str, text: &str, most: usize) -> ApiResult<()> {
    let length = text.chars().count();
    if length > most {
        return Err(ApiError::invalid(format!("{what} has {length} characters; at most {most} are allowed")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("{what} has control characters; only printable ones are allowed")));
    }
    Ok(())
}

/// What the client wants to keep with a person or face; an empty object if it says nothing.
///
/// # Errors
/// No JSON object, larger than 16 KiB, or with NUL characters.
pub fn metadata(given: Option<Value>) -> ApiResult<Value> {
    let Some(value) = given.filter(|value| !value.is_null()) else { return Ok(Value::Object(Map::new())) };
    if !value.is_object() {
        return Err(ApiError::invalid("metadata is no JSON object; send one, such as {\"team\": \"blue\"}"));
    }
    let bytes = value.to_string().len();
    if bytes > MAX_METADATA {
        return Err(ApiError::invalid(format!("metadata has {bytes} bytes; at most {MAX_METADATA} are allowed")));
    }
    if has_nul(&value) {
        return Err(ApiError::invalid("metadata has a NUL character, which no text may have"));
    }
    Ok(value)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// How a request names a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonKey {
    /// By identifier.
    Id(PersonId),
    /// By the client's own name.
    External(String),
}

impl PersonKey {
    /// From a UUID, or `external:` and the client's own name.
    ///
    /// # Errors
    /// Neither.
    pub fn parse(text: &str) -> ApiResult<Self> {
        if let Some(external) = text.strip_prefix(EXTERNAL) {
            external_id(external)?;
            return Ok(Self::External(external.to_owned()));
        }
        let wrong = || "a person is named by its UUID, or by external: and the client's own name for it";
        text.parse().map(|id| Self::Id(PersonId(id))).map_err(|_| ApiError::invalid(wrong()))
    }
}

/// The UUID of a face, a session, ….
///
/// # Errors
/// Anything else.
pub fn uuid(what: &str, text: &str) -> ApiResult<Uuid> {
    text.parse().map_err(|_| ApiError::invalid(format!("a {what} is named by its UUID; this is none")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_collections_are_plain_words() {
        for fine in ["default", "a", "Team-7_b.2", &"x".repeat(64)] {
            assert!(collection(fine).is_ok(), "{fine}");
        }
        for odd in ["", "..", ".", "a b", "a/b", "../x", "naïve", "a\0", "'; DROP TABLE faces; --", &"x".repeat(65)] {
            assert!(collection(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn names_are_printable_and_bounded() {
        assert!(name("").is_ok() && name("Grace Hopper").is_ok() && name(&"ü".repeat(255)).is_ok());
        assert!(name("Robert'); DROP TABLE persons; --").is_ok(), "quotes are nothing special");
        let long = name(&"x".repeat(10_000)).unwrap_err();
        assert!(long.detail.contains("10000") && long.detail.contains("255"), "{long}");
        assert!(name("a\0b").is_err() && name("a\nb").is_err() && name("a\u{7f}").is_err());
        assert!(external_id("").is_err() && external_id("  ").is_err() && external_id("../../etc/passwd").is_ok());
    }

    #[test]
    fn metadata_is_a_bounded_object() {
        assert_eq!(metadata(None).unwrap(), json!({}));
        assert_eq!(metadata(Some(Value::Null)).unwrap(), json!({}));
        assert!(metadata(Some(json!({ "team": ["a", 1] }))).is_ok());
        for odd in [json!([1]), json!("x"), json!(7), json!({ "a": { "b": ["x\0"] } }), json!({ "a\0": 1 })] {
            assert!(metadata(Some(odd.clone())).is_err(), "{odd}");
        }
        assert!(metadata(Some(json!({ "a": "x".repeat(MAX_METADATA) }))).is_err());
    }

    #[test]
    fn persons_are_named_in_two_ways() {
        let id = PersonId::new();
        assert_eq!(PersonKey::parse(&id.to_string()), Ok(PersonKey::Id(id)));
        assert_eq!(PersonKey::parse("external:a/b"), Ok(PersonKey::External("a/b".to_owned())));
        for odd in ["", "7", "external:", "external:a\0", "someone"] {
            assert!(PersonKey::parse(odd).is_err(), "{odd:?}");
        }
    }
}

//! Lists in pages: `limit`, and an opaque `cursor` that says where the page before ended.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use facesocial_store::{Page, PageRequest};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    error::{ApiError, ApiResult},
    extract::Fields,
};

/// Items of a page unless the client asks for more or fewer.
const DEFAULT_LIMIT: u32 = 25;
/// Most items of a page.
const MAX_LIMIT: u32 = 100;
/// First byte of a cursor: what follows is a UUID.
const VERSION: u8 = 1;

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// From a page of the store, each item in the form of the answer.
    pub fn of<U>(page: Page<U>, item: impl FnMut(U) -> T) -> Self {
        Self { next_cursor: page.next.map(encode), items: page.items.into_iter().map(item).collect() }
    }
}

/// The page that a query asks for.
///
/// # Errors
/// A limit outside of 1 to 100, a cursor that no answer gave.
pub fn page_request(query: &Fields) -> ApiResult<PageRequest> {
    let limit = query.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = query.get("cursor").map(decode).transpose()?;
    Ok(PageRequest { after, limit })
}

fn encode(after: Uuid) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(after.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(cursor: &str) -> ApiResult<Uuid> {
    let wrong = || ApiError::invalid("the cursor is none that an answer gave; send next_cursor of the page before");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    match bytes.split_first() {
        Some((&VERSION, uuid)) => Uuid::from_slice(uuid).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push((*name).to_owned(), (*value).to_owned());
        }
        fields
    }

    #[test]
    fn a_cursor_leads_to_the_item_it_was_made_of() {
        let last = Uuid::now_v7();
        let listed = Listed::of(Page { items: vec![1, 2], next: Some(last) }, |n| n * 10);
        assert_eq!(listed.items, [10, 20]);
        let cursor = listed.next_cursor.unwrap();
        let asked = page_request(&query(&[("cursor", &cursor), ("limit", "2")])).unwrap();
        assert_eq!((asked.after, asked.limit), (Some(last), 2));
        let first = page_request(&query(&[])).unwrap();
        assert_eq!((first.after, first.limit), (None, DEFAULT_LIMIT));
    }

    #[test]
    fn made_up_cursors_and_limits_are_refused() {
        let other_version = BASE64_URL_SAFE_NO_PAD.encode([&[9u8][..], Uuid::now_v7().as_bytes()].concat());
        let short = BASE64_URL_SAFE_NO_PAD.encode([VERSION, 1, 2]);
        for cursor in ["x", "%00", "../../etc/passwd", "' OR 1=1 --", &other_version, &short, &"A".repeat(10_000)] {
            assert!(page_request(&query(&[("cursor", cursor)])).is_err(), "{cursor}");
        }
        for limit in ["0", "101", "-1", "1e3", "all"] {
            assert!(page_request(&query(&[("limit", limit)])).is_err(), "{limit}");
        }
    }
}

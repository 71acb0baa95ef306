//! How often may be asked.

use std::time::Duration;

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use facesocial_cache::Cache;

use crate::config::AccessConfig;

/// Time within which requests are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// A body from this size on counts as one with a photo.
const PHOTO_BYTES: u64 = 16 * 1024;
/// Many people may ask from one address: so many times the limit may come from there with tokens and keys, good or not.
const PER_ADDRESS: u32 = 5;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The limits of this server.
#[derive(Debug, Clone, Default)]
pub struct Limiter {
    requests: Option<u32>,
    uploads: Option<u32>,
    origins: Vec<String>,
}

/// What is left after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    limit: u32,
    remaining: u32,
    reset: Duration,
    exceeded: bool,
}

impl Limiter {
    /// The limits that are configured.
    pub fn new(config: &AccessConfig) -> Self {
        Self { requests: config.rate_limit, uploads: config.upload_rate_limit, origins: config.cors_origins.clone() }
    }

    /// Whether pages of this origin may ask.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }

    /// Counts a request of `who`: an account, a key, or an address without either. `None` where nothing is limited.
    pub async fn count(&self, cache: &dyn Cache, who: &str, upload: bool) -> Option<Left> {
        let requests = match self.requests {
            Some(limit) => Some(left(cache, &format!("rate:{who}"), limit).await),
            None => None,
        };
        let uploads = match self.uploads.filter(|_| upload) {
            Some(limit) => Some(left(cache, &format!("upload:{who}"), limit).await),
            None => None,
        };
        // The one that ends first is told.
        match (requests, uploads) {
            (Some(a), Some(b)) => {
                let b_ends_first = (b.exceeded, a.remaining) > (a.exceeded, b.remaining);
                Some(if b_ends_first { b } else { a })
            }
            (a, b) => a.or(b),
        }
    }

    /// Counts a request with credentials before they are looked at, so that guessing does not keep the store busy.
    pub async fn count_guess(&self, cache: &dyn Cache, network: &str) -> Option<Left> {
        let limit = self.requests?.saturating_mul(PER_ADDRESS);
        Some(left(cache, &format!("shown:{network}"), limit).await)
    }
}

async fn left(cache: &dyn Cache, key: &str, limit: u32) -> Left {
    let (count, reset) = cache.count(key, WINDOW).await;
    let limit_long = u64::from(limit);
    let remaining = u32::try_from(limit_long.saturating_sub(count)).unwrap_or(u32::MAX);
    Left { limit, remaining, reset, exceeded: count > limit_long }
}

impl Left {
    /// Seconds until the limit begins anew, if it is passed.
    pub fn exceeded(&self) -> Option<u32> {
        self.exceeded.then(|| self.seconds().max(1))
    }

    /// Tells clients where they stand.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.seconds()));
    }

    fn seconds(&self) -> u32 {
        let whole = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX)
    }
}

/// Whether a request brings a photo: a form, or a body that is large or does not say how large it is.
pub fn is_upload(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS) {
        return false;
    }
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let form = text(header::CONTENT_TYPE).is_some_and(|t| t.to_ascii_lowercase().starts_with("multipart/"));
    let large = text(header::CONTENT_LENGTH).and_then(|n| n.parse().ok()).is_some_and(|n: u64| n >= PHOTO_BYTES);
    form || large || headers.contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use facesocial_cache::MemoryCache;

    use super::*;

    #[tokio::test]
    async fn each_counts_for_itself_and_is_told_what_is_left() {
        let cache = MemoryCache::new(1 << 20);
        let limiter = Limiter { requests: Some(2), ..Limiter::default() };
        let mut left = Vec::new();
        for who in ["a", "a", "b", "a"] {
            let count = limiter.count(&cache, who, false).await.unwrap();
            left.push((count.remaining, count.exceeded().is_some()));
        }
        assert_eq!(left, [(1, false), (0, false), (1, false), (0, true)]);
        let mut headers = HeaderMap::new();
        limiter.count(&cache, "c", false).await.unwrap().tell(&mut headers);
        let told = |name| headers.get(name).unwrap().to_str().unwrap().parse::<u32>().unwrap();
        assert_eq!((told(LIMIT), told(REMAINING)), (2, 1));
        assert!((1..=60).contains(&told(RESET)), "{}", told(RESET));
    }

    #[tokio::test]
    async fn uploads_end_first_where_they_have_the_lower_limit() {
        let cache = MemoryCache::new(1 << 20);
        let limiter = Limiter { requests: Some(10), uploads: Some(1), ..Limiter::default() };
        assert_eq!(limiter.count(&cache, "a", true).await.unwrap().limit, 1);
        assert!(limiter.count(&cache, "a", true).await.unwrap().exceeded().is_some());
        assert!(limiter.count(&cache, "a", false).await.unwrap().exceeded().is_none());
        assert!(Limiter::default().count(&cache, "a", true).await.is_none());
    }

    #[test]
    fn a_photo_is_known_by_its_form_or_size() {
        let is = |method: Method, name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_upload(&method, &headers)
        };
        assert!(is(Method::POST, header::CONTENT_TYPE, "multipart/form-data; boundary=x"));
        assert!(is(Method::POST, header::CONTENT_LENGTH, "16384"));
        assert!(is(Method::POST, header::TRANSFER_ENCODING, "chunked"));
        assert!(!is(Method::POST, header::CONTENT_LENGTH, "200"));
        assert!(!is(Method::GET, header::CONTENT_TYPE, "multipart/form-data"));
    }
}

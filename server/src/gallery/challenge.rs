//! Freshness of a verification: a number that the server gave a moment ago, for one use, and a photo that was not verified with
//! before. A request that somebody recorded is worth nothing then. What a camera shows cannot be told from what is played into
//! it; for that there is the liveness service.

use actix_web::{HttpResponse, web};
use facesocial_store::Collection;
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::ask::Ask;
use crate::{
    auth::{Permission, Search, tokens},
    error::{ApiError, ApiResult, Code},
    extract::{Fields, hex},
};

/// How long a challenge can be answered.
const TTL: Duration = Duration::seconds(60);
/// How long a photo cannot answer another one.
const REMEMBERED: Duration = Duration::days(30);

/// Answer of `POST …/challenges`.
#[derive(Debug, Serialize)]
struct Challenge {
    /// What the verification must carry.
    challenge: String,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// `POST …/challenges`: a number for one verification in this collection, by whoever asks for it, within a minute.
pub async fn create(ask: Ask<Search>, collection: web::Path<String>) -> ApiResult<HttpResponse> {
    let collection = ask.collection(&collection).await?;
    let (challenge, now) = (tokens::random()?, OffsetDateTime::now_utc());
    let expires_at = now + TTL;
    let mark = mark(&ask, "challenge", &collection, &challenge);
    if !ask.store()?.set_mark(&mark, expires_at, now).await? {
        return Err(ApiError::internal(&std::io::Error::other("256 random bits came twice")));
    }
    Ok(HttpResponse::Created().json(Challenge { challenge, expires_at }))
}

/// Takes the challenge that a verification carries; `false` if it carries none and need not.
///
/// # Errors
/// [`Code::ChallengeInvalid`] for one that was not given out, not to this caller or collection, was taken before, or has run
/// out; [`Code::MissingField`] for none where one is needed.
pub async fn take<P: Permission>(ask: &Ask<P>, collection: &Collection, fields: &Fields) -> ApiResult<bool> {
    let Some(challenge) = fields.get("challenge") else {
        if ask.state.require_challenge {
            let detail =
                "the field challenge is missing; POST …/challenges of the collection gives one for each verification";
            return Err(ApiError::new(Code::MissingField, detail));
        }
        return Ok(false);
    };
    let mark = mark(ask, "challenge", collection, challenge);
    if ask.store()?.take_mark(&mark, OffsetDateTime::now_utc()).await? {
        return Ok(true);
    }
    let detail = format!(
        "the challenge was not given for this, was used already, or is older than {} seconds; ask for a new one",
        TTL.whole_seconds()
    );
    Err(ApiError::new(Code::ChallengeInvalid, detail))
}

/// Lets a photo answer one challenge alone.
///
/// # Errors
/// [`Code::PhotoReplayed`] for one that answered another before.
pub async fn see_once<P: Permission>(ask: &Ask<P>, collection: &Collection, image_hash: &str) -> ApiResult<()> {
    let now = OffsetDateTime::now_utc();
    // Whoever sends it: a photo that was taken from one client is no better in the hands of another.
    let mark = digest(&["photo", &collection.id.to_string(), image_hash]);
    if ask.store()?.set_mark(&mark, now + REMEMBERED, now).await? {
        return Ok(());
    }
    Err(ApiError::new(Code::PhotoReplayed, "a verification was answered with this very photo before; take a new one"))
}

fn mark<P: Permission>(ask: &Ask<P>, kind: &str, collection: &Collection, what: &str) -> String {
    digest(&[kind, &collection.id.to_string(), &ask.principal().actor().principal(), what])
}

/// Of parts none of which can be taken for two.
fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_taken_for_each_other() {
        assert_eq!(digest(&["a", "bc"]).len(), 64);
        assert_ne!(digest(&["a", "bc"]), digest(&["ab", "c"]));
        assert_ne!(digest(&["a", ""]), digest(&["a"]));
    }
}

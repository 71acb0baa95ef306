//! Entries of the audit trail about access itself: logins and refusals.

use std::sync::Arc;

use actix_web::web;
use facesocial_store::{Actor, NewAudit};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Principal;
use crate::{extract::RequestInfo, state::State};

/// Entries that may be on their way to the store at a time.
const WAITING: usize = 64;

/// Writes entries without keeping a refused request waiting.
#[derive(Debug, Clone)]
pub struct Refusals(Arc<Semaphore>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING)))
    }
}

/// An attempt that came to nothing, or is no change of data.
pub fn entry(actor: Actor, info: &RequestInfo, action: &str, outcome: &str, details: Value) -> NewAudit {
    NewAudit {
        actor,
        request_id: info.id.clone(),
        action: action.to_owned(),
        subject: None,
        collection_id: None,
        outcome: outcome.to_owned(),
        details,
    }
}

/// Notes that a principal was refused for want of a permission.
pub fn refused(state: &web::Data<State>, principal: &Principal, info: &RequestInfo, permission: &str, route: &str) {
    let details = json!({ "permission": permission, "route": route });
    let entry = entry(principal.actor(), info, "access.refuse", "denied", details);
    let Ok(place) = Arc::clone(&state.auth.refusals.0).try_acquire_owned() else {
        tracing::warn!(permission, "too many refusals at a time: this one is not in the audit trail");
        return;
    };
    let state = state.clone();
    tokio::spawn(async move {
        let _place = place;
        let written = match state.store() {
            Ok(store) => store.audit(entry).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "a refusal is not in the audit trail");
        }
    });
}

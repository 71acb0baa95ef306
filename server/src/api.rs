//! What is served under `/api/v1` of people, faces and accounts: on the gateway, and the same on the port of the
//! recognition service.

use actix_web::web::{self, ServiceConfig};

use crate::{auth, gallery, history, jobs, live, privacy};

/// Adds the paths.
pub fn configure(cfg: &mut ServiceConfig) {
    let scope = web::scope("/api/v1").configure(auth::configure).configure(gallery::configure);
    cfg.service(scope.configure(history::configure).configure(jobs::configure).configure(privacy::configure).configure(live::configure));
}

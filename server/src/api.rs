//! What is served under `/api/v1` of people, faces and accounts: on the gateway, and the same on the port of the
//! recognition service.

use actix_web::web::{self, ServiceConfig};

use crate::{auth, gallery, history, jobs, live, operate, privacy};

/// Adds the paths.
pub fn configure(cfg: &mut ServiceConfig) {
    let scope = web::scope("/api/v1").configure(auth::configure).configure(gallery::configure);
    let scope = scope.configure(history::configure).configure(jobs::configure).configure(privacy::configure);
    cfg.service(scope.configure(live::configure).configure(operate::configure));
}

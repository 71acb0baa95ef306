//! What operators ask of the running networks: what they cost, and to load, unload or pin them.

mod models;

use actix_web::web;

use crate::routing::{get, post, resource};

/// Adds the paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(get("/models", models::list))
        .service(post("/models/{name}/load", models::load))
        .service(post("/models/{name}/unload", models::unload))
        .service(post("/models/{name}/pin", models::pin))
        .service(post("/models/{name}/unpin", models::unpin))
        .service(resource("/models/budgets/{service}", "PUT", [web::put().to(models::set_budget)]));
}

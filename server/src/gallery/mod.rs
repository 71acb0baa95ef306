//! Where faces meet the gallery: enrolment, verification, identification, and the collections, persons and faces they are
//! about.

pub mod ask;
mod challenge;
mod collections;
pub mod crop;
mod enrol;
mod faces;
mod identify;
mod identity;
mod legacy;
pub mod names;
mod persons;
mod probe;
mod search;
pub mod similarity;
mod verify;

use actix_web::web;

pub use self::{
    ask::Ask,
    enrol::{Destination, EnrolOptions, enrol_face, person_named},
    identify::{SearchOptions, find_matches},
    identity::IdentityCheck,
    legacy::configure as configure_legacy,
    probe::{Level, running_model},
    search::match_form,
};
use crate::routing::{get, post, resource};

/// Adds the paths of collections, persons and faces, relative to `/api/v1`.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(get("/stats", collections::stats))
        .service(resource(
            "/collections",
            "GET and POST",
            [web::get().to(collections::list), web::post().to(collections::create)],
        ))
        .service(resource(
            "/collections/{name}",
            "GET and DELETE",
            [web::get().to(collections::get), web::delete().to(collections::delete)],
        ))
        .service(resource(
            "/collections/{name}/persons",
            "GET and POST",
            [web::get().to(persons::list), web::post().to(persons::create)],
        ))
        .service(resource(
            "/collections/{name}/persons/{id}",
            "GET, PATCH and DELETE",
            [web::get().to(persons::get), web::patch().to(persons::update), web::delete().to(persons::delete)],
        ))
        .service(resource(
            "/collections/{name}/persons/{id}/faces",
            "GET and POST",
            [web::get().to(faces::list_of_person), web::post().to(faces::enrol_of_person)],
        ))
        .service(resource(
            "/collections/{name}/faces",
            "GET and POST",
            [web::get().to(faces::list), web::post().to(faces::enrol_of_anybody)],
        ))
        .service(resource(
            "/collections/{name}/faces/{id}",
            "GET, PATCH and DELETE",
            [web::get().to(faces::get), web::patch().to(faces::update), web::delete().to(faces::delete)],
        ))
        .service(get("/collections/{name}/faces/{id}/crop", faces::crop))
        .service(post("/collections/{name}/challenges", challenge::create))
        .service(post("/collections/{name}/verify", search::verify_photo))
        .service(post("/collections/{name}/identify", search::identify_photo));
    legacy::configure_documented(cfg);
}

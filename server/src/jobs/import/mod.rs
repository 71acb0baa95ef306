//! Imports: an archive of `person/photo.jpg` becomes persons with faces, and a report of every file.

pub mod archive;
pub mod place;
pub mod report;
mod upload;

use std::ops::ControlFlow;

use facesocial_store::{CollectionId, Enrolled, Idempotency, Job, Write};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

pub use self::archive::ArchiveLimits;
pub(super) use self::upload::{Archive, receive, receive_form};
use self::{
    archive::{Entry, Layout, walk},
    report::ImportReport,
};
use super::run::{Run, patiently};
use crate::{
    cached::Caching,
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Upload},
    gallery::{Destination, EnrolOptions, IdentityCheck, enrol_face, person_named},
    state::State,
};

/// What the worker needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Input {
    /// The archive among those that wait.
    pub archive: Uuid,
    /// Photos and refused entries in it.
    pub files: u64,
}

/// The archive of an import; `None` of other jobs.
pub(super) fn archive_of(job: &Job) -> Option<Uuid> {
    if job.kind != super::Kind::Import.as_str() {
        return None;
    }
    serde_json::from_value::<Input>(job.input.clone()).ok().map(|input| input.archive)
}

pub(super) async fn perform(run: &Run) -> ApiResult<()> {
    let input: Input = run.input()?;
    let collection = run.collection()?;
    let path = run.state.jobs.archive(input.archive);
    if !path.exists() {
        let detail = "the archive is not in this server's data folder; servers that share a database and take imports need \
                      a data folder that they share, too";
        return Err(ApiError::new(Code::ResourceNotFound, detail));
    }
    let mut report: ImportReport = run.resumed();
    let (limits, from) = (run.state.jobs.limits(), report.position);
    // One photo waits while another is enrolled; no more of the archive is in memory.
    let (sender, mut entries) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking(move || {
        walk(&path, &limits, Layout::Persons, from, |entry| match sender.blocking_send(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
    while let Some(Entry { after, path, photo }) = entries.recv().await {
        let answer = match photo {
            Ok(photo) => {
                let write = photo_write(run, after.entries);
                enrol_photo(&run.state, &write, collection, &photo.person, photo.bytes).await
            }
            Err(error) => Err(error),
        };
        // What would be the same for every photo is told once, for the job.
        if let Err(error) = &answer
            && matches!(error.code, Code::ModelUnavailable | Code::CollectionNotFound)
        {
            run.note_now(input.files, report.files(), report.rejected, &report);
            return Err(error.clone());
        }
        report.add(path, answer);
        report.position = after;
        run.note(input.files, report.files(), report.rejected, &report);
    }
    run.note_now(input.files.max(report.files()), report.files(), report.rejected, &report);
    reading.await.map_err(|e| ApiError::internal(&e))??;
    Ok(())
}

/// What enrolling one photo carries: with its own key, a photo that was enrolled just before the worker ended is not
/// enrolled again by the next.
fn photo_write(run: &Run, entry: u64) -> Write {
    let key = format!("job:{}:{entry}", run.job.id);
    let fingerprint = format!("{key}:enrol");
    Write { idempotency: Some(Idempotency { key, fingerprint }), ..run.write() }
}

/// Enrols the face of one photo under the name of its folder, by the rules of the gallery.
///
/// # Errors
/// Why the photo gives no new face; a busy server and a database that does not answer are waited for.
pub async fn enrol_photo(
    state: &State,
    write: &Write,
    collection: CollectionId,
    person: &str,
    bytes: Vec<u8>,
) -> ApiResult<Enrolled> {
    let person = person_named(person, "")?;
    // A job of its own looks for duplicates among all, once.
    let options = EnrolOptions::of(&Fields::default())?.with_identity_check(IdentityCheck::Off);
    let (_, image_hash) = Upload::new(None, Ok(bytes.clone()), None).digested().await?;
    let (bytes, image_hash) = (&bytes, &image_hash);
    let enrolment = patiently(|| {
        let upload = Upload::new(None, Ok(bytes.clone()), None);
        let into = Destination { collection, person: Some(person.clone()), may_search: false };
        // Photos of an import are not asked for twice: caching them would only push out what is.
        enrol_face(state, write, into, (upload, image_hash.clone()), options.clone(), Caching::Refused)
    });
    Ok(enrolment.await?.outcome.value)
}

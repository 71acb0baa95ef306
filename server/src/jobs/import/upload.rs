//! An archive on its way from a client to the data folder, piece by piece.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use actix_multipart::{Field, Multipart};
use actix_web::{HttpRequest, web};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{Fields, hex},
    jobs::SharedState,
};

/// Longest time for a whole archive.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Pieces that may wait for the disk.
const WAITING: usize = 16;
/// Name of the form's field.
const FIELD: &str = "file";
/// Most text fields beside it.
const MAX_TEXTS: usize = 16;
/// Longest text field.
const MAX_TEXT: usize = 64 * 1024;

/// An archive in the data folder. It is removed when dropped, unless it was kept for its job.
pub(in crate::jobs) struct Archive {
    /// Its name among the archives.
    pub id: Uuid,
    /// sha256 of its bytes, hex.
    pub sha256: String,
    file: Removed,
}

impl Archive {
    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.file.path.clone()
    }

    /// Leaves it to its job.
    pub fn keep(mut self) {
        self.file.kept = true;
    }
}

/// A file that is removed when dropped, unless it was kept.
struct Removed {
    path: PathBuf,
    kept: bool,
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.kept {
            // One that stays all the same is found by the hourly look.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Receives the archive in the form's field `file`.
///
/// # Errors
/// No form, no file, too large, too slow; no space left; as many archives wait as may.
pub(in crate::jobs) async fn receive(
    state: &SharedState,
    req: &HttpRequest,
    payload: web::Payload,
) -> ApiResult<Archive> {
    receive_into(state, req, payload, None).await
}

/// [`receive`], with the form's other fields, before and after the archive.
///
/// # Errors
/// As there; too many or too long fields.
pub(in crate::jobs) async fn receive_form(
    state: &SharedState,
    req: &HttpRequest,
    payload: web::Payload,
) -> ApiResult<(Archive, Fields)> {
    let mut fields = Fields::default();
    let archive = receive_into(state, req, payload, Some(&mut fields)).await?;
    Ok((archive, fields))
}

async fn receive_into(
    state: &SharedState,
    req: &HttpRequest,
    payload: web::Payload,
    fields: Option<&mut Fields>,
) -> ApiResult<Archive> {
    let shared = state.clone();
    let room = tokio::task::spawn_blocking(move || shared.jobs.has_room()).await.map_err(|e| ApiError::internal(&e))?;
    if !room.map_err(|e| disk(&e))? {
        return Err(ApiError::new(Code::Overloaded, "as many archives wait as may; try again when a job has ended"));
    }
    let form = Multipart::new(req.headers(), payload);
    let receiving = find(state, form, fields);
    tokio::time::timeout(PATIENCE, receiving).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn find(state: &SharedState, mut form: Multipart, mut fields: Option<&mut Fields>) -> ApiResult<Archive> {
    let mut archive = None;
    let mut texts = 0;
    while let Some(part) = next(state, &mut form).await? {
        let mut part = part.map_err(ApiError::from)?;
        let name = part.name().unwrap_or_default().to_owned();
        match &mut fields {
            _ if name == FIELD && archive.is_some() => {
                return Err(ApiError::invalid("the form has more than one file; send one archive"));
            }
            None if name == FIELD => return store(state, &mut part).await,
            Some(_) if name == FIELD => archive = Some(store(state, &mut part).await?),
            Some(fields) => {
                texts += 1;
                if texts > MAX_TEXTS {
                    return Err(ApiError::invalid(format!("the form has more than {MAX_TEXTS} text fields")));
                }
                fields.push(name, text(state, &mut part).await?);
            }
            None => skip(state, &mut part).await?,
        }
    }
    archive.ok_or_else(|| {
        let detail = "the form has no archive in the field file; send one as `curl -F file=@photos.zip` does";
        ApiError::new(Code::MissingField, detail)
    })
}

/// Other fields say nothing here. What they hold counts, so that they are no way around the limit.
async fn skip(state: &SharedState, part: &mut Field) -> ApiResult<()> {
    let mut skipped = 0;
    while let Some(piece) = next(state, part).await? {
        skipped += piece.map_err(ApiError::from)?.len() as u64;
        if skipped > state.jobs.archive_bytes() {
            return Err(too_large(state));
        }
    }
    Ok(())
}

async fn text(state: &SharedState, part: &mut Field) -> ApiResult<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(state, part).await? {
        bytes.extend_from_slice(&piece.map_err(ApiError::from)?);
        if bytes.len() > MAX_TEXT {
            let detail = format!("a text field is longer than {MAX_TEXT} bytes");
            return Err(ApiError::new(Code::PayloadTooLarge, detail));
        }
    }
    String::from_utf8(bytes).map_err(|_| ApiError::invalid("a text field is not valid UTF-8"))
}

/// The next item of a stream that must not stand still.
async fn next<S: Stream + Unpin>(state: &SharedState, stream: &mut S) -> ApiResult<Option<S::Item>> {
    tokio::time::timeout(state.limits.upload_timeout, stream.next()).await.map_err(|_| too_slow())
}

async fn store(state: &SharedState, part: &mut Field) -> ApiResult<Archive> {
    let id = Uuid::now_v7();
    let file = Removed { path: state.jobs.archive(id), kept: false };
    let path = file.path.clone();
    let (pieces, waiting) = mpsc::channel(WAITING);
    let writing = tokio::task::spawn_blocking(move || write(&path, waiting));
    let mut length = 0;
    while let Some(piece) = next(state, part).await? {
        let piece = piece.map_err(ApiError::from)?;
        length += piece.len() as u64;
        if length > state.jobs.archive_bytes() {
            return Err(too_large(state));
        }
        if pieces.send(piece).await.is_err() {
            // The disk took no more; the writer says why.
            break;
        }
    }
    drop(pieces);
    let sha256 = writing.await.map_err(|e| ApiError::internal(&e))?.map_err(|e| disk(&e))?;
    if length == 0 {
        return Err(ApiError::new(Code::EmptyFile, "the archive is empty"));
    }
    Ok(Archive { id, sha256, file })
}

/// Writes pieces to disk until there are no more, for good; gives their sha256.
fn write(path: &PathBuf, mut pieces: mpsc::Receiver<web::Bytes>) -> io::Result<String> {
    let mut file = create(path)?;
    let mut digest = Sha256::new();
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece)?;
        digest.update(&piece);
    }
    file.sync_all()?;
    Ok(hex(&digest.finalize()))
}

fn create(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn disk(error: &io::Error) -> ApiError {
    if error.kind() == io::ErrorKind::StorageFull {
        return ApiError::new(Code::StoreUnavailable, "the server has no space left for the archive");
    }
    ApiError::internal(error)
}

fn too_large(state: &SharedState) -> ApiError {
    let limit = state.jobs.archive_bytes();
    ApiError::new(Code::PayloadTooLarge, format!("the archive is larger than the {limit} bytes that are taken at once"))
}

fn too_slow() -> ApiError {
    ApiError::new(Code::UploadTimeout, "the archive did not arrive in time")
}

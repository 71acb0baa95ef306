//! The images of a job, in their order, from where an earlier worker left them.

use std::{collections::VecDeque, ops::ControlFlow, path::PathBuf, sync::Arc, time::Duration};

use facesocial_outbound::Limits;
use facesocial_store::JobId;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream, Stream},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::sleep};

use super::{Source, folder, reserve};
use crate::{
    error::{ApiError, ApiResult, Code},
    jobs::{
        SharedState,
        import::{
            archive::{Cursor, Entry, Layout, walk},
            place,
        },
        run::{Run, patiently},
    },
    state::Reservation,
};

/// Files that are read ahead.
const READ_AHEAD: usize = 2;
/// Addresses that are asked at a time.
const FETCHES: usize = 8;
/// Attempts at one address.
const ATTEMPTS: u32 = 3;
/// Time for one image to arrive.
const FETCH_TIME: Duration = Duration::from_secs(30);
/// Items that are read from the store at a time.
const PAGE: u32 = 500;

/// Where an image stands among those of its job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Its number, from 0.
    pub index: u64,
    /// Where the archive stands after it, or before the first.
    pub archive: Cursor,
}

impl Position {
    /// Of the image after this one.
    pub fn next(self) -> Self {
        Self { index: self.index + 1, ..self }
    }
}

/// An image of a job.
pub(super) struct Image {
    /// Where it stands.
    pub position: Position,
    /// Where it was found, fit to be shown.
    pub name: String,
    /// The file, or why there is none.
    pub content: ApiResult<Vec<u8>>,
    /// What the file counts for among all uploads.
    pub memory: Option<Reservation>,
}

/// Where the bytes of an image are.
enum Place {
    Read(ApiResult<Vec<u8>>),
    Folder(Arc<PathBuf>, String),
    Address(String),
}

struct Found {
    position: Position,
    name: String,
    place: Place,
}

/// The images that are left.
///
/// # Errors
/// The archive or folder is not there, or may not be read any more.
pub(super) async fn images(
    run: &Run,
    source: Source,
    from: Position,
) -> ApiResult<impl Stream<Item = ApiResult<Image>>> {
    let (found, ahead): (BoxStream<'static, ApiResult<Found>>, usize) = match source {
        Source::Zip { archive } => {
            let path = run.state.jobs.archive(archive);
            if !path.exists() {
                let detail = "the archive is not in this server's data folder; servers that share a database and take \
                              archives need a data folder that they share, too";
                return Err(ApiError::new(Code::ResourceNotFound, detail));
            }
            (archived(&run.state, path, from).boxed(), READ_AHEAD)
        }
        Source::Folder { folder } => {
            let state = run.state.clone();
            let opened = tokio::task::spawn_blocking(move || folder::open(&state.jobs.config().folders, &folder));
            let folder = Arc::new(opened.await.map_err(|e| ApiError::internal(&e))??);
            let place = move |item: String| (place::shown(&item), Place::Folder(Arc::clone(&folder), item));
            (listed(&run.state, run.job.id, from, place).boxed(), READ_AHEAD)
        }
        Source::Urls => {
            let place = |item: String| (shown(&item), Place::Address(item));
            (listed(&run.state, run.job.id, from, place).boxed(), FETCHES)
        }
    };
    let state = &run.state;
    Ok(found.map(move |found| load(state, found)).buffered(ahead))
}

/// The photos and refused entries of an archive. It is read by a thread of its own, and no further than asked for.
fn archived(state: &SharedState, path: PathBuf, from: Position) -> impl Stream<Item = ApiResult<Found>> + use<> {
    let (sender, receiver) = mpsc::channel(1);
    let limits = state.jobs.limits();
    tokio::task::spawn_blocking(move || {
        let mut index = from.index;
        let walked = walk(&path, &limits, Layout::Any, from.archive, |Entry { after, path, photo }| {
            let position = Position { index, archive: after };
            let found = Found { position, name: path, place: Place::Read(photo.map(|photo| photo.bytes)) };
            index += 1;
            match sender.blocking_send(Ok(found)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if let Err(error) = walked {
            // Nobody listens any more if the job was stopped.
            sender.blocking_send(Err(error.into())).ok();
        }
    });
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|found| (found, receiver)) })
}

/// The items of a job.
fn listed<F>(
    state: &SharedState,
    job: JobId,
    from: Position,
    place: F,
) -> impl Stream<Item = ApiResult<Found>> + Send + use<F>
where
    F: Fn(String) -> (String, Place) + Send + 'static,
{
    let state = state.clone();
    stream::unfold(Some((VecDeque::new(), from.index)), move |at| {
        let state = state.clone();
        async move {
            let (mut page, next) = at?;
            if page.is_empty() {
                let items = patiently(|| async { Ok::<_, ApiError>(state.store()?.job_items(job, next, PAGE).await?) });
                match items.await {
                    Ok(items) => page.extend(items),
                    Err(error) => return Some((Err(error), None)),
                }
            }
            let (index, item): (u64, String) = page.pop_front()?;
            Some((Ok((index, item)), Some((page, index + 1))))
        }
    })
    .map(move |found| {
        let (index, item) = found?;
        let (name, place) = place(item);
        Ok(Found { position: Position { index, ..Position::default() }, name, place })
    })
}

async fn load(state: &SharedState, found: ApiResult<Found>) -> ApiResult<Image> {
    let Found { position, name, place } = found?;
    let limit = state.limits.image_bytes as u64;
    let content = match place {
        Place::Read(content) => content,
        Place::Folder(folder, item) => {
            let read = tokio::task::spawn_blocking(move || folder::read(&folder, &item, limit));
            read.await.map_err(|e| ApiError::internal(&e))?
        }
        Place::Address(address) => fetch(state, &address, limit).await,
    };
    let memory = match &content {
        Ok(bytes) => reserve(state, bytes.len()).await?,
        Err(_) => None,
    };
    Ok(Image { position, name, content, memory })
}

/// A file from another server, asked for again while that may help.
async fn fetch(state: &SharedState, address: &str, bytes: u64) -> ApiResult<Vec<u8>> {
    // The list may have become shorter since the job was made.
    let target = state.jobs.config().url_hosts.target(address)?;
    let mut pause = Duration::from_secs(1);
    for attempt in 1.. {
        let (state, target) = (state.clone(), target.clone());
        let limits = Limits { bytes, time: FETCH_TIME };
        let asked = tokio::task::spawn_blocking(move || state.jobs.client().get(&target, &limits));
        match asked.await.map_err(|e| ApiError::internal(&e))? {
            Err(error) if error.passes() && attempt < ATTEMPTS => sleep(pause).await,
            answer => return Ok(answer?),
        }
        pause *= 4;
    }
    Err(ApiError::new(Code::SourceUnavailable, "the image cannot be fetched"))
}

/// An address without its query, which may be a signature.
fn shown(address: &str) -> String {
    place::shown(address.split(['?', '#']).next().unwrap_or_default())
}

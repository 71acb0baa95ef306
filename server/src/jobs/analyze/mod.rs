//! Analyses of many photos: of an archive, of a folder of this machine, or of addresses. One line for each photo, in the
//! order of the input and each once; a photo that cannot be analysed has a line that says why.
//!
//! Photos are read, and fetched, while others are analysed, as many at a time as there are cores. What was found is stored in
//! the order of the input together with the progress, so that a worker that goes on knows where.

mod api;
mod folder;
mod line;
mod progress;
mod request;
mod results;
mod source;

use std::time::Instant;

use facesocial_store::{CollectionId, Idempotency, Job, NewJobResult, Write};
use futures_util::{StreamExt, future::try_join, stream::Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

pub(super) use self::api::{results, start};
use self::{
    line::Line,
    progress::{Meter, Progress},
    source::{Image, images},
};
use super::run::{Run, patiently};
use crate::{
    auth::Principal,
    cached::Caching,
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Upload},
    gateway::{Plan, Work, analyze},
    state::State,
};

/// What the worker needs, beside the list of images.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Input {
    source: Source,
    /// The options as they were given: they are read again by the same rules.
    options: Map<String, Value>,
    /// Images to do.
    images: u64,
    /// Whether somebody is told how it goes.
    webhook: bool,
}

/// Where the images are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Source {
    /// In an archive among those that wait.
    Zip {
        /// Its name there.
        archive: Uuid,
    },
    /// Below a folder of this machine; the items are paths relative to it.
    Folder {
        /// The folder, without links in it.
        folder: String,
    },
    /// At the addresses that the items are.
    Urls,
}

impl Input {
    fn of(job: &Job) -> Option<Self> {
        let ours = job.kind == super::Kind::Analyze.as_str();
        ours.then(|| serde_json::from_value(job.input.clone()).ok()).flatten()
    }

    fn plan(&self) -> ApiResult<Plan> {
        Plan::of(&Fields::of_json(self.options.clone()), None)
    }
}

/// The archive of a job that analyses one; `None` of other jobs.
pub(super) fn archive_of(job: &Job) -> Option<Uuid> {
    match Input::of(job)?.source {
        Source::Zip { archive } => Some(archive),
        Source::Folder { .. } | Source::Urls => None,
    }
}

/// Whether the lines of a job of analyses hold embeddings. Of one that cannot be read it must be assumed.
fn holds_embeddings(job: &Job) -> bool {
    Input::of(job).and_then(|input| input.plan().ok()).is_none_or(|plan| plan.embeddings)
}

/// What the job was asked for, as it is told; `None` of other jobs.
pub(super) fn told(job: &Job) -> Option<Value> {
    let input = Input::of(job)?;
    let source = match input.source {
        // Where an archive lies is nobody's concern.
        Source::Zip { .. } => json!({ "kind": "zip" }),
        other => json!(other),
    };
    Some(json!({ "source": source, "analysis": input.options, "webhook": input.webhook }))
}

pub(super) async fn perform(run: &Run) -> ApiResult<()> {
    let input: Input = run.input()?;
    let plan = input.plan()?;
    run.state.loaded()?.require_detector(plan.method.detector())?;
    let principal = Principal::of_job(run.job.user_id);
    // What a job finds is not asked for twice; keeping it would only push out what is.
    let work = patiently(|| Work::begin(&run.state, &principal, &plan, Caching::Refused)).await?;
    let mut progress: Progress = run.resumed();
    let images = images(run, input.source.clone(), progress.position).await?;
    let bench = Bench { run, plan: &plan, work: &work };
    let (sender, receiver) = mpsc::channel(AT_ONCE);
    // Storing does not keep photos from being analysed.
    try_join(bench.analyse_all(images, sender), store_all(run, &input, &mut progress, receiver)).await?;
    Ok(())
}

/// One image with what is stored of it.
struct Done {
    result: NewJobResult,
    faces: u64,
    image: source::Position,
}

/// What photos are analysed with.
struct Bench<'a> {
    run: &'a Run,
    plan: &'a Plan,
    work: &'a Work<'a>,
}

impl Bench<'_> {
    async fn analyse_all(
        &self,
        images: impl Stream<Item = ApiResult<Image>>,
        sender: mpsc::Sender<ApiResult<Done>>,
    ) -> ApiResult<()> {
        let done = images.map(|image| self.one(image)).buffered(self.run.state.limits.at_once);
        let mut done = std::pin::pin!(done);
        while let Some(answer) = done.next().await {
            // What would be the same for every image ends the job, after what came before it was stored.
            let last = answer.is_err();
            if sender.send(answer).await.is_err() || last {
                break;
            }
        }
        Ok(())
    }

    /// The line of one image. An error is not about the image, and ends the job.
    async fn one(&self, image: ApiResult<Image>) -> ApiResult<Done> {
        let Image { position, name, content, memory } = image?;
        let index = position.index;
        let line = match content {
            Ok(bytes) => self.analysed(index, bytes).await,
            Err(error) => Err(error),
        };
        drop(memory);
        match line {
            Err(error) if matches!(error.code, Code::ModelUnavailable | Code::CollectionNotFound) => Err(error),
            line => {
                let line = Line { index, name: &name, answer: line };
                let (faces, result) = (line.faces(), line.stored(self.run.job.collection_id)?);
                Ok(Done { result, faces, image: position })
            }
        }
    }

    async fn analysed(&self, index: u64, bytes: Vec<u8>) -> ApiResult<line::Analysed> {
        let begun = Instant::now();
        let upload = |bytes: &[u8]| Upload::new(None, Ok(bytes.to_vec()), None);
        let (upload_of, state) = (|| upload(&bytes), &self.run.state);
        let (_, sent) = self.work.take(upload_of()).await?;
        // A busy server, a service that does not answer and a database that does not are waited for: none of them is the
        // image's answer.
        let (answer, seconds) = patiently(|| {
            let plan = self.plan.clone();
            state.photo(upload_of(), move |loaded, photo| {
                let started = Instant::now();
                let answer = analyze(loaded, photo, &plan)?.complete()?;
                Ok((answer, started.elapsed().as_secs_f64()))
            })
        })
        .await?;
        let write = &image_write(self.run, index);
        let (answer, session) = patiently(|| {
            let (sent, mut answer) = (sent.clone(), answer.clone());
            async move {
                let session = self.work.finish(sent, &mut answer, begun, write).await?;
                Ok::<_, ApiError>((answer, session))
            }
        })
        .await?;
        Ok(line::Analysed::of(answer, seconds, session))
    }
}

/// What storing the analysis of one image carries: with its own key, one that was stored just before the worker ended is not
/// stored again by the next.
fn image_write(run: &Run, index: u64) -> Write {
    let key = format!("job:{}:{index}", run.job.id);
    let fingerprint = format!("{key}:analyze");
    Write { idempotency: Some(Idempotency { key, fingerprint }), ..run.write() }
}

/// Lines of one change: what is ready when the change before it was made.
const AT_ONCE: usize = 64;

async fn store_all(
    run: &Run,
    input: &Input,
    progress: &mut Progress,
    mut receiver: mpsc::Receiver<ApiResult<Done>>,
) -> ApiResult<()> {
    let meter = Meter::begin(progress);
    let mut ready = Vec::with_capacity(AT_ONCE);
    loop {
        if receiver.recv_many(&mut ready, AT_ONCE).await == 0 {
            break;
        }
        let (mut results, mut failed) = (Vec::with_capacity(ready.len()), None);
        for answer in ready.drain(..) {
            match answer {
                Ok(done) => {
                    progress.add(&done);
                    results.push(done.result);
                }
                Err(error) => failed = Some(error),
            }
        }
        meter.tell(progress, input.images);
        let counts = (progress.index(), progress.failed());
        run.store_results(input.images, counts, progress, &results).await?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    progress.end();
    run.note_now(progress.index(), progress.index(), progress.failed(), progress);
    Ok(())
}

/// A part of the memory for uploads, waited for.
async fn reserve(state: &State, bytes: usize) -> ApiResult<Option<crate::state::Reservation>> {
    if bytes > state.limits.upload_memory {
        // It would be waited for in vain; the image is in memory already.
        return Ok(None);
    }
    let reserved = patiently(|| {
        let mut memory = state.reserve();
        std::future::ready(memory.grow(bytes).map(|()| memory))
    });
    reserved.await.map(Some)
}

/// The faces of a gallery that an analysis names.
fn named_faces(faces: &[Value], collection: Option<CollectionId>) -> Vec<(CollectionId, facesocial_store::FaceId)> {
    let Some(collection) = collection else { return Vec::new() };
    let matches = faces.iter().filter_map(|face| face["recognition"]["matches"].as_array()).flatten();
    matches.filter_map(|found| Some((collection, found["face_id"].as_str()?.parse().ok()?))).collect()
}

//! What a job of analyses is asked for with, checked: what it needs later is decided when it is made.

use std::collections::BTreeSet;

use facesocial_store::{CollectionId, NewJob, NewWebhook};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Input, Source, folder};
use crate::{
    auth::{Analyze, Jobs},
    cached::Caching,
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Object},
    gallery::Ask,
    gateway::{Plan, Work},
    jobs::{
        Kind, SharedState,
        import::archive,
        import::{Archive, archive::Layout},
    },
};

/// Most addresses of one job.
const MAX_URLS: usize = 10_000;
/// Most bytes of one address.
const MAX_URL: usize = 2048;
/// Least and most bytes of a secret.
const SECRET: std::ops::RangeInclusive<usize> = 16..=256;
/// The options, those of `/analyze/comprehensive`.
const OPTIONS: [&str; 17] = [
    "assess_quality",
    "collection",
    "detect_deepfake",
    "detect_faces",
    "detect_spoofing",
    "detection_confidence",
    "face_groups",
    "face_service",
    "include_landmarks",
    "max_faces",
    "min_face_size",
    "min_similarity",
    "predict_gender_age",
    "recognize_faces",
    "return_embeddings",
    "store",
    "top_k",
];
/// The one with another name.
const LEVEL: &str = "verification_level";

/// Body of a request for a job. Never printed: it may hold a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    kind: String,
    #[serde(default)]
    source: Option<Object<Where>>,
    #[serde(default)]
    options: Map<String, Value>,
    #[serde(default)]
    webhook: Option<Object<Told>>,
}

/// Where the images are, unless an archive came with the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    folder: Option<String>,
    urls: Option<Vec<String>>,
}

/// Whom the job tells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    url: String,
    secret: Option<String>,
    /// After how many images progress is told.
    #[serde(default)]
    every: u64,
}

impl Request {
    /// From a form: `kind`, and in JSON `options` and `webhook`.
    ///
    /// # Errors
    /// Another field, none of the kind, no JSON.
    pub fn of_form(fields: &Fields) -> ApiResult<Self> {
        let known = ["kind", "options", "webhook"];
        if let Some((name, _)) = fields.sorted().into_iter().find(|(name, _)| !known.contains(name)) {
            let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(ApiError::invalid(format!(
                "the form has a field {name}; beside file it has {}",
                known.join(", ")
            )));
        }
        let kind = fields.get("kind").ok_or_else(|| ApiError::new(Code::MissingField, "the form has no kind"))?;
        let options = fields.json("options")?.unwrap_or_default();
        Ok(Self { kind: kind.to_owned(), source: None, options, webhook: fields.json("webhook")? })
    }

    /// The job to be made.
    ///
    /// # Errors
    /// Another kind, no or two sources, one that may not be read, unknown options; not allowed to the caller; networks that
    /// are not there.
    pub async fn check(self, ask: &Ask<Jobs>, archive: Option<&Archive>) -> ApiResult<NewJob> {
        if self.kind != Kind::Analyze.as_str() {
            return Err(ApiError::invalid(
                "kind is not analyze; jobs on a collection are begun at /collections/NAME/jobs",
            ));
        }
        ask.principal().require::<Analyze>()?;
        let collection = check_options(ask, &self.options).await?;
        let webhook = self.webhook.map(|told| told.0.check(&ask.state)).transpose()?;
        let (source, items, images) = source(&ask.state, self.source.map(|source| source.0), archive).await?;
        let input = Input { source, options: self.options, images, webhook: webhook.is_some() };
        Ok(NewJob {
            kind: self.kind,
            user_id: ask.principal().user_id(),
            collection_id: collection,
            total_items: images,
            input: serde_json::to_value(input).map_err(|e| ApiError::internal(&e))?,
            items,
            webhook,
        })
    }
}

/// The collection that the options name.
async fn check_options(ask: &Ask<Jobs>, options: &Map<String, Value>) -> ApiResult<Option<CollectionId>> {
    if let Some(unknown) = options.keys().find(|name| !OPTIONS.contains(&name.as_str()) && *name != LEVEL) {
        let unknown: String = unknown.chars().filter(|c| !c.is_control()).take(40).collect();
        let detail = format!("options: {unknown} is none of {}, {LEVEL}", OPTIONS.join(", "));
        return Err(ApiError::invalid(detail));
    }
    let plan = Plan::of(&Fields::of_json(options.clone()), None)?;
    ask.state.loaded()?.require_detector(plan.method.detector())?;
    // What the caller may not do, and what cannot be done, is told now and not to the job.
    Work::begin(&ask.state, ask.principal(), &plan, Caching::Refused).await?;
    match &plan.gallery {
        Some((name, _)) => Ok(Some(ask.collection(name).await?.id)),
        None => Ok(None),
    }
}

async fn source(
    state: &SharedState,
    given: Option<Where>,
    archive: Option<&Archive>,
) -> ApiResult<(Source, Vec<String>, u64)> {
    let given = given.unwrap_or(Where { folder: None, urls: None });
    match (archive, given.folder, given.urls) {
        (Some(archive), None, None) => zip(state, archive).await,
        (None, Some(folder), None) => of_folder(state, folder).await,
        (None, None, Some(urls)) => of_urls(state, urls),
        (None, None, None) => {
            let detail =
                "source is missing; send an archive as a form's file, or a folder or urls in the JSON's source";
            Err(ApiError::new(Code::MissingField, detail))
        }
        _ => Err(ApiError::invalid("source has more than one of an archive, folder and urls; give one")),
    }
}

async fn zip(state: &SharedState, archive: &Archive) -> ApiResult<(Source, Vec<String>, u64)> {
    let (file, limits) = (archive.path(), state.jobs.limits());
    let survey = tokio::task::spawn_blocking(move || archive::survey(&file, &limits, Layout::Any));
    let survey = survey.await.map_err(|e| ApiError::internal(&e))??;
    if survey.photos == 0 {
        return Err(ApiError::invalid("the archive has no photo"));
    }
    Ok((Source::Zip { archive: archive.id }, Vec::new(), survey.photos + survey.refused))
}

async fn of_folder(state: &SharedState, folder: String) -> ApiResult<(Source, Vec<String>, u64)> {
    let shared = state.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let opened = folder::open(&shared.jobs.config().folders, &folder)?;
        let items = folder::list(&opened)?;
        // A folder whose name is no Unicode cannot be written down.
        let name = opened.to_str().ok_or_else(|| ApiError::invalid("the folder's name is not valid UTF-8"))?;
        Ok::<_, ApiError>((name.to_owned(), items))
    });
    let (folder, items) = listed.await.map_err(|e| ApiError::internal(&e))??;
    if items.is_empty() {
        return Err(ApiError::invalid("the folder holds no images"));
    }
    let images = items.len() as u64;
    Ok((Source::Folder { folder }, items, images))
}

fn of_urls(state: &SharedState, urls: Vec<String>) -> ApiResult<(Source, Vec<String>, u64)> {
    let hosts = &state.jobs.config().url_hosts;
    if hosts.is_empty() {
        let detail = "this server fetches no photos; its operator can list hosts with --job-url-hosts";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    if urls.is_empty() || urls.len() > MAX_URLS {
        return Err(ApiError::invalid(format!("urls has {} addresses; allowed are 1 to {MAX_URLS}", urls.len())));
    }
    let mut items = Vec::with_capacity(urls.len());
    let mut seen = BTreeSet::new();
    for (index, url) in urls.iter().enumerate() {
        let at = |error: ApiError| ApiError::new(error.code, format!("urls[{index}]: {}", error.detail));
        if url.len() > MAX_URL {
            return Err(at(ApiError::invalid(format!("the address is longer than {MAX_URL} bytes"))));
        }
        let target = hosts.target(url).map_err(|error| at(error.into()))?;
        if !seen.insert(target.as_str().to_owned()) {
            return Err(at(ApiError::invalid("the address is there twice")));
        }
        items.push(target.as_str().to_owned());
    }
    let images = items.len() as u64;
    Ok((Source::Urls, items, images))
}

impl Told {
    fn check(self, state: &SharedState) -> ApiResult<NewWebhook> {
        let hosts = &state.jobs.config().webhook_hosts;
        if hosts.is_empty() {
            let detail = "this server tells nobody; its operator can list hosts with --webhook-hosts";
            return Err(ApiError::new(Code::Forbidden, detail));
        }
        if self.url.len() > MAX_URL {
            return Err(ApiError::invalid(format!("webhook: the address is longer than {MAX_URL} bytes")));
        }
        let at = |error: ApiError| ApiError::new(error.code, format!("webhook: {}", error.detail));
        let target = hosts.target(&self.url).map_err(|error| at(error.into()))?;
        let (least, most) = (SECRET.start(), SECRET.end());
        if self.secret.as_ref().is_some_and(|secret| !SECRET.contains(&secret.len()) || secret.contains('\0')) {
            return Err(ApiError::invalid(format!("webhook: the secret must have {least} to {most} bytes")));
        }
        Ok(NewWebhook { url: target.as_str().to_owned(), secret: self.secret, every_items: self.every })
    }
}

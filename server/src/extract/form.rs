//! Multipart forms, read piece by piece under limits and never to disk.

use std::{future::Future, pin::Pin};

use actix_multipart::{Field, Multipart};
use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use futures_util::StreamExt;

use crate::{
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Upload},
    state::State,
};

/// Longest text field.
const MAX_TEXT: usize = 64 * 1024;
/// Most text fields in one form.
const MAX_FIELDS: usize = 64;
/// Room for text fields and part headers beside the files.
const OVERHEAD: usize = 1024 * 1024;

type Reading<T> = Pin<Box<dyn Future<Output = ApiResult<T>>>>;

/// A form with one file in the field `file`.
#[derive(Debug)]
pub struct Single {
    /// The file.
    pub file: Upload,
    /// The text fields.
    pub fields: Fields,
}

/// A form with up to `MAX` files in the field `files`; `MAX` = 0 stands for the configured size of a batch.
#[derive(Debug)]
pub struct Batch<const MAX: usize> {
    /// The files in the order of the form, at least one.
    pub files: Vec<Upload>,
    /// The text fields.
    pub fields: Fields,
}

/// A form with the files `file1` and `file2`.
#[derive(Debug)]
pub struct Pair(pub [Upload; 2]);

impl FromRequest for Single {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(req, payload.take(), Plan { files: &["file"], most: |_| 1, bad_file_ends_all: true });
        Box::pin(async move {
            let Form { mut files, fields } = reading.await?;
            let (_, file) = files.pop().ok_or_else(|| missing("file"))?;
            Ok(Self { file, fields })
        })
    }
}

impl<const MAX: usize> FromRequest for Batch<MAX> {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let most = |configured| if MAX == 0 { configured } else { MAX };
        let plan = Plan { files: &["files", "files[]"], most, bad_file_ends_all: false };
        let reading = read(req, payload.take(), plan);
        Box::pin(async move {
            let Form { files, fields } = reading.await?;
            if files.is_empty() {
                return Err(missing("files"));
            }
            Ok(Self { files: files.into_iter().map(|(_, file)| file).collect(), fields })
        })
    }
}

impl FromRequest for Pair {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let plan = Plan { files: &["file1", "file2"], most: |_| 2, bad_file_ends_all: true };
        let reading = read(req, payload.take(), plan);
        Box::pin(async move {
            let mut files = reading.await?.files;
            let mut take = |name| {
                let at = files.iter().position(|(n, _)| *n == name).ok_or_else(|| missing(name))?;
                Ok::<_, ApiError>(files.remove(at).1)
            };
            Ok(Self([take("file1")?, take("file2")?]))
        })
    }
}

/// What a form may hold.
struct Plan {
    files: &'static [&'static str],
    /// Most files, given the configured size of a batch.
    most: fn(usize) -> usize,
    bad_file_ends_all: bool,
}

struct Form {
    files: Vec<(&'static str, Upload)>,
    fields: Fields,
}

fn missing(field: &str) -> ApiError {
    ApiError::new(
        Code::MissingField,
        format!("the form has no file in the field {field}; send one as `curl -F {field}=@photo.jpg` does"),
    )
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(Code::PayloadTooLarge, format!("the form is larger than the {limit} bytes that this endpoint takes"))
}

/// Reads a whole form, unless the networks are not there yet or a limit is passed.
fn read(req: &HttpRequest, payload: Payload, plan: Plan) -> impl Future<Output = ApiResult<Form>> + use<> {
    let state = req.app_data::<web::Data<State>>().cloned();
    let declared = req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let form = Multipart::new(req.headers(), payload);
    async move {
        let state = state.ok_or_else(|| ApiError::internal(&std::io::Error::other("the app has no state")))?;
        state.loaded()?;
        let total = (plan.most)(state.limits.batch).saturating_mul(state.limits.image_bytes).saturating_add(OVERHEAD);
        if declared.is_some_and(|bytes| bytes > total) {
            return Err(too_large(total));
        }
        let reading = Reader { state: &state, plan: &plan, total, read: 0 }.form(form);
        tokio::time::timeout(state.limits.upload_timeout, reading).await.unwrap_or_else(|_| {
            let seconds = state.limits.upload_timeout.as_secs();
            Err(ApiError::new(Code::UploadTimeout, format!("the upload did not arrive within {seconds} seconds")))
        })
    }
}

struct Reader<'a> {
    state: &'a State,
    plan: &'a Plan,
    total: usize,
    read: usize,
}

impl Reader<'_> {
    async fn form(mut self, mut form: Multipart) -> ApiResult<Form> {
        let (mut files, mut fields, mut texts) = (Vec::new(), Fields::default(), 0);
        let most = (self.plan.most)(self.state.limits.batch);
        while let Some(part) = form.next().await {
            let mut part = part?;
            let name = part.name().unwrap_or_default().to_owned();
            if let Some(wanted) = self.plan.files.iter().find(|n| **n == name) {
                if files.len() == most {
                    return Err(too_many(most));
                }
                files.push((*wanted, self.file(&mut part).await?));
                continue;
            }
            texts += 1;
            if texts > MAX_FIELDS {
                return Err(ApiError::invalid(format!("the form has more than {MAX_FIELDS} text fields")));
            }
            // A file under a name that nobody reads is skipped like any other unknown field.
            let is_file = part.content_disposition().is_some_and(|d| d.get_filename().is_some());
            let text = self.text(&mut part, is_file).await?;
            fields.push(name, text);
        }
        Ok(Form { files, fields })
    }

    /// The bytes of one file; past the limit they are read on without being kept, or end the form.
    async fn file(&mut self, part: &mut Field) -> ApiResult<Upload> {
        let limit = self.state.limits.image_bytes;
        let mut memory = self.state.reserve();
        let (mut bytes, mut length) = (Vec::new(), 0usize);
        while let Some(chunk) = self.chunk(part).await? {
            length += chunk.len();
            if length <= limit {
                memory.grow(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            } else if self.plan.bad_file_ends_all {
                return Err(file_too_large(limit));
            } else {
                bytes = Vec::new();
            }
        }
        let content = if length > limit { Err(file_too_large(limit)) } else { Ok(bytes) };
        let filename = part.content_disposition().and_then(|d| d.get_filename());
        Ok(Upload::new(filename, content, Some(memory)))
    }

    async fn text(&mut self, part: &mut Field, skip: bool) -> ApiResult<String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(part).await? {
            if skip {
                continue;
            }
            if bytes.len() + chunk.len() > MAX_TEXT {
                return Err(ApiError::new(
                    Code::PayloadTooLarge,
                    format!("a text field is longer than {MAX_TEXT} bytes"),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| ApiError::invalid("a text field is not valid UTF-8"))
    }

    async fn chunk(&mut self, part: &mut Field) -> ApiResult<Option<web::Bytes>> {
        let Some(chunk) = part.next().await.transpose()? else { return Ok(None) };
        self.read += chunk.len();
        if self.read > self.total { Err(too_large(self.total)) } else { Ok(Some(chunk)) }
    }
}

fn too_many(most: usize) -> ApiError {
    match most {
        1 => ApiError::invalid("the form has more than one file; this endpoint takes one"),
        2 => ApiError::invalid("the form has more than two files; this endpoint takes file1 and file2"),
        _ => ApiError::new(
            Code::BatchSizeExceeded,
            format!("the batch has more than {most} files; send at most {most} at once"),
        ),
    }
}

fn file_too_large(limit: usize) -> ApiError {
    ApiError::new(Code::PayloadTooLarge, format!("the file is larger than the {limit} bytes allowed for one image"))
}

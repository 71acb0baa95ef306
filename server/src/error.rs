//! The one error type of the API, and the one table of its codes.

use std::{borrow::Cow, fmt, time::Duration};

use actix_multipart::MultipartError;
use actix_web::{
    HttpResponse, ResponseError,
    error::PayloadError,
    http::{StatusCode, header},
};
use facesocial_imaging::ImageError;
use facesocial_outbound::OutboundError;
use facesocial_pipeline::{EngineError, Outage, PipelineError, WireError};
use facesocial_store::StoreError;
use facesocial_types::Failure;
use serde::Serialize;
use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $code:literal, $status:literal, $title:literal $(, retry after $seconds:literal)?;)+) => {
        /// What went wrong, as a stable name. Clients decide by it; the sentence beside it is for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$meta])* $variant),+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// HTTP status, 400..=599.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// The same few words for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// Seconds after which the same request may succeed; `None` if it never will.
            pub const fn retry_after(self) -> Option<u32> {
                match self { $(Self::$variant => seconds(&[$($seconds)?])),+ }
            }
        }
    };
}

/// The retry column of the table, which most rows leave out.
const fn seconds(column: &[u32]) -> Option<u32> {
    match column {
        [seconds, ..] => Some(*seconds),
        [] => None,
    }
}

codes! {
    /// An option, a form field or a JSON value is not one of the allowed ones.
    InvalidInput = "INVALID_INPUT", 400, "The request has an invalid value";
    /// The body is not well-formed, or ended early.
    MalformedBody = "MALFORMED_BODY", 400, "The request body is not well-formed";
    /// A required field is absent.
    MissingField = "MISSING_FIELD", 400, "A required field is missing";
    /// The file has no bytes.
    EmptyFile = "EMPTY_FILE", 400, "The file is empty";
    /// More files than the endpoint takes.
    BatchSizeExceeded = "BATCH_SIZE_EXCEEDED", 400, "Too many files in one batch";
    /// The name of the detection method is none of the known ones.
    InvalidDetectionMethod = "INVALID_DETECTION_METHOD", 400, "Unknown detection method";
    /// No valid token or key came with the request.
    Unauthenticated = "UNAUTHENTICATED", 401, "Authentication is needed";
    /// The caller is known and may not do this.
    Forbidden = "FORBIDDEN", 403, "Not allowed";
    /// No such path.
    NotFound = "NOT_FOUND", 404, "Nothing is served under this path";
    /// No such collection, or not one of the caller's.
    CollectionNotFound = "COLLECTION_NOT_FOUND", 404, "No such collection";
    /// No such person in the collection.
    PersonNotFound = "PERSON_NOT_FOUND", 404, "No such person";
    /// No such face in the collection.
    FaceNotFound = "FACE_NOT_FOUND", 404, "No such face";
    /// No such user, key, session or job.
    ResourceNotFound = "RESOURCE_NOT_FOUND", 404, "No such resource";
    /// The path exists for another method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, "The path does not answer this method";
    /// The upload took too long.
    UploadTimeout = "UPLOAD_TIMEOUT", 408, "The upload took too long", retry after 1;
    /// A name that must be unique is taken.
    AlreadyExists = "ALREADY_EXISTS", 409, "It exists already";
    /// The face of this very image is enrolled already.
    DuplicateFace = "DUPLICATE_FACE", 409, "The face is enrolled already";
    /// The face does not seem to be whose it is said to be.
    IdentityConflict = "IDENTITY_CONFLICT", 409, "The face seems to be somebody else's";
    /// A photo answers a challenge that answered another one before.
    PhotoReplayed = "PHOTO_REPLAYED", 409, "The photo was used before";
    /// A request with the same key has not been answered yet.
    IdempotencyKeyInUse = "IDEMPOTENCY_KEY_IN_USE", 409, "The same request is being worked on", retry after 1;
    /// The network is to stay loaded.
    Pinned = "PINNED", 409, "The network is pinned";
    /// What is asked for and what is stored come from different models.
    ModelMismatch = "MODEL_MISMATCH", 409, "Different models cannot be compared";
    /// Too many bytes.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413, "The request is too large";
    /// Too many pixels, or one side too long.
    ImageTooLarge = "IMAGE_TOO_LARGE", 413, "The image has too many pixels";
    /// The body's media type is not the endpoint's.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "The body is of the wrong media type";
    /// The file is no image of a known format.
    UnsupportedFormat = "UNSUPPORTED_FORMAT", 415, "The file is not an image of a supported format";
    /// One side has too few pixels to show anything.
    ImageTooSmall = "IMAGE_TOO_SMALL", 422, "The image has too few pixels";
    /// The file begins as an image and cannot be decoded.
    CorruptImage = "CORRUPT_IMAGE", 422, "The image is damaged";
    /// A photo that must show a face shows none.
    NoFace = "NO_FACE", 422, "No usable face in the image";
    /// A photo that must show one face shows several.
    MultipleFaces = "MULTIPLE_FACES", 422, "More than one face in the image";
    /// The face cannot be recognised later by this photo.
    LowQuality = "LOW_QUALITY", 422, "The face's quality is too low";
    /// The challenge was not given for this, was used, or is over.
    ChallengeInvalid = "CHALLENGE_INVALID", 422, "The challenge does not hold";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", 422, "The Idempotency-Key belongs to another request";
    /// The path speaks another protocol than HTTP.
    UpgradeRequired = "UPGRADE_REQUIRED", 426, "Another protocol is needed";
    /// More requests than allowed in a while.
    RateLimited = "RATE_LIMITED", 429, "Too many requests", retry after 1;
    /// A failure of this server.
    Internal = "INTERNAL", 500, "The server failed";
    /// Another server does not give a file that a job asks it for.
    SourceUnavailable = "SOURCE_UNAVAILABLE", 502, "The image cannot be fetched";
    /// As many requests wait as may.
    Overloaded = "OVERLOADED", 429, "The server is busy", retry after 2;
    /// The networks are still being loaded, or the server stops.
    NotReady = "NOT_READY", 503, "The server is not ready", retry after 3;
    /// The service has no weights here; trying again does not help until somebody brings them.
    ModelUnavailable = "MODEL_UNAVAILABLE", 503, "The model is not installed";
    /// Other servers run the service, and none of them answers.
    ServiceUnavailable = "SERVICE_UNAVAILABLE", 503, "A service does not answer", retry after 2;
    /// The device has too little memory for a network now.
    OutOfMemory = "OUT_OF_MEMORY", 503, "Too little memory for the network", retry after 5;
    /// The database does not answer.
    StoreUnavailable = "STORE_UNAVAILABLE", 503, "The database does not answer", retry after 5;
    /// The answer was not ready in time.
    DeadlineExceeded = "DEADLINE_EXCEEDED", 504, "The answer took too long", retry after 5;
}

/// What is told while the server stops.
const STOPPING: &str = "the server is stopping";

/// Why a request, or one file of a batch, has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What went wrong.
    pub code: Code,
    /// A sentence for a person: what was wrong and what is allowed. Never a path, never a debug print.
    pub detail: Cow<'static, str>,
    /// Further members of the problem document, for programs.
    pub members: Option<Box<Map<String, Value>>>,
    /// Seconds after which the same request may succeed, where that is known better than by the code alone.
    pub retry_after: Option<u32>,
    /// The methods that the path answers, as `GET and POST`, where another one was used.
    pub allowed: Option<&'static str>,
}

/// Answer of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

/// `application/problem+json`, RFC 9457.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same few words for every occurrence.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: Cow<'static, str>,
    /// Stable name of the kind.
    pub code: &'static str,
    /// The request it answers; absent inside of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What is particular to the kind of problem.
    #[serde(flatten)]
    pub members: Option<Box<Map<String, Value>>>,
}

impl ApiError {
    /// An error with its sentence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), members: None, retry_after: None, allowed: None }
    }

    /// The error, with the seconds after which the same request may succeed.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The error, with the methods that the path answers, as `GET and POST`.
    #[must_use]
    pub fn allowing(mut self, methods: &'static str) -> Self {
        self.allowed = Some(methods);
        self
    }

    /// The error with a further member of its problem document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }

    /// A wrong value, and what would be right.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidInput, detail)
    }

    /// A failure of ours: the cause goes to the log, the client learns that it was not its fault.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = chain, "request failed");
        Self::new(Code::Internal, "the request failed on the server's side; the log says why under its request id")
    }

    /// Why an analysis has no answer about a face, if another time may bring one; `None` if it lies in the face.
    pub fn passing(failure: Failure, reason: &str) -> Option<Self> {
        let error = |code| Self::new(code, reason.to_owned());
        match failure {
            Failure::Lasting => None,
            Failure::Overloaded { retry_after } => Some(error(Code::Overloaded).after(whole_seconds(retry_after))),
            Failure::OutOfMemory => {
                tracing::warn!(reason, "too little memory for a network");
                Some(error(Code::OutOfMemory))
            }
            Failure::Late => Some(error(Code::DeadlineExceeded)),
            Failure::Stopped => Some(Self::new(Code::NotReady, STOPPING)),
        }
    }

    /// An error of the framework's, as one of ours.
    pub fn of(error: &actix_web::Error) -> Self {
        let ours = error.as_error::<Self>().cloned();
        ours.unwrap_or_else(|| Self::by_status(error.as_response_error().status_code()))
    }

    /// A refusal of which only the status is known.
    pub fn by_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => {
                Self::new(Code::NotFound, "nothing is served under this path; GET / lists what is")
            }
            StatusCode::METHOD_NOT_ALLOWED => Self::new(Code::MethodNotAllowed, "the path does not answer this method"),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(Code::PayloadTooLarge, "the request body is larger than allowed")
            }
            status if status.is_client_error() => Self::new(Code::MalformedBody, "the request cannot be read"),
            status => Self::internal(&std::io::Error::other(format!("answered with status {status}"))),
        }
    }

    /// The error as JSON.
    pub fn problem(&self, request_id: Option<&str>) -> Problem {
        Problem {
            kind: format!("urn:facesocial:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.as_str(),
            request_id: request_id.map(str::to_owned),
            retryable: self.code.retry_after().is_some(),
            members: self.members.clone(),
        }
    }

    /// The error as the whole answer.
    pub fn response(&self, request_id: Option<&str>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after.or(self.code.retry_after()) {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some(methods) = self.allowed {
            response.insert_header((header::ALLOW, methods.replace(" and ", ", ")));
        }
        if self.code == Code::UpgradeRequired {
            response.insert_header((header::UPGRADE, "websocket"));
        }
        if self.code == Code::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"facesocial\""));
        }
        response.json(self.problem(request_id))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let code = match &error {
            ImageError::Empty => Code::EmptyFile,
            ImageError::UnsupportedFormat { .. } => Code::UnsupportedFormat,
            ImageError::TooManyBytes { .. } => Code::PayloadTooLarge,
            ImageError::TooManyPixels { .. } | ImageError::SideTooLong { .. } => Code::ImageTooLarge,
            ImageError::TooSmall { .. } => Code::ImageTooSmall,
            ImageError::Truncated { .. } => Code::CorruptImage,
            // The decoder's own words speak of its insides; they help nobody who only has the file.
            ImageError::Corrupt { format, source } => {
                tracing::debug!(error = %source, "image cannot be decoded");
                return Self::new(Code::CorruptImage, format!("the {format} image is damaged and cannot be decoded"));
            }
            other => return Self::new(Code::CorruptImage, other.to_string()),
        };
        Self::new(code, error.to_string())
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Unavailable { service, reason } => {
                Self::new(Code::ModelUnavailable, format!("{service}: {reason}"))
            }
            PipelineError::Engine(error) => error.into(),
            PipelineError::NoThreshold { .. } => Self::new(Code::ModelUnavailable, error.to_string()),
            PipelineError::NoFace { .. } | PipelineError::NoLandmarks => Self::new(Code::NoFace, error.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<Outage> for ApiError {
    fn from(Outage { reason, retry_after }: Outage) -> Self {
        Self::new(Code::ServiceUnavailable, reason).after(whole_seconds(retry_after))
    }
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1)
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Absent { network, reason } => {
                Self::new(Code::ModelUnavailable, format!("{network}: {reason}"))
            }
            EngineError::Overloaded { retry_after, .. } => {
                Self::new(Code::Overloaded, error.to_string()).after(whole_seconds(retry_after))
            }
            EngineError::Unreachable { reason, retry_after, .. } => Outage { reason, retry_after }.into(),
            EngineError::Wire(WireError::OtherNetwork { .. }) => Self::new(Code::ModelMismatch, error.to_string()),
            EngineError::Wire(_) => Self::new(Code::MalformedBody, error.to_string()),
            EngineError::OutOfMemory { .. } | EngineError::NoRoom { .. } => {
                tracing::warn!(%error, "too little memory for a network");
                Self::new(Code::OutOfMemory, error.to_string())
            }
            EngineError::Cancelled | EngineError::Expired => Self::new(Code::DeadlineExceeded, error.to_string()),
            EngineError::Stopped => Self::new(Code::NotReady, STOPPING),
            EngineError::Unknown { .. } => {
                Self::new(Code::ResourceNotFound, format!("{error}; GET /api/v1/models lists those that do"))
            }
            EngineError::Pinned { .. } => Self::new(Code::Pinned, error.to_string()),
            EngineError::Budget { .. } => Self::invalid(error.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound { kind: "collection", .. } => Code::CollectionNotFound,
            StoreError::NotFound { kind: "person", .. } => Code::PersonNotFound,
            StoreError::NotFound { kind: "face", .. } => Code::FaceNotFound,
            StoreError::NotFound { .. } => Code::ResourceNotFound,
            StoreError::Taken { kind: "face", .. } => Code::DuplicateFace,
            StoreError::Taken { .. } => Code::AlreadyExists,
            StoreError::KeyReused => Code::IdempotencyKeyReused,
            StoreError::KeyInUse => Code::IdempotencyKeyInUse,
            StoreError::Invalid(_) => Code::InvalidInput,
            StoreError::Unavailable { reason, .. } => {
                tracing::warn!(reason, "the database is not available");
                return Self::new(
                    Code::StoreUnavailable,
                    "the database does not answer; try again with the same Idempotency-Key",
                );
            }
            other => return Self::internal(other),
        };
        // A face has no name that says anything to a client.
        let sentence = match code {
            Code::DuplicateFace => "the face of this very image is enrolled in the collection already".to_owned(),
            _ => error.to_string(),
        };
        let told = Self::new(code, sentence);
        match error {
            StoreError::Taken { existing: Some(id), .. } => told.with("existing", id),
            _ => told,
        }
    }
}

impl From<OutboundError> for ApiError {
    fn from(error: OutboundError) -> Self {
        let code = match &error {
            OutboundError::Malformed | OutboundError::Credentials => Code::InvalidInput,
            OutboundError::NotListed { .. } | OutboundError::Address { .. } => Code::Forbidden,
            OutboundError::TooLarge { .. } => Code::PayloadTooLarge,
            _ => Code::SourceUnavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        match error {
            MultipartError::ContentTypeMissing
            | MultipartError::ContentTypeParse
            | MultipartError::ContentTypeIncompatible => Self::new(
                Code::UnsupportedMediaType,
                "send a form: Content-Type multipart/form-data, as `curl -F file=@photo.jpg` does",
            ),
            MultipartError::Payload(error) => error.into(),
            other => Self::new(Code::MalformedBody, format!("the form cannot be read: {}", lower(&other.to_string()))),
        }
    }
}

impl From<PayloadError> for ApiError {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Overflow => Self::new(Code::PayloadTooLarge, "the request body is larger than allowed"),
            PayloadError::Incomplete(_) => {
                Self::new(Code::MalformedBody, "the request body ended before it was complete")
            }
            _ => Self::new(Code::MalformedBody, "the request body cannot be read"),
        }
    }
}

/// A library's sentence in the style of ours.
fn lower(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_another_time_may_bring_is_told_as_such() {
        let of = |failure| ApiError::passing(failure, "it failed");
        assert_eq!(of(Failure::Lasting), None);
        let retry_after = Duration::from_millis(6500);
        assert_eq!(of(Failure::Overloaded { retry_after }).unwrap().retry_after, Some(7));
        for (failure, code) in [
            (Failure::Overloaded { retry_after }, Code::Overloaded),
            (Failure::OutOfMemory, Code::OutOfMemory),
            (Failure::Late, Code::DeadlineExceeded),
            (Failure::Stopped, Code::NotReady),
        ] {
            assert_eq!(of(failure).unwrap().code, code);
            assert!(code.retry_after().is_some(), "{}", code.as_str());
        }
    }

    #[test]
    fn the_table_of_codes_is_an_api_and_changes_on_purpose() {
        let table: Vec<String> = Code::ALL
            .iter()
            .map(|c| format!("{} {} {}", c.as_str(), c.status(), c.retry_after().unwrap_or_default()))
            .collect();
        let expected = [
            "INVALID_INPUT 400 0",
            "MALFORMED_BODY 400 0",
            "MISSING_FIELD 400 0",
            "EMPTY_FILE 400 0",
            "BATCH_SIZE_EXCEEDED 400 0",
            "INVALID_DETECTION_METHOD 400 0",
            "UNAUTHENTICATED 401 0",
            "FORBIDDEN 403 0",
            "NOT_FOUND 404 0",
            "COLLECTION_NOT_FOUND 404 0",
            "PERSON_NOT_FOUND 404 0",
            "FACE_NOT_FOUND 404 0",
            "RESOURCE_NOT_FOUND 404 0",
            "METHOD_NOT_ALLOWED 405 0",
            "UPLOAD_TIMEOUT 408 1",
            "ALREADY_EXISTS 409 0",
            "DUPLICATE_FACE 409 0",
            "IDENTITY_CONFLICT 409 0",
            "PHOTO_REPLAYED 409 0",
            "IDEMPOTENCY_KEY_IN_USE 409 1",
            "PINNED 409 0",
            "MODEL_MISMATCH 409 0",
            "PAYLOAD_TOO_LARGE 413 0",
            "IMAGE_TOO_LARGE 413 0",
            "UNSUPPORTED_MEDIA_TYPE 415 0",
            "UNSUPPORTED_FORMAT 415 0",
            "IMAGE_TOO_SMALL 422 0",
            "CORRUPT_IMAGE 422 0",
            "NO_FACE 422 0",
            "MULTIPLE_FACES 422 0",
            "LOW_QUALITY 422 0",
            "CHALLENGE_INVALID 422 0",
            "IDEMPOTENCY_KEY_REUSED 422 0",
            "UPGRADE_REQUIRED 426 0",
            "RATE_LIMITED 429 1",
            "INTERNAL 500 0",
            "SOURCE_UNAVAILABLE 502 0",
            "OVERLOADED 429 2",
            "NOT_READY 503 3",
            "MODEL_UNAVAILABLE 503 0",
            "SERVICE_UNAVAILABLE 503 2",
            "OUT_OF_MEMORY 503 5",
            "STORE_UNAVAILABLE 503 5",
            "DEADLINE_EXCEEDED 504 5",
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn a_problem_tells_whether_to_try_again() {
        let busy = ApiError::new(Code::Overloaded, "x");
        assert_eq!(busy.response(None).headers().get("retry-after").unwrap(), "2");
        assert!(busy.problem(None).retryable);
        let wrong = ApiError::invalid("x");
        assert!(wrong.response(None).headers().get("retry-after").is_none());
        assert!(!wrong.problem(None).retryable);
    }

    #[test]
    fn a_failure_of_ours_tells_the_client_nothing_of_the_inside() {
        let cause = std::io::Error::other("/secret/place is gone");
        assert!(!ApiError::internal(&cause).detail.contains("secret"));
    }
}

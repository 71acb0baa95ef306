//! From a request to checked values: files, form fields, JSON, the request's id.

mod fields;
mod form;
mod idempotency;
mod json;
mod page;
mod photo;
mod request;
mod upload;

pub use fields::Fields;
pub use form::{Batch, Pair, Single};
pub use idempotency::{Fingerprint, IdempotencyKey, builder, changed, gone, hex, write};
pub use json::{Base64Image, Object, parse_json, read_body, read_bytes, read_json};
pub use page::{Listed, page_request};
pub use photo::PhotoRequest;
pub use request::RequestInfo;
pub use upload::Upload;

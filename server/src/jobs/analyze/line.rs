//! What is told of one image: one line of JSON.

use facesocial_store::{CollectionId, FaceId, JobResult, JobResultStatus, NewJobResult, SessionId};
use serde::Serialize;
use serde_json::{Value, json};

use super::named_faces;
use crate::{
    error::{ApiError, ApiResult, Problem},
    gateway::Comprehensive,
};

/// What was found about an image.
pub(super) struct Analysed {
    data: Value,
    faces: Vec<Value>,
}

impl Analysed {
    /// An analysis that took `seconds`.
    pub fn of(answer: Comprehensive, seconds: f64, session: Option<SessionId>) -> Self {
        let faces = answer.faces().to_vec();
        Self { data: answer.into_v1((seconds * 1e4).round() / 1e4, false, session), faces }
    }
}

/// An image with its answer.
pub(super) struct Line<'a> {
    /// Its number, from 0.
    pub index: u64,
    /// Where it was found: a path in the archive or folder, or an address without its query.
    pub name: &'a str,
    /// What was found, or why nothing was.
    pub answer: ApiResult<Analysed>,
}

#[derive(Serialize)]
struct Told<'a> {
    index: u64,
    source: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl Line<'_> {
    /// How many faces were found.
    pub fn faces(&self) -> u64 {
        self.answer.as_ref().map_or(0, |found| found.faces.len() as u64)
    }

    /// As it is stored. `collection` is what its faces were looked for in.
    pub fn stored(&self, collection: Option<CollectionId>) -> ApiResult<NewJobResult> {
        let (status, data, problem, faces) = match &self.answer {
            Ok(Analysed { data, faces }) => (JobResultStatus::Done, Some(data), None, named_faces(faces, collection)),
            Err(error) => (JobResultStatus::Failed, None, Some(error.problem(None)), Vec::<(_, FaceId)>::new()),
        };
        let told = Told { index: self.index, source: self.name, status: status.as_str(), data, problem };
        let line = serde_json::to_vec(&told).map_err(|e| ApiError::internal(&e))?;
        Ok(NewJobResult { item: self.index, status, line, faces })
    }
}

/// A stored result as it is sent, with its line's end.
pub(super) fn sent(result: JobResult) -> Vec<u8> {
    let JobResult { item, status, mut line } = result;
    if status == JobResultStatus::Erased {
        line = json!({ "index": item, "status": status.as_str() }).to_string().into_bytes();
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn face(id: FaceId) -> Value {
        json!({ "recognition": { "matches": [{ "face_id": id, "similarity": 0.9 }] } })
    }

    #[test]
    fn a_line_says_what_was_found_and_names_whom_it_shows() {
        let (collection, anna) = (CollectionId::new(), FaceId::new());
        let found = || Analysed {
            data: json!({ "total_faces_detected": 2 }),
            faces: vec![face(anna), json!({ "recognition": null })],
        };
        let line = Line { index: 7, name: "a/1.jpg", answer: Ok(found()) };
        let stored = line.stored(Some(collection)).unwrap();
        assert_eq!(
            (stored.item, stored.status, &stored.faces[..]),
            (7, JobResultStatus::Done, &[(collection, anna)][..])
        );
        let told: Value = serde_json::from_slice(&stored.line).unwrap();
        let expected =
            json!({ "index": 7, "source": "a/1.jpg", "status": "done", "data": { "total_faces_detected": 2 } });
        assert_eq!(told, expected);
        assert!(line.stored(None).unwrap().faces.is_empty());
    }

    #[test]
    fn a_failure_is_a_problem_and_an_erased_line_says_nothing() {
        let answer = Err(ApiError::new(Code::CorruptImage, "it is damaged"));
        let stored = Line { index: 1, name: "x", answer }.stored(None).unwrap();
        let told: Value = serde_json::from_slice(&stored.line).unwrap();
        assert_eq!((&told["status"], &told["problem"]["code"]), (&json!("failed"), &json!("CORRUPT_IMAGE")));
        assert_eq!((&told["problem"]["status"], told.get("data")), (&json!(422), None));
        let erased = JobResult { item: 3, status: JobResultStatus::Erased, line: Vec::new() };
        assert_eq!(sent(erased), b"{\"index\":3,\"status\":\"erased\"}\n");
    }
}

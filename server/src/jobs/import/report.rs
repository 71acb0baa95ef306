//! What became of every file of an import.

use facesocial_store::{Enrolled, FaceId, PersonId};
use serde::{Deserialize, Serialize};

use super::archive::Cursor;
use crate::error::{ApiError, Code};

/// What became of every file of an import, so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportReport {
    /// Faces that were enrolled.
    pub enrolled: u64,
    /// Photos whose face was enrolled before.
    pub duplicates: u64,
    /// Files without a face to enrol.
    pub rejected: u64,
    /// Persons that were made for the faces.
    pub persons_created: u64,
    /// One entry for each file, in the archive's order.
    pub files: Vec<FileReport>,
    /// How far the archive has been read; a resumed worker goes on from there.
    pub position: Cursor,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileReport {
    /// Its path in the archive or folder.
    pub path: String,
    /// What became of it.
    pub status: FileStatus,
    /// The face that was enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub face_id: Option<FaceId>,
    /// Whose face it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_id: Option<PersonId>,
    /// Stable name of the reason why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// Its face is in the gallery now.
    Enrolled,
    /// Its face was in the gallery before.
    Duplicate,
    /// Its face is not in the gallery.
    Rejected,
}

impl FileStatus {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
        }
    }
}

impl ImportReport {
    /// Adds what became of one file.
    pub fn add(&mut self, path: String, answer: Result<Enrolled, ApiError>) -> &FileReport {
        let blank =
            FileReport { path, status: FileStatus::Enrolled, face_id: None, person_id: None, code: None, reason: None };
        let file = match answer {
            Ok(enrolled) => {
                self.enrolled += 1;
                self.persons_created += u64::from(enrolled.person_created);
                FileReport { face_id: Some(enrolled.face.id), person_id: enrolled.face.person_id, ..blank }
            }
            Err(error) => {
                let status = match error.code {
                    Code::DuplicateFace => FileStatus::Duplicate,
                    _ => FileStatus::Rejected,
                };
                match status {
                    FileStatus::Duplicate => self.duplicates += 1,
                    _ => self.rejected += 1,
                }
                let (code, reason) = (error.code.as_str().to_owned(), error.detail.into_owned());
                FileReport { status, code: Some(code), reason: Some(reason), ..blank }
            }
        };
        self.files.push(file);
        let last = self.files.len() - 1;
        &self.files[last]
    }

    /// Files told of.
    pub fn files(&self) -> u64 {
        self.enrolled + self.duplicates + self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_told_with_its_reason_and_counted_once() {
        let mut report = ImportReport::default();
        report.add("ann/1.jpg".to_owned(), Err(ApiError::new(Code::NoFace, "none")));
        report.add("ann/2.jpg".to_owned(), Err(ApiError::new(Code::DuplicateFace, "there")));
        assert_eq!((report.enrolled, report.duplicates, report.rejected, report.files()), (0, 1, 1, 2));
        let json = serde_json::to_value(&report).unwrap();
        let first =
            serde_json::json!({ "path": "ann/1.jpg", "status": "rejected", "code": "NO_FACE", "reason": "none" });
        assert_eq!(json["files"][0], first);
        assert_eq!(json["files"][1]["status"], "duplicate");
        assert_eq!(serde_json::from_value::<ImportReport>(json).unwrap(), report);
        assert_eq!(serde_json::from_value::<ImportReport>(serde_json::json!({})).unwrap(), ImportReport::default());
    }
}

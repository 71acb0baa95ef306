//! What jobs find, and whom they tell.

use std::fmt;

use super::{
    ids::{CollectionId, FaceId, JobId},
    operations::Job,
};

/// What became of an image of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobResultStatus {
    /// It was worked on.
    Done,
    /// It could not be.
    Failed,
    /// It showed somebody who was erased since; nothing is left of what was found.
    Erased,
}

impl JobResultStatus {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Erased => "erased",
        }
    }

    /// From the stored name.
    pub fn parse(s: &str) -> Option<Self> {
        [Self::Done, Self::Failed, Self::Erased].into_iter().find(|status| status.as_str() == s)
    }
}

/// What was found about one image, to be added.
#[derive(Debug, Clone)]
pub struct NewJobResult {
    /// The image's number, from 0.
    pub item: u64,
    /// What became of it.
    pub status: JobResultStatus,
    /// What is told of it; the store does not look into it.
    pub line: Vec<u8>,
    /// The faces of a gallery that the line names.
    pub faces: Vec<(CollectionId, FaceId)>,
}

/// What was found about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The image's number, from 0.
    pub item: u64,
    /// What became of it.
    pub status: JobResultStatus,
    /// What is told of it; empty of one that was erased.
    pub line: Vec<u8>,
}

/// Whom a job tells, to be added.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Address of the receiver.
    pub url: String,
    /// What messages are signed with.
    pub secret: Option<String>,
    /// After how many images progress is told; 0 for the end alone.
    pub every_items: u64,
}

/// A job that has something to tell, and whom.
#[derive(Clone)]
pub struct Webhook {
    /// The job, as it stands.
    pub job: Job,
    /// Address of the receiver.
    pub url: String,
    /// What messages are signed with.
    pub secret: Option<String>,
    /// After how many images progress is told; 0 for the end alone.
    pub every_items: u64,
    /// Attempts that failed since something was told.
    pub attempts: u32,
}

impl Webhook {
    /// The job it is about.
    pub fn job_id(&self) -> JobId {
        self.job.id
    }
}

/// Neither address nor secret: the one may hold the other.
impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook").field("every_items", &self.every_items).finish_non_exhaustive()
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("job", &self.job.id).field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

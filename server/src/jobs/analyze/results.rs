//! Results on their way out, a page at a time.

use actix_web::web::Bytes;
use facesocial_store::JobId;

use super::line::sent;
use crate::{error::ApiResult, jobs::SharedState};

/// Results that are read from the store at a time; a photo of a crowd has a long line.
const PAGE: u32 = 50;

/// The lines of a job that are still to be sent.
pub(super) struct Lines {
    /// What all requests share.
    pub state: SharedState,
    /// The job.
    pub job: JobId,
    /// Number of the next line.
    pub next: u64,
    /// Most lines to send; `None` for all.
    pub left: Option<u64>,
}

impl Lines {
    /// The next page, empty after the last, and what is left after it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn page(mut self) -> ApiResult<(Bytes, Option<Self>)> {
        let limit = self.left.map_or(PAGE, |left| u32::try_from(left).map_or(PAGE, |left| left.min(PAGE)));
        if limit == 0 {
            return Ok((Bytes::new(), None));
        }
        let found = self.state.store()?.job_results(self.job, self.next, limit).await?;
        let count = found.len();
        let Some(last) = found.last() else { return Ok((Bytes::new(), None)) };
        self.next = last.item + 1;
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        let page = found.into_iter().flat_map(sent).collect::<Vec<u8>>();
        Ok((page.into(), (count == limit as usize).then_some(self)))
    }
}

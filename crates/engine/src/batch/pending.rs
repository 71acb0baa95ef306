//! Answers that are on their way.

use tokio::sync::oneshot;

use crate::error::{EngineError, Result};

/// Where one answer arrives.
pub(super) type Answer<O> = oneshot::Receiver<Result<O>>;

/// The answers to the items of one call, in their order. Dropping it takes back what has not begun.
#[derive(Debug)]
#[must_use = "answers that nobody waits for are not computed"]
pub struct Pending<O> {
    answers: Vec<Answer<O>>,
}

impl<O> Pending<O> {
    pub(super) const fn new(answers: Vec<Answer<O>>) -> Self {
        Self { answers }
    }

    /// Waits for all answers. Blocks: never on a thread that serves connections.
    pub fn wait(self) -> Vec<Result<O>> {
        let on_the_pool = rayon::current_thread_index().is_some();
        let one = |answer: Answer<O>| match on_the_pool {
            // It could be the very thread that must compute the answer.
            true => Err(EngineError::OnPool),
            false => answer.blocking_recv().unwrap_or(Err(EngineError::Stopped)),
        };
        self.answers.into_iter().map(one).collect()
    }

    /// Waits for all answers, or for the first failure.
    ///
    /// # Errors
    /// The first failure in the order of the items.
    pub fn wait_all(self) -> Result<Vec<O>> {
        self.wait().into_iter().collect()
    }

    /// [`Self::wait`] without holding a thread.
    pub async fn answers(self) -> Vec<Result<O>> {
        let mut all = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            all.push(answer.await.unwrap_or(Err(EngineError::Stopped)));
        }
        all
    }
}

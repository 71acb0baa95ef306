//! Answers that are on their way.

use tokio::sync::oneshot;

use crate::error::{EngineError, Result};

/// Where one answer arrives.
pub(super) type Answer<O> = oneshot::Receiver<Result<O>>;
/// How many answers of another process arrive together, and where.
type Together<O> = (usize, oneshot::Receiver<Result<Vec<Result<O>>>>);

/// The answers to the items of one call, in their order. Dropping it takes back what has not begun.
#[derive(Debug)]
#[must_use = "answers that nobody waits for are not computed"]
pub struct Pending<O>(From<O>);

#[derive(Debug)]
enum From<O> {
    /// The line of a network that runs here.
    Line(Vec<Answer<O>>),
    /// Another process.
    Elsewhere(Vec<Together<O>>),
}

impl<O> Pending<O> {
    pub(super) const fn new(answers: Vec<Answer<O>>) -> Self {
        Self(From::Line(answers))
    }

    /// Answers that arrive from another process.
    pub(crate) const fn elsewhere(answers: Vec<Together<O>>) -> Self {
        Self(From::Elsewhere(answers))
    }

    /// Waits for all answers. Blocks: never on a thread that serves connections.
    pub fn wait(self) -> Vec<Result<O>> {
        // It could be the very thread that must compute the answer.
        let on_the_pool = rayon::current_thread_index().is_some();
        match self.0 {
            From::Line(answers) => {
                let one = |answer: Answer<O>| match on_the_pool {
                    true => Err(EngineError::OnPool),
                    false => answer.blocking_recv().unwrap_or(Err(EngineError::Stopped)),
                };
                answers.into_iter().map(one).collect()
            }
            From::Elsewhere(answers) => {
                let some = |(count, answers): Together<O>| match on_the_pool {
                    true => each(count, Err(EngineError::OnPool)),
                    false => each(count, answers.blocking_recv().unwrap_or(Err(EngineError::Stopped))),
                };
                answers.into_iter().flat_map(some).collect()
            }
        }
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
        let mut all = Vec::new();
        match self.0 {
            From::Line(answers) => {
                for answer in answers {
                    all.push(answer.await.unwrap_or(Err(EngineError::Stopped)));
                }
            }
            From::Elsewhere(answers) => {
                for (count, answers) in answers {
                    all.extend(each(count, answers.await.unwrap_or(Err(EngineError::Stopped))));
                }
            }
        }
        all
    }
}

/// What became of a question is what became of each of its items.
fn each<O>(count: usize, answers: Result<Vec<Result<O>>>) -> Vec<Result<O>> {
    answers.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
}

//! Tasks of the runtimes that the server's threads run.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;

/// The runtimes of this server: one of its own, and one of each thread that answers.
#[derive(Debug, Default)]
pub struct Runtimes(Mutex<Vec<Handle>>);

impl Runtimes {
    /// Takes note of the runtime that this is called in.
    pub fn note(&self) {
        let Ok(here) = Handle::try_current() else { return };
        // A push cannot leave it half done.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().all(|handle| handle.id() != here.id()) {
            known.push(here);
        }
    }

    /// Tasks that run or wait on all of them.
    pub fn tasks(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|handle| handle.metrics().num_alive_tasks()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_counted_until_it_ends_and_a_runtime_once() {
        let runtimes = Runtimes::default();
        assert_eq!(runtimes.tasks(), 0);
        runtimes.note();
        runtimes.note();
        let before = runtimes.tasks();
        let task = tokio::spawn(std::future::pending::<()>());
        assert_eq!(runtimes.tasks(), before + 1);
        task.abort();
        task.await.unwrap_err();
        assert_eq!(runtimes.tasks(), before);
    }
}

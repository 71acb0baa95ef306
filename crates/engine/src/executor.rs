//! Where forward passes run: the thread that owns the batches, and the threads that compute them.
//!
//! On a CPU everything that computes (forward passes, decoding, crops, search) runs on rayon's one pool, so that there are
//! never more busy threads than the pool has. A GPU takes one batch at a time, from a thread that waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use candle::Device;
use tokio::{
    runtime::{Builder, Handle},
    sync::{Semaphore, SemaphorePermit, oneshot},
};

use crate::{
    error::{EngineError, Result},
    memory::{Gauge, Meter},
};

/// Batches in a row that a device fails before it is in trouble.
const TROUBLE: u32 = 3;

/// Runs `f` on the pool that all threads share, and waits for it. On a thread of the pool it just runs.
pub fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() { f() } else { rayon::scope(|_| f()) }
}

/// One device with its owner.
pub(crate) struct Executor {
    device: Device,
    gauge: Gauge,
    slots: Arc<Semaphore>,
    /// Batches in a row that the device failed.
    trouble: AtomicU32,
    runtime: Handle,
    owner: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Executor {
    /// Starts the owner of `device`; `meter` reads the memory of the process.
    ///
    /// # Errors
    /// [`EngineError::Thread`].
    pub fn start(device: Device, meter: Option<Meter>) -> Result<Self> {
        let failed = |source| EngineError::Thread { source: Arc::new(source) };
        let runtime = Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let own = move || {
            // Ends when the sender is dropped, too.
            let _ = runtime.block_on(stopped);
        };
        let owner = thread::Builder::new().name("facesocial-device".to_owned()).spawn(own).map_err(failed)?;
        // On a CPU a batch of one small network keeps one core busy, not all.
        let slots = if device.is_cpu() { rayon::current_num_threads() } else { 1 };
        let slots = Arc::new(Semaphore::new(slots));
        let gauge = Gauge::of(&device, meter);
        Ok(Self { device, gauge, slots, trouble: AtomicU32::new(0), runtime: handle, owner: Some((stop, owner)) })
    }

    /// The device.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// How much memory the device has lent.
    pub const fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Gives memory that no tensor holds back to a card.
    pub fn trim(&self) {
        self.gauge.trim();
    }

    /// Where batches wait for their turn.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// One permit for each batch that may run at a time.
    pub const fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Into passes of how many items a batch is cut, which the processor computes side by side: layers of few pixels do not
    /// keep two cores busy, and a pass should hold `at_once` items at most there. A card takes all in one.
    pub fn pass_size(&self, items: usize, at_once: usize) -> usize {
        if !self.device.is_cpu() {
            return items.max(1);
        }
        items.div_ceil(rayon::current_num_threads()).min(at_once).max(1)
    }

    /// Runs a batch's work where it belongs. `None` if it panicked outside of what a network does.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if !self.device.is_cpu() {
            return self.runtime.spawn_blocking(work).await.ok();
        }
        let (sender, answer) = oneshot::channel();
        rayon::spawn(move || {
            // A panic drops the sender, which says enough; rayon would end the process.
            let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if let Ok(done) = work {
                let _ = sender.send(done);
            }
        });
        answer.await.ok()
    }

    /// Takes note of how a batch ended: by its answers' failures.
    pub fn note<'a>(&self, failures: impl Iterator<Item = Option<&'a EngineError>>) {
        let mut device_failed = false;
        for failure in failures {
            match failure {
                Some(EngineError::OutOfMemory { .. }) => device_failed = true,
                // Whatever else fails is the item's or the network's fault.
                _ => return self.trouble.store(0, Ordering::Relaxed),
            }
        }
        if device_failed {
            // What is left may lie in pieces that are too small.
            self.trim();
            self.trouble.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the device answers.
    pub fn healthy(&self) -> bool {
        self.trouble.load(Ordering::Relaxed) < TROUBLE
    }

    /// A place on the device for work that the calling thread waits for.
    ///
    /// # Errors
    /// [`EngineError::Stopped`]; [`EngineError::OnPool`].
    pub fn slot(&self) -> Result<SemaphorePermit<'_>> {
        if rayon::current_thread_index().is_some() {
            return Err(EngineError::OnPool);
        }
        futures_executor::block_on(self.slots.acquire()).map_err(|_| EngineError::Stopped)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.slots.close();
        if let Some((stop, owner)) = self.owner.take() {
            let _ = stop.send(());
            // The last user may be a batch on the owner itself.
            if owner.thread().id() != thread::current().id() {
                let _ = owner.join();
            }
        }
    }
}

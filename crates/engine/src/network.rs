//! One network: its line, its weights when they are in memory, or the reason why it cannot run.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use facesocial_types::{ModelId, Service};
use rayon::prelude::*;

use crate::{
    batch::{
        BatchLimits, BatchStats, Batcher, Pending,
        attempt::{guarded, in_halves},
    },
    caller::Caller,
    error::{EngineError, Result},
    executor::{Executor, on_pool},
    memory::{Footprint, Gauge},
    registry::{Managed, NetworkReport, Registry},
    remote::{Elsewhere, Remote},
    timing::{self, NetworkTiming, TimingPlan},
    wire::{self, Wire, WireError},
};

/// What a network computes.
pub trait Task: Send + Sync + Sized + 'static {
    /// One of what it looks at.
    type Item: Wire + Send + Sync + 'static;
    /// What it says of it.
    type Output: Wire + Send + 'static;
    /// What must be known to prepare items, known without the weights.
    type Spec: Clone + Send + Sync + 'static;
    /// Whether its items are run one by one, because a batch of them would only make all wait for the slowest.
    const ALONE: bool = false;

    /// Answers for each item, in their order.
    ///
    /// # Errors
    /// The network fails.
    fn forward(&self, items: &[Self::Item]) -> facesocial_models::Result<Vec<Self::Output>>;

    /// Most items that one pass on the processor should hold: those of more push each other's activations out of the cache.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// An item that shows nothing, for measuring.
    fn grey(spec: &Self::Spec) -> Self::Item;

    /// Whether the item has the size that the network takes. One of another process that has not must not make a batch fail
    /// that others are in.
    fn fits(spec: &Self::Spec, item: &Self::Item) -> bool;
}

/// A network by its name in the lock file, or several that answer together.
pub struct Network<M: Task> {
    name: &'static str,
    state: State<M>,
}

enum State<M: Task> {
    Present(Arc<Present<M>>),
    /// Another process runs it.
    Elsewhere(Arc<Elsewhere<M>>),
    Absent {
        reason: String,
    },
}

impl<M: Task> Clone for Network<M> {
    /// The same network.
    fn clone(&self) -> Self {
        let state = match &self.state {
            State::Present(present) => State::Present(Arc::clone(present)),
            State::Elsewhere(elsewhere) => State::Elsewhere(Arc::clone(elsewhere)),
            State::Absent { reason } => State::Absent { reason: reason.clone() },
        };
        Self { name: self.name, state }
    }
}

struct Present<M: Task> {
    resident: Arc<Resident<M>>,
    batcher: Batcher<M::Item, M::Output>,
    executor: Arc<Executor>,
}

/// How a network is built.
pub(crate) struct Recipe<M: Task> {
    pub id: ModelId,
    pub services: Vec<Service>,
    pub spec: M::Spec,
    /// Bytes of the weights, from their number.
    pub weights: usize,
    pub load: Box<dyn Fn() -> Result<M> + Send + Sync>,
}

/// A network's weights, in memory or not.
struct Resident<M: Task> {
    name: &'static str,
    recipe: Recipe<M>,
    registry: Weak<Registry>,
    model: Mutex<Option<Arc<M>>>,
    footprint: Mutex<Footprint>,
    began: Instant,
    loaded: AtomicBool,
    pinned: AtomicBool,
    loads: AtomicU64,
    /// Microseconds of the last load.
    load_time: AtomicU64,
    /// Milliseconds from `began` to the last use, and one more; 0: never.
    last_used: AtomicU64,
}

impl<M: Task> Network<M> {
    /// A network that can be loaded. It is not loaded before it is asked for.
    pub(crate) fn present(
        name: &'static str,
        recipe: Recipe<M>,
        registry: &Arc<Registry>,
        executor: &Arc<Executor>,
        limits: BatchLimits,
    ) -> Self {
        let resident = Arc::new(Resident {
            name,
            footprint: Mutex::new(Footprint { weights: recipe.weights, batches: Vec::new() }),
            recipe,
            registry: Arc::downgrade(registry),
            model: Mutex::new(None),
            began: Instant::now(),
            loaded: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            loads: AtomicU64::new(0),
            load_time: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        });
        let (owned, device) = (Arc::clone(&resident), Arc::clone(executor));
        let run = move |items: Vec<M::Item>| {
            let (resident, device) = (Arc::clone(&owned), Arc::clone(&device));
            async move {
                let (count, on) = (items.len(), Arc::clone(&device));
                let answers = device.run(move || resident.forward(&items, &on)).await;
                let answers = answers
                    .unwrap_or_else(|| (0..count).map(|_| Err(EngineError::Panicked { network: name })).collect());
                device.note(answers.iter().map(|a| a.as_ref().err()));
                answers
            }
        };
        let batcher = Batcher::spawn(name, executor.runtime(), Arc::clone(executor.slots()), limits, run);
        let present = Arc::new(Present { resident, batcher, executor: Arc::clone(executor) });
        registry.add(&present);
        Self { name, state: State::Present(present) }
    }

    /// A network that was not asked for or has no weights.
    pub(crate) const fn absent(name: &'static str, reason: String) -> Self {
        Self { name, state: State::Absent { reason } }
    }

    /// A network that another process runs.
    pub(crate) fn elsewhere(name: &'static str, id: ModelId, spec: M::Spec, remote: Arc<dyn Remote>) -> Self {
        Self { name, state: State::Elsewhere(Arc::new(Elsewhere::new(name, id, spec, remote))) }
    }

    fn absence(&self, reason: &str) -> EngineError {
        EngineError::Absent { network: self.name, reason: reason.to_owned() }
    }

    /// The network's id.
    ///
    /// # Errors
    /// [`EngineError::Absent`] with the sentence that says how to bring the weights.
    pub fn id(&self) -> Result<&ModelId> {
        match &self.state {
            State::Present(present) => Ok(&present.resident.recipe.id),
            State::Elsewhere(elsewhere) => Ok(&elsewhere.id),
            State::Absent { reason } => Err(self.absence(reason)),
        }
    }

    /// How its items are prepared.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    pub fn spec(&self) -> Result<&M::Spec> {
        match &self.state {
            State::Present(present) => Ok(&present.resident.recipe.spec),
            State::Elsewhere(elsewhere) => Ok(&elsewhere.spec),
            State::Absent { reason } => Err(self.absence(reason)),
        }
    }

    /// Puts items into the network's line, to be run together with those of others.
    ///
    /// # Errors
    /// [`EngineError::Absent`], or the line is full, or nobody waits; [`EngineError::Unreachable`].
    pub fn submit(&self, caller: &Caller, items: Vec<M::Item>) -> Result<Pending<M::Output>> {
        match &self.state {
            State::Present(present) => present.batcher.submit(caller, items),
            State::Elsewhere(elsewhere) => elsewhere.ask(caller, &items),
            State::Absent { reason } => Err(self.absence(reason)),
        }
    }

    /// What the network says of one item that cannot share a batch: by `f` where it runs here. Blocks.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); it cannot be loaded; it fails; nobody waits any more when its turn comes.
    pub(crate) fn alone<I: Wire + Sync>(
        &self,
        caller: &Caller,
        item: &I,
        f: impl FnOnce(&M, &I) -> facesocial_models::Result<M::Output> + Send,
    ) -> Result<M::Output> {
        match &self.state {
            State::Present(present) => present.run(caller, |model| f(model, item)),
            State::Elsewhere(elsewhere) => {
                let answers = elsewhere.ask(caller, std::slice::from_ref(item))?.wait();
                answers.into_iter().next().unwrap_or(Err(EngineError::Stopped))
            }
            State::Absent { reason } => Err(self.absence(reason)),
        }
    }
}

impl<M: Task> Present<M> {
    /// Runs `f` on the network when the device has a place, and waits for it. A panic inside is caught and becomes an
    /// error: one photo must not end the process.
    fn run<R: Send>(&self, caller: &Caller, f: impl FnOnce(&M) -> facesocial_models::Result<R> + Send) -> Result<R> {
        caller.check()?;
        let asked = Instant::now();
        let _slot = self.executor.slot()?;
        caller.check()?;
        let started = Instant::now();
        let answer = on_pool(|| {
            let model = self.resident.model()?;
            guarded(self.resident.name, || f(&model))
        });
        self.batcher.ran_alone(answer.is_err(), started - asked, started.elapsed());
        self.executor.note(std::iter::once(answer.as_ref().err()));
        answer
    }

    fn answer_each(&self, caller: &Caller, items: Vec<M::Item>) -> Result<Vec<Result<M::Output>>> {
        if !M::ALONE {
            return Ok(self.batcher.submit(caller, items)?.wait());
        }
        let one = |item: M::Item| {
            let output = self.run(caller, |model| model.forward(std::slice::from_ref(&item)))?;
            output.into_iter().next().ok_or(EngineError::Stopped)
        };
        Ok(items.into_iter().map(one).collect())
    }
}

impl<M: Task> Resident<M> {
    /// The weights; loads them if they are not in memory. Whoever comes meanwhile waits for the same load.
    fn model(&self) -> Result<Arc<M>> {
        let mut slot = self.slot();
        let model = match &*slot {
            Some(model) => Arc::clone(model),
            None => Arc::clone(slot.insert(self.read()?)),
        };
        self.touch();
        Ok(model)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<M>>> {
        // A panic while loading leaves the place empty, which is right.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Arc<M>> {
        let load = || {
            let begun = Instant::now();
            let model = Arc::new((self.recipe.load)()?);
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.load_time.store(took, Ordering::Relaxed);
            self.loads.fetch_add(1, Ordering::Relaxed);
            self.loaded.store(true, Ordering::Relaxed);
            Ok(model)
        };
        match self.registry.upgrade() {
            Some(registry) => registry.with_room(self.name, self.footprint().least(), load),
            None => load(),
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used.store(now.saturating_add(1), Ordering::Relaxed);
    }

    fn last_used(&self) -> Option<Instant> {
        let at = self.last_used.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_millis(at))
    }

    fn footprint(&self) -> Footprint {
        self.footprint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers for all items, in as many passes side by side as suit the device.
    fn forward(&self, items: &[M::Item], device: &Executor) -> Vec<Result<M::Output>> {
        let model = match self.model() {
            Ok(model) => model,
            Err(error) => return items.iter().map(|_| Err(error.clone())).collect(),
        };
        let pass = |items: &[M::Item]| in_halves(self.name, items, &|items: &[M::Item]| model.forward(items));
        let size = device.pass_size(items.len(), model.at_once());
        let answers: Vec<_> =
            if size < items.len() { items.par_chunks(size).flat_map_iter(pass).collect() } else { pass(items) };
        if answers.iter().any(|a| matches!(a, Err(EngineError::OutOfMemory { .. }))) {
            drop(model);
            self.forget(&mut self.slot());
        }
        answers
    }

    fn forget(&self, slot: &mut Option<Arc<M>>) {
        *slot = None;
        self.loaded.store(false, Ordering::Relaxed);
    }
}

impl<M: Task> Managed for Present<M> {
    fn name(&self) -> &'static str {
        self.resident.name
    }

    fn id(&self) -> &ModelId {
        &self.resident.recipe.id
    }

    fn services(&self) -> &[Service] {
        &self.resident.recipe.services
    }

    fn answer(&self, caller: &Caller, question: &[u8]) -> Result<Vec<u8>> {
        let Recipe { id, spec, .. } = &self.resident.recipe;
        let items: Vec<M::Item> = wire::read_question(id, question)?;
        if !items.iter().all(|item| M::fits(spec, item)) {
            return Err(WireError::Size { network: self.resident.name }.into());
        }
        wire::answer(id, self.answer_each(caller, items)?)
    }

    fn report(&self) -> NetworkReport {
        let resident = &self.resident;
        let loads = resident.loads.load(Ordering::Relaxed);
        NetworkReport {
            id: resident.recipe.id.clone(),
            services: resident.recipe.services.clone(),
            loaded: self.loaded(),
            pinned: self.pinned(),
            loads,
            load_time: (loads > 0).then(|| Duration::from_micros(resident.load_time.load(Ordering::Relaxed))),
            idle: resident.last_used().map(|used| used.elapsed()),
            footprint: resident.footprint(),
            batches: self.stats(),
        }
    }

    fn footprint(&self) -> Footprint {
        self.resident.footprint()
    }

    fn loaded(&self) -> bool {
        self.resident.loaded.load(Ordering::Relaxed)
    }

    fn pinned(&self) -> bool {
        self.resident.pinned.load(Ordering::Relaxed)
    }

    fn pin(&self, pinned: bool) {
        self.resident.pinned.store(pinned, Ordering::Relaxed);
    }

    fn last_used(&self) -> Option<Instant> {
        self.resident.last_used()
    }

    fn load(&self) -> Result<()> {
        on_pool(|| self.resident.model().map(drop))
    }

    fn measure(&self, gauge: &Gauge, sizes: &[usize]) -> Result<()> {
        let resident = &self.resident;
        let load = || on_pool(|| resident.model().map(drop));
        let (loaded, weights) = gauge.kept(load);
        loaded?;
        // Networks keep the memory of a batch for the next one, so that all sizes are measured from here.
        let before = gauge.allocated();
        let mut batches = Vec::new();
        for &size in sizes {
            let items: Vec<M::Item> = (0..size).map(|_| M::grey(&resident.recipe.spec)).collect();
            gauge.reset_peak();
            on_pool(|| resident.forward(&items, &self.executor)).into_iter().try_for_each(|a| a.map(drop))?;
            if let (Some(peak), Some(before)) = (gauge.peak(), before) {
                batches.push((size, peak.saturating_sub(before)));
            }
        }
        let mut footprint = resident.footprint.lock().unwrap_or_else(PoisonError::into_inner);
        if weights > 0 {
            footprint.weights = weights;
        }
        footprint.batches = batches;
        Ok(())
    }

    fn time(&self, gauge: &Gauge, plan: &TimingPlan, tell: &mut dyn FnMut()) -> Result<NetworkTiming> {
        let resident = &self.resident;
        let grey = |size: usize| -> Vec<M::Item> { (0..size).map(|_| M::grey(&resident.recipe.spec)).collect() };
        let run = |items: &Vec<M::Item>| {
            on_pool(|| resident.forward(items, &self.executor)).into_iter().try_for_each(|answer| answer.map(drop))
        };
        timing::time(gauge, plan, tell, || self.load(), grey, run)
    }

    fn unload(&self) {
        self.resident.forget(&mut self.resident.slot());
        self.executor.trim();
    }

    fn unload_if_idle(&self) -> Option<usize> {
        // Locked: it is being loaded or taken for a batch.
        let mut slot = match self.resident.model.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let idle = slot.as_ref().is_some_and(|model| Arc::strong_count(model) == 1);
        idle.then(|| {
            self.resident.forget(&mut slot);
            self.executor.trim();
            self.resident.footprint().least()
        })
    }

    fn set_max_batch(&self, max_batch: usize) {
        self.batcher.set_max_batch(max_batch);
    }
}

impl<M: Task> Present<M> {
    fn stats(&self) -> BatchStats {
        self.batcher.stats()
    }
}

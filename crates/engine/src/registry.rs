//! All networks of an engine as an operator sees them: what is loaded, what it costs, what must go when memory is short.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use facesocial_types::{ModelId, Service};

use crate::{
    batch::BatchStats,
    caller::Caller,
    error::{EngineError, Result},
    memory::{Budgets, Footprint, Gauge},
    timing::{NetworkTiming, TimingPlan},
};

/// One network, as an operator sees it.
#[derive(Debug, Clone)]
pub struct NetworkReport {
    /// Name and version of its weights.
    pub id: ModelId,
    /// The services that it answers for; its memory counts for the first.
    pub services: Vec<Service>,
    /// Whether its weights are in memory.
    pub loaded: bool,
    /// Whether it stays there whatever else needs room.
    pub pinned: bool,
    /// Times that it was loaded.
    pub loads: u64,
    /// Time that the last load took; `None` if it never was loaded.
    pub load_time: Option<Duration>,
    /// Time since it was used last; `None` if it never was.
    pub idle: Option<Duration>,
    /// Bytes that it needs.
    pub footprint: Footprint,
    /// Its line and what came of it.
    pub batches: BatchStats,
}

/// What the registry asks of a network.
pub(crate) trait Managed: Send + Sync {
    fn name(&self) -> &'static str;
    fn id(&self) -> &ModelId;
    /// The services that it answers for.
    fn services(&self) -> &[Service];
    /// The service whose budget pays for it.
    fn service(&self) -> Service {
        self.services().first().copied().unwrap_or(Service::Mediapipe)
    }
    /// Answers a question of another process. Blocks.
    fn answer(&self, caller: &Caller, question: &[u8]) -> Result<Vec<u8>>;
    fn report(&self) -> NetworkReport;
    fn footprint(&self) -> Footprint;
    fn loaded(&self) -> bool;
    fn pinned(&self) -> bool;
    fn pin(&self, pinned: bool);
    /// When it was used last, for comparison.
    fn last_used(&self) -> Option<Instant>;
    /// Loads it unless it is loaded.
    fn load(&self) -> Result<()>;
    /// Loads it, runs it once for each size, and writes down what that took.
    fn measure(&self, gauge: &Gauge, sizes: &[usize]) -> Result<()>;
    /// Loads it and times it.
    fn time(&self, gauge: &Gauge, plan: &TimingPlan, tell: &mut dyn FnMut()) -> Result<NetworkTiming>;
    /// Forgets the weights, at once or as soon as the batch under way has ended.
    fn unload(&self);
    /// Forgets the weights if no batch uses them; tells how many bytes that freed.
    fn unload_if_idle(&self) -> Option<usize>;
    fn set_max_batch(&self, max_batch: usize);
}

/// The networks and their budgets.
pub(crate) struct Registry {
    networks: RwLock<Vec<Weak<dyn Managed>>>,
    budgets: Mutex<Budgets>,
    /// Held while room is made and taken, so that two networks cannot take the same room.
    room: Mutex<()>,
    max_batch: usize,
}

/// Batch sizes that are measured: a line needs two points.
const MEASURED: [usize; 2] = [1, 2];

impl Registry {
    pub fn new(budgets: Budgets, max_batch: usize) -> Arc<Self> {
        Arc::new(Self { networks: RwLock::default(), budgets: Mutex::new(budgets), room: Mutex::new(()), max_batch })
    }

    pub fn add(&self, network: &Arc<impl Managed + 'static>) {
        let network: Weak<dyn Managed> = Arc::downgrade(&(Arc::clone(network) as Arc<dyn Managed>));
        self.networks.write().unwrap_or_else(PoisonError::into_inner).push(network);
    }

    fn networks(&self) -> Vec<Arc<dyn Managed>> {
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        networks.iter().filter_map(Weak::upgrade).collect()
    }

    fn budgets_locked(&self) -> MutexGuard<'_, Budgets> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Arc<dyn Managed>> {
        let found = self.networks().into_iter().find(|n| n.name() == name);
        found.ok_or_else(|| EngineError::Unknown { name: name.to_owned() })
    }

    pub fn budgets(&self) -> Budgets {
        self.budgets_locked().clone()
    }

    pub fn reports(&self) -> Vec<NetworkReport> {
        self.networks().iter().map(|n| n.report()).collect()
    }

    pub fn load(&self, name: &str) -> Result<()> {
        self.find(name)?.load()
    }

    pub fn unload(&self, name: &str) -> Result<()> {
        let network = self.find(name)?;
        if network.pinned() {
            return Err(EngineError::Pinned { network: network.name() });
        }
        network.unload();
        Ok(())
    }

    /// Times a network whose weights are not in memory before and after.
    pub fn time(&self, name: &str, gauge: &Gauge, plan: &TimingPlan, tell: &mut dyn FnMut()) -> Result<NetworkTiming> {
        self.unload(name)?;
        let timing = self.find(name)?.time(gauge, plan, tell);
        self.unload(name)?;
        timing
    }

    pub fn pin(&self, name: &str, pinned: bool) -> Result<()> {
        let network = self.find(name)?;
        if pinned {
            network.load()?;
        }
        network.pin(pinned);
        Ok(())
    }

    /// The networks that answer for `service`.
    pub fn of(&self, service: Service) -> Vec<Arc<dyn Managed>> {
        self.networks().into_iter().filter(|network| network.services().contains(&service)).collect()
    }

    /// Loads and measures every network but those of services that are `left_out`, and cuts the batches to the budgets.
    pub fn warm_up(&self, gauge: &Gauge, left_out: &[Service]) -> Result<()> {
        for network in self.networks().into_iter().filter(|network| !left_out.contains(&network.service())) {
            network.measure(gauge, &MEASURED)?;
            // Told as early as possible: a budget that is too small for one network is for several.
            self.apply(&self.budgets())?;
        }
        Ok(())
    }

    /// Sets a service's budget; batches follow at once.
    pub fn set_budget(&self, service: Service, bytes: usize) -> Result<()> {
        let mut budgets = self.budgets();
        budgets.set(service, bytes);
        self.apply(&budgets)?;
        *self.budgets_locked() = budgets;
        Ok(())
    }

    /// Cuts the batches to what the budgets allow.
    fn apply(&self, budgets: &Budgets) -> Result<()> {
        let networks = self.networks();
        for service in Service::ALL {
            let own: Vec<_> = networks.iter().filter(|n| n.service() == *service).collect();
            let costs: Vec<Footprint> = own.iter().map(|n| n.footprint()).collect();
            let largest = budgets.largest_batch(*service, &costs, self.max_batch)?;
            own.iter().for_each(|n| n.set_max_batch(largest));
        }
        Ok(())
    }

    /// Runs `load` once all networks together have room for `needs` more bytes; the one that was used least recently goes
    /// first.
    pub fn with_room<T>(&self, network: &'static str, needs: usize, load: impl FnOnce() -> Result<T>) -> Result<T> {
        let _room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.budgets_locked().total();
        let mut others: Vec<_> = self.networks().into_iter().filter(|n| n.name() != network && n.loaded()).collect();
        let mut used: usize = others.iter().map(|n| n.footprint().least()).sum();
        others.retain(|n| !n.pinned());
        others.sort_by_key(|n| n.last_used());
        for other in others {
            if used.saturating_add(needs) <= limit {
                break;
            }
            if let Some(freed) = other.unload_if_idle() {
                tracing::info!(network = other.name(), freed, "unloaded to make room for {network}");
                used = used.saturating_sub(freed);
            }
        }
        if used.saturating_add(needs) > limit {
            return Err(EngineError::NoRoom { network, needs, used, limit });
        }
        load()
    }

    /// Unloads what was not used for `idle`.
    pub fn sweep(&self, idle: Duration) {
        for network in self.networks() {
            let unused = network.last_used().is_none_or(|used| used.elapsed() >= idle);
            if network.loaded() && unused && !network.pinned() && network.unload_if_idle().is_some() {
                tracing::info!(network = network.name(), "unloaded: nobody used it");
            }
        }
    }
}

//! What networks cost in memory, and what they may cost.

use std::collections::BTreeMap;

use candle::Device;
use facesocial_types::Service;

use crate::error::{EngineError, MB, Result};

/// Reads how much memory the process has allocated; whoever chose the allocator knows.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Bytes allocated now.
    pub allocated: fn() -> usize,
    /// Most bytes allocated at a time since the last reset.
    pub peak: fn() -> usize,
    /// Lets [`peak`](Self::peak) begin anew.
    pub reset_peak: fn(),
}

/// Reads how much memory the device has lent: the process' own for the processor, the card's for a card.
#[derive(Clone)]
pub(crate) enum Gauge {
    /// Nobody counts.
    Blind,
    /// The process.
    Process(Meter),
    /// The card.
    #[cfg(feature = "cuda")]
    Card(facesocial_cuda::DeviceMemory),
}

impl Gauge {
    /// The gauge of `device`; `process` reads the process.
    pub fn of(device: &Device, process: Option<Meter>) -> Self {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return match facesocial_cuda::DeviceMemory::of(device) {
                Ok(memory) => Self::Card(memory),
                Err(error) => {
                    tracing::warn!("the card's driver does not tell how much memory is used: {error}");
                    Self::Blind
                }
            };
        }
        match process {
            Some(meter) if device.is_cpu() => Self::Process(meter),
            _ => Self::Blind,
        }
    }

    /// Bytes allocated now.
    pub fn allocated(&self) -> Option<usize> {
        match self {
            Self::Blind => None,
            Self::Process(meter) => Some((meter.allocated)()),
            #[cfg(feature = "cuda")]
            Self::Card(memory) => told(memory.allocated()),
        }
    }

    /// Most bytes allocated at a time since the last reset.
    pub fn peak(&self) -> Option<usize> {
        match self {
            Self::Blind => None,
            Self::Process(meter) => Some((meter.peak)()),
            #[cfg(feature = "cuda")]
            Self::Card(memory) => told(memory.peak()),
        }
    }

    /// Lets [`peak`](Self::peak) begin anew.
    pub fn reset_peak(&self) {
        match self {
            Self::Blind => {}
            Self::Process(meter) => (meter.reset_peak)(),
            #[cfg(feature = "cuda")]
            Self::Card(memory) => {
                told(memory.reset_peak().map(|()| 0));
            }
        }
    }

    /// Gives back to a card what nobody holds; the processor's allocator does so by itself.
    pub fn trim(&self) {
        #[cfg(feature = "cuda")]
        if let Self::Card(memory) = self {
            told(memory.trim().map(|()| 0));
        }
    }

    /// Runs `f` and tells how many bytes more are allocated afterwards.
    pub fn kept<R>(&self, f: impl FnOnce() -> R) -> (R, usize) {
        let before = self.allocated();
        let done = f();
        let kept = self.allocated().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        (done, kept)
    }
}

/// A card that fails to tell will fail its next batch, too, where the failure has a place to go.
#[cfg(feature = "cuda")]
fn told(bytes: candle::Result<u64>) -> Option<usize> {
    bytes.ok().and_then(|bytes| usize::try_from(bytes).ok())
}

/// Bytes that one network needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights, as they lie in memory.
    pub weights: usize,
    /// Memory that a batch needs beside them, by its size; measured when the network was first loaded. Empty: not measured.
    pub batches: Vec<(usize, usize)>,
}

impl Footprint {
    /// Bytes that a batch of `items` needs beside the weights: the line through what was measured.
    pub fn batch(&self, items: usize) -> usize {
        let (fixed, each) = self.line();
        fixed + each * items
    }

    /// Bytes with a batch of one item.
    pub fn least(&self) -> usize {
        self.weights + self.batch(1)
    }

    /// (bytes of a batch whatever its size, bytes of each item)
    fn line(&self) -> (usize, usize) {
        match self.batches[..] {
            [] => (0, 0),
            [(items, bytes)] => (0, bytes.div_ceil(items.max(1))),
            [(few, less), .., (many, more)] => {
                let each = more.saturating_sub(less).div_ceil(many.saturating_sub(few).max(1));
                (less.saturating_sub(each * few), each)
            }
        }
    }
}

/// What the networks of each service may hold, and all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    services: BTreeMap<Service, usize>,
    total: Option<usize>,
}

impl Default for Budgets {
    /// The original system's table, 6084 MB in all.
    fn default() -> Self {
        let table = [
            (Service::Mediapipe, 400),
            (Service::Yolo, 800),
            (Service::Mtcnn, 600),
            (Service::Recognition, 1536),
            (Service::Antispoof, 300),
            (Service::GenderAge, 400),
            (Service::Deepfake, 2048),
        ];
        Self { services: table.into_iter().map(|(service, mb)| (service, mb * MB)).collect(), total: None }
    }
}

impl Budgets {
    /// Bytes that the networks of `service` may hold.
    pub fn of(&self, service: Service) -> usize {
        self.services.get(&service).copied().unwrap_or_default()
    }

    /// Bytes that all networks together may hold; the sum over the services unless set.
    pub fn total(&self) -> usize {
        self.total.unwrap_or_else(|| self.services.values().sum())
    }

    /// Sets what a service may hold.
    pub fn set(&mut self, service: Service, bytes: usize) {
        self.services.insert(service, bytes);
    }

    /// Sets what all together may hold.
    pub const fn set_total(&mut self, bytes: usize) {
        self.total = Some(bytes);
    }

    /// How many items a batch of any of a service's networks may have: all of them run at the same time at worst.
    ///
    /// # Errors
    /// [`EngineError::Budget`] if that is less than one.
    pub fn largest_batch(&self, service: Service, networks: &[Footprint], most: usize) -> Result<usize> {
        let limit = self.of(service);
        let needs = |items: usize| networks.iter().map(|n| n.weights + n.batch(items)).sum::<usize>();
        if needs(1) > limit {
            return Err(EngineError::Budget { service, needs: needs(1), limit });
        }
        // Needs rise with the items, so the largest that fits is found by halving.
        let (mut fits, mut over) = (1, most.max(1) + 1);
        while fits + 1 < over {
            let middle = fits.midpoint(over);
            if needs(middle) <= limit { fits = middle } else { over = middle }
        }
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(weights: usize, batches: &[(usize, usize)]) -> Footprint {
        Footprint { weights, batches: batches.to_vec() }
    }

    #[test]
    fn the_table_is_the_originals() {
        assert_eq!(Budgets::default().total(), 6084 * MB);
    }

    #[test]
    fn a_batch_costs_what_the_line_says() {
        let measured = network(100, &[(1, 30), (2, 50)]);
        assert_eq!((measured.batch(1), measured.batch(2), measured.batch(10)), (30, 50, 210));
        assert_eq!(network(0, &[(1, 30)]).batch(4), 120);
        assert_eq!(network(7, &[]).least(), 7);
        // A peak that noise made smaller for two than for one is no reason to think that items cost nothing less.
        assert_eq!(network(0, &[(1, 30), (2, 20)]).batch(5), 30);
    }

    #[test]
    fn batches_are_cut_to_fit_and_one_item_is_the_least() {
        let mut budgets = Budgets::default();
        let networks = [network(100, &[(1, 10), (2, 20)]), network(50, &[(1, 30), (2, 60)])];
        let largest = |budgets: &Budgets, most| budgets.largest_batch(Service::Recognition, &networks, most);
        budgets.set(Service::Recognition, 350);
        assert_eq!(largest(&budgets, 16).unwrap(), 5);
        assert_eq!(largest(&budgets, 3).unwrap(), 3);
        budgets.set(Service::Recognition, 190);
        assert_eq!(largest(&budgets, 16).unwrap(), 1);
        budgets.set(Service::Recognition, 189);
        assert!(matches!(
            largest(&budgets, 16),
            Err(EngineError::Budget { service: Service::Recognition, needs: 190, limit: 189 })
        ));
    }

    #[test]
    fn fifty_megabytes_are_too_few_for_a_hundred() {
        let mut budgets = Budgets::default();
        budgets.set(Service::Deepfake, 50 * MB);
        let error = budgets.largest_batch(Service::Deepfake, &[network(100 * MB, &[(1, MB)])], 16).unwrap_err();
        assert_eq!(
            error.to_string(),
            "deepfake needs 101 MB for one face, but its memory budget is 50 MB; raise it with --memory deepfake=101"
        );
    }
}

//! A network that runs for the second time allocates nothing, and takes what was computed beforehand.

#![expect(unsafe_code, reason = "the interface of an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use facesocial_kernels::{
    Activation, Conv2d, ConvSpec, LayerNorm, Map, Padding, Pool, PoolSpec, add, attention, image, max_pool, mean,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A layer of each kind, a shortcut, poolings and attention.
struct Network {
    stem: Conv2d,
    depthwise: Conv2d,
    expand: Conv2d,
    minimal: Conv2d,
    norm: LayerNorm,
    key_value: Conv2d,
}

impl Network {
    fn new() -> Self {
        let conv = |spec: ConvSpec| {
            let weights = vec![0.01; spec.c_out * spec.c_in / spec.groups * spec.kernel.0 * spec.kernel.1];
            Conv2d::new(spec, &weights, None).unwrap().activation(Activation::Silu).unwrap()
        };
        let padding = Padding::all(1);
        Self {
            stem: conv(ConvSpec { padding, stride: 2, ..ConvSpec::new(3, 24, 3) }),
            depthwise: conv(ConvSpec { padding, groups: 24, ..ConvSpec::new(24, 24, 3) }),
            expand: conv(ConvSpec::new(24, 40, 1)),
            minimal: conv(ConvSpec { padding, ..ConvSpec::new(40, 40, 3) }),
            norm: LayerNorm::new(vec![1.0; 40], vec![0.0; 40], 1e-5).unwrap(),
            key_value: conv(ConvSpec::new(40, 80, 1)),
        }
    }

    fn forward(&self, xs: &Map) -> Map {
        let ys = self.expand.forward(&self.depthwise.forward(&self.stem.forward(xs).unwrap()).unwrap()).unwrap();
        let ys = self.minimal.forward_add(&ys, &ys).unwrap();
        let pooled = max_pool(&ys, PoolSpec::new(2, 2)).unwrap();
        let tokens = self.norm.forward(&pooled).unwrap();
        let mixed = attention(&tokens, &self.key_value.forward(&tokens).unwrap(), 4).unwrap();
        mean(&image(&add(&pooled, &mixed, true).unwrap(), 1).unwrap()).unwrap()
    }
}

#[test]
fn the_second_run_allocates_nothing() {
    let network = Network::new();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        let pool = Pool::default();
        let run = || {
            let xs = Map::zeros(&pool, [2, 32, 32, 3]);
            network.forward(&xs).values()[0]
        };
        let first = run();
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        assert_eq!(run().to_bits(), first.to_bits());
        assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0);

        let dry = Pool::dry();
        drop(network.forward(&Map::zeros(&dry, [2, 32, 32, 3])));
        assert_eq!(dry.peak_bytes(), pool.peak_bytes());
    });
}

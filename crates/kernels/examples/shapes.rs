//! Times the layers of the networks: these kernels against stock candle.
//!
//! ```text
//! cargo run --release -p facesocial-kernels --example shapes [-- PART OF A NAME]
//! cargo run --release -p facesocial-kernels --example shapes -- --turns [PART OF A NAME]  # each set of instructions by turns
//! cargo run --release -p facesocial-kernels --example shapes -- --list > shapes.tsv
//! python crates/kernels/benches/ort_shapes.py shapes.tsv
//! ```
//!
//! Milliseconds are the best of several runs of the wall clock. GFLOP/s are of one thread's own time on the processor, which
//! a busy machine lengthens less; they count the products of a plain convolution, so minimal filtering may exceed what the
//! processor can do.

#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::time::{Duration, Instant};

use candle::{Device, Tensor};
use facesocial_kernels::{Activation, Conv2d, ConvSpec, Instructions, Map, Padding, Pool};
use rayon::ThreadPool;

/// A layer: of which network, channels, kernel, stride, groups, side of the input.
struct Layer {
    name: &'static str,
    c: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    groups: usize,
    side: usize,
}

const fn layer(
    name: &'static str,
    c: (usize, usize),
    kernel: usize,
    stride: usize,
    groups: usize,
    side: usize,
) -> Layer {
    Layer { name, c, kernel: (kernel, kernel), stride, groups, side }
}

const LAYERS: [Layer; 40] = [
    layer("iresnet stem", (3, 64), 3, 1, 1, 112),
    layer("iresnet layer1", (64, 64), 3, 1, 1, 56),
    layer("iresnet layer1 down", (64, 64), 3, 2, 1, 112),
    layer("iresnet layer2", (128, 128), 3, 1, 1, 28),
    layer("iresnet layer3", (256, 256), 3, 1, 1, 14),
    layer("iresnet layer4", (512, 512), 3, 1, 1, 7),
    layer("iresnet fc", (25_088, 512), 1, 1, 1, 1),
    layer("mobilefacenet stem", (3, 64), 3, 2, 1, 112),
    layer("mobilefacenet dw", (128, 128), 3, 1, 128, 28),
    layer("mobilefacenet dw down", (128, 128), 3, 2, 128, 56),
    layer("mobilefacenet expand", (64, 128), 1, 1, 1, 28),
    layer("mobilefacenet project", (256, 128), 1, 1, 1, 14),
    layer("mobilefacenet last", (128, 512), 1, 1, 1, 7),
    layer("mobilefacenet global", (512, 512), 7, 1, 512, 7),
    layer("faceres dw", (32, 32), 3, 1, 32, 112),
    layer("faceres pw", (32, 64), 1, 1, 1, 112),
    layer("faceres pw 14", (512, 512), 1, 1, 1, 14),
    layer("faceres pw 7", (1024, 1024), 1, 1, 1, 7),
    layer("mn3 dw5", (120, 120), 5, 1, 120, 16),
    layer("mn3 pw", (80, 184), 1, 1, 1, 8),
    layer("minifasnet pw", (64, 13), 1, 1, 1, 20),
    layer("minifasnet dw", (103, 103), 3, 2, 103, 40),
    layer("inception 2b", (32, 64), 3, 1, 1, 77),
    layer("inception 4a", (80, 192), 3, 1, 1, 38),
    layer("inception block35", (256, 32), 1, 1, 1, 17),
    layer("inception block17", (896, 128), 1, 1, 1, 8),
    layer("inception block8", (1792, 192), 1, 1, 1, 3),
    layer("yolo stem", (3, 16), 3, 2, 1, 640),
    layer("yolo stage4", (16, 16), 3, 1, 1, 160),
    layer("yolo stage8", (32, 32), 3, 1, 1, 80),
    layer("yolo head 80", (64, 64), 3, 1, 1, 80),
    layer("yolo cib dw7", (256, 256), 7, 1, 256, 20),
    layer("blazeface stem", (3, 24), 5, 2, 1, 128),
    layer("blazeface pw", (24, 28), 1, 1, 1, 64),
    layer("pnet conv1", (3, 10), 3, 1, 1, 400),
    layer("rnet conv2", (28, 48), 3, 1, 1, 11),
    layer("onet conv3", (64, 64), 3, 1, 1, 10),
    layer("dlib stem", (3, 32), 7, 2, 1, 150),
    layer("dlib 256", (256, 256), 3, 1, 1, 4),
    layer("antispoofing cru", (32, 32), 3, 1, 1, 128),
];

impl Layer {
    fn padding(&self) -> usize {
        if self.side > self.kernel.0 { self.kernel.0 / 2 } else { 0 }
    }

    fn spec(&self) -> ConvSpec {
        ConvSpec {
            stride: self.stride,
            groups: self.groups,
            padding: Padding::all(self.padding()),
            ..ConvSpec::new(self.c.0, self.c.1, self.kernel.0)
        }
    }

    fn weights(&self) -> usize {
        self.c.1 * self.c.0 / self.groups * self.kernel.0 * self.kernel.1
    }

    /// Floating point operations for a batch.
    fn flops(&self, n: usize) -> f64 {
        let out = (self.side + 2 * self.padding() - self.kernel.0) / self.stride + 1;
        2.0 * (n * out * out * self.weights()) as f64
    }
}

fn random(len: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(len as u64);
    (0..len).map(|_| rng.f32() - 0.5).collect()
}

/// This thread's time on the processor; `None` where the system does not tell.
fn processor_time() -> Option<Duration> {
    // The count is brought up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Shortest run by the wall clock, and by the processor's, of some thread's work of about 20 ms.
fn time(pool: &ThreadPool, mut f: impl FnMut() + Send) -> (f64, f64) {
    pool.install(|| {
        f();
        let start = Instant::now();
        f();
        let runs = (0.004 / start.elapsed().as_secs_f64().max(1e-7)).clamp(1.0, 1000.0) as u32;
        let (mut wall, mut own) = (f64::MAX, f64::MAX);
        for _ in 0..6 {
            let before = processor_time();
            for _ in 0..runs {
                let start = Instant::now();
                f();
                wall = wall.min(start.elapsed().as_secs_f64());
            }
            if let (Some(before), Some(after)) = (before, processor_time()) {
                own = own.min((after - before).as_secs_f64() / f64::from(runs));
            }
        }
        (wall, own)
    })
}

/// Each layer on one thread by every set of instructions but the plainest, by turns: what else runs slows all of them down.
fn turns(wanted: &str) -> Result<(), Box<dyn std::error::Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let sets: Vec<_> =
        Instructions::ALL.into_iter().filter(|one| one.supported() && *one != Instructions::Portable).collect();
    let names: Vec<_> = sets.iter().map(|set| format!("{:>8}", set.name())).collect();
    println!("medians in microseconds\n{:<22} {}", "layer", names.join(" "));
    for l in LAYERS.iter().filter(|l| l.name.contains(wanted)) {
        let weight = random(l.weights());
        let map = Map::from_nchw(&Pool::default(), &random(l.c.0 * l.side * l.side), [1, l.c.0, l.side, l.side])?;
        let convs = sets
            .iter()
            .map(|set| Conv2d::with_instructions(*set, l.spec(), &weight, None)?.activation(Activation::Relu));
        let convs = convs.collect::<Result<Vec<_>, _>>()?;
        let mut times = vec![Vec::new(); sets.len()];
        for _ in 0..40 {
            for (conv, times) in convs.iter().zip(&mut times) {
                pool.install(|| {
                    drop(conv.forward(&map));
                    let start = Instant::now();
                    drop(conv.forward(&map));
                    times.push(start.elapsed());
                });
            }
        }
        let medians = times.iter_mut().map(|times| {
            times.sort();
            format!("{:>8.1}", times[times.len() / 2].as_secs_f64() * 1e6)
        });
        println!("{:<22} {}", l.name, medians.collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "--list" {
        for l in &LAYERS {
            println!("{}\t{}\t{}\t{}\t{}\t{}\t{}", l.name, l.c.0, l.c.1, l.kernel.0, l.stride, l.groups, l.side);
        }
        return Ok(());
    }
    if wanted == "--turns" {
        return turns(&std::env::args().nth(2).unwrap_or_default());
    }
    let pools: Vec<ThreadPool> =
        (1..=2).map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build()).collect::<Result<_, _>>()?;
    println!("kernels: {}", Instructions::chosen()?.name());
    println!(
        "{:<22} {:>2} {:>8} {:>8} {:>8} {:>9} {:>9} {:>7}",
        "layer", "n", "GFLOP/s", "1 ms", "2 ms", "candle 1", "candle 2", "ratio 1"
    );
    for l in LAYERS.iter().filter(|l| l.name.contains(&wanted)) {
        let spec = l.spec();
        let weight = random(l.weights());
        let conv = Conv2d::new(spec, &weight, None)?.activation(Activation::Relu)?;
        let shape = (l.c.1, l.c.0 / l.groups, l.kernel.0, l.kernel.1);
        let stock = Tensor::from_vec(weight, shape, &Device::Cpu)?;
        for n in [1, 8] {
            let values = random(n * l.c.0 * l.side * l.side);
            let map = Map::from_nchw(&Pool::default(), &values, [n, l.c.0, l.side, l.side])?;
            let xs = Tensor::from_vec(values, (n, l.c.0, l.side, l.side), &Device::Cpu)?;
            let ours: Vec<_> = pools.iter().map(|pool| time(pool, || drop(conv.forward(&map)))).collect();
            // Stock candle loops over groups, so a batch of depthwise takes seconds.
            let theirs: Vec<_> = pools
                .iter()
                .map(|pool| {
                    let run = || drop(xs.conv2d(&stock, l.padding(), l.stride, 1, l.groups).and_then(|ys| ys.relu()));
                    if n == 1 { time(pool, run).0 } else { f64::NAN }
                })
                .collect();
            println!(
                "{:<22} {n:>2} {:>8.1} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {:>7.1}",
                l.name,
                l.flops(n) / ours[0].1 / 1e9,
                ours[0].0 * 1e3,
                ours[1].0 * 1e3,
                theirs[0] * 1e3,
                theirs[1] * 1e3,
                theirs[0] / ours[0].0,
            );
        }
    }
    Ok(())
}

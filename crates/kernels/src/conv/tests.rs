//! Every way to compute a convolution against its definition.

use fastrand::Rng;

use super::*;

fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.f32() - 0.5).collect()
}

/// What may follow a convolution, and its inputs.
struct Case {
    spec: ConvSpec,
    n: usize,
    h: usize,
    w: usize,
    bias: bool,
    activation: Activation,
    shortcut: bool,
    then: Activation,
    fill: bool,
}

fn rectify(activation: Activation, x: f64, slope: f64) -> f64 {
    let hard_sigmoid = (x / 6.0 + 0.5).clamp(0.0, 1.0);
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::PRelu => x.max(0.0) + slope * x.min(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        // The error function by its series; the arguments here are small.
        Activation::Gelu => {
            let z = x * std::f64::consts::FRAC_1_SQRT_2;
            let (mut term, mut sum) = (z, z);
            for k in 1..60 {
                term *= -z * z / f64::from(k);
                sum += term / f64::from(2 * k + 1);
            }
            x * 0.5 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
        }
        Activation::HardSwish => x * hard_sigmoid,
        Activation::HardSigmoid => hard_sigmoid,
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// How much a product on tiles, of sixteen bits of each factor, may differ beside one in single precision.
const TILES: f64 = 8.0;

/// Runs a case with every set of instructions and gives the largest difference from the definition; that of tiles counts
/// for less.
fn worst(case: &Case, rng: &mut Rng) -> f64 {
    let ConvSpec { c_in, c_out, kernel: (kh, kw), stride, padding, groups, .. } = case.spec;
    let Case { n, h, w, .. } = *case;
    let inside = c_in / groups;
    let weight = random(rng, c_out * inside * kh * kw);
    let (bias, slopes, fill) = (random(rng, c_out), random(rng, c_out), random(rng, c_in));
    let xs = random(rng, n * h * w * c_in);
    let pad = padding.resolve((h, w), (kh, kw), stride);
    let (oh, ow) = ((h + pad[0] + pad[1] - kh) / stride + 1, (w + pad[2] + pad[3] - kw) / stride + 1);
    let added = random(rng, n * oh * ow * c_out);
    let pool = Pool::default();
    let map = Map::from_nhwc(&pool, &xs, [n, h, w, c_in]).unwrap();
    let shortcut = Map::from_nhwc(&pool, &added, [n, oh, ow, c_out]).unwrap();

    let value = |i: usize, y: usize, x: usize, c: usize| {
        let (y, x) = (y.checked_sub(pad[0]).filter(|y| *y < h), x.checked_sub(pad[2]).filter(|x| *x < w));
        match (y, x) {
            (Some(y), Some(x)) => xs[((i * h + y) * w + x) * c_in + c],
            _ if case.fill => fill[c],
            _ => 0.0,
        }
    };
    let mut want = Vec::with_capacity(added.len());
    for (index, added) in added.iter().enumerate() {
        let (pixel, o) = (index / c_out, index % c_out);
        let (i, y, x) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
        let mut sum = if case.bias { f64::from(bias[o]) } else { 0.0 };
        for k in 0..inside {
            for tap in 0..kh * kw {
                let c = o / (c_out / groups) * inside + k;
                let v = value(i, y * stride + tap / kw, x * stride + tap % kw, c);
                sum += f64::from(v) * f64::from(weight[(o * inside + k) * kh * kw + tap]);
            }
        }
        let mut v = rectify(case.activation, sum, slopes[o].into());
        if case.shortcut {
            v = rectify(case.then, v + f64::from(*added), slopes[o].into());
        }
        want.push(v);
    }

    let mut worst = 0.0_f64;
    for instructions in Instructions::ALL.into_iter().filter(|one| one.supported()) {
        let conv = Conv2d::with_instructions(instructions, case.spec, &weight, case.bias.then_some(&bias[..])).unwrap();
        let conv = conv.prelu(&slopes).unwrap().activation(case.activation).unwrap();
        let conv = conv.then(case.then, &slopes).unwrap();
        let conv = if case.fill { conv.pad_with(&fill).unwrap() } else { conv };
        let run = || if case.shortcut { conv.forward_add(&map, &shortcut) } else { conv.forward(&map) };
        for threads in [1, 2] {
            let rayon = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = rayon.install(run).unwrap();
            assert_eq!(got.shape(), [n, oh, ow, c_out]);
            let share = if instructions == Instructions::Amx { 1.0 / TILES } else { 1.0 };
            for (got, want) in got.values().iter().zip(&want) {
                worst = worst.max((f64::from(*got) - want).abs() * share);
            }
        }
    }
    worst
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

const FIRST: [Activation; 9] = Activation::ALL;

fn random_case(rng: &mut Rng, spec: ConvSpec, depthwise: bool) -> Case {
    Case {
        n: rng.usize(1..3),
        h: rng.usize(spec.kernel.0..14),
        w: rng.usize(spec.kernel.1..14),
        bias: rng.bool(),
        activation: pick(rng, &FIRST),
        shortcut: rng.bool(),
        then: pick(rng, &[Activation::None, Activation::Relu, Activation::PRelu]),
        fill: !depthwise && rng.u8(..4) == 0,
        spec,
    }
}

fn random_padding(rng: &mut Rng) -> Padding {
    let side = |rng: &mut Rng| rng.usize(..3);
    match rng.u8(..4) {
        0 => Padding::all(0),
        1 => Padding::all(1),
        2 => Padding::Same,
        _ => Padding::Fixed { top: side(rng), bottom: side(rng), left: side(rng), right: side(rng) },
    }
}

#[test]
fn dense_and_grouped_convolutions_are_those_of_the_definition() {
    let mut rng = Rng::with_seed(1);
    for round in 0..120 {
        let groups = if round % 5 == 0 { pick(&mut rng, &[2, 3]) } else { 1 };
        let spec = ConvSpec {
            c_in: groups * rng.usize(1..20),
            c_out: groups * rng.usize(1..40),
            kernel: (pick(&mut rng, &[1, 1, 2, 3, 5]), pick(&mut rng, &[1, 1, 2, 3, 7])),
            stride: rng.usize(1..4),
            padding: random_padding(&mut rng),
            groups,
            minimal: Minimal::Off,
        };
        let case = random_case(&mut rng, spec, false);
        let worst = worst(&case, &mut rng);
        assert!(worst < 2e-5, "{worst} of {spec:?}, {} x {} x {}", case.n, case.h, case.w);
    }
}

#[test]
fn depthwise_convolutions_are_those_of_the_definition() {
    let mut rng = Rng::with_seed(2);
    for _ in 0..80 {
        let c = rng.usize(2..50);
        let side = pick(&mut rng, &[1, 2, 3, 5, 7]);
        let spec = ConvSpec {
            kernel: (side, pick(&mut rng, &[side, 3])),
            stride: rng.usize(1..4),
            padding: random_padding(&mut rng),
            groups: c,
            ..ConvSpec::new(c, c, side)
        };
        let case = random_case(&mut rng, spec, true);
        let worst = worst(&case, &mut rng);
        assert!(worst < 1e-5, "{worst} of {spec:?}, {} x {} x {}", case.n, case.h, case.w);
    }
}

#[test]
fn minimal_filtering_is_the_definition_but_for_rounding() {
    let mut rng = Rng::with_seed(3);
    for (minimal, tolerance) in [(Minimal::Tiles4, 2e-5), (Minimal::Tiles6, 2e-4)] {
        for _ in 0..40 {
            let (c_in, c_out) = (rng.usize(1..40), rng.usize(1..70));
            let spec = ConvSpec { padding: random_padding(&mut rng), minimal, ..ConvSpec::new(c_in, c_out, 3) };
            let case = random_case(&mut rng, spec, false);
            let worst = worst(&case, &mut rng);
            assert!(worst < tolerance, "{worst} of {spec:?}, {} x {} x {}", case.n, case.h, case.w);
        }
    }
}

#[test]
fn a_separable_convolution_is_its_two_parts() {
    let mut rng = Rng::with_seed(6);
    for round in 0..40 {
        let (c, c_out, side) = (rng.usize(2..70), rng.usize(1..90), rng.usize(3..40));
        let kernel = pick(&mut rng, &[3, 5]);
        let first = ConvSpec {
            groups: c,
            stride: rng.usize(1..3),
            padding: pick(&mut rng, &[Padding::Same, Padding::all(2)]),
            ..ConvSpec::new(c, c, kernel)
        };
        let (weights, others) = (random(&mut rng, c * kernel * kernel), random(&mut rng, c * c_out));
        for instructions in Instructions::ALL.into_iter().filter(|one| one.supported()) {
            let depthwise = Conv2d::with_instructions(instructions, first, &weights, None).unwrap();
            let depthwise = depthwise.activation(Activation::Relu6).unwrap();
            let second = ConvSpec::new(c, c_out, 1);
            let pointwise = Conv2d::with_instructions(instructions, second, &others, None).unwrap();
            let pointwise = pointwise.then(Activation::Relu, &[]).unwrap();
            let n = rng.usize(1..3);
            let xs = random(&mut rng, n * side * side * c);
            let xs = Map::from_nhwc(&Pool::default(), &xs, [n, side, side, c]).unwrap();
            let between = depthwise.forward(&xs).unwrap();
            let plain = pointwise.forward(&between).unwrap();
            let sum = pointwise.forward_add(&between, &plain).unwrap();
            let want = if round % 2 == 0 { &sum } else { &plain };
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let shortcut = (round % 2 == 0).then_some(&plain);
                let got = pool.install(|| separable(&depthwise, &pointwise, &xs, shortcut)).unwrap();
                assert_eq!(got.shape(), want.shape());
                for (a, b) in got.values().iter().zip(want.values()) {
                    assert!((a - b).abs() < 1e-5, "{a} {b} of {first:?} to {c_out}, {n} x {side}");
                }
            }
        }
    }
    let pool = Pool::default();
    let conv = Conv2d::new(ConvSpec::new(3, 4, 3), &[0.1; 108], None).unwrap();
    let next = Conv2d::new(ConvSpec::new(4, 2, 1), &[0.1; 8], None).unwrap();
    let xs = Map::zeros(&pool, [1, 5, 5, 3]);
    assert_eq!(separable(&conv, &next, &xs, None).unwrap().shape(), [1, 3, 3, 2], "not depthwise, and not refused");
    assert!(separable(&next, &conv, &xs, None).is_err());
}

#[test]
fn work_that_is_shared_gives_what_one_thread_gives() {
    let mut rng = Rng::with_seed(4);
    // Enough for several parts: of rows, of columns, of rows of tiles.
    for (c_in, c_out, kernel, side, minimal) in [
        (64, 130, 1, 40, Minimal::Off),
        (96, 257, 3, 4, Minimal::Off),
        (600, 900, 1, 2, Minimal::Off),
        (40, 70, 3, 29, Minimal::Tiles4),
        (150, 300, 3, 5, Minimal::Tiles6),
    ] {
        let spec = ConvSpec { padding: Padding::Same, minimal, ..ConvSpec::new(c_in, c_out, kernel) };
        let conv = Conv2d::new(spec, &random(&mut rng, c_out * c_in * kernel * kernel), None).unwrap();
        let xs = random(&mut rng, 2 * side * side * c_in);
        let xs = Map::from_nhwc(&Pool::default(), &xs, [2, side, side, c_in]).unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| conv.forward(&xs)).unwrap()
        };
        let (one, three) = (on(1), on(3));
        for (a, b) in one.values().iter().zip(three.values()) {
            assert!((a - b).abs() < 1e-4, "{a} {b} of {spec:?}");
        }
    }
}

#[test]
fn a_broken_value_is_not_rectified_away() {
    let pool = Pool::default();
    for activation in FIRST {
        for minimal in [Minimal::Off, Minimal::Tiles4] {
            let spec = ConvSpec { minimal, ..ConvSpec::new(1, 9, 3) };
            let conv = Conv2d::new(spec, &[1.0; 81], None).unwrap().prelu(&[0.5; 9]).unwrap();
            let conv = conv.activation(activation).unwrap();
            let xs = Map::from_nhwc(&pool, &[f32::NAN; 9], [1, 3, 3, 1]).unwrap();
            assert!(conv.forward(&xs).unwrap().values().iter().all(|v| v.is_nan()), "{activation:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let spec = ConvSpec::new(3, 4, 3);
    assert!(Conv2d::new(spec, &[0.0; 107], None).is_err());
    assert!(Conv2d::new(spec, &[0.0; 108], Some(&[0.0; 3])).is_err());
    assert!(Conv2d::new(ConvSpec { groups: 2, ..spec }, &[0.0; 54], None).is_err());
    assert!(Conv2d::new(ConvSpec { stride: 0, ..spec }, &[0.0; 108], None).is_err());
    let conv = Conv2d::new(spec, &[0.0; 108], None).unwrap();
    assert!(conv.clone().activation(Activation::PRelu).is_err());
    assert!(conv.clone().prelu(&[0.0; 3]).is_err());
    assert!(conv.clone().then(Activation::Silu, &[]).is_err());
    assert!(conv.clone().pad_with(&[0.0; 4]).is_err());
    let pool = Pool::default();
    assert!(conv.forward(&Map::zeros(&pool, [1, 2, 3, 3])).is_err());
    assert!(conv.forward(&Map::zeros(&pool, [1, 3, 3, 4])).is_err());
    let xs = Map::zeros(&pool, [1, 3, 3, 3]);
    assert!(conv.forward_add(&xs, &Map::zeros(&pool, [1, 1, 2, 4])).is_err());
    assert_eq!(conv.forward(&Map::zeros(&pool, [0, 3, 3, 3])).unwrap().shape(), [0, 1, 1, 4]);
}

#[test]
fn shapes_alone_need_no_memory() {
    let pool = Pool::dry();
    let conv = Conv2d::new(ConvSpec { padding: Padding::all(1), ..ConvSpec::new(3, 8, 3) }, &[0.0; 216], None).unwrap();
    let ys = conv.forward(&Map::zeros(&pool, [8, 1000, 1000, 3])).unwrap();
    assert_eq!(ys.shape(), [8, 1000, 1000, 8]);
    assert!(pool.peak_bytes() >= 4 * 8_000_000 * 11);
}

#[test]
fn long_sums_are_those_of_the_definition() {
    let mut rng = Rng::with_seed(5);
    for (c_in, kernel) in [(900, 1), (130, 3), (400, 3), (60, 7)] {
        let spec = ConvSpec { padding: Padding::Same, minimal: Minimal::Off, ..ConvSpec::new(c_in, 21, kernel) };
        let case = Case { n: 1, h: 8, w: 9, activation: Activation::PRelu, ..random_case(&mut rng, spec, false) };
        let worst = worst(&case, &mut rng);
        assert!(worst < 1e-4, "{worst} of {spec:?}");
    }
}

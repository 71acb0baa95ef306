//! Every kernel for a card against candle's operations on the processor; where there is no card, the test says so.
#![cfg(feature = "cuda")]

mod card;

use candle::{DType, Device, Result, Tensor};
use card::card;
use facesocial_cuda::{Epilogue, Geometry, Normalization, conv2d, normalize};
use facesocial_kernels::Activation;

const ACTIVATIONS: [Activation; 9] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::PRelu,
    Activation::Silu,
    Activation::Gelu,
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::Sigmoid,
];

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn per_channel(xs: &Tensor) -> Tensor {
    xs.reshape((1, (), 1, 1)).unwrap()
}

/// The twin, of candle's operations.
fn rectified(xs: &Tensor, activation: Activation, slopes: &Tensor) -> Result<Tensor> {
    let hard = |xs: &Tensor| xs.affine(1.0 / 6.0, 0.5)?.clamp(0f32, 1f32);
    let sigmoid = |xs: &Tensor| (xs.neg()?.exp()? + 1.0)?.recip();
    match activation {
        Activation::None => Ok(xs.clone()),
        Activation::Relu => xs.relu(),
        Activation::Relu6 => xs.clamp(0f32, 6f32),
        Activation::PRelu => xs.relu()? - xs.neg()?.relu()?.broadcast_mul(&per_channel(slopes))?,
        Activation::Silu => xs * sigmoid(xs)?,
        Activation::Gelu => xs.gelu_erf(),
        Activation::HardSwish => xs * hard(xs)?,
        Activation::HardSigmoid => hard(xs),
        Activation::Sigmoid => sigmoid(xs),
    }
}

/// The greatest difference, relative to the values' size where that is above one.
fn difference(got: &Tensor, want: &Tensor) -> f32 {
    assert_eq!(got.dims(), want.dims());
    let values = |xs: &Tensor| xs.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pairs = values(got).into_iter().zip(values(want));
    pairs
        .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
        .fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

struct Case {
    shape: [usize; 4],
    c_out: usize,
    kernel: (usize, usize),
    geometry: Geometry,
}

/// Odd and even extents, strides, paddings that differ by side, one pixel, whole images, and a batch cut in parts.
fn cases() -> Vec<Case> {
    let geometry =
        |stride, [top, bottom, left, right]: [usize; 4], groups| Geometry { stride, top, bottom, left, right, groups };
    let case = |shape, c_out, kernel, geometry| Case { shape, c_out, kernel, geometry };
    vec![
        case([2, 3, 9, 7], 5, (3, 3), geometry(1, [1; 4], 1)),
        case([1, 3, 32, 32], 16, (5, 5), geometry(2, [1, 2, 1, 2], 1)),
        case([3, 8, 6, 6], 4, (1, 1), geometry(1, [0; 4], 1)),
        case([2, 8, 7, 5], 4, (1, 1), geometry(2, [0; 4], 1)),
        case([2, 4, 5, 6], 6, (5, 6), geometry(1, [0; 4], 1)),
        case([5, 16, 130, 129], 8, (3, 3), geometry(1, [1; 4], 1)),
        case([2, 6, 9, 8], 6, (3, 3), geometry(1, [1; 4], 6)),
        case([3, 5, 11, 4], 5, (3, 3), geometry(2, [0, 1, 0, 1], 5)),
        case([2, 7, 7, 7], 7, (7, 7), geometry(1, [0; 4], 7)),
        case([1, 4, 1, 1], 4, (1, 1), geometry(1, [0; 4], 4)),
        case([2, 1, 8, 8], 3, (3, 3), geometry(1, [1; 4], 1)),
    ]
}

/// Largest differences seen by type; sums of products of up to some hundred numbers of size one.
const TYPES: [(DType, f32); 3] = [(DType::F32, 2e-4), (DType::F16, 4e-2), (DType::BF16, 3e-1)];

#[test]
fn convolutions_with_what_follows_them_are_candles() {
    let Some(card) = card("convolutions on a graphics card") else { return };
    for Case { shape, c_out, kernel, geometry } in cases() {
        let Geometry { stride, top, bottom, left, right, groups } = geometry;
        let scale = (shape[1] / groups * kernel.0 * kernel.1) as f64;
        let weight = (random(&[c_out, shape[1] / groups, kernel.0, kernel.1]) / scale.sqrt()).unwrap();
        let (xs, bias, slopes) = (random(&shape), random(&[c_out]), random(&[c_out]));
        let padded = xs.pad_with_zeros(2, top, bottom).unwrap().pad_with_zeros(3, left, right).unwrap();
        let sum = padded.conv2d(&weight, 0, stride, 1, groups).unwrap();
        let shortcut = random(sum.dims());
        for (i, activation) in ACTIVATIONS.into_iter().enumerate() {
            let (with_bias, with_shortcut) = (i % 2 == 0, i % 3 == 0);
            let then = if with_shortcut { ACTIVATIONS[(i + 3) % 9] } else { Activation::None };
            let mut want = sum.clone();
            if with_bias {
                want = want.broadcast_add(&per_channel(&bias)).unwrap();
            }
            want = rectified(&want, activation, &slopes).unwrap();
            if with_shortcut {
                want = rectified(&(want + &shortcut).unwrap(), then, &slopes).unwrap();
            }
            for (dtype, most) in TYPES {
                let there = |xs: &Tensor| xs.to_dtype(dtype).unwrap().to_device(&card).unwrap();
                let (xs, weight, bias, slopes, shortcut) =
                    (there(&xs), there(&weight), there(&bias), there(&slopes), there(&shortcut));
                let epilogue = Epilogue {
                    bias: with_bias.then_some(&bias),
                    activation,
                    slopes: Some(&slopes),
                    shortcut: with_shortcut.then_some(&shortcut),
                    then,
                    then_slopes: Some(&slopes),
                };
                let got = conv2d(&xs, &weight, geometry, &epilogue).unwrap().to_device(&Device::Cpu).unwrap();
                let d = difference(&got, &want);
                assert!(d < most, "{shape:?} to {c_out}, {kernel:?}, {geometry:?}, {activation:?}, {dtype:?}: {d}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_touches_no_memory() {
    let Some(card) = card("bad shapes on a graphics card") else { return };
    let geometry = Geometry { stride: 1, top: 0, bottom: 0, left: 0, right: 0, groups: 1 };
    let there = |shape: &[usize]| random(shape).to_device(&card).unwrap();
    let (xs, weight, bias) = (there(&[1, 4, 5, 5]), there(&[6, 4, 3, 3]), there(&[6]));
    let tried = |weight: &Tensor, geometry, epilogue: Epilogue<'_>| conv2d(&xs, weight, geometry, &epilogue).is_ok();
    assert!(tried(&weight, geometry, Epilogue { bias: Some(&bias), ..Epilogue::default() }));
    assert!(!tried(&there(&[6, 3, 3, 3]), geometry, Epilogue::default()));
    assert!(!tried(&there(&[6, 4, 6, 6]), geometry, Epilogue::default()));
    assert!(!tried(&there(&[6, 2, 3, 3]), Geometry { groups: 2, ..geometry }, Epilogue::default()));
    assert!(!tried(&weight, Geometry { stride: 0, ..geometry }, Epilogue::default()));
    for short in [there(&[5]), bias.to_dtype(DType::F16).unwrap()] {
        assert!(!tried(&weight, geometry, Epilogue { bias: Some(&short), ..Epilogue::default() }));
        let epilogue = Epilogue { activation: Activation::PRelu, slopes: Some(&short), ..Epilogue::default() };
        assert!(!tried(&weight, geometry, epilogue));
    }
    assert!(!tried(&weight, geometry, Epilogue { activation: Activation::PRelu, ..Epilogue::default() }));
    assert!(!tried(&weight, geometry, Epilogue { shortcut: Some(&there(&[1, 6, 3, 2])), ..Epilogue::default() }));
    let on_cpu = random(&[6]);
    assert!(!tried(&weight, geometry, Epilogue { bias: Some(&on_cpu), ..Epilogue::default() }));
}

#[test]
fn pixels_are_normalised_as_on_the_processor() {
    let Some(card) = card("pixels on a graphics card") else { return };
    let (n, h, w) = (2, 5, 7);
    let pixels: Vec<u8> = (0..n * h * w * 3).map(|i| (i * 37 % 256) as u8).collect();
    let how = Normalization { mean: [127.5, 120.0, 0.0], std: [128.0, 127.5, 255.0], source: [2, 1, 0] };
    let tensor = Tensor::from_vec(pixels.clone(), (n, h, w, 3), &Device::Cpu).unwrap().permute((0, 3, 1, 2)).unwrap();
    let reversed =
        tensor.to_dtype(DType::F32).unwrap().index_select(&Tensor::new(&[2u32, 1, 0], &Device::Cpu).unwrap(), 1);
    let channel = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let want = reversed.unwrap().broadcast_sub(&channel(how.mean)).unwrap().broadcast_div(&channel(how.std)).unwrap();
    for (dtype, most) in [(DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let got = normalize(pixels.clone(), [n, h, w], how, dtype, &card).unwrap().to_device(&Device::Cpu).unwrap();
        let d = difference(&got, &want);
        assert!(d < most, "{dtype:?}: {d}");
    }
    assert!(normalize(pixels, [n, h, w], Normalization { source: [0, 1, 3], ..how }, DType::F32, &card).is_err());
}

//! The convolutions against candle's own.

use candle::{Device, Tensor};
use facesocial_kernels::{Conv2d, ConvSpec, Map, Padding, Pool};
use fastrand::Rng;

fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.f32() - 0.5).collect()
}

#[test]
fn convolutions_are_candles() {
    let mut rng = Rng::with_seed(9);
    for (c_in, c_out, groups) in [(3, 10, 1), (20, 33, 1), (24, 24, 24), (8, 12, 4)] {
        for (kernel, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (7, 1, 0)] {
            let (n, h, w) = (2, 13, 11);
            let weight = random(&mut rng, c_out * c_in / groups * kernel * kernel);
            let xs = random(&mut rng, n * c_in * h * w);
            let spec =
                ConvSpec { stride, padding: Padding::all(padding), groups, ..ConvSpec::new(c_in, c_out, kernel) };
            let conv = Conv2d::new(spec, &weight, None).unwrap();
            let got = conv.forward(&Map::from_nchw(&Pool::default(), &xs, [n, c_in, h, w]).unwrap()).unwrap();

            let weight = Tensor::from_vec(weight, (c_out, c_in / groups, kernel, kernel), &Device::Cpu).unwrap();
            let xs = Tensor::from_vec(xs, (n, c_in, h, w), &Device::Cpu).unwrap();
            let want = xs.conv2d(&weight, padding, stride, 1, groups).unwrap();
            let [n, h, w, c] = got.shape();
            assert_eq!(want.dims(), [n, c, h, w]);
            let want = want.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (a, b) in got.to_nchw().iter().zip(want) {
                assert!((a - b).abs() < 2e-4, "{a} {b} of {spec:?}");
            }
        }
    }
}

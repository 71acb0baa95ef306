//! Every network on an NVIDIA card against itself on the processor; where there is no card, the test says so.

mod full;

use std::{
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use facesocial_models::{
    AdaFace, BlazeFace, DlibResNet, EfficientNetLite, FaceAntiSpoofing, FaceRes, IResNet, InceptionResNetV1,
    MiniFasNet, Mn3, MobileFaceNet, Mtcnn, Result, ViT, Weights, YoloV10, blazeface, iresnet, minifasnet, mtcnn,
    nn::ChannelOrder, vit,
};
use facesocial_testkit::{Tolerance, network::compare, not_run};
use full::{Precision, Reference, pictures};

/// One network's answers to the same pictures: rows of numbers.
type Rows = Vec<Vec<f32>>;

/// Loads a network and asks it.
type Ask = fn(VarBuilder<'static>) -> Result<Rows>;

/// The networks that ship, with the files of their weights.
const SHIPPED: [(&str, Ask); 9] = [
    ("mobilefacenet", |vb| MobileFaceNet::load(vb)?.embed(&pictures(2, 112, 16))),
    ("dlib_resnet", |vb| DlibResNet::load(vb)?.embed(&pictures(2, 150, 16))),
    ("faceres", |vb| {
        let told = FaceRes::load(vb)?.analyze(&pictures(2, 224, 16))?;
        Ok(told.into_iter().map(|o| [o.embedding, vec![o.age / 100.0, o.male_probability]].concat()).collect())
    }),
    ("face_antispoofing", |vb| {
        let side = facesocial_models::face_antispoofing::INPUT_SIZE;
        Ok(vec![FaceAntiSpoofing::load(vb)?.score(&pictures(4, side, 16))?])
    }),
    ("efficientnet_lite_deepfake", |vb| {
        let side = facesocial_models::efficientnet_lite::INPUT_SIZE;
        Ok(vec![EfficientNetLite::load(vb)?.score(&pictures(4, side, 16))?])
    }),
    ("blazeface_short", |vb| {
        let xs = input(&vb, 128)?;
        raw(BlazeFace::load(vb, blazeface::Config::short_range())?.forward(&xs)?)
    }),
    ("blazeface_full", |vb| {
        let xs = input(&vb, 192)?;
        raw(BlazeFace::load(vb, blazeface::Config::full_range())?.forward(&xs)?)
    }),
    ("yolov10n_face", |vb| {
        let xs = input(&vb, 320)?;
        raw(YoloV10::load(vb, 1)?.forward(&xs)?)
    }),
    ("mtcnn", |vb| {
        let photo = image::open(root().join("tests/images/portrait.jpg")).unwrap().into_rgb8();
        let photo = image::imageops::thumbnail(&photo, 240, 240 * photo.height() / photo.width());
        let faces = Mtcnn::load(vb)?.detect(&photo, &mtcnn::Config::default())?;
        assert!(!faces.is_empty());
        Ok(faces.iter().map(|f| vec![f.bbox.x, f.bbox.y, f.bbox.width, f.bbox.height, 100.0 * f.score]).collect())
    }),
];

/// Those that can be pulled, with seeded weights. The gender-age network has its layers from its file and is not here.
const PULLED: [(&str, f32, Ask); 8] = [
    ("adaface-ir101", 0.4, |vb| AdaFace::load(vb, ChannelOrder::Rgb)?.embed(&pictures(2, 112, 16))),
    ("arcface-iresnet100", 0.4, |vb| IResNet::load(vb, iresnet::Config::iresnet100())?.embed(&pictures(2, 112, 16))),
    ("facenet-inception-resnet-v1", 1.0, |vb| InceptionResNetV1::load(vb)?.embed(&pictures(2, 160, 16))),
    ("vit-deepfake", 0.7, |vb| ViT::load(vb, vit::Config::base_patch16_224(2))?.probabilities(&pictures(2, 224, 16))),
    ("minifasnet-v2", 0.7, |vb| MiniFasNet::load(vb, minifasnet::Config::v2())?.probabilities(&pictures(2, 80, 8))),
    ("minifasnet-v1se", 0.7, |vb| {
        MiniFasNet::load(vb, minifasnet::Config::v1_se())?.probabilities(&pictures(2, 80, 8))
    }),
    ("minifasnet-v2se", 0.7, |vb| {
        MiniFasNet::load(vb, minifasnet::Config::v2_se(3))?.probabilities(&pictures(2, 128, 8))
    }),
    ("anti-spoof-mn3", 0.8, |vb| {
        Ok(Mn3::load(vb)?.judge(&pictures(4, 128, 8))?.iter().map(|l| vec![l.real, l.spoof]).collect())
    }),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Two pictures of -1..1 as `[2, 3, side, side]`, where and in what precision the network is.
fn input(vb: &VarBuilder<'_>, side: u32) -> candle::Result<Tensor> {
    let bytes: Vec<u8> = pictures(2, side, 16).iter().flat_map(|p| p.as_raw().clone()).collect();
    let side = side as usize;
    let xs = Tensor::from_vec(bytes, (2, side, side, 3), &Device::Cpu)?.permute((0, 3, 1, 2))?.contiguous()?;
    xs.to_dtype(DType::F32)?.affine(1.0 / 127.5, -1.0)?.to_dtype(vb.dtype())?.to_device(vb.device())
}

fn raw((first, second): (Tensor, Tensor)) -> Result<Rows> {
    let row = |xs: Tensor| xs.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
    Ok(vec![row(first)?, row(second)?])
}

fn shipped(file: &str, ask: Ask, dtype: DType, device: &Device) -> Result<Rows> {
    let path = root().join("weights").join(file).with_extension("safetensors");
    ask(Weights::open(&path, None)?.var_builder(dtype, device))
}

fn pulled(name: &'static str, gain: f32, ask: Ask, dtype: DType, device: &Device) -> Rows {
    let reference = Reference { name, gain, step: 1 };
    reference.load(Precision::F32, |vb| ask(vb.set_device(device.clone()).set_dtype(dtype)))
}

/// The first card, in a build for one.
fn card() -> std::result::Result<Device, String> {
    if !cfg!(feature = "cuda") {
        return Err("this build has no CUDA".to_owned());
    }
    // Without a driver, CUDA's loader panics.
    #[cfg(feature = "cuda")]
    let open = facesocial_cuda::open;
    #[cfg(not(feature = "cuda"))]
    let open = Device::new_cuda;
    let opened = catch_unwind(|| open(0)).map_err(|_| "no CUDA driver".to_owned())?;
    opened.map_err(|e| e.to_string())
}

#[track_caller]
fn assert_alike(name: &str, got: &Rows, want: &Rows, tolerance: Tolerance, cosine: f64) {
    assert_eq!(got.len(), want.len(), "{name}: rows");
    for (got, want) in got.iter().zip(want) {
        let d = compare(got, want, tolerance);
        assert!(d.outside == 0 && d.cosine >= cosine, "{name}: {d}");
    }
}

#[test]
fn on_a_card_every_network_answers_as_on_the_processor() {
    let card = match card() {
        Ok(card) => card,
        Err(reason) => {
            let remedy = "Run on a machine with a card: cargo test -p facesocial-models --features cuda --test devices";
            return not_run(&format!("networks on a graphics card ({reason})"), remedy);
        }
    };
    // Sums in another order, through many layers; TF32 would be ten times as far off.
    let tolerance = Tolerance { abs: 1e-3, rel: 1e-3 };
    for (file, ask) in SHIPPED {
        let want = shipped(file, ask, DType::F32, &Device::Cpu).unwrap();
        assert_alike(file, &shipped(file, ask, DType::F32, &card).unwrap(), &want, tolerance, 0.9999);
    }
    for (name, gain, ask) in PULLED {
        let want = pulled(name, gain, ask, DType::F32, &Device::Cpu);
        assert_alike(name, &pulled(name, gain, ask, DType::F32, &card), &want, tolerance, 0.9999);
    }
}

/// Least cosine with the answers of the processor, in single precision, and the networks that fall below it. Seen on an H200:
/// `f16` 0.9997 (FaceRes) and more, `bf16` 0.998 (FaceRes), 0.9994 (MobileFaceNet) and more.
const HALF: [(DType, f64); 2] = [(DType::F16, 0.999), (DType::BF16, 0.995)];

#[test]
fn in_half_precision_every_network_but_the_cascade_stays_close() {
    // The other test says where there is no card.
    let Ok(card) = card() else { return };
    for (dtype, least) in HALF {
        let assert_close = |name: &str, got: &Rows, want: &Rows| {
            for (got, want) in got.iter().zip(want) {
                let cosine = compare(got, want, Tolerance::NETWORK).cosine;
                assert!(cosine >= least, "{name} in {dtype:?}: cosine {cosine}");
            }
        };
        for (file, ask) in SHIPPED.into_iter().filter(|(file, _)| *file != "mtcnn") {
            let want = shipped(file, ask, DType::F32, &Device::Cpu).unwrap();
            assert_close(file, &shipped(file, ask, dtype, &card).unwrap(), &want);
        }
        for (name, gain, ask) in PULLED {
            let want = pulled(name, gain, ask, DType::F32, &Device::Cpu);
            assert_close(name, &pulled(name, gain, ask, dtype, &card), &want);
        }
    }
}

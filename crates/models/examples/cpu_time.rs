//! Processor time of one pass of each network, all threads added, and the time on the clock: medians over `PASSES`.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release --example cpu_time -- [PASSES] [NAME ..]`; Linux alone tells the time of threads.
//! Networks whose weights do not ship are measured with zeros.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle::{DType, Device};
use candle_nn::VarBuilder;
use facesocial_models::{
    BlazeFace, DlibResNet, EfficientNetLite, FaceAntiSpoofing, FaceRes, IResNet, MiniFasNet, Mn3, MobileFaceNet, Mtcnn,
    Weights, YoloV10, blazeface, iresnet, minifasnet, mtcnn,
};
use image::RgbImage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// A network that was loaded: one pass over one image.
type Pass = Box<dyn Fn() -> Result<()>>;

/// Gentle waves: nothing in them is a face.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |step: u32| (((x * step + y * 3) / 16 % 16) * 16) as u8;
        image::Rgb([wave(1), wave(2), wave(3)])
    })
}

fn pass(name: &str) -> Result<Option<Pass>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shipped = |name: &str| -> Result<VarBuilder<'static>> {
        let weights = Weights::open(&root.join("weights").join(name).with_extension("safetensors"), None)?;
        Ok(weights.var_builder(DType::F32, &Device::Cpu))
    };
    let zeros = || VarBuilder::zeros(DType::F32, &Device::Cpu);
    /// The closure that looks at a picture of the given size.
    macro_rules! looks_at {
        ($net:expr, $width:expr, $height:expr, |$n:ident, $p:ident| $ask:expr) => {{
            let ($n, picture) = ($net, [picture($width, $height)]);
            let pass: Pass = Box::new(move || {
                let $p = &picture;
                $ask?;
                Ok(())
            });
            pass
        }};
    }
    Ok(Some(match name {
        "mobilefacenet" => looks_at!(MobileFaceNet::load(shipped(name)?)?, 112, 112, |n, p| n.embed(p)),
        "dlib_resnet" => looks_at!(DlibResNet::load(shipped(name)?)?, 150, 150, |n, p| n.embed(p)),
        "faceres" => looks_at!(FaceRes::load(shipped(name)?)?, 224, 224, |n, p| n.analyze(p)),
        "mtcnn" => {
            let photo = image::open(root.join("tests/images/group.jpg"))?.into_rgb8();
            let photo = image::imageops::thumbnail(&photo, 640, 640 * photo.height() / photo.width());
            let net = Mtcnn::load(shipped(name)?)?;
            Box::new(move || {
                net.detect(&photo, &mtcnn::Config::default())?;
                Ok(())
            })
        }
        "blazeface_short" => {
            let net = BlazeFace::load(shipped(name)?, blazeface::Config::short_range())?;
            looks_at!(net, 128, 128, |n, p| n.detect(p, 0.5))
        }
        "blazeface_full" => {
            let net = BlazeFace::load(shipped(name)?, blazeface::Config::full_range())?;
            looks_at!(net, 192, 192, |n, p| n.detect(p, 0.6))
        }
        "yolov10n_face" => looks_at!(YoloV10::load(shipped(name)?, 1)?, 640, 640, |n, p| n.detect(p, 0.5, 300)),
        "efficientnet_lite_deepfake" => {
            looks_at!(EfficientNetLite::load(shipped(name)?)?, 160, 160, |n, p| n.score(p))
        }
        "face_antispoofing" => looks_at!(FaceAntiSpoofing::load(shipped(name)?)?, 256, 256, |n, p| n.score(p)),
        "minifasnet_v2" => {
            looks_at!(MiniFasNet::load(zeros(), minifasnet::Config::v2())?, 80, 80, |n, p| n.probabilities(p))
        }
        "minifasnet_v2_se" => {
            looks_at!(MiniFasNet::load(zeros(), minifasnet::Config::v2_se(3))?, 128, 128, |n, p| n.probabilities(p))
        }
        "mn3" => looks_at!(Mn3::load(zeros())?, 128, 128, |n, p| n.judge(p)),
        "iresnet50" => looks_at!(IResNet::load(zeros(), iresnet::Config::iresnet50())?, 112, 112, |n, p| n.embed(p)),
        _ => return Ok(None),
    }))
}

/// Milliseconds that the threads of this process ran.
fn processor_time() -> Result<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += stat.split_whitespace().next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds / 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const NAMES: [&str; 13] = [
    "mobilefacenet",
    "dlib_resnet",
    "faceres",
    "mtcnn",
    "blazeface_short",
    "blazeface_full",
    "yolov10n_face",
    "efficientnet_lite_deepfake",
    "face_antispoofing",
    "minifasnet_v2",
    "minifasnet_v2_se",
    "mn3",
    "iresnet50",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let passes = arguments.next().map_or(Ok(15), |passes| passes.parse::<usize>())?.max(1);
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
    }
    for name in names {
        let pass = pass(&name)?.ok_or_else(|| format!("no network {name}; there are {}", NAMES.join(", ")))?;
        pass()?;
        let (mut ran, mut lasted) = (Vec::new(), Vec::new());
        for _ in 0..passes {
            let (before, start) = (processor_time()?, Instant::now());
            pass()?;
            ran.push(processor_time()? - before);
            lasted.push(start.elapsed().as_secs_f64() * 1e3);
        }
        println!("{name:28} {:8.2} ms of the processor, {:8.2} ms", median(ran), median(lasted));
    }
    Ok(())
}

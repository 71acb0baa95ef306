//! What the tests of the full profile's networks share: seeded weights in memory, pictures, comparison with the golden
//! files. `models-src/full_profile.py` is the other side.
#![allow(dead_code, reason = "every test binary uses a part")]
#![allow(clippy::print_stdout, reason = "the differences found are the figures of the cards")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use candle::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use facesocial_models::Result;
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, compare},
    seeded::{self, Kind},
};
use image::RgbImage;

/// Precision of the weights; the arithmetic is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    F16,
}

struct Seeded {
    keys: BTreeMap<String, Vec<usize>>,
    gain: f32,
    precision: Precision,
    read: Mutex<BTreeSet<String>>,
}

/// A newtype: `SimpleBackend` and `Arc` are both foreign.
struct Backend(Arc<Seeded>);

impl SimpleBackend for Backend {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        if self.0.keys.get(name).map(Vec::as_slice) != Some(shape.dims()) {
            candle::bail!("the reference has no {name} of {shape:?}, but {:?}", self.0.keys.get(name));
        }
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        let Some(shape) = self.0.keys.get(name) else { candle::bail!("the reference has no {name}") };
        // As in `full_profile.kind_of`: a vector of weights without a bias beside it is the slopes of a rectifier.
        let lonely = shape.len() == 1
            && name.strip_suffix("weight").is_some_and(|parent| !self.0.keys.contains_key(&format!("{parent}bias")));
        let kind = if lonely { Kind::Slope } else { Kind::of(name, shape) };
        let mut values = seeded::values(name, shape, kind);
        if kind == Kind::Weight {
            values.iter_mut().for_each(|v| *v *= self.0.gain);
        }
        let tensor = Tensor::from_vec(values, shape.as_slice(), device)?;
        self.0.read.lock().unwrap().insert(name.to_owned());
        match self.0.precision {
            Precision::F32 => tensor.to_dtype(dtype),
            Precision::F16 => tensor.to_dtype(DType::F16)?.to_dtype(dtype),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.keys.contains_key(name)
    }
}

/// A network of the full profile and its golden files.
pub struct Reference {
    pub name: &'static str,
    /// Of the reference script.
    pub gain: f32,
    /// Every which value of a stage was kept.
    pub step: usize,
}

impl Reference {
    /// Loads the network with seeded weights: its keys and shapes must be those of the reference, none may be left over.
    #[track_caller]
    pub fn load<T>(&self, precision: Precision, load: impl FnOnce(VarBuilder<'static>) -> Result<T>) -> T {
        let (gain, keys) = (self.gain, self.keys());
        let weights = Arc::new(Seeded { keys, gain, precision, read: Mutex::default() });
        let backend = Box::new(Backend(Arc::clone(&weights)));
        let network = load(VarBuilder::from_backend(backend, DType::F32, Device::Cpu)).unwrap();
        let read = weights.read.lock().unwrap();
        let unread: Vec<_> = weights.keys.keys().filter(|k| !read.contains(*k)).collect();
        assert!(unread.is_empty(), "{}: not read: {unread:?}", self.name);
        network
    }

    /// As [`load`](Self::load), from a checkpoint with `prefix.` before every key.
    #[track_caller]
    pub fn load_prefixed<T>(&self, prefix: &str, load: impl FnOnce(VarBuilder<'static>) -> Result<T>) -> T {
        let prefix = format!("{prefix}.");
        self.load(Precision::F32, |vb| {
            // Seen from outside, only names that begin with the prefix exist.
            load(vb.rename_f(move |name| name.strip_prefix(&prefix).map_or_else(|| format!("?{name}"), str::to_owned)))
        })
    }

    fn keys(&self) -> BTreeMap<String, Vec<usize>> {
        seeded::keys(&golden_dir().join(format!("{}.keys", self.name)))
    }

    /// Weights that training learns, of all the tensors that [`load`](Self::load) demands to be read.
    pub fn parameters(&self) -> usize {
        let learnt = |name: &str| !name.ends_with(".running_mean") && !name.ends_with(".running_var");
        self.keys().iter().filter(|(name, _)| learnt(name)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    pub fn golden(&self) -> Golden {
        Golden::open(&golden_dir().join(format!("{}.safetensors", self.name)))
    }

    /// Each stage of the first picture against the golden file; the first failing one is named. Checks the full shapes
    /// too, which the golden file holds.
    #[track_caller]
    pub fn assert_stages(&self, stages: &[(&str, &Tensor)], tolerance: Tolerance) {
        let golden = self.golden();
        let expected: BTreeSet<_> =
            golden.names().filter(|n| n.starts_with("stage.") && !n.ends_with(".shape")).collect();
        let given: BTreeSet<_> = stages.iter().map(|(stage, _)| format!("stage.{stage}")).collect();
        assert_eq!(given, expected.iter().map(|n| (*n).to_owned()).collect());
        for (stage, tensor) in stages {
            let key = format!("stage.{stage}");
            let shape: Vec<usize> = golden.values(&format!("{key}.shape")).iter().map(|d| *d as usize).collect();
            assert_eq!(tensor.dims(), shape, "{}: shape of {stage}", self.name);
            let all = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let kept: Vec<f32> = all.into_iter().step_by(self.step).collect();
            let worst = assert_close(&format!("{} {stage}", self.name), &kept, golden.values(&key), tolerance);
            println!("{} {stage}: worst {worst:.2e}", self.name);
        }
    }

    /// Rows of the last output against the golden file: value by value, and each row's cosine.
    #[track_caller]
    pub fn assert_output(&self, rows: &[Vec<f32>], tolerance: Tolerance, cosine: f64) {
        let golden = self.golden();
        assert_eq!([rows.len(), rows[0].len()], golden.shape("output"));
        let want = golden.values("output").chunks_exact(rows[0].len());
        for (i, (row, want)) in rows.iter().zip(want).enumerate() {
            let found = compare(row, want, tolerance);
            println!("{} output {i}: {found}", self.name);
            assert!(found.outside == 0 && found.cosine >= cosine, "{} output {i}: {found}", self.name);
        }
    }
}

/// The pictures of the reference script.
pub fn pictures(count: usize, size: u32, cell: u32) -> Vec<RgbImage> {
    let cells = size.div_ceil(cell);
    let picture = |i| {
        let small = seeded::pixels(&format!("picture.{i}"), (cells * cells * 3) as usize);
        let at = |x: u32, y: u32| 3 * (y / cell * cells + x / cell) as usize;
        RgbImage::from_fn(size, size, |x, y| image::Rgb(std::array::from_fn(|c| small[at(x, y) + c])))
    };
    (0..count).map(picture).collect()
}

/// Sums of some thousand f32 products over a hundred layers, added in another order: matrices of a batch are cut in another way
/// than those of one face, and differently by each kind of processor (1.5e-6 seen with AVX-512).
pub const OTHER_ORDER: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };

/// `together`, the rows of the pictures run at once, are what pictures give alone; pictures that give nearly the same
/// would not show a mix-up.
#[track_caller]
pub fn assert_batch_agrees(together: &[Vec<f32>], images: &[RgbImage], run: impl Fn(&[RgbImage]) -> Vec<Vec<f32>>) {
    assert_eq!((together.len(), images.len()), (3, 3));
    assert!(compare(&together[0], &together[2], Tolerance::BLOCK).outside > 0, "the pictures give the same");
    for i in [0, 2] {
        let alone = run(&images[i..=i]);
        assert_eq!(alone.len(), 1);
        assert_close("alone and in a batch", &alone[0], &together[i], OTHER_ORDER);
    }
    assert!(run(&[]).is_empty());
}

/// The module's doc names the paper and the reference of the manifest, and its licence stands in the card.
#[track_caller]
pub fn assert_documented(network: &str) {
    let folder = root().join("models-src").join(network);
    let read = |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: toml::Table = read(folder.join("manifest.toml")).parse().unwrap();
    let text = |key: &str| manifest[key].as_str().unwrap();
    let module = read(root().join("crates/models/src").join(text("module")));
    assert!(module.contains(text("paper")) && module.contains(text("reference")), "{network}");
    assert!(read(folder.join("CARD.md")).contains(text("licence")), "{network}: the card has another licence");
    assert_eq!(text("name"), network);
    assert_eq!(text("profile"), "full");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden_dir() -> PathBuf {
    root().join("tests/golden/models")
}

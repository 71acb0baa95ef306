//! Weight files, read strictly: the digest first, then every tensor exactly by its key and shape, and none left over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::error::{ModelError, Result};

/// An opened weight file.
///
/// ```no_run
/// # use facesocial_models::Weights; use candle::{Device, DType};
/// let weights = Weights::open("weights/mobilefacenet.safetensors".as_ref(), None)?;
/// let vb = weights.var_builder(DType::F32, &Device::Cpu);
/// // let network = MobileFaceNet::load(vb)?;
/// weights.finish()?; // an unread tensor is an error
/// # Ok::<(), facesocial_models::ModelError>(())
/// ```
pub struct Weights {
    store: Arc<Store>,
}

/// Name of the scalar that scales an affine-quantised U8 tensor, after its key.
const SCALE: &str = ".scale";
/// Name of the scalar that an affine-quantised U8 value of zero stands for, after its key.
const MIN: &str = ".min";

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

struct Store {
    path: PathBuf,
    sha256: String,
    bytes: Vec<u8>,
    entries: BTreeMap<String, Entry>,
    read: Mutex<BTreeSet<String>>,
}

impl Weights {
    /// Reads the file and checks its digest against `sha256` (hex), where one is given.
    ///
    /// The whole file is read: what was hashed is what is used, whatever happens to the file afterwards.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Digest`] or [`ModelError::Format`].
    pub fn open(path: &Path, sha256: Option<&str>) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        let found = hex(&Sha256::digest(&bytes));
        if let Some(expected) = sha256
            && !expected.eq_ignore_ascii_case(&found)
        {
            return Err(ModelError::Digest { path: path.to_owned(), expected: expected.to_owned(), found });
        }
        let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
        let (header_len, header) = SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
        let data_start = header_len + size_of::<u64>();
        let entries: BTreeMap<_, _> = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let bytes = data_start + info.data_offsets.0..data_start + info.data_offsets.1;
                (name, Entry { dtype: info.dtype, shape: info.shape.clone(), bytes })
            })
            .collect();
        if let Some((name, entry)) = entries.iter().find(|(_, e)| e.bytes.end > bytes.len()) {
            return Err(format(format!("tensor {name} ends at {}, the file at {}", entry.bytes.end, bytes.len())));
        }
        Ok(Self {
            store: Arc::new(Store { path: path.to_owned(), sha256: found, bytes, entries, read: Mutex::default() }),
        })
    }

    /// sha256 of the file, lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.store.sha256
    }

    /// Number of weights, without the companions of quantised tensors.
    pub fn parameters(&self) -> usize {
        let entries = &self.store.entries;
        let companion = |name: &str| {
            [SCALE, MIN]
                .iter()
                .any(|s| name.strip_suffix(s).and_then(|key| entries.get(key)).is_some_and(|e| e.dtype == Dtype::U8))
        };
        entries.iter().filter(|(name, _)| !companion(name)).map(|(_, e)| e.shape.iter().product::<usize>()).sum()
    }

    /// A builder over the file's tensors, converted to `dtype` on `device`; it records what is read.
    pub fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Reader(Arc::clone(&self.store))), dtype, device.clone())
    }

    /// Ends loading.
    ///
    /// # Errors
    /// [`ModelError::Unread`] if the network did not read every tensor.
    pub fn finish(self) -> Result<()> {
        let read = self.store.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = self.store.entries.keys().filter(|k| !read.contains(*k)).cloned().collect();
        if names.is_empty() { Ok(()) } else { Err(ModelError::Unread { path: self.store.path.clone(), names }) }
    }
}

struct Reader(Arc<Store>);

impl Store {
    fn tensor(&self, name: &str, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        let entry = self.entry(name)?;
        let data = &self.bytes[entry.bytes.clone()];
        let tensor = match entry.dtype {
            Dtype::F32 => Tensor::from_raw_buffer(data, DType::F32, &entry.shape, &Device::Cpu)?,
            Dtype::F16 => Tensor::from_raw_buffer(data, DType::F16, &entry.shape, &Device::Cpu)?,
            Dtype::BF16 => Tensor::from_raw_buffer(data, DType::BF16, &entry.shape, &Device::Cpu)?,
            Dtype::U8 => {
                // TensorFlow.js computes in doubles and rounds once; so does this.
                let (scale, min) = (self.scalar(&format!("{name}{SCALE}"))?, self.scalar(&format!("{name}{MIN}"))?);
                let values: Vec<f32> = data.iter().map(|q| (f64::from(*q) * scale + min) as f32).collect();
                Tensor::from_vec(values, entry.shape.as_slice(), &Device::Cpu)?
            }
            other => candle::bail!("tensor {name} has dtype {other:?}; weights are F32, F16, BF16 or U8"),
        };
        self.mark(name);
        tensor.to_dtype(dtype)?.to_device(device)
    }

    fn scalar(&self, name: &str) -> candle::Result<f64> {
        let entry = self.entry(name)?;
        let data = &self.bytes[entry.bytes.clone()];
        let value = match entry.dtype {
            Dtype::F64 => data.try_into().map(f64::from_le_bytes).ok(),
            _ => None,
        };
        self.mark(name);
        value.ok_or_else(|| candle::Error::Msg(format!("{name} is not one F64 value")))
    }

    fn entry(&self, name: &str) -> candle::Result<&Entry> {
        let missing = || candle::Error::CannotFindTensor { path: format!("{name} in {}", self.path.display()) };
        self.entries.get(name).ok_or_else(|| missing().bt())
    }

    fn mark(&self, name: &str) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }
}

impl SimpleBackend for Reader {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        let found = Shape::from(self.0.entry(name)?.shape.as_slice());
        if found != shape {
            let msg = format!("shape mismatch for {name} in {}", self.0.path.display());
            return Err(candle::Error::UnexpectedShape { msg, expected: shape, got: found }.bt());
        }
        self.0.tensor(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        self.0.tensor(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.entries.contains_key(name)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;

    fn file(dir: &Path) -> PathBuf {
        let f32s: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (scale, min) = (0.5f64.to_le_bytes(), (-1.0f64).to_le_bytes());
        let tensors = HashMap::from([
            ("a.weight", TensorView::new(Dtype::F32, vec![3], &f32s).unwrap()),
            ("b", TensorView::new(Dtype::U8, vec![2], &[0, 4]).unwrap()),
            ("b.scale", TensorView::new(Dtype::F64, vec![1], &scale).unwrap()),
            ("b.min", TensorView::new(Dtype::F64, vec![1], &min).unwrap()),
        ]);
        let path = dir.join("w.safetensors");
        fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        path
    }

    #[test]
    fn quantised_tensors_are_restored_and_everything_counts_as_read() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Weights::open(&file(dir.path()), None).unwrap();
        assert_eq!(weights.parameters(), 5);
        let vb = weights.var_builder(DType::F32, &Device::Cpu);
        assert_eq!(vb.pp("a").get(3, "weight").unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(vb.get(2, "b").unwrap().to_vec1::<f32>().unwrap(), [-1.0, 1.0]);
        weights.finish().unwrap();
    }

    #[test]
    fn an_unread_tensor_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Weights::open(&file(dir.path()), None).unwrap();
        weights.var_builder(DType::F32, &Device::Cpu).get(2, "b").unwrap();
        let err = weights.finish().unwrap_err();
        assert!(matches!(&err, ModelError::Unread { names, .. } if names == &["a.weight"]), "{err}");
    }

    #[test]
    fn wrong_shape_missing_key_and_wrong_digest_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        let weights = Weights::open(&path, None).unwrap();
        let vb = weights.var_builder(DType::F32, &Device::Cpu);
        assert!(vb.get(4, "a.weight").unwrap_err().to_string().contains("a.weight"));
        assert!(vb.get(4, "c").unwrap_err().to_string().contains("c in"));
        assert!(matches!(Weights::open(&path, Some("00")), Err(ModelError::Digest { .. })));
        assert!(Weights::open(&path, Some(weights.sha256())).is_ok());
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(Weights::open(&path, None), Err(ModelError::Format { .. })));
    }
}

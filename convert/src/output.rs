//! Writing of weight files.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

use safetensors::{Dtype as Stored, serialize, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{
    error::{ConvertError, Result},
    rules::Weight,
    source::Dtype,
};

/// Suffixes of the two F64 scalars (shape `[1]`) that stand beside an affine-quantised U8 tensor.
pub(crate) const COMPANIONS: [&str; 2] = ["scale", "min"];

/// Serialises weights as safetensors; the same weights give the same bytes.
///
/// F32, F16 and BF16 stay what they are. An affine U8 tensor `<key>` keeps its bytes and is followed by `<key>.scale` and
/// `<key>.min`; its values are `f32(f64(q) * scale + min)`, as TensorFlow.js computes them.
///
/// # Errors
/// [`ConvertError::Rules`] if a key is that of another tensor's companion; [`ConvertError::Format`] if the weights are
/// not consistent.
pub fn to_safetensors(weights: &BTreeMap<String, Weight>) -> Result<Vec<u8>> {
    let mut companions: BTreeMap<String, [u8; 8]> = BTreeMap::new();
    for (key, weight) in weights {
        if let Dtype::AffineU8 { scale, min } = weight.dtype {
            for (suffix, value) in COMPANIONS.iter().zip([scale, min]) {
                companions.insert(format!("{key}.{suffix}"), value.to_le_bytes());
            }
        }
    }
    let taken: Vec<_> = companions.keys().filter(|k| weights.contains_key(*k)).collect();
    if !taken.is_empty() {
        return Err(ConvertError::Rules(taken.iter().map(|k| format!("{k} is also a quantisation scalar")).collect()));
    }
    let fault = |e: safetensors::SafeTensorError| ConvertError::Format { format: "safetensors", reason: e.to_string() };
    let mut views: BTreeMap<&str, TensorView<'_>> = BTreeMap::new();
    for (key, weight) in weights {
        let dtype = match weight.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::BF16,
            Dtype::AffineU8 { .. } => Stored::U8,
            Dtype::I32 | Dtype::I64 | Dtype::Other(..) => {
                return Err(ConvertError::Rules(vec![format!("{key} of type {} is no weight", weight.dtype)]));
            }
        };
        views.insert(key, TensorView::new(dtype, weight.shape.clone(), &weight.data).map_err(fault)?);
    }
    for (key, value) in &companions {
        views.insert(key, TensorView::new(Stored::F64, vec![1], value).map_err(fault)?);
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize(views, Some(metadata)).map_err(fault)
}

/// sha256 as lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a file so that nobody ever sees half of it: a temporary file in the same folder, then a rename.
///
/// # Errors
/// [`ConvertError::Io`]; the file that was there before is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; a weight file is for everybody.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let mut file = builder.prefix(".writing-").suffix(".tmp").tempfile_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(ConvertError::io(path))
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn weights() -> BTreeMap<String, Weight> {
        let weight = |dtype: Dtype, shape: &[usize], data: &[u8]| Weight {
            shape: shape.to_vec(),
            dtype,
            data: data.to_vec().into(),
        };
        BTreeMap::from([
            ("b.f".to_owned(), weight(Dtype::F32, &[1], &1.5f32.to_le_bytes())),
            ("a.q".to_owned(), weight(Dtype::AffineU8 { scale: 0.1, min: -0.2 }, &[1, 3], &[0, 1, 255])),
            ("c.h".to_owned(), weight(Dtype::F16, &[2], &[0, 0x3c, 0, 0x40])),
        ])
    }

    #[test]
    fn keeps_dtypes_and_adds_the_scalars_of_quantised_tensors_as_doubles() {
        let bytes = to_safetensors(&weights()).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort();
        assert_eq!(names, ["a.q", "a.q.min", "a.q.scale", "b.f", "c.h"]);
        let scale = file.tensor("a.q.scale").unwrap();
        assert_eq!((scale.dtype(), scale.shape(), scale.data()), (Stored::F64, &[1][..], &0.1f64.to_le_bytes()[..]));
        let q = file.tensor("a.q").unwrap();
        assert_eq!((q.dtype(), q.shape(), q.data()), (Stored::U8, &[1, 3][..], &[0, 1, 255][..]));
        assert_eq!(file.tensor("c.h").unwrap().dtype(), Stored::F16);
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        let first = to_safetensors(&weights()).unwrap();
        for _ in 0..8 {
            assert_eq!(to_safetensors(&weights()).unwrap(), first);
        }
    }

    #[test]
    fn a_key_that_is_a_companion_is_an_error() {
        let mut weights = weights();
        let taken = weights["b.f"].clone();
        weights.insert("a.q.scale".into(), taken);
        assert!(to_safetensors(&weights).unwrap_err().to_string().contains("a.q.scale is also"));
    }

    #[test]
    fn replaces_a_file_whole_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/w.safetensors");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["w.safetensors"]);
    }

    #[test]
    fn a_failed_write_leaves_the_folder_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        // A folder of that name cannot be replaced by a file.
        let path = dir.path().join("w.safetensors");
        fs::create_dir(&path).unwrap();
        assert!(matches!(write_atomically(&path, b"one"), Err(ConvertError::Io { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

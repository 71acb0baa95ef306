//! safetensors files.

use ::safetensors::{Dtype as Stored, SafeTensors};
use bytes::Bytes;

use crate::{
    error::{ConvertError, Result},
    source::{Dtype, SourceTensor},
};

/// Reads every tensor, sorted by name; their data are parts of `bytes`. Types that no weight of this project has are named, not interpreted.
///
/// # Errors
/// [`ConvertError::Format`] for damage.
pub fn read(bytes: &Bytes) -> Result<Vec<SourceTensor>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| ConvertError::Format { format: "safetensors", reason: e.to_string() })?;
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| SourceTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            dtype: match view.dtype() {
                Stored::F32 => Dtype::F32,
                Stored::F16 => Dtype::F16,
                Stored::BF16 => Dtype::Bf16,
                Stored::I32 => Dtype::I32,
                Stored::I64 => Dtype::I64,
                Stored::U8 => Dtype::Other("u8", 1),
                Stored::F64 => Dtype::Other("f64", 8),
                other => Dtype::Other("another type", other.bitsize() / 8),
            },
            data: bytes.slice_ref(view.data()),
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

//! TensorFlow Lite flatbuffers.
//!
//! Accessors are generated from the schema and check every offset, so a damaged file is an error and not a panic.

use bytes::Bytes;
use planus::ReadAsRoot;

use super::tflite_schema::tflite::{ModelRef, TensorRef};
use crate::{
    error::{ConvertError, Result},
    source::{Dtype, SourceTensor},
};

/// Marks a flatbuffer as a TensorFlow Lite model, at byte 4.
const IDENTIFIER: &[u8] = b"TFL3";

/// Reads the constants of a model: the tensors with a buffer that is not empty, in file order. Their data are parts of `bytes`,
/// so that tensors which share a buffer take no more memory than one.
///
/// Constants of type f16 keep that type; the `DEQUANTIZE` operators behind them are not looked at.
///
/// # Errors
/// [`ConvertError::Format`] for damage, sparse or quantised tensors, and buffers outside of the flatbuffer.
pub fn read(bytes: &Bytes) -> Result<Vec<SourceTensor>> {
    if bytes.get(4..8) != Some(IDENTIFIER) {
        return Err(format("the file identifier TFL3 is missing"));
    }
    let model = ModelRef::read_as_root(bytes).map_err(damaged)?;
    let buffers = model.buffers().map_err(damaged)?.ok_or_else(|| format("it has no buffers"))?;
    let mut found = Vec::new();
    for subgraph in model.subgraphs().map_err(damaged)?.into_iter().flatten() {
        for tensor in subgraph.map_err(damaged)?.tensors().map_err(damaged)?.into_iter().flatten() {
            let tensor = tensor.map_err(damaged)?;
            let name = tensor.name().map_err(damaged)?.unwrap_or_default();
            let index = tensor.buffer().map_err(damaged)? as usize;
            let buffer = buffers.get(index).ok_or_else(|| format(format!("{name} names buffer {index}")))?;
            let buffer = buffer.map_err(damaged)?;
            // The format's writers put 1 there for "no external data".
            if buffer.offset().map_err(damaged)? > 1 {
                return Err(format(format!("{name} lies outside of the flatbuffer (a model beyond 2 GiB)")));
            }
            match buffer.data().map_err(damaged)? {
                Some(data) if !data.is_empty() => found.push(constant(name, &tensor, bytes.slice_ref(data))?),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn constant(name: &str, tensor: &TensorRef<'_>, data: Bytes) -> Result<SourceTensor> {
    let mut shape = Vec::new();
    for axis in tensor.shape().map_err(damaged)?.into_iter().flatten() {
        shape.push(usize::try_from(axis).map_err(|_| format(format!("{name} has an axis of length {axis}")))?);
    }
    let dtype = dtype(tensor.type_().map_err(damaged)?).map_err(|code| format(format!("{name} has type {code}")))?;
    if tensor.sparsity().map_err(damaged)?.is_some() {
        return Err(format(format!("{name} is sparse, which is not supported")));
    }
    if let Some(quantization) = tensor.quantization().map_err(damaged)?
        && quantization.scale().map_err(damaged)?.is_some_and(|scale| !scale.is_empty())
    {
        return Err(format(format!("{name} is quantised, which is not supported")));
    }
    let expected = shape.iter().try_fold(dtype.size(), |n, axis| n.checked_mul(*axis));
    if expected != Some(data.len()) && !matches!(dtype, Dtype::Other("string", _)) {
        return Err(format(format!("{name} of shape {shape:?} and type {dtype} has {} bytes", data.len())));
    }
    Ok(SourceTensor { name: name.to_owned(), shape, dtype, data })
}

/// `TensorType` of the schema.
fn dtype(code: i8) -> Result<Dtype, i8> {
    Ok(match code {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::I32,
        3 => Dtype::Other("u8", 1),
        4 => Dtype::I64,
        5 => Dtype::Other("string", 1),
        6 => Dtype::Other("bool", 1),
        7 => Dtype::Other("i16", 2),
        9 => Dtype::Other("i8", 1),
        10 => Dtype::Other("f64", 8),
        other => return Err(other),
    })
}

fn damaged(error: planus::Error) -> ConvertError {
    format(error.to_string())
}

fn format(reason: impl Into<String>) -> ConvertError {
    ConvertError::Format { format: "TensorFlow Lite", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tflite_schema::tflite as fb;

    /// A model of two constants (f32 and f16), one int32 shape and one activation.
    fn model() -> Bytes {
        let tensor = |name: &str, shape: &[i32], type_: i8, buffer: u32| fb::Tensor {
            shape: Some(shape.to_vec()),
            type_,
            buffer,
            name: Some(name.to_owned()),
            quantization: None,
            is_variable: false,
            sparsity: None,
        };
        let buffer = |data: &[u8]| fb::Buffer { data: Some(data.to_vec()), offset: 0 };
        let f32s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let model = fb::Model {
            version: 3,
            operator_codes: None,
            subgraphs: Some(vec![fb::SubGraph {
                tensors: Some(vec![
                    tensor("input", &[1, 2], 0, 0),
                    tensor("net/w", &[2, 1], 0, 1),
                    tensor("net/h", &[1], 1, 2),
                    tensor("net/shape", &[1], 2, 3),
                ]),
            }]),
            description: None,
            buffers: Some(vec![buffer(&[]), buffer(&f32s), buffer(&[0x00, 0x3c]), buffer(&7i32.to_le_bytes())]),
        };
        // planus puts an identifier before the root offset; the format wants it behind.
        let bytes = planus::Builder::new().finish(model, None).to_vec();
        let (root, rest) = bytes.split_first_chunk().unwrap();
        [&(u32::from_le_bytes(*root) + 4).to_le_bytes(), IDENTIFIER, rest].concat().into()
    }

    #[test]
    fn gives_constants_and_leaves_activations() {
        let tensors = read(&model()).unwrap();
        let seen: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.clone(), t.dtype)).collect();
        assert_eq!(
            seen,
            [("net/w", vec![2, 1], Dtype::F32), ("net/h", vec![1], Dtype::F16), ("net/shape", vec![1], Dtype::I32)]
        );
        assert_eq!(tensors[0].data, [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
        assert_eq!(tensors[1].data, [0x00, 0x3c][..]);
    }

    #[test]
    fn data_are_not_copied() {
        let bytes = model();
        assert!(read(&bytes).unwrap().iter().all(|t| bytes.as_ptr_range().contains(&t.data.as_ptr())));
    }

    #[test]
    fn every_truncation_is_an_error_or_gives_the_same_tensors() {
        let whole = model();
        let expected = read(&whole).unwrap();
        let mut errors = 0;
        for len in 0..whole.len() {
            match read(&whole.slice(..len)) {
                Ok(tensors) => assert_eq!(tensors, expected, "cut at {len}"),
                Err(ConvertError::Format { .. }) => errors += 1,
                Err(other) => panic!("cut at {len}: {other}"),
            }
        }
        assert!(errors > whole.len() / 2, "{errors} of {}", whole.len());
    }

    #[test]
    fn any_flipped_byte_is_survived() {
        let whole = model();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0xff;
            // Only that it returns matters: a flipped weight is still a weight.
            let _ = read(&bytes.into());
        }
    }
}

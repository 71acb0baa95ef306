//! Readers of the source formats. Each gives every constant of a file; none executes anything.
//!
//! There is none for HDF5 (`.h5`): no network of this project is published in it alone.

use std::{fs, path::Path};

use bytes::Bytes;

use crate::{
    error::{ConvertError, Result},
    source::SourceTensor,
};

pub mod onnx;
mod pickle;
pub mod safetensors;
pub mod tfjs;
pub mod tflite;
pub mod torch;

// Generated code: it carries its own style.
#[allow(missing_docs, unused_qualifications, clippy::all)]
mod onnx_schema;

// Generated code: it carries its own style, and `unsafe` that only its (unused) writers of vectors need.
#[allow(unsafe_code, dead_code, missing_docs, unused_qualifications, clippy::all)]
mod tflite_schema;

/// Reads the tensors of one file, the format chosen by its extension
/// (`tflite`, `pt`, `pth`, `json` of TensorFlow.js with its shards beside it, `safetensors`, `onnx`).
///
/// # Errors
/// [`ConvertError::Io`], [`ConvertError::Format`]; [`ConvertError::Missing`] for another extension.
pub fn read_file(path: &Path) -> Result<Vec<SourceTensor>> {
    let bytes = Bytes::from(fs::read(path).map_err(ConvertError::io(path))?);
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "tflite" => tflite::read(&bytes),
        "pt" | "pth" => torch::read(&bytes),
        "json" => tfjs::read(&bytes, |shard| {
            let path = path.with_file_name(shard);
            fs::read(&path).map_err(ConvertError::io(path))
        }),
        "safetensors" => safetensors::read(&bytes),
        "onnx" => onnx::read(&bytes),
        other => Err(ConvertError::Missing(format!(
            "no reader for the extension {other:?}; known are tflite, pt, pth, json (TensorFlow.js), safetensors and onnx"
        ))),
    }
}

//! Weights: as the engine loads them, and every format that `convert` reads.

use std::{fs, io::Cursor};

use bytes::Bytes;
use candle::{DType, Device};
use facesocial_convert::{
    chain,
    manifest::Manifest,
    package::Files,
    read::{self, onnx},
    source::SourceTensor,
};
use facesocial_engine::models::Weights;

use crate::files::scratch;

/// A safetensors file, by both of its readers.
pub fn safetensors(bytes: &[u8]) {
    let path = scratch("w.safetensors");
    fs::write(&path, bytes).expect("the scratch folder can be written");
    let loaded = Weights::open(&path, None);
    let source = read::safetensors::read(&Bytes::copy_from_slice(bytes));
    if let Ok(tensors) = &source {
        checked(tensors, bytes.len());
    }
    let Ok(weights) = loaded else { return };
    weights.parameters();
    let tensors = weights.var_builder(DType::F32, &Device::Cpu);
    let Ok((_, header)) = safetensors::SafeTensors::read_metadata(bytes) else { return };
    for name in header.tensors().keys() {
        // Every tensor was read; what is no weight is an error.
        let _ = tensors.get_unchecked(name);
    }
    let _ = weights.finish();
}

/// An ONNX graph, and the chain of layers that it is.
pub fn onnx(bytes: &[u8]) {
    let Ok(graph) = onnx::graph(&Bytes::copy_from_slice(bytes)) else { return };
    let constants: Vec<_> = graph.constants.values().cloned().collect();
    checked(&constants, usize::MAX);
    let _ = chain::read(&graph);
}

/// A PyTorch state dict.
pub fn torch(bytes: &[u8]) {
    if let Ok(tensors) = read::torch::read(&Bytes::copy_from_slice(bytes)) {
        checked(&tensors, usize::MAX);
    }
}

/// A TensorFlow Lite model.
pub fn tflite(bytes: &[u8]) {
    if let Ok(tensors) = read::tflite::read(&Bytes::copy_from_slice(bytes)) {
        checked(&tensors, bytes.len());
    }
}

/// A TensorFlow.js manifest and, behind a zero byte, what every shard holds.
pub fn tfjs(bytes: &[u8]) {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (manifest, shard) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let mut shards = 0;
    let tensors = read::tfjs::read(manifest, |path| {
        shards += 1;
        // The memory of a hostile manifest's shards is not what is looked for here.
        let missing = || facesocial_convert::error::ConvertError::Missing(path.to_owned());
        if shards > 16 { Err(missing()) } else { Ok(shard.to_vec()) }
    });
    if let Ok(tensors) = tensors {
        checked(&tensors, usize::MAX);
    }
}

/// A zip of a published package.
pub fn package(bytes: &[u8]) {
    const MANIFEST: &str = include_str!("../../../../models-src/mtcnn/manifest.toml");
    let manifest = Manifest::parse("mtcnn", MANIFEST).expect("the project's own manifest is fine");
    let source = manifest.source.published().expect("MTCNN is a published network");
    let mut files = Files::new();
    if files.insert_zip(source, Cursor::new(bytes)).is_ok() {
        panic!("nobody forges files whose digests are pinned");
    }
}

/// Tensors hold as much as their shapes say; those that are parts of the file hold no more than it.
fn checked(tensors: &[SourceTensor], file: usize) {
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
        let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.size()));
        let sized = tensor.dtype.is_weight();
        assert!(!sized || bytes == Some(tensor.data.len()), "{} of shape {:?}", tensor.name, tensor.shape);
        assert!(tensor.data.len() <= file, "{} is larger than its file", tensor.name);
    }
}

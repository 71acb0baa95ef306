//! TensorFlow.js weights: a manifest in JSON and binary shards.
//!
//! Two forms are in use: the bare array of weight groups, and `model.json` of a graph or layers model with the same
//! array under `weightsManifest`. The shards of a group, joined, hold its weights one after the other.

use serde::Deserialize;

use crate::{
    error::{ConvertError, Result},
    source::{Dtype, SourceTensor},
};

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Groups(Vec<Group>),
    Model {
        #[serde(rename = "weightsManifest")]
        weights_manifest: Vec<Group>,
    },
}

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Weight>,
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: Option<f64>,
    min: Option<f64>,
}

/// Reads every weight in manifest order; `shard` gives the bytes of a shard by the path the manifest states.
///
/// Affine uint16 weights come as the f32 values that TensorFlow.js computes from them; all others as stored.
///
/// # Errors
/// [`ConvertError::Format`] for a manifest of another form, unknown types, and shards of another length than the
/// weights add up to; what `shard` returns.
pub fn read(manifest: &[u8], mut shard: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<Vec<SourceTensor>> {
    let document = serde_json::from_slice(manifest).map_err(|e| {
        let hint = "expected an array of weight groups or an object with \"weightsManifest\"";
        format(format!("{e}; {hint}"))
    })?;
    let groups = match document {
        Document::Groups(groups) | Document::Model { weights_manifest: groups } => groups,
    };
    let mut tensors = Vec::new();
    for group in groups {
        let mut bytes = Vec::new();
        for path in &group.paths {
            bytes.extend(shard(path)?);
        }
        let mut rest = bytes.as_slice();
        for weight in group.weights {
            let (tensor, after) = take(weight, rest)?;
            tensors.push(tensor);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(format(format!("{} bytes of {} belong to no weight", rest.len(), group.paths.join(", "))));
        }
    }
    Ok(tensors)
}

fn take(weight: Weight, bytes: &[u8]) -> Result<(SourceTensor, &[u8])> {
    let Weight { name, shape, dtype, quantization } = weight;
    let stored = match &quantization {
        None => match dtype.as_str() {
            "float32" => Stored::Plain(Dtype::F32),
            "int32" => Stored::Plain(Dtype::I32),
            "bool" => Stored::Plain(Dtype::Other("bool", 1)),
            other => return Err(format(format!("{name} has dtype {other}"))),
        },
        Some(q) => match (q.dtype.as_str(), q.scale, q.min, dtype.as_str()) {
            ("float16", _, _, "float32") => Stored::Plain(Dtype::F16),
            ("uint8", Some(scale), Some(min), "float32") => Stored::Plain(Dtype::AffineU8 { scale, min }),
            ("uint16", Some(scale), Some(min), "float32") => Stored::AffineU16 { scale, min },
            (other, ..) => return Err(format(format!("{name} ({dtype}) has quantization {other}"))),
        },
    };
    let size = match stored {
        Stored::Plain(dtype) => dtype.size(),
        Stored::AffineU16 { .. } => 2,
    };
    let len = shape.iter().try_fold(size, |n, axis| n.checked_mul(*axis));
    let Some((data, rest)) = len.and_then(|len| bytes.split_at_checked(len)) else {
        return Err(format(format!("{name} of shape {shape:?} needs more than the {} bytes left", bytes.len())));
    };
    let (dtype, data) = match stored {
        Stored::Plain(dtype) => (dtype, data.to_vec().into()),
        Stored::AffineU16 { scale, min } => {
            let value = |b: &[u8; 2]| (f64::from(u16::from_le_bytes(*b)) * scale + min) as f32;
            (Dtype::F32, data.as_chunks().0.iter().flat_map(|b| value(b).to_le_bytes()).collect::<Vec<_>>().into())
        }
    };
    Ok((SourceTensor { name, shape, dtype, data }, rest))
}

enum Stored {
    Plain(Dtype),
    AffineU16 { scale: f64, min: f64 },
}

fn format(reason: impl Into<String>) -> ConvertError {
    ConvertError::Format { format: "TensorFlow.js", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = r#"[{"paths": ["a.bin", "b.bin"], "weights": [
        {"name": "f", "shape": [2], "dtype": "float32"},
        {"name": "i", "shape": [], "dtype": "int32"},
        {"name": "h", "shape": [1], "dtype": "float32", "quantization": {"dtype": "float16", "original_dtype": "float32"}},
        {"name": "q", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1.5}},
        {"name": "w", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint16", "scale": 0.001, "min": 0.25}}
    ]}]"#;

    fn bytes() -> Vec<u8> {
        let mut bytes = [1.0f32.to_le_bytes(), (-0.5f32).to_le_bytes(), 9i32.to_le_bytes()].concat();
        bytes.extend([0x00, 0x3c]);
        bytes.extend([0, 128, 255]);
        bytes.extend([0u16.to_le_bytes(), 1000u16.to_le_bytes()].concat());
        bytes
    }

    fn shard(path: &str) -> Result<Vec<u8>> {
        // The cut lies inside of the first weight: shards are joined before weights are taken.
        Ok(match path {
            "a.bin" => bytes()[..5].to_vec(),
            "b.bin" => bytes()[5..].to_vec(),
            other => return Err(ConvertError::Missing(other.to_owned())),
        })
    }

    #[test]
    fn reads_every_type_over_shard_borders() {
        let tensors = read(GROUPS.as_bytes(), shard).unwrap();
        let dtypes: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.dtype)).collect();
        let q = Dtype::AffineU8 { scale: 0.1, min: -1.5 };
        assert_eq!(dtypes, [("f", Dtype::F32), ("i", Dtype::I32), ("h", Dtype::F16), ("q", q), ("w", Dtype::F32)]);
        assert_eq!(tensors[0].data, bytes()[..8]);
        assert_eq!(tensors[3].data, [0, 128, 255][..]);
        assert_eq!(tensors[4].data, [0.25f32.to_le_bytes(), 1.25f32.to_le_bytes()].concat());
    }

    #[test]
    fn both_forms_of_the_manifest_give_the_same() {
        let model = format!(r#"{{"format": "graph-model", "modelTopology": {{}}, "weightsManifest": {GROUPS}}}"#);
        assert_eq!(read(model.as_bytes(), shard).unwrap(), read(GROUPS.as_bytes(), shard).unwrap());
    }

    #[test]
    fn a_shard_of_another_length_is_an_error() {
        let short = read(GROUPS.as_bytes(), |p| shard(p).map(|b| b[..b.len() - 1].to_vec()));
        assert!(short.unwrap_err().to_string().contains("w of shape [2]"));
        let long =
            read(GROUPS.as_bytes(), |p| shard(p).map(|b| [b, if p == "b.bin" { vec![0] } else { vec![] }].concat()));
        assert!(long.unwrap_err().to_string().contains("1 bytes of a.bin, b.bin belong to no weight"));
    }

    #[test]
    fn factors_are_the_nearest_doubles() {
        // Two factors of published networks that a fast parser gets wrong by one unit in the last place.
        let text = r#"[{"paths": [], "weights": [{"name": "q", "shape": [0], "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.010974494616190593, "min": 5.9886454383719385e-09}}]}]"#;
        let exact = |text: &str| text.parse::<f64>().unwrap();
        let expected = Dtype::AffineU8 { scale: exact("0.010974494616190593"), min: exact("5.9886454383719385e-09") };
        assert_eq!(read(text.as_bytes(), shard).unwrap()[0].dtype, expected);
    }

    #[test]
    fn an_unknown_type_is_named() {
        let text = r#"[{"paths": [], "weights": [{"name": "s", "shape": [1], "dtype": "string"}]}]"#;
        assert!(read(text.as_bytes(), shard).unwrap_err().to_string().contains("s has dtype string"));
    }
}

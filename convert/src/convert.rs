//! One network from its source files to the bytes of its weight file.

use crate::{
    error::{ConvertError, Result},
    lock::Entry,
    manifest::{Format, Manifest, SourceFile},
    output::{sha256, to_safetensors},
    package::Files,
    read::{tfjs, tflite, torch},
    rules::{self, Part},
    source::SourceTensor,
};

/// A converted network.
#[derive(Debug)]
pub struct Converted {
    /// Its line in `weights.lock`.
    pub entry: Entry,
    /// The safetensors file.
    pub bytes: Vec<u8>,
}

/// Converts a network; the same files give the same bytes.
///
/// # Errors
/// [`ConvertError::Format`] for a damaged source, [`ConvertError::Rules`] if the rules do not fit it or the result is
/// not what the manifest's `[output]` says.
pub fn convert(manifest: &Manifest, files: &Files) -> Result<Converted> {
    let weights = rules::apply(&manifest.rules, read(manifest, files)?)?;
    let tensors = weights.len();
    let parameters = weights.values().map(|w| w.shape.iter().product::<usize>()).sum();
    let output = &manifest.output;
    if (tensors, parameters) != (output.tensors, output.parameters) {
        return Err(ConvertError::Rules(vec![format!(
            "the result has {tensors} tensors and {parameters} parameters (scale and min of quantised tensors not \
             counted), [output] says {} and {}",
            output.tensors, output.parameters
        )]));
    }
    let bytes = to_safetensors(&weights)?;
    let entry = Entry {
        name: manifest.name.clone(),
        file: output.file.clone(),
        sha256: sha256(&bytes),
        bytes: bytes.len() as u64,
        tensors,
        parameters,
        source: manifest.source_line(),
        licence: manifest.licence.clone(),
    };
    Ok(Converted { entry, bytes })
}

fn read<'a>(manifest: &'a Manifest, files: &Files) -> Result<Vec<Part<'a>>> {
    let source = &manifest.source;
    let mut parts = Vec::new();
    let mut rest = source.files.as_slice();
    while let [file, after @ ..] = rest {
        let bytes = files.get(source, &file.path)?;
        rest = after;
        let tensors = match source.format {
            Format::Tflite => tflite::read(bytes),
            Format::Torch => torch::read(bytes),
            Format::Tfjs => {
                let shards = after.iter().take_while(|f| !f.path.ends_with(".json")).count();
                rest = &after[shards..];
                read_tfjs(bytes, &after[..shards], |path| files.get(source, path))
            }
        };
        let tensors = tensors.map_err(|error| match error {
            ConvertError::Format { format, reason } => {
                ConvertError::Format { format, reason: format!("{}: {reason}", file.path) }
            }
            other => other,
        })?;
        parts.push(Part { prefix: &file.prefix, tensors });
    }
    Ok(parts)
}

/// Reads a TensorFlow.js manifest whose shards are exactly the given files, found by name.
fn read_tfjs<'f>(
    manifest: &[u8],
    shards: &[SourceFile],
    get: impl Fn(&str) -> Result<&'f [u8]>,
) -> Result<Vec<SourceTensor>> {
    let mut unused: Vec<&SourceFile> = shards.iter().collect();
    let tensors = tfjs::read(manifest, |path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let index = unused.iter().position(|f| f.file_name() == name).ok_or_else(|| {
            ConvertError::Missing(format!("the weight manifest names the shard {path}, [[source.file]] does not"))
        })?;
        Ok(get(&unused.remove(index).path)?.to_vec())
    })?;
    match unused.first() {
        None => Ok(tensors),
        Some(file) => Err(ConvertError::Missing(format!("the weight manifest names no shard {}", file.file_name()))),
    }
}

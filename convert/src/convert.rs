//! One network from its source files to the bytes of its weight file.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    chain,
    error::{ConvertError, Result},
    graph::{self, Structure},
    lock::Entry,
    manifest::{Manifest, Output},
    origin::{Format, Published, SourceFile},
    output::{COMPANIONS, sha256, to_safetensors},
    package::Files,
    read::{onnx, safetensors, tfjs, tflite, torch},
    rules::{self, Part},
    source::{Dtype, SourceTensor},
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
/// Memory: the source files stay in `files`, tensors are parts of them where the format allows it (safetensors, ONNX, the
/// legacy container of PyTorch), and the result is built beside them: about twice the size of the source. PyTorch's zip
/// container is copied once more.
///
/// # Errors
/// [`ConvertError::Format`] for a damaged source, [`ConvertError::Rules`] if the rules do not fit it or the result is
/// not what the manifest's `[output]` says.
pub fn convert(manifest: &Manifest, files: &Files) -> Result<Converted> {
    let Some(source) = manifest.source.published() else {
        return Err(ConvertError::Missing(format!(
            "{} was trained by this project: its weight file is the original, and `facesocial-convert adopt` locks it",
            manifest.name
        )));
    };
    let weights = match (&manifest.onnx, source.files.as_slice()) {
        (Some(map), [file]) => {
            let graph = onnx::graph(files.get(source, &file.path)?).map_err(|e| in_file(e, file))?;
            match map.structure {
                Structure::Layers => graph::apply(map, &graph)?,
                Structure::Chain => chain::read(&graph)?,
            }
        }
        _ => rules::apply(&manifest.rules, read(source, files)?)?,
    };
    let tensors = weights.len();
    let parameters = weights.values().map(|w| w.shape.iter().product::<usize>()).sum();
    check_output(&manifest.output, tensors, parameters)?;
    let bytes = to_safetensors(&weights)?;
    Ok(Converted { entry: entry(manifest, &bytes, tensors, parameters), bytes })
}

/// The entry in `weights.lock` of a weight file that this project trained.
///
/// # Errors
/// [`ConvertError::Format`] for a damaged file, [`ConvertError::Rules`] if it is not what the manifest's `[output]` says.
pub fn adopt(manifest: &Manifest, bytes: &Bytes) -> Result<Entry> {
    let all = safetensors::read(bytes)?;
    let quantised: BTreeSet<&str> =
        all.iter().filter(|t| t.dtype == Dtype::Other("u8", 1)).map(|t| t.name.as_str()).collect();
    let companion = |name: &str| {
        name.rsplit_once('.').is_some_and(|(key, end)| COMPANIONS.contains(&end) && quantised.contains(key))
    };
    let (mut tensors, mut parameters) = (0, 0);
    for tensor in all.iter().filter(|t| !companion(&t.name)) {
        tensors += 1;
        parameters += tensor.elements();
    }
    check_output(&manifest.output, tensors, parameters)?;
    Ok(entry(manifest, bytes, tensors, parameters))
}

fn check_output(output: &Output, tensors: usize, parameters: usize) -> Result<()> {
    if output.counts().is_none_or(|counts| counts == (tensors, parameters)) {
        return Ok(());
    }
    Err(ConvertError::Rules(vec![format!(
        "the result has {tensors} tensors and {parameters} parameters (scale and min of quantised tensors not counted), \
         [output] says {} and {}",
        output.tensors, output.parameters
    )]))
}

fn entry(manifest: &Manifest, bytes: &[u8], tensors: usize, parameters: usize) -> Entry {
    Entry {
        name: manifest.name.clone(),
        file: manifest.output.file.clone(),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        tensors,
        parameters,
        source: manifest.source_line(),
        licence: manifest.licence.clone(),
        untrained: manifest.untrained,
    }
}

fn read<'a>(source: &'a Published, files: &Files) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    let mut rest = source.files.as_slice();
    while let [file, after @ ..] = rest {
        let bytes = files.get(source, &file.path)?;
        rest = after;
        let tensors = match source.format {
            Format::Tflite => tflite::read(bytes),
            Format::Torch => torch::read(bytes),
            Format::Safetensors => safetensors::read(bytes),
            Format::Onnx => onnx::read(bytes),
            Format::Tfjs => {
                let shards = after.iter().take_while(|f| !f.path.ends_with(".json")).count();
                rest = &after[shards..];
                read_tfjs(bytes, &after[..shards], |path| files.get(source, path))
            }
        };
        let tensors = tensors.map_err(|e| in_file(e, file))?;
        parts.push(Part { prefix: &file.prefix, tensors });
    }
    Ok(parts)
}

/// The error with the name of the file at fault.
fn in_file(error: ConvertError, file: &SourceFile) -> ConvertError {
    match error {
        ConvertError::Format { format, reason } => {
            ConvertError::Format { format, reason: format!("{}: {reason}", file.path) }
        }
        other => other,
    }
}

/// Reads a TensorFlow.js manifest whose shards are exactly the given files, found by name.
fn read_tfjs<'f>(
    manifest: &[u8],
    shards: &[SourceFile],
    get: impl Fn(&str) -> Result<&'f Bytes>,
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

#[cfg(test)]
mod tests {
    use ::safetensors::{Dtype as Stored, SafeTensors, serialize, tensor::TensorView};

    use super::*;
    use crate::read::onnx::tests::{floats, model, node};

    fn manifest(format: &str, end: &str) -> Manifest {
        let text = format!(
            r#"
name = "tiny"
service = "recognition"
profile = "full"
title = "Tiny"
paper = "https://example.org/paper"
reference = "https://example.org/code"
module = "tiny.rs"
licence = "MIT"
[source]
registry = "https"
url = "https://example.org/"
format = "{format}"
[[source.file]]
path = "tiny.bin"
[output]
file = "tiny.safetensors"
tensors = 2
parameters = 3
{end}"#
        );
        Manifest::parse("tiny", &text).unwrap()
    }

    fn run(manifest: &Manifest, bytes: Bytes) -> Result<Converted> {
        let mut files = Files::new();
        files.insert(manifest.source.published().unwrap(), "tiny.bin", bytes)?;
        convert(manifest, &files)
    }

    #[test]
    fn an_onnx_file_becomes_the_layers_of_its_manifest() {
        let layers = r#"[onnx]
            layers = [
                { key = "conv", op = "conv", shape = [2, 1, 1, 1] },
                { key = "prelu", op = "prelu", shape = [1] },
            ]"#;
        let manifest = manifest("onnx", layers);
        let nodes = || vec![node("Conv", "h", &["x", "583"]), node("PRelu", "y", &["h", "747"])];
        let slope = floats("747", &[1, 1, 1], &[0.25]);
        let bytes = model(nodes(), vec![floats("583", &[2, 1, 1, 1], &[1.0, -1.0]), slope.clone()]);
        let Converted { entry, bytes } = run(&manifest, bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("conv.weight").unwrap().data(), [1.0f32, -1.0].map(f32::to_le_bytes).concat());
        assert_eq!(file.tensor("prelu.weight").unwrap().shape(), [1]);
        assert_eq!(
            (entry.tensors, entry.parameters, entry.source.as_str()),
            (2, 3, "https https://example.org/ tiny.bin")
        );

        let wide = model(nodes(), vec![floats("583", &[3, 1, 1, 1], &[0.0; 3]), slope]);
        assert!(matches!(run(&manifest, wide), Err(ConvertError::Rules(faults)) if faults.len() == 2));
        let Err(ConvertError::Format { reason, .. }) = run(&manifest, Bytes::from_static(b"\x3a\x05abc")) else {
            panic!("half a graph was converted");
        };
        assert!(reason.starts_with("tiny.bin: "), "{reason}");
    }

    #[test]
    fn safetensors_keep_their_types() {
        let rules = "[[rule]]\nfrom = '.+steps'\nleave_out = \"a counter\"\n[[rule]]\nfrom = 'net\\.(.+)'\nto = \"$1\"";
        let (half, brain, long) = ([0x00, 0x3c, 0x00, 0xc0], [0x80, 0x3f], 5i64.to_le_bytes());
        let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let tensors = [
            ("net.a", view(Stored::F16, &[2], &half[..])),
            ("net.b", view(Stored::BF16, &[1], &brain[..])),
            ("net.steps", view(Stored::I64, &[], &long[..])),
        ];
        let source = Bytes::from(serialize(tensors, None).unwrap());
        let bytes = run(&manifest("safetensors", rules), source.clone()).unwrap().bytes;
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let found = |key: &str| file.tensor(key).map(|t| (t.dtype(), t.data().to_vec())).unwrap();
        assert_eq!(
            (file.len(), found("a"), found("b")),
            (2, (Stored::F16, half.to_vec()), (Stored::BF16, brain.to_vec()))
        );
        assert!(matches!(run(&manifest("safetensors", rules), source.slice(..20)), Err(ConvertError::Format { .. })));
    }
}

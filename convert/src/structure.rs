//! Every manifest with an `[onnx]` table against the graph that an exporter really makes of its network.
//!
//! `tests/graphs/*.graph` hold those graphs without weights (`tests/graphs/structure.py` writes them): which constant is
//! which tensor of the module is written there, found by comparing values, while names are replaced by numbers. Here each
//! constant gets data that start with a number of its own, and these must arrive under the right key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use bytes::Bytes;

use crate::{
    error::ConvertError,
    graph::{self, Op},
    manifest::Manifest,
    read::onnx::{Graph, Node},
    source::{Dtype, SourceTensor},
};

/// A graph, and the key of the module for the first four bytes of a constant.
struct Exported {
    graph: Graph,
    keys: BTreeMap<[u8; 4], String>,
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn manifest(name: &str) -> Manifest {
    Manifest::parse(name, &repository(&format!("models-src/{name}/manifest.toml"))).unwrap()
}

/// Number `i` at place `i`: a part of it from there on starts with `i`.
fn numbers(count: usize) -> Bytes {
    (0..count as u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

fn exported(name: &str) -> Exported {
    let text = repository(&format!("convert/tests/graphs/{name}.graph"));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let shape = |text: &str| -> Vec<usize> {
        if text == "." { Vec::new() } else { text.split(',').map(|n| n.parse().unwrap()).collect() }
    };
    let largest = lines.iter().filter(|l| l[0] == "=").map(|l| shape(l[3]).iter().product::<usize>()).max().unwrap();
    let numbers = numbers(largest + lines.len());
    let (mut inputs, mut constants, mut nodes) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut keys = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        match line.as_slice() {
            ["input", name] => inputs.push((*name).to_owned()),
            ["=", name, kind, dims, rest @ ..] => {
                let shape = shape(dims);
                let count = shape.iter().product::<usize>();
                let (dtype, data) = match (*kind, rest) {
                    ("f32", [key]) if key.starts_with('@') => {
                        let data = numbers.slice(4 * i..4 * (i + count));
                        if let Some(first) = data.first_chunk() {
                            keys.insert(*first, key[1..].to_owned());
                        }
                        (Dtype::F32, data)
                    }
                    ("f32", [value]) => (Dtype::F32, value.parse::<f32>().unwrap().to_le_bytes().to_vec().into()),
                    ("i64", values) => {
                        let values = values.iter().filter(|v| !v.is_empty());
                        (Dtype::I64, values.flat_map(|v| v.parse::<i64>().unwrap().to_le_bytes()).collect())
                    }
                    ("bool", _) => (Dtype::Other("bool", 1), vec![0; count].into()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(data.len(), count * dtype.size(), "{line:?}");
                let name = (*name).to_owned();
                constants.insert(name.clone(), SourceTensor { name, shape, dtype, data });
            }
            [op, rest @ ..] => {
                let arrow = rest.iter().position(|word| *word == "<-").unwrap();
                let (attributes, inputs): (Vec<&str>, Vec<&str>) =
                    rest[arrow + 1..].iter().partition(|word| word.contains('='));
                let inputs: Vec<&str> = inputs.into_iter().map(|name| if name == "-" { "" } else { name }).collect();
                nodes.push(Node::new(op, &rest[..arrow], &inputs, &attributes));
            }
            [] => {}
        }
    }
    Exported { graph: Graph { inputs, constants, nodes }, keys }
}

/// The manifest's layers, taken out of the graph, are the tensors that the exporter put there.
#[track_caller]
fn assert_mapped(name: &str) {
    let (manifest, Exported { graph, keys }) = (manifest(name), exported(name));
    let weights = graph::apply(manifest.onnx.as_ref().unwrap(), &graph).unwrap();
    for (key, weight) in &weights {
        assert_eq!(keys[weight.data.first_chunk().unwrap()], *key);
    }
    let parameters: usize = weights.values().map(|w| w.shape.iter().product::<usize>()).sum();
    assert_eq!((weights.len(), parameters), (manifest.output.tensors, manifest.output.parameters));
}

#[test]
fn minifasnet_v2se() {
    assert_mapped("minifasnet-v2se");
}

#[test]
fn anti_spoof_mn3() {
    assert_mapped("anti-spoof-mn3");
}

#[test]
fn yolov10n_face() {
    assert_mapped("yolov10n-face-akanametov");
}

#[test]
fn arcface_iresnet50() {
    assert_mapped("arcface-iresnet50");
}

#[test]
fn arcface_iresnet100() {
    assert_mapped("arcface-iresnet100");
}

/// The size of the published file says that its batch norms stand apart; folding them gives the same tensors.
#[test]
fn anti_spoof_mn3_with_its_batch_norms_apart() {
    let map = manifest("anti-spoof-mn3").onnx.unwrap();
    let shapes = |name: &str| -> Vec<(String, Vec<usize>)> {
        graph::apply(&map, &exported(name).graph).unwrap().into_iter().map(|(key, w)| (key, w.shape)).collect()
    };
    assert_eq!(shapes("anti-spoof-mn3-unfolded"), shapes("anti-spoof-mn3"));
}

/// The two-class file has the layers of the other but for the last.
#[test]
fn the_two_variants_of_minifasnet_v2se_differ_in_their_classes_alone() {
    let (three, mut two) = (manifest("minifasnet-v2se").onnx.unwrap(), manifest("minifasnet-v2se-bin").onnx.unwrap());
    let last = two.layers.last_mut().unwrap();
    assert_eq!((last.key.as_str(), last.op, last.shape.as_slice()), ("prob", Op::Linear, &[2, 128][..]));
    last.shape[0] = 3;
    assert_eq!(two, three);
}

#[test]
fn a_graph_of_another_depth_names_what_is_missing_and_what_is_left() {
    let map = manifest("arcface-iresnet100").onnx.unwrap();
    let Err(ConvertError::Rules(faults)) = graph::apply(&map, &exported("arcface-iresnet50").graph) else {
        panic!("the deeper network was found in the shallower");
    };
    assert!(faults.iter().any(|f| f.starts_with("layer3.29.conv1 finds no operator of its own")), "{faults:?}");
    assert!(!faults.iter().any(|f| f.starts_with("layer1.")), "{faults:?}");
}

/// What `tests/golden/models/*.keys` say of the module is what the layers give, but for folded batch norms.
#[test]
fn the_layers_are_the_modules() {
    for (name, keys) in [
        ("anti-spoof-mn3", "anti-spoof-mn3"),
        ("arcface-iresnet50", "arcface-iresnet50"),
        ("arcface-iresnet100", "arcface-iresnet100"),
        ("minifasnet-v2se", "minifasnet-v2se"),
    ] {
        let keys = repository(&format!("tests/golden/models/{keys}.keys"));
        let known: BTreeMap<&str, Vec<usize>> = keys
            .lines()
            .map(|line| {
                let (key, dims) = line.split_once(' ').unwrap();
                (key, dims.split(' ').map(|n| n.parse().unwrap()).collect())
            })
            .collect();
        let layers = manifest(name).onnx.unwrap().layers;
        for layer in &layers {
            assert_eq!(known[format!("{}.weight", layer.key).as_str()], layer.shape, "{name} {}", layer.key);
        }
        let stem = |key: &str| key.rsplit_once('.').unwrap().0.to_owned();
        let norms: BTreeSet<String> = known.keys().filter(|k| k.ends_with("running_var")).map(|k| stem(k)).collect();
        let all: BTreeSet<String> = known.keys().map(|k| stem(k)).filter(|k| !norms.contains(k)).collect();
        let ours: BTreeSet<String> = layers.iter().map(|l| l.key.clone()).filter(|k| !norms.contains(k)).collect();
        assert_eq!(ours, all, "{name}");
    }
}

//! Trained weights that may not be committed: tests read them from a mirror folder where one is at hand.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

use candle::{
    DType, Device, Tensor,
    pickle::{Object, Stack},
};

/// The file in the mirror, `FACESOCIAL_MODELS_MIRROR` or `../shared/models-src` beside the checkout. Says on standard error
/// when there is none, since a test that then passes has compared nothing; with `FACESOCIAL_REQUIRE_WEIGHTS` set, that
/// fails.
pub fn file(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models-src");
    let folder = env::var_os("FACESOCIAL_MODELS_MIRROR").map_or_else(beside, PathBuf::from);
    let file = folder.join(path);
    if file.is_file() {
        return Some(file);
    }
    let message = format!("NOT COMPARED with trained weights: there is no {}", file.display());
    assert!(env::var_os("FACESOCIAL_REQUIRE_WEIGHTS").is_none(), "{message}");
    // Not `eprintln`, which the test harness swallows when the test passes.
    let line = format!("{message}; set FACESOCIAL_MODELS_MIRROR to a folder that has it\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Writes the F32 tensors of a PyTorch state dict as safetensors, without the `module.` before their names.
///
/// The container is the one `torch.save` wrote before version 1.6: pickles of a magic number, the protocol, the system, the
/// dictionary and the list of its storages, then of each storage the number of values and the values.
pub fn write_state_dict(source: &Path, target: &Path) {
    let bytes = std::fs::read(source).unwrap();
    // The magic number has ten bytes, more than candle's stack machine takes.
    let mut rest = bytes.strip_prefix(MAGIC).expect("the container of torch.save before 1.6");
    let mut pickle = || {
        let mut stack = Stack::empty();
        stack.read_loop(&mut rest).unwrap();
        stack.finalize().unwrap()
    };
    let [_protocol, _system, dict, storages] = [pickle(), pickle(), pickle(), pickle()];
    let views: Vec<View> =
        dict.dict().unwrap().into_iter().filter_map(|(name, tensor)| View::of(name, tensor)).collect();
    let Object::List(storages) = storages else { panic!("no list of storages: {storages:?}") };
    let mut tensors = HashMap::new();
    for key in storages {
        let key = key.unicode().unwrap();
        let (count, data) = rest.split_first_chunk().unwrap();
        let count = u64::from_le_bytes(*count) as usize;
        let view = views.iter().find(|v| v.storage == key);
        let (data, after) = data.split_at(count * view.map_or(size_of::<i64>(), |_| size_of::<f32>()));
        rest = after;
        if let Some(view) = view {
            assert_eq!(view.shape.iter().product::<usize>(), count, "{} is a part of its storage", view.name);
            let name = view.name.strip_prefix("module.").unwrap_or(&view.name).to_owned();
            let tensor = Tensor::from_raw_buffer(data, DType::F32, &view.shape, &Device::Cpu).unwrap();
            tensors.insert(name, tensor);
        }
    }
    assert!(rest.is_empty() && tensors.len() == views.len());
    candle::safetensors::save(&tensors, target).unwrap();
}

struct View {
    name: String,
    storage: String,
    shape: Vec<usize>,
}

impl View {
    /// Of `_rebuild_tensor_v2(("storage", type, key, device, count), offset, shape, stride, ..)`, where the type is float;
    /// attributes of the dictionary stand among its entries and are no calls.
    fn of(name: Object, tensor: Object) -> Option<Self> {
        let (_, args) = tensor.reduce().ok()?;
        let mut args = args.tuple().unwrap().into_iter();
        let storage = args.next().unwrap().persistent_load().unwrap().tuple().unwrap();
        let (_, class) = storage[1].clone().class().unwrap();
        let shape = args.nth(1).unwrap().tuple().unwrap();
        (class == "FloatStorage").then(|| Self {
            name: name.unicode().unwrap(),
            storage: storage[2].clone().unicode().unwrap(),
            shape: shape.into_iter().map(|d| d.int_or_long().unwrap() as usize).collect(),
        })
    }
}

/// A weight of an ONNX graph: where it stands (operator and input) and its tensor.
pub struct OnnxWeight {
    pub operator: String,
    pub input: usize,
    pub tensor: Tensor,
}

/// The weights of an ONNX graph in the order in which its nodes use them. Only F32 data in `raw_data` is read.
pub fn onnx_weights(source: &Path) -> Vec<OnnxWeight> {
    let bytes = std::fs::read(source).unwrap();
    let graph = fields(&bytes).find(|(number, _)| *number == 7).expect("ModelProto.graph").1;
    let graph: Vec<_> = fields(graph.bytes()).collect();
    let tensors: BTreeMap<String, Tensor> =
        graph.iter().filter(|(number, _)| *number == 5).filter_map(|(_, t)| tensor(t.bytes())).collect();
    let mut weights = Vec::new();
    for (_, node) in graph.iter().filter(|(number, _)| *number == 1) {
        let node: Vec<_> = fields(node.bytes()).collect();
        let operator = node.iter().find(|(number, _)| *number == 4).expect("NodeProto.op_type").1.text();
        for (input, (_, name)) in node.iter().filter(|(number, _)| *number == 1).enumerate() {
            if let Some(tensor) = tensors.get(&name.text()) {
                weights.push(OnnxWeight { operator: operator.clone(), input, tensor: tensor.clone() });
            }
        }
    }
    weights
}

/// TensorProto: dims = 1, data_type = 2 (1 is float), name = 8, raw_data = 9.
fn tensor(bytes: &[u8]) -> Option<(String, Tensor)> {
    let (mut dims, mut name, mut float, mut data) = (Vec::new(), String::new(), false, &[][..]);
    for (number, value) in fields(bytes) {
        match (number, value) {
            (1, Field::Number(dim)) => dims.push(dim as usize),
            (1, Field::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    dims.push(varint(&mut packed) as usize);
                }
            }
            (2, Field::Number(data_type)) => float = data_type == 1,
            (8, value) => name = value.text(),
            (9, value) => data = value.bytes(),
            _ => {}
        }
    }
    let values: Vec<f32> = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    float.then(|| (name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap()))
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("a number where a message is expected") };
        bytes
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

/// The fields of a protocol buffer message: number and value.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => return Some((tag >> 3, Field::Number(varint(&mut bytes)))),
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        Some((tag >> 3, Field::Bytes(value)))
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a complete message");
        *bytes = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

//! ONNX graphs: their constants, and their operators in the order in which they can run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
};

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::onnx_schema::{AttributeProto, ModelProto, NodeProto, TensorProto};
use crate::{
    error::{ConvertError, Result},
    source::{Dtype, SourceTensor},
};

/// More operators, names, attributes and tensors together than any network of this kind has. Each takes up to a hundred
/// times the room in memory that it takes in a file, so a hostile file of them would not fit.
const MOST_PARTS: usize = 1 << 20;

/// A graph without subgraphs.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Names of the inputs, without those that are constants.
    pub inputs: Vec<String>,
    /// Initializers and the values of `Constant` operators by name.
    pub constants: BTreeMap<String, SourceTensor>,
    /// The operators but for `Constant`, each behind all whose results it takes; otherwise in file order.
    pub nodes: Vec<Node>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its type, such as `Conv`.
    pub op: String,
    /// Its name; often empty.
    pub name: String,
    /// Names of what it takes; an empty one is an input left out.
    pub inputs: Vec<String>,
    /// Names of what it gives.
    pub outputs: Vec<String>,
    attributes: HashMap<String, Attribute>,
}

/// Value of an attribute that says something about weights.
#[derive(Debug, Clone, PartialEq)]
enum Attribute {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

impl Node {
    /// An operator for tests; `attributes` of the form `perm:l=1,0`, `transB:i=1`, `epsilon:f=1e-5`.
    #[cfg(test)]
    pub(crate) fn new(op: &str, outputs: &[&str], inputs: &[&str], attributes: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let attribute = |text: &&str| {
            let (name, value) = text.split_once(':').unwrap();
            let value = match value.split_once('=').unwrap() {
                ("f", value) => Attribute::Float(value.parse().unwrap()),
                ("i", value) => Attribute::Int(value.parse().unwrap()),
                (_, values) => Attribute::Ints(values.split(',').map(|v| v.parse().unwrap()).collect()),
            };
            (name.to_owned(), value)
        };
        let attributes = attributes.iter().map(attribute).collect();
        Self { op: op.to_owned(), name: String::new(), inputs: names(inputs), outputs: names(outputs), attributes }
    }

    /// An attribute that is a float.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        if let Some(Attribute::Float(value)) = self.attributes.get(name) { *value } else { default }
    }

    /// An attribute that is an integer.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        if let Some(Attribute::Int(value)) = self.attributes.get(name) { *value } else { default }
    }

    /// An attribute that is a list of integers; empty if it is absent.
    pub fn ints(&self, name: &str) -> &[i64] {
        if let Some(Attribute::Ints(values)) = self.attributes.get(name) { values } else { &[] }
    }

    /// Whether it has an attribute, of whichever type.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// What it is called in messages: type and name, or its first result where it has no name.
    pub fn label(&self) -> String {
        let name = Some(&self.name).filter(|n| !n.is_empty()).or(self.outputs.first());
        format!("{} {}", self.op, name.map_or("", String::as_str))
    }
}

/// Reads the constants of a graph, sorted by name.
///
/// # Errors
/// As [`graph`].
pub fn read(bytes: &Bytes) -> Result<Vec<SourceTensor>> {
    Ok(graph(bytes)?.constants.into_values().collect())
}

/// Reads a graph. Constants stored as raw data are parts of `bytes`.
///
/// # Errors
/// [`ConvertError::Format`] for damage, a cycle, values that nothing gives or that two give, data outside of the file,
/// subgraphs, sparse tensors, and constants of a type that is neither number nor truth value.
pub fn graph(bytes: &Bytes) -> Result<Graph> {
    if parts_of(bytes, Part::Model).map_err(|e| format(e.to_string()))? > MOST_PARTS {
        return Err(format(format!("it has more than {MOST_PARTS} operators, names, attributes and tensors")));
    }
    let model = ModelProto::decode(bytes.clone()).map_err(|e| format(e.to_string()))?;
    let graph = model.graph.ok_or_else(|| format("it holds no graph"))?;
    if !graph.sparse_initializer.is_empty() {
        return Err(format("it holds sparse tensors, which are not supported"));
    }
    let mut constants = BTreeMap::new();
    let mut keep = |name: String, tensor: TensorProto| {
        let tensor = constant(&name, tensor)?;
        match constants.insert(name.clone(), tensor) {
            Some(_) => Err(format(format!("there are two constants {name}"))),
            None => Ok(()),
        }
    };
    for tensor in graph.initializer {
        keep(tensor.name.clone(), tensor)?;
    }
    let mut nodes = Vec::new();
    for node in graph.node {
        if node.op_type == "Constant" {
            let (name, tensor) = value(node)?;
            keep(name, tensor)?;
        } else {
            nodes.push(parse(node)?);
        }
    }
    // Before version 4 of the format initializers stood among the inputs too.
    let mut inputs: Vec<String> = graph.input.into_iter().map(|i| i.name).collect();
    inputs.retain(|name| !constants.contains_key(name));
    let nodes = sort(nodes, inputs.iter().chain(constants.keys()).map(String::as_str).collect())?;
    Ok(Graph { inputs, constants, nodes })
}

fn parse(node: NodeProto) -> Result<Node> {
    let NodeProto { input, output, name, op_type, attribute } = node;
    let mut parsed = Node { op: op_type, name, inputs: input, outputs: output, attributes: HashMap::new() };
    for attribute in attribute {
        let AttributeProto { name, f, i, ints, g, graphs, .. } = attribute;
        if g.is_some() || !graphs.is_empty() {
            return Err(format(format!("{} has a subgraph, which is not supported", parsed.label())));
        }
        let value = match (f, i) {
            (Some(f), _) => Attribute::Float(f),
            (None, Some(i)) => Attribute::Int(i),
            // proto3 leaves a field out that holds nothing, and a lone `0` is nothing to some writers.
            (None, None) => Attribute::Ints(ints),
        };
        parsed.attributes.insert(name, value);
    }
    Ok(parsed)
}

/// The value of a `Constant` operator and its name.
fn value(node: NodeProto) -> Result<(String, TensorProto)> {
    let name = node.output.into_iter().next().unwrap_or_default();
    let unreadable = || format(format!("the value of the constant {name} is of no kind that is read here"));
    let attribute = node.attribute.into_iter().next().ok_or_else(unreadable)?;
    let AttributeProto { name: kind, f, i, t, floats, ints, sparse_tensor, .. } = attribute;
    if sparse_tensor.is_some() {
        return Err(unreadable());
    }
    let list = |len: usize| i64::try_from(len).map(|len| vec![len]).unwrap_or_default();
    let tensor = match kind.as_str() {
        "value" => t.ok_or_else(unreadable)?,
        "value_float" => TensorProto { data_type: 1, float_data: vec![f.unwrap_or_default()], ..Default::default() },
        "value_int" => TensorProto { data_type: 7, int64_data: vec![i.unwrap_or_default()], ..Default::default() },
        "value_floats" => {
            TensorProto { data_type: 1, dims: list(floats.len()), float_data: floats, ..Default::default() }
        }
        "value_ints" => TensorProto { data_type: 7, dims: list(ints.len()), int64_data: ints, ..Default::default() },
        _ => return Err(unreadable()),
    };
    Ok((name, tensor))
}

fn constant(name: &str, tensor: TensorProto) -> Result<SourceTensor> {
    if tensor.data_location == 1 || !tensor.external_data.is_empty() {
        let hint = "save the model again with its weights inside of the file";
        return Err(format(format!("{name} lies outside of the file (external data); {hint}")));
    }
    let mut shape = Vec::with_capacity(tensor.dims.len());
    for dim in &tensor.dims {
        shape.push(usize::try_from(*dim).map_err(|_| format(format!("{name} has an axis of length {dim}")))?);
    }
    let dtype = match tensor.data_type {
        1 => Dtype::F32,
        2 => Dtype::Other("u8", 1),
        3 => Dtype::Other("i8", 1),
        4 => Dtype::Other("u16", 2),
        5 => Dtype::Other("i16", 2),
        6 => Dtype::I32,
        7 => Dtype::I64,
        9 => Dtype::Other("bool", 1),
        10 => Dtype::F16,
        11 => Dtype::Other("f64", 8),
        12 => Dtype::Other("u32", 4),
        13 => Dtype::Other("u64", 8),
        16 => Dtype::Bf16,
        other => return Err(format(format!("{name} has the type {other}"))),
    };
    let TensorProto { float_data, int32_data, int64_data, double_data, raw_data, .. } = tensor;
    let data = match raw_data {
        Some(raw) => raw,
        // Types of less than four bytes stand in int32_data, one element in each.
        None => match dtype {
            Dtype::F32 => bytes_of(&float_data, f32::to_le_bytes),
            Dtype::I64 => bytes_of(&int64_data, i64::to_le_bytes),
            Dtype::Other("f64", _) => bytes_of(&double_data, f64::to_le_bytes),
            _ if dtype.size() == 1 => bytes_of(&int32_data, |v: i32| [v.to_le_bytes()[0]]),
            _ if dtype.size() == 2 => bytes_of(&int32_data, |v: i32| [v.to_le_bytes()[0], v.to_le_bytes()[1]]),
            Dtype::I32 => bytes_of(&int32_data, i32::to_le_bytes),
            _ => return Err(format(format!("{name} of type {dtype} is not stored as raw data"))),
        },
    };
    let expected = shape.iter().try_fold(dtype.size(), |n, axis| n.checked_mul(*axis));
    if expected != Some(data.len()) {
        return Err(format(format!("{name} of shape {shape:?} and type {dtype} has {} bytes", data.len())));
    }
    Ok(SourceTensor { name: name.to_owned(), shape, dtype, data })
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    values.iter().flat_map(|v| bytes(*v)).collect::<Vec<u8>>().into()
}

/// Puts operators behind those whose results they take; the file order is kept where it is one.
fn sort(nodes: Vec<Node>, mut given: HashSet<&str>) -> Result<Vec<Node>> {
    given.insert("");
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|o| !o.is_empty()) {
            if given.contains(output.as_str()) || makers.insert(output, i).is_some() {
                return Err(format(format!("{output} is given twice, the second time by {}", node.label())));
            }
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut takers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for input in node.inputs.iter().filter(|input| !given.contains(input.as_str())) {
            let nothing = || format(format!("{} takes {input}, which nothing gives", node.label()));
            takers[*makers.get(input.as_str()).ok_or_else(nothing)?].push(i);
            waiting[i] += 1;
        }
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|i| waiting[*i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for taker in &takers[i] {
            waiting[*taker] -= 1;
            if waiting[*taker] == 0 {
                ready.push(Reverse(*taker));
            }
        }
    }
    if let Some(stuck) = waiting.iter().position(|n| *n > 0) {
        return Err(format(format!("the graph has a cycle at or before {}", nodes[stuck].label())));
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| nodes[i].take()).collect())
}

/// The messages that hold others.
#[derive(Clone, Copy)]
enum Part {
    Model,
    Graph,
    Node,
    Attribute,
    /// Not looked into.
    Other,
}

impl Part {
    fn field(self, number: u32) -> Self {
        match (self, number) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Node, 5) => Self::Attribute,
            _ => Self::Other,
        }
    }
}

/// Number of fields in a message and in those inside of it, without the insides of tensors; stops above [`MOST_PARTS`].
fn parts_of(mut bytes: &[u8], part: Part) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while bytes.has_remaining() && count <= MOST_PARTS {
        count += 1;
        let (number, wire) = decode_key(&mut bytes)?;
        match part.field(number) {
            inside @ (Part::Graph | Part::Node | Part::Attribute) if wire == WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX);
                // A length beyond the end is for the decoder to name.
                let Some((message, rest)) = bytes.split_at_checked(len) else { return Ok(count) };
                bytes = rest;
                count += parts_of(message, inside)?;
            }
            _ => skip_field(wire, number, &mut bytes, DecodeContext::default())?,
        }
    }
    Ok(count)
}

fn format(reason: impl Into<String>) -> ConvertError {
    ConvertError::Format { format: "ONNX", reason: reason.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::read::onnx_schema::{GraphProto, ValueInfoProto};

    /// A model in bytes.
    pub(crate) fn model(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Bytes {
        let input = vec![ValueInfoProto { name: "x".into() }];
        let graph = GraphProto { node: nodes, initializer: constants, input, sparse_initializer: Vec::new() };
        let model = ModelProto { producer_name: "test".into(), producer_version: "1".into(), graph: Some(graph) };
        model.encode_to_vec().into()
    }

    pub(crate) fn node(op: &str, output: &str, inputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    pub(crate) use crate::read::onnx_schema::{NodeProto as Operator, TensorProto as Constant};

    fn with(node: NodeProto, attribute: AttributeProto) -> NodeProto {
        NodeProto { attribute: node.attribute.into_iter().chain([attribute]).collect(), ..node }
    }

    /// The operator with one more attribute, a list of integers.
    pub(crate) fn ints(node: NodeProto, name: &str, values: &[i64]) -> NodeProto {
        with(node, AttributeProto { name: name.into(), ints: values.to_vec(), ..AttributeProto::default() })
    }

    /// The same, an integer.
    pub(crate) fn int(node: NodeProto, name: &str, value: i64) -> NodeProto {
        with(node, AttributeProto { name: name.into(), i: Some(value), ..AttributeProto::default() })
    }

    /// The same, a float.
    pub(crate) fn float(node: NodeProto, name: &str, value: f32) -> NodeProto {
        with(node, AttributeProto { name: name.into(), f: Some(value), ..AttributeProto::default() })
    }

    pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        }
    }

    fn tiny() -> Bytes {
        let with_value = |node: NodeProto, name: &str, t: TensorProto| NodeProto {
            attribute: vec![AttributeProto { name: name.into(), t: Some(t), ..AttributeProto::default() }],
            ..node
        };
        model(
            vec![
                node("Relu", "y", &["h"]),
                with_value(node("Constant", "c", &[]), "value", floats("", &[], &[0.5])),
                node("Mul", "h", &["g", "c"]),
                node("Conv", "g", &["x", "w", ""]),
            ],
            vec![floats("w", &[1, 2, 1, 1], &[1.0, -2.0])],
        )
    }

    fn reason(bytes: &Bytes) -> String {
        match graph(bytes) {
            Err(ConvertError::Format { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gives_constants_and_operators_in_running_order() {
        let graph = graph(&tiny()).unwrap();
        assert_eq!(graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["Conv", "Mul", "Relu"]);
        assert_eq!(graph.inputs, ["x"]);
        let found: Vec<_> = read(&tiny()).unwrap().into_iter().map(|t| (t.name, t.shape, t.dtype)).collect();
        assert_eq!(found, [("c".into(), vec![], Dtype::F32), ("w".into(), vec![1, 2, 1, 1], Dtype::F32)]);
        assert_eq!(graph.constants["w"].data, [1.0f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
    }

    #[test]
    fn raw_data_are_not_copied() {
        let bytes = tiny();
        let data = &graph(&bytes).unwrap().constants["w"].data;
        assert!(bytes.as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn reads_every_way_to_store_numbers() {
        let tensor = |name: &str, data_type| TensorProto {
            name: name.into(),
            data_type,
            dims: vec![2],
            ..TensorProto::default()
        };
        let half = TensorProto { int32_data: vec![0x3c00, 0xc000], ..tensor("half", 10) };
        let brain = TensorProto { int32_data: vec![0x3f80, 0x4000], ..tensor("brain", 16) };
        let long = TensorProto { int64_data: vec![-1, 3], ..tensor("long", 7) };
        let single = TensorProto { float_data: vec![0.25, -8.0], ..tensor("single", 1) };
        let double = TensorProto { double_data: vec![0.1, 0.2], ..tensor("double", 11) };
        let found = read(&model(Vec::new(), vec![half, brain, long, single, double])).unwrap();
        let bytes = |name: &str| found.iter().find(|t| t.name == name).unwrap().data.to_vec();
        assert_eq!(bytes("half"), [0x00, 0x3c, 0x00, 0xc0]);
        assert_eq!(bytes("brain"), [0x80, 0x3f, 0x00, 0x40]);
        assert_eq!(bytes("long"), [(-1i64).to_le_bytes(), 3i64.to_le_bytes()].concat());
        assert_eq!(bytes("single"), [0.25f32.to_le_bytes(), (-8.0f32).to_le_bytes()].concat());
        assert_eq!(bytes("double"), [0.1f64.to_le_bytes(), 0.2f64.to_le_bytes()].concat());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let with = |change: fn(&mut TensorProto)| {
            let mut tensor = floats("w", &[2], &[1.0, 2.0]);
            change(&mut tensor);
            model(Vec::new(), vec![tensor])
        };
        let subgraph = AttributeProto { g: Some(Bytes::new()), name: "body".into(), ..AttributeProto::default() };
        let looped = NodeProto { attribute: vec![subgraph], ..node("Loop", "y", &["x"]) };
        let cases = [
            (with(|t| t.data_location = 1), "w lies outside of the file (external data)"),
            (with(|t| t.dims = vec![i64::MAX, i64::MAX, 4]), "has 8 bytes"),
            (with(|t| t.dims = vec![-1]), "w has an axis of length -1"),
            (with(|t| t.data_type = 8), "w has the type 8"),
            (model(vec![looped], Vec::new()), "Loop y has a subgraph"),
            (model(vec![node("Relu", "y", &["nothing"])], Vec::new()), "Relu y takes nothing, which nothing gives"),
            (model(vec![node("Add", "a", &["b", "x"]), node("Add", "b", &["a", "x"])], Vec::new()), "has a cycle"),
            (model(vec![node("Relu", "x", &["x"])], Vec::new()), "x is given twice"),
            (Bytes::new(), "it holds no graph"),
        ];
        for (bytes, expected) in cases {
            let reason = reason(&bytes);
            assert!(reason.contains(expected), "{reason}");
        }
    }

    /// Empty operators take two bytes each in a file and a hundred times that in memory.
    #[test]
    fn a_file_of_nothing_but_operators_is_refused_before_it_is_unpacked() {
        let empty = [0x0a, 0x00].repeat(MOST_PARTS + 1);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(empty.len() as u64, &mut bytes);
        bytes.extend(empty);
        assert!(reason(&bytes.into()).contains("it has more than"));
    }

    #[test]
    fn damage_never_panics() {
        let whole = tiny();
        for len in 0..whole.len() {
            let _ = graph(&whole.slice(..len));
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] ^= flip;
                // Only that it returns matters: a flipped weight is still a weight.
                let _ = graph(&bytes.into());
            }
        }
        assert!(matches!(graph(&whole.slice(..whole.len() - 1)), Err(ConvertError::Format { .. })));
    }
}

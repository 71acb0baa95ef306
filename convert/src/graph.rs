//! Which tensor of an ONNX graph belongs to which key of a module.
//!
//! Exporters fold batch norms into convolutions, transpose matrices, and give the results names such as `onnx::Conv_583`.
//! What still tells tensors apart is the operator that reads them. A manifest declares the layers of its network in the
//! order in which they run, and each takes the operator
//!
//! * whose weights are called `<key>.weight` as the exporter kept the name, or else
//! * that comes at the same place among all operators of its kind whose weights have its shape.
//!
//! A convolution with a batch norm right behind it is one layer: the batch norm is folded as most exporters do it, so that
//! the result does not depend on the exporter.
//!
//! Whatever else the graph computes must be declared as well, or the network is another than its module: operators by
//! their types, what is done to the input by its figures. Constants of more than one element that no layer reads are
//! refused; single numbers and integers belong to the operators.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use serde::Deserialize;

use crate::{
    error::{ConvertError, Result},
    layout::permute,
    read::onnx::{Graph, Node},
    rules::Weight,
    source::{Dtype, SourceTensor},
};

/// The `[onnx]` table of a manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Where the layers are told: here, or by the file itself.
    #[serde(default)]
    pub structure: Structure,
    /// The layers in the order in which they run.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// Types of the operators without weights; those that only move data about need not be named.
    #[serde(default)]
    pub operators: Vec<String>,
    /// What batch norms add to the variance.
    #[serde(default = "epsilon")]
    pub epsilon: f32,
    /// What the graph does to its input before the first layer, where the module does the same; nothing by default.
    pub input: Option<Input>,
    /// Why what follows the last layers is not looked at, such as "the module decodes the boxes itself"; without a reason
    /// it is looked at.
    pub tail: Option<String>,
}

/// What tells the layers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// The manifest, layer by layer.
    #[default]
    Layers,
    /// The file: see [`chain`](crate::chain).
    Chain,
}

impl Map {
    /// Whether it says what its structure calls for, and nothing beside that.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { structure, layers, operators, epsilon: added, input, tail } = self;
        let more = !layers.is_empty() || !operators.is_empty() || input.is_some() || tail.is_some();
        match structure {
            Structure::Layers if layers.is_empty() => Err("[onnx] names no layers".to_owned()),
            Structure::Chain if more || *added != epsilon() => {
                Err("a chain is read from the file, so [onnx] says nothing but its structure".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn epsilon() -> f32 {
    1e-5
}

/// A layer with weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// What the module puts before `.weight`, `.bias` and so on.
    pub key: String,
    /// What it is.
    pub op: Op,
    /// Shape of its `weight` as the module reads it.
    pub shape: Vec<usize>,
}

/// Kind of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// `Conv`: `weight` `[o, i / groups, kh, kw]`, and `bias` if there is one or a batch norm was folded in.
    Conv,
    /// `Gemm`, or `MatMul` and what is added to it: `weight` `[out, in]`, and `bias` if there is one.
    Linear,
    /// `BatchNormalization`: `weight`, `bias`, `running_mean`, `running_var`.
    BatchNorm,
    /// The same without scale and shift, which must be 1 and 0: `running_mean`, `running_var`.
    BatchNormPlain,
    /// `PRelu`: `weight`, one slope a channel.
    Prelu,
}

/// `(x - mean) / std`, by channel or for all.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// Operators that move data about and compute shapes.
const PLUMBING: [&str; 16] = [
    "Cast",
    "Concat",
    "ConstantOfShape",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Pad",
];

/// Operators whose further inputs are settings.
const SETTINGS: [&str; 4] = ["Clip", "Pad", "Resize", "Upsample"];

/// The weights of the declared layers by key.
///
/// # Errors
/// [`ConvertError::Rules`] with every fault at once: layers that are not in the graph, operators with weights that no layer
/// declares, constants that are left over, undeclared operators, another epsilon or treatment of the input.
pub fn apply(map: &Map, graph: &Graph) -> Result<BTreeMap<String, Weight>> {
    let mut walk = Walk::new(graph);
    let found = walk.layers();
    let (matched, mut faults) = assign(map, &found);
    walk.check_rest(map, &found, &matched, &mut faults);
    let mut weights = BTreeMap::new();
    for (layer, found) in map.layers.iter().zip(&matched).filter_map(|(layer, index)| Some((layer, &found[(*index)?])))
    {
        match found.weights(layer, map.epsilon) {
            Ok(parts) => {
                for (suffix, weight) in parts {
                    match weights.entry(format!("{}.{suffix}", layer.key)) {
                        Entry::Vacant(place) => {
                            place.insert(weight);
                        }
                        Entry::Occupied(place) => faults.push(format!("two layers become {}", place.key())),
                    }
                }
            }
            Err(fault) => faults.push(format!("{}: {fault}", layer.key)),
        }
    }
    if faults.is_empty() { Ok(weights) } else { Err(ConvertError::Rules(faults)) }
}

/// A constant as an operator sees it: transposed and reshaped, but not yet copied for that.
#[derive(Debug, Clone)]
struct Value<'g> {
    root: &'g SourceTensor,
    /// Shape, and the order of axes for the transposition.
    transposed: Option<(Vec<usize>, Vec<usize>)>,
    shape: Vec<usize>,
}

impl<'g> Value<'g> {
    fn new(root: &'g SourceTensor) -> Self {
        Self { root, transposed: None, shape: root.shape.clone() }
    }

    fn transpose(&self, order: &[usize]) -> Option<Self> {
        let sorted: BTreeSet<usize> = order.iter().copied().collect();
        if order.len() != self.shape.len() || !sorted.into_iter().eq(0..order.len()) {
            return None;
        }
        let shape: Vec<usize> = order.iter().map(|axis| self.shape[*axis]).collect();
        let transposed = match &self.transposed {
            None => (self.shape.clone(), order.to_vec()),
            // Not reshaped since.
            Some((base, first)) if first.iter().map(|axis| base[*axis]).eq(self.shape.iter().copied()) => {
                (base.clone(), order.iter().map(|axis| first[*axis]).collect())
            }
            Some(_) => return None,
        };
        Some(Self { root: self.root, transposed: Some(transposed), shape })
    }

    fn reshape(&self, shape: Vec<usize>) -> Option<Self> {
        let count = |shape: &[usize]| shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
        (count(&shape) == count(&self.shape)).then(|| Self { shape, ..self.clone() })
    }

    /// Without axes of length 1.
    fn flat(&self) -> Self {
        let mut shape: Vec<usize> = self.shape.iter().copied().filter(|n| *n != 1).collect();
        if shape.is_empty() {
            shape.push(1);
        }
        Self { shape, ..self.clone() }
    }

    fn elements(&self) -> usize {
        self.root.elements()
    }

    fn weight(&self) -> Result<Weight, String> {
        let SourceTensor { name, dtype, data, .. } = self.root;
        if !dtype.is_weight() {
            return Err(format!("{name} of type {dtype} is no weight"));
        }
        let data = match &self.transposed {
            None => data.clone(),
            Some((base, order)) => permute(base, order, dtype.size(), data).into(),
        };
        Ok(Weight { shape: self.shape.clone(), dtype: *dtype, data })
    }

    /// As doubles.
    fn numbers(&self) -> Result<Vec<f64>, String> {
        let Weight { dtype, data, .. } = self.weight()?;
        match dtype {
            Dtype::F32 => Ok(data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()),
            other => Err(format!("{} of type {other} cannot be computed with", self.root.name)),
        }
    }

    fn integers(&self) -> Option<Vec<i64>> {
        let plain = self.transposed.is_none() && self.root.dtype == Dtype::I64;
        plain.then(|| self.root.data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }
}

/// The weights of one operator.
#[derive(Debug)]
struct Found<'g> {
    node: &'g Node,
    index: usize,
    kind: Kind,
    shape: Vec<usize>,
    /// `weight` first; the rest by the name that it gets.
    parts: Vec<(&'static str, Value<'g>)>,
    /// Batch norm to fold in: epsilon, scale, shift, mean, variance.
    norm: Option<(f32, [Value<'g>; 4])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Conv,
    Linear,
    BatchNorm,
    Prelu,
}

impl Op {
    fn kind(self) -> Kind {
        match self {
            Self::Conv => Kind::Conv,
            Self::Linear => Kind::Linear,
            Self::BatchNorm | Self::BatchNormPlain => Kind::BatchNorm,
            Self::Prelu => Kind::Prelu,
        }
    }
}

impl Found<'_> {
    fn label(&self) -> String {
        format!("{} with weights {:?} ({})", self.node.label(), self.shape, self.parts[0].1.root.name)
    }

    fn weights(&self, layer: &Layer, epsilon: f32) -> Result<Vec<(&'static str, Weight)>, String> {
        if self.kind == Kind::BatchNorm {
            let own = self.node.float("epsilon", 1e-5);
            if (own - epsilon).abs() > 1e-9 {
                return Err(format!("{} has epsilon {own:e}, [onnx] says {epsilon:e}", self.node.label()));
            }
        }
        let mut parts = self.parts.as_slice();
        if layer.op == Op::BatchNormPlain {
            for ((name, value), expected) in parts.iter().zip([1.0, 0.0]) {
                if value.numbers()?.iter().any(|v| *v != expected) {
                    return Err(format!("{name} of {} is not {expected} everywhere", self.node.label()));
                }
            }
            parts = &parts[2..];
        }
        match &self.norm {
            None => parts.iter().map(|(name, value)| Ok((*name, value.weight()?))).collect(),
            Some((epsilon, norm)) => self.folded(f64::from(*epsilon), norm),
        }
    }

    /// The convolution with its batch norm.
    fn folded(&self, epsilon: f64, norm: &[Value<'_>; 4]) -> Result<Vec<(&'static str, Weight)>, String> {
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| norm[i].numbers());
        let norm = [scale?, shift?, mean?, variance?];
        let bias = self.parts.get(1).map(|(_, bias)| bias.numbers()).transpose()?;
        let (weight, bias) = fold(&self.shape, &self.parts[0].1.numbers()?, bias, &norm, epsilon)?;
        Ok(vec![("weight", weight), ("bias", bias)])
    }
}

/// `weight` of `shape` and the bias with a batch norm (scale, shift, mean, variance) behind them, computed in doubles and
/// rounded once.
pub(crate) fn fold(
    shape: &[usize],
    weight: &[f64],
    bias: Option<Vec<f64>>,
    [scale, shift, mean, variance]: &[Vec<f64>; 4],
    epsilon: f64,
) -> Result<(Weight, Weight), String> {
    let channels = shape.first().copied().unwrap_or_default();
    let bias = bias.unwrap_or_else(|| vec![0.0; channels]);
    if [scale, shift, mean, variance, &bias].into_iter().any(|v| v.len() != channels) {
        return Err(format!("its batch norm is not one of {channels} channels"));
    }
    let factors: Vec<f64> = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let inside = weight.len().checked_div(channels).unwrap_or_default();
    let weight = f32s(shape, weight.iter().enumerate().map(|(i, v)| v * factors[i / inside]));
    let bias = f32s(&[channels], (0..channels).map(|c| (bias[c] - mean[c]) * factors[c] + shift[c]));
    Ok((weight, bias))
}

/// Numbers as a weight of type F32.
pub(crate) fn f32s(shape: &[usize], values: impl IntoIterator<Item = f64>) -> Weight {
    let data = values.into_iter().flat_map(|v| (v as f32).to_le_bytes()).collect::<Vec<u8>>();
    Weight { shape: shape.to_vec(), dtype: Dtype::F32, data: data.into() }
}

/// Declared layers and operators of one kind and shape, by index.
#[derive(Default)]
struct Class {
    layers: Vec<usize>,
    operators: Vec<usize>,
}

/// Gives each declared layer the index of its operator; the faults name those that stay alone.
fn assign(map: &Map, found: &[Found<'_>]) -> (Vec<Option<usize>>, Vec<String>) {
    let mut matched: Vec<Option<usize>> = vec![None; map.layers.len()];
    let mut free: Vec<bool> = vec![true; found.len()];
    let fits = |layer: &Layer, found: &Found<'_>| layer.op.kind() == found.kind && layer.shape == found.shape;

    let mut by_name: HashMap<&str, Option<usize>> = HashMap::new();
    for (i, candidate) in found.iter().enumerate() {
        let name = candidate.node.inputs.get(1).and_then(|name| name.strip_suffix(".weight"));
        // A name that two operators read, as an exporter that joins equal tensors makes it, tells nothing.
        by_name.entry(name.unwrap_or_default()).and_modify(|place| *place = None).or_insert(Some(i));
    }
    for (layer, place) in map.layers.iter().zip(&mut matched) {
        if let Some(Some(i)) = by_name.get(layer.key.as_str())
            && fits(layer, &found[*i])
            && free[*i]
        {
            *place = Some(*i);
            free[*i] = false;
        }
    }

    let mut faults = Vec::new();
    let mut classes: BTreeMap<(Kind, &[usize]), Class> = BTreeMap::new();
    for (i, layer) in map.layers.iter().enumerate().filter(|(i, _)| matched[*i].is_none()) {
        classes.entry((layer.op.kind(), &layer.shape)).or_default().layers.push(i);
    }
    for (i, candidate) in found.iter().enumerate().filter(|(i, _)| free[*i]) {
        classes.entry((candidate.kind, &candidate.shape)).or_default().operators.push(i);
    }
    for ((kind, shape), Class { layers, operators: candidates }) in classes {
        if layers.len() == candidates.len() {
            layers.iter().zip(candidates).for_each(|(layer, i)| matched[*layer] = Some(i));
            continue;
        }
        if layers.is_empty() {
            // Whether such operators may be there is for the check of the rest.
            continue;
        }
        let count = format!("{} of {kind:?} {shape:?} are declared, the graph has {}", layers.len(), candidates.len());
        faults.extend(layers.iter().map(|i| format!("{} finds no operator of its own: {count}", map.layers[*i].key)));
    }
    (matched, faults)
}

/// A graph with what was found out about its values.
struct Walk<'g> {
    graph: &'g Graph,
    constants: HashMap<&'g str, Value<'g>>,
    takers: HashMap<&'g str, Vec<usize>>,
    /// Operators that are part of a constant or of a layer.
    claimed: HashSet<usize>,
}

impl<'g> Walk<'g> {
    fn new(graph: &'g Graph) -> Self {
        let constants = graph.constants.iter().map(|(name, tensor)| (name.as_str(), Value::new(tensor))).collect();
        let mut walk = Self { graph, constants, takers: HashMap::new(), claimed: HashSet::new() };
        for (i, node) in graph.nodes.iter().enumerate() {
            for input in &node.inputs {
                walk.takers.entry(input).or_default().push(i);
            }
            if let [output] = node.outputs.as_slice()
                && let Some(value) = walk.view(node)
            {
                walk.constants.insert(output, value);
                walk.claimed.insert(i);
            }
        }
        walk
    }

    fn constant(&self, node: &Node, input: usize) -> Option<&Value<'g>> {
        self.constants.get(node.inputs.get(input)?.as_str())
    }

    /// What an operator gives that does no more than look at a constant in another way.
    fn view(&self, node: &Node) -> Option<Value<'g>> {
        let value = self.constant(node, 0)?;
        match node.op.as_str() {
            "Identity" => Some(value.clone()),
            "Transpose" => {
                let order: Vec<usize> = match node.ints("perm") {
                    [] => (0..value.shape.len()).rev().collect(),
                    perm => perm.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<_>>()?,
                };
                value.transpose(&order)
            }
            "Reshape" => {
                let wanted = self.constant(node, 1)?.integers()?;
                let known = |(i, n): (usize, &i64)| match n {
                    0 => value.shape.get(i).copied(),
                    n => usize::try_from(*n).ok(),
                };
                let mut shape: Vec<usize> = Vec::new();
                for (i, n) in wanted.iter().enumerate() {
                    shape.push(if *n == -1 { 1 } else { known((i, n))? });
                }
                if let Some(open) = wanted.iter().position(|n| *n == -1) {
                    let others = shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis))?;
                    shape[open] = value.elements().checked_div(others)?;
                }
                value.reshape(shape)
            }
            "Squeeze" | "Unsqueeze" => {
                let axes = match node.ints("axes") {
                    [] => self.constant(node, 1)?.integers()?,
                    axes => axes.to_vec(),
                };
                let wide = node.op == "Unsqueeze";
                let rank = value.shape.len() + if wide { axes.len() } else { 0 };
                let place = |axis: &i64| {
                    let axis = if *axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { *axis };
                    usize::try_from(axis).ok().filter(|axis| *axis < rank)
                };
                let axes: BTreeSet<usize> = axes.iter().map(place).collect::<Option<_>>()?;
                let mut shape = value.shape.clone();
                for axis in &axes {
                    if wide {
                        shape.insert((*axis).min(shape.len()), 1);
                    }
                }
                if !wide {
                    let kept = value.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i));
                    shape = kept.map(|(_, n)| *n).collect();
                }
                value.reshape(shape)
            }
            _ => None,
        }
    }

    /// The only operator that takes a value.
    fn only_taker(&self, name: &str) -> Option<(usize, &'g Node)> {
        match self.takers.get(name)?.as_slice() {
            [i] => Some((*i, &self.graph.nodes[*i])),
            _ => None,
        }
    }

    /// Every operator with constant weights, in running order.
    fn layers(&mut self) -> Vec<Found<'g>> {
        let mut layers = Vec::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !self.claimed.contains(&index)
                && let Some(found) = self.layer(index, node)
            {
                self.claimed.insert(index);
                layers.push(found);
            }
        }
        layers
    }

    fn layer(&mut self, index: usize, node: &'g Node) -> Option<Found<'g>> {
        let found = |kind, parts: Vec<(&'static str, Value<'g>)>| {
            let shape = parts[0].1.shape.clone();
            Found { node, index, kind, shape, parts, norm: None }
        };
        let output = node.outputs.first()?;
        match node.op.as_str() {
            "Conv" => {
                let mut parts = vec![("weight", self.constant(node, 1)?.clone())];
                if node.inputs.get(2).is_some_and(|name| !name.is_empty()) {
                    parts.push(("bias", self.constant(node, 2)?.clone()));
                }
                let mut found = found(Kind::Conv, parts);
                if let Some((taker, norm)) = self.only_taker(output)
                    && norm.op == "BatchNormalization"
                    && norm.inputs.first() == Some(output)
                    && let Some(values) = self.norm(norm)
                    && !found.shape.is_empty()
                {
                    self.claimed.insert(taker);
                    found.norm = Some((norm.float("epsilon", 1e-5), values));
                }
                Some(found)
            }
            "BatchNormalization" => {
                let [scale, shift, mean, variance] = self.norm(node)?;
                let parts = vec![("weight", scale), ("bias", shift), ("running_mean", mean), ("running_var", variance)];
                Some(found(Kind::BatchNorm, parts))
            }
            "PRelu" => Some(found(Kind::Prelu, vec![("weight", self.constant(node, 1)?.flat())])),
            "Gemm" => {
                if node.int("transA", 0) != 0 || node.float("alpha", 1.0) != 1.0 || node.float("beta", 1.0) != 1.0 {
                    return None;
                }
                let mut weight = self.constant(node, 1)?.clone();
                if node.int("transB", 0) == 0 {
                    weight = weight.transpose(&[1, 0])?;
                }
                let mut parts = vec![("weight", weight)];
                if node.inputs.get(2).is_some_and(|name| !name.is_empty()) {
                    parts.push(("bias", self.constant(node, 2)?.flat()));
                }
                Some(found(Kind::Linear, parts))
            }
            "MatMul" => {
                let weight = self.constant(node, 1)?.transpose(&[1, 0])?;
                let mut parts = vec![("weight", weight)];
                if let Some((taker, add)) = self.only_taker(output)
                    && add.op == "Add"
                    && let Some(bias) = [0, 1].into_iter().find_map(|i| self.constant(add, i)).map(Value::flat)
                    && bias.shape == parts[0].1.shape[..1]
                {
                    self.claimed.insert(taker);
                    parts.push(("bias", bias));
                }
                Some(found(Kind::Linear, parts))
            }
            _ => None,
        }
    }

    fn norm(&self, node: &Node) -> Option<[Value<'g>; 4]> {
        let value = |i| self.constant(node, i).cloned();
        Some([value(1)?, value(2)?, value(3)?, value(4)?])
    }

    /// Holds what is not a declared layer against the manifest.
    fn check_rest(&self, map: &Map, found: &[Found<'_>], matched: &[Option<usize>], faults: &mut Vec<String>) {
        let layers: HashMap<usize, bool> =
            found.iter().enumerate().map(|(i, f)| (f.index, matched.contains(&Some(i)))).collect();
        let leading = self.leading(&layers);
        let mut raw = Raw::new(self.graph, map);
        let known: HashSet<&str> = map.operators.iter().map(String::as_str).chain(PLUMBING).collect();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let layer = layers.get(&index);
            if layer.is_none() && self.claimed.contains(&index) {
                continue;
            }
            if map.tail.is_some() && layer != Some(&true) && !leading.contains(&index) {
                continue;
            }
            match layer {
                Some(declared) => {
                    raw.reaches(node, faults);
                    if !declared && let Some(found) = found.iter().find(|f| f.index == index) {
                        faults.push(format!("no layer is declared for {}", found.label()));
                    }
                    continue;
                }
                None if raw.follow(node, |i| self.constant(node, i), faults) => continue,
                None => {}
            }
            if !known.contains(node.op.as_str()) {
                faults.push(format!("{} is an operator that [onnx] operators does not name", node.label()));
            }
            for (i, name) in node.inputs.iter().enumerate() {
                if let Some(value) = self.constant(node, i)
                    && value.root.dtype.is_weight()
                    && value.elements() > 1
                    && !(i > 0 && SETTINGS.contains(&node.op.as_str()))
                {
                    faults.push(format!("no layer reads {name} {:?}, which {} takes", value.shape, node.label()));
                }
            }
        }
        let read: HashSet<&str> = self.graph.nodes.iter().flat_map(|n| n.inputs.iter().map(String::as_str)).collect();
        let idle = self.graph.constants.values().filter(|t| t.dtype.is_weight() && !read.contains(t.name.as_str()));
        faults.extend(idle.map(|t| format!("nothing reads {} {:?}", t.name, t.shape)));
    }

    /// Operators that lead to a declared layer.
    fn leading(&self, layers: &HashMap<usize, bool>) -> HashSet<usize> {
        let mut wanted: HashSet<&str> = HashSet::new();
        let mut leading = HashSet::new();
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            let leads = node.outputs.iter().any(|o| wanted.contains(o.as_str()));
            if leads {
                leading.insert(index);
            }
            if leads || layers.get(&index) == Some(&true) {
                wanted.extend(node.inputs.iter().map(String::as_str));
            }
        }
        leading
    }
}

/// Values that come from the input without a layer between: how much they are the input times a factor plus a summand.
struct Raw<'g> {
    values: HashMap<&'g str, Affine>,
    expected: Affine,
}

/// By channel, or one for all.
#[derive(Debug, Clone, PartialEq)]
struct Affine {
    factors: Vec<f64>,
    summands: Vec<f64>,
}

impl Affine {
    fn near(&self, other: &Self) -> bool {
        let near = |a: &[f64], b: &[f64]| {
            let apart = combine(a, b, |a, b| (a - b).abs() / b.abs().max(1e-3));
            apart.is_some_and(|apart| apart.iter().all(|d| *d < 1e-5))
        };
        near(&self.factors, &other.factors) && near(&self.summands, &other.summands)
    }
}

/// Place by place, one number for all.
pub(crate) fn combine(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Option<Vec<f64>> {
    match (a, b) {
        ([a], b) => Some(b.iter().map(|b| f(*a, *b)).collect()),
        (a, [b]) => Some(a.iter().map(|a| f(*a, *b)).collect()),
        (a, b) if a.len() == b.len() => Some(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()),
        _ => None,
    }
}

impl<'g> Raw<'g> {
    fn new(graph: &'g Graph, map: &Map) -> Self {
        let identity = Affine { factors: vec![1.0], summands: vec![0.0] };
        let expected = map.input.as_ref().map_or(identity.clone(), |Input { mean, std }| Affine {
            factors: std.iter().map(|s| 1.0 / s).collect(),
            // Of another number than the deviations: found unequal to whatever the graph has.
            summands: combine(mean, std, |m, s| -m / s).unwrap_or_default(),
        });
        Self { values: graph.inputs.iter().map(|name| (name.as_str(), identity.clone())).collect(), expected }
    }

    fn reaches(&self, node: &Node, faults: &mut Vec<String>) {
        if let Some(value) = node.inputs.first().and_then(|input| self.values.get(input.as_str()))
            && !value.near(&self.expected)
        {
            faults.push(format!(
                "{} takes the input times {:?} plus {:?}, by [onnx] input it is times {:?} plus {:?}",
                node.label(),
                value.factors,
                value.summands,
                self.expected.factors,
                self.expected.summands
            ));
        }
    }

    /// Whether the operator works on the bare input and was dealt with.
    fn follow<'v>(
        &mut self,
        node: &'g Node,
        constant: impl Fn(usize) -> Option<&'v Value<'v>>,
        faults: &mut Vec<String>,
    ) -> bool {
        let Some(place) = node.inputs.iter().position(|input| self.values.contains_key(input.as_str())) else {
            return false;
        };
        let Affine { factors, summands } = self.values[node.inputs[place].as_str()].clone();
        let other = constant(1 - place.min(1)).and_then(|value| value.numbers().ok());
        let combined = match (node.op.as_str(), other, place) {
            ("Identity" | "Cast", ..) => Some((factors, summands)),
            ("Shape", ..) => return true,
            ("Add", Some(c), _) => combine(&summands, &c, |s, c| s + c).map(|s| (factors, s)),
            ("Sub", Some(c), 0) => combine(&summands, &c, |s, c| s - c).map(|s| (factors, s)),
            ("Mul", Some(c), _) => combine(&factors, &c, |f, c| f * c).zip(combine(&summands, &c, |s, c| s * c)),
            ("Div", Some(c), 0) => combine(&factors, &c, |f, c| f / c).zip(combine(&summands, &c, |s, c| s / c)),
            _ => None,
        };
        match (combined, node.outputs.as_slice()) {
            (Some((factors, summands)), [output]) => {
                self.values.insert(output, Affine { factors, summands });
            }
            _ => faults.push(format!("{} does to the input what no preprocessing of this project does", node.label())),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(name: &str, shape: &[usize], values: &[f32]) -> (String, SourceTensor) {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        (name.to_owned(), SourceTensor { name: name.into(), shape: shape.to_vec(), dtype: Dtype::F32, data })
    }

    fn longs(name: &str, values: &[i64]) -> (String, SourceTensor) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        (name.to_owned(), SourceTensor { name: name.into(), shape: vec![values.len()], dtype: Dtype::I64, data })
    }

    fn graph(constants: Vec<(String, SourceTensor)>, nodes: Vec<Node>) -> Graph {
        Graph { inputs: vec!["x".into()], constants: constants.into_iter().collect(), nodes }
    }

    fn node(op: &str, output: &str, inputs: &[&str]) -> Node {
        Node::new(op, &[output], inputs, &[])
    }

    fn map(text: &str) -> Map {
        toml::from_str(text).unwrap()
    }

    fn values(weight: &Weight) -> Vec<f32> {
        weight.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    #[track_caller]
    fn faults(map: &Map, graph: &Graph) -> Vec<String> {
        match apply(map, graph) {
            Err(ConvertError::Rules(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    const ONE_CONV: &str = r#"layers = [{ key = "conv", op = "conv", shape = [2, 1, 1, 1] }]"#;

    #[test]
    fn a_batch_norm_behind_a_convolution_is_folded_in() {
        let constants = vec![
            floats("w", &[2, 1, 1, 1], &[3.0, 5.0]),
            floats("b", &[2], &[1.0, 1.0]),
            floats("scale", &[2], &[2.0, 1.0]),
            floats("shift", &[2], &[0.5, 0.0]),
            floats("mean", &[2], &[0.0, 2.0]),
            floats("var", &[2], &[3.0, 0.0]),
        ];
        let norm = Node::new("BatchNormalization", &["z"], &["y", "scale", "shift", "mean", "var"], &["epsilon:f=1"]);
        let with = graph(constants.clone(), vec![node("Conv", "y", &["x", "w", "b"]), norm.clone()]);
        let weights = apply(&map(ONE_CONV), &with).unwrap();
        assert_eq!(values(&weights["conv.weight"]), [3.0, 5.0]);
        // (1 - 0) * 2 / sqrt(3 + 1) + 0.5, (1 - 2) * 1 / sqrt(0 + 1)
        assert_eq!(values(&weights["conv.bias"]), [1.5, -1.0]);
        let without: Vec<_> = constants.into_iter().filter(|(name, _)| name != "b").collect();
        let weights = apply(&map(ONE_CONV), &graph(without, vec![node("Conv", "y", &["x", "w"]), norm])).unwrap();
        assert_eq!(values(&weights["conv.bias"]), [0.5, -2.0]);
    }

    #[test]
    fn a_batch_norm_that_another_operator_shares_stays_apart() {
        let text = r#"
            operators = ["Add"]
            epsilon = 1.0
            layers = [
                { key = "conv", op = "conv", shape = [1, 1, 1, 1] },
                { key = "bn", op = "batch_norm", shape = [1] },
            ]"#;
        let names = ["scale", "shift", "mean", "var"];
        let constants =
            names.iter().map(|n| floats(n, &[1], &[1.0])).chain([floats("w", &[1, 1, 1, 1], &[2.0])]).collect();
        let norm = Node::new("BatchNormalization", &["z"], &["y", "scale", "shift", "mean", "var"], &["epsilon:f=1"]);
        let graph = graph(constants, vec![node("Conv", "y", &["x", "w"]), norm, node("Add", "o", &["y", "z"])]);
        let keys: Vec<_> = apply(&map(text), &graph).unwrap().into_keys().collect();
        assert_eq!(keys, ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight", "conv.weight"]);
        let other = map(&text.replace("epsilon = 1.0", "epsilon = 1e-5"));
        assert_eq!(faults(&other, &graph), ["bn: BatchNormalization z has epsilon 1e0, [onnx] says 1e-5"]);
        let plain = map(&text.replace("\"batch_norm\"", "\"batch_norm_plain\""));
        assert_eq!(faults(&plain, &graph), ["bn: bias of BatchNormalization z is not 0 everywhere"]);
    }

    #[test]
    fn matrices_come_as_pytorch_has_them_whatever_operator_reads_them() {
        let text = r#"layers = [{ key = "fc", op = "linear", shape = [2, 3] }]"#;
        let (rows, columns) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let bias = || floats("b", &[2], &[7.0, 8.0]);
        let graphs = [
            graph(
                vec![floats("w", &[2, 3], &rows), bias()],
                vec![Node::new("Gemm", &["y"], &["x", "w", "b"], &["transB:i=1"])],
            ),
            graph(vec![floats("w", &[3, 2], &columns), bias()], vec![node("Gemm", "y", &["x", "w", "b"])]),
            graph(
                vec![floats("w", &[3, 2], &columns), floats("b", &[1, 2], &[7.0, 8.0])],
                vec![node("MatMul", "m", &["x", "w"]), node("Add", "y", &["b", "m"])],
            ),
            graph(
                vec![floats("w", &[2, 3], &rows), bias()],
                vec![
                    Node::new("Transpose", &["t"], &["w"], &["perm:l=1,0"]),
                    node("Identity", "i", &["t"]),
                    node("Gemm", "y", &["x", "i", "b"]),
                ],
            ),
        ];
        for graph in graphs {
            let weights = apply(&map(text), &graph).unwrap();
            assert_eq!(weights["fc.weight"].shape, [2, 3]);
            assert_eq!(values(&weights["fc.weight"]), rows);
            assert_eq!(values(&weights["fc.bias"]), [7.0, 8.0]);
        }
        let scaled = Node::new("Gemm", &["y"], &["h", "w"], &["alpha:f=2"]);
        let graph = graph(vec![floats("w", &[3, 2], &columns)], vec![node("Shape", "h", &["x"]), scaled]);
        let found = faults(&map(text), &graph);
        assert!(found.iter().any(|f| f.contains("no layer reads w [3, 2], which Gemm y takes")), "{found:?}");
    }

    #[test]
    fn slopes_lose_their_empty_axes() {
        let text = r#"layers = [{ key = "prelu", op = "prelu", shape = [2] }]"#;
        let slopes = [0.1, 0.2];
        let wide = graph(vec![floats("s", &[2, 1, 1], &slopes)], vec![node("PRelu", "y", &["x", "s"])]);
        let views = graph(
            vec![floats("s", &[2], &slopes), longs("axes", &[1, 2]), longs("shape", &[-1, 1, 1])],
            vec![
                node("Unsqueeze", "u", &["s", "axes"]),
                node("Reshape", "r", &["u", "shape"]),
                node("PRelu", "y", &["x", "r"]),
            ],
        );
        for graph in [wide, views] {
            let weights = apply(&map(text), &graph).unwrap();
            assert_eq!(
                (weights["prelu.weight"].shape.as_slice(), values(&weights["prelu.weight"])),
                (&[2][..], slopes.to_vec())
            );
        }
    }

    const TWO: &str = r#"layers = [
        { key = "a", op = "conv", shape = [1, 1, 1, 1] },
        { key = "b", op = "conv", shape = [1, 1, 1, 1] },
    ]"#;

    #[test]
    fn names_that_the_exporter_kept_go_before_the_order() {
        let chain = |first: &str, second: &str| {
            let constants = vec![floats(first, &[1, 1, 1, 1], &[1.0]), floats(second, &[1, 1, 1, 1], &[2.0])];
            graph(constants, vec![node("Conv", "h", &["x", first]), node("Conv", "y", &["h", second])])
        };
        let first = |graph: &Graph| values(&apply(&map(TWO), graph).unwrap()["a.weight"]);
        assert_eq!(first(&chain("7", "8")), [1.0]);
        assert_eq!(first(&chain("b.weight", "a.weight")), [2.0]);
        assert_eq!(first(&chain("b.weight", "8")), [2.0]);
    }

    #[test]
    fn a_tensor_that_two_operators_share_goes_to_both() {
        let shared = graph(
            vec![floats("a.weight", &[1, 1, 1, 1], &[1.0])],
            vec![node("Conv", "h", &["x", "a.weight"]), node("Conv", "y", &["h", "a.weight"])],
        );
        assert_eq!(apply(&map(TWO), &shared).unwrap().len(), 2);
    }

    #[test]
    fn everything_missing_and_everything_left_is_listed() {
        let graph = graph(
            vec![
                floats("w", &[1, 1, 1, 1], &[1.0]),
                floats("v", &[1, 1, 3, 3], &[0.0; 9]),
                floats("gain", &[3], &[0.0; 3]),
                floats("idle", &[2], &[0.0; 2]),
                floats("half", &[], &[0.5]),
            ],
            vec![
                node("Conv", "h", &["x", "w"]),
                node("Conv", "g", &["h", "v"]),
                node("Mul", "f", &["g", "gain"]),
                node("Mul", "e", &["f", "half"]),
                node("Tanh", "y", &["e"]),
            ],
        );
        let text = TWO.replace("layers", "operators = [\"Mul\"]\nlayers");
        let expected = [
            "a finds no operator of its own: 2 of Conv [1, 1, 1, 1] are declared, the graph has 1",
            "b finds no operator of its own: 2 of Conv [1, 1, 1, 1] are declared, the graph has 1",
            "no layer is declared for Conv h with weights [1, 1, 1, 1] (w)",
            "no layer is declared for Conv g with weights [1, 1, 3, 3] (v)",
            "no layer reads gain [3], which Mul f takes",
            "Tanh y is an operator that [onnx] operators does not name",
            "nothing reads idle [2]",
        ];
        assert_eq!(faults(&map(&text), &graph), expected);
    }

    #[test]
    fn what_the_graph_does_to_its_input_must_be_declared() {
        let constants = vec![
            floats("mean", &[1], &[127.5]),
            floats("scale", &[1], &[0.0078125]),
            floats("w", &[2, 1, 1, 1], &[1.0, 2.0]),
        ];
        let graph = graph(
            constants,
            vec![node("Sub", "s", &["x", "mean"]), node("Mul", "m", &["s", "scale"]), node("Conv", "y", &["m", "w"])],
        );
        let found = faults(&map(ONE_CONV), &graph);
        assert!(found[0].contains("Conv y takes the input times [0.0078125] plus [-0.99609375]"), "{found:?}");
        let declared = format!("input = {{ mean = [127.5], std = [128.0] }}\n{ONE_CONV}");
        assert_eq!(apply(&map(&declared), &graph).unwrap().len(), 1);
        let other = format!("input = {{ mean = [127.5], std = [127.5] }}\n{ONE_CONV}");
        assert_eq!(faults(&map(&other), &graph).len(), 1);
    }

    #[test]
    fn a_tail_is_passed_over_only_with_a_reason() {
        let graph = graph(
            vec![floats("w", &[2, 1, 1, 1], &[1.0, 2.0]), floats("bins", &[1, 16, 1, 1], &[0.0; 16])],
            vec![node("Conv", "h", &["x", "w"]), node("Softmax", "s", &["h"]), node("Conv", "y", &["s", "bins"])],
        );
        assert_eq!(faults(&map(ONE_CONV), &graph).len(), 2);
        let tail = format!("tail = \"the module decodes the boxes\"\n{ONE_CONV}");
        assert_eq!(apply(&map(&tail), &graph).unwrap().len(), 1);
    }

    #[test]
    fn two_layers_of_one_key_are_an_error() {
        let text = TWO.replace("\"b\"", "\"a\"");
        let constants = vec![floats("w", &[1, 1, 1, 1], &[1.0]), floats("v", &[1, 1, 1, 1], &[2.0])];
        let graph = graph(constants, vec![node("Conv", "h", &["x", "w"]), node("Conv", "y", &["h", "v"])]);
        assert_eq!(faults(&map(&text), &graph), ["two layers become a.weight"]);
    }
}

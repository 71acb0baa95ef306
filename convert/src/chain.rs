//! An ONNX graph that is one chain of convolutions with a dense layer at its end, read without a list of its layers.
//!
//! Depth, widths, kernels, strides, paddings, groups and rectifiers come from the file, so that a network whose sizes were
//! never published needs no guess. The graph must be
//!
//! 1. what makes the network's input of pixels of 0..255: `Sub`, `Mul`, `Add`, `Div` with constants, batch norms;
//! 2. layers: `Conv`, maybe a `BatchNormalization`, maybe `Relu` or `PRelu`;
//! 3. maybe one `GlobalAveragePool`, then `Flatten` and one `Gemm`,
//!
//! with `Dropout` and `Identity` anywhere. The tensors, all F32:
//!
//! | key | shape | |
//! |---|---|---|
//! | `input.scale`, `input.shift` | `[c]` | the first layer takes `pixel * scale + shift` |
//! | `layers.<i>.weight` | `[o, i / groups, kh, kw]` | the batch norm folded in |
//! | `layers.<i>.bias` | `[o]` | |
//! | `layers.<i>.geometry` | `[7]` | stride, rows above, columns before, rows below, columns after, groups, rectifier |
//! | `layers.<i>.prelu` | `[o]` | slopes, where the rectifier is 2 |
//! | `pool` | `[1]` | 1: the means of the planes go on, 0: every value does |
//! | `fc.weight`, `fc.bias` | `[out, in]`, `[out]` | |
//!
//! The rectifier is 0 for none, 1 for ReLU, 2 for PReLU. `crates/models/src/nn/chain.rs` runs such a file.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    error::{ConvertError, Result},
    graph::{combine, f32s, fold},
    read::onnx::{Graph, Node},
    rules::Weight,
    source::{Dtype, SourceTensor},
};

/// The operators that a chain may have, each at its place.
const OPERATORS: [&str; 13] = [
    "Add",
    "BatchNormalization",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "Mul",
    "PRelu",
    "Relu",
    "Sub",
];

/// The tensors of a chain by key.
///
/// # Errors
/// [`ConvertError::NotAChain`] with every operator of another kind than above, and the first one that does not fit: at
/// another place than above, a branch, dilation, unequal strides, padding by name, weights that are not constants of type
/// F32 and of fitting shapes.
pub fn read(graph: &Graph) -> Result<BTreeMap<String, Weight>> {
    let strange = graph.nodes.iter().filter(|node| !OPERATORS.contains(&node.op.as_str()));
    let mut faults: Vec<String> =
        strange.map(|node| format!("{}: is of a kind that no chain has", node.label())).collect();
    let nodes = match line(graph) {
        Ok(nodes) if faults.is_empty() => nodes,
        Ok(_) => return Err(ConvertError::NotAChain(faults)),
        Err(fault) => {
            faults.push(fault);
            return Err(ConvertError::NotAChain(faults));
        }
    };
    let fault = |fault: String| ConvertError::NotAChain(vec![fault]);
    let mut chain = Chain::default();
    for node in nodes {
        chain.take(graph, node).map_err(|reason| fault(format!("{}: {reason}", node.label())))?;
    }
    chain.weights().map_err(fault)
}

/// The operators from the input on, one behind the other.
fn line(graph: &Graph) -> Result<Vec<&Node>, String> {
    let mut takers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for (place, input) in node.inputs.iter().enumerate().filter(|(_, input)| !input.is_empty()) {
            takers.entry(input).or_default().push((i, place));
        }
    }
    let [input] = graph.inputs.as_slice() else {
        return Err(format!("it has {} inputs: {}", graph.inputs.len(), graph.inputs.join(", ")));
    };
    let (mut value, mut nodes, mut seen) = (input.as_str(), Vec::new(), HashSet::new());
    // An operator comes behind those that it takes from, so this ends.
    while let Some(next) = takers.get(value) {
        let &[(i, place)] = next.as_slice() else {
            let labels: Vec<_> = next.iter().map(|(i, _)| graph.nodes[*i].label()).collect();
            return Err(format!("a branch: {value} goes to {}", labels.join(" and ")));
        };
        let node = &graph.nodes[i];
        // Add and Mul may take their constant first.
        if place != 0 && !(place == 1 && matches!(node.op.as_str(), "Add" | "Mul")) {
            return Err(format!("{}: takes {value} as its input {place}, where a constant belongs", node.label()));
        }
        if let Some(more) = node.outputs.iter().skip(1).find(|o| takers.contains_key(o.as_str())) {
            return Err(format!("{}: its result {more} is used too", node.label()));
        }
        seen.insert(i);
        nodes.push(node);
        value = node.outputs.first().map_or("", String::as_str);
    }
    let aside: Vec<_> =
        graph.nodes.iter().enumerate().filter(|(i, _)| !seen.contains(i)).map(|(_, n)| n.label()).collect();
    if aside.is_empty() { Ok(nodes) } else { Err(format!("not on the way from the input: {}", aside.join(", "))) }
}

/// A convolution and what follows it.
struct Layer {
    shape: Vec<usize>,
    weight: Vec<f64>,
    bias: Option<Vec<f64>>,
    stride: usize,
    /// Above, before, below, after.
    pads: [usize; 4],
    groups: usize,
    /// Scale, shift, mean, variance; epsilon.
    norm: Option<([Vec<f64>; 4], f64)>,
    rectifier: Option<Rectifier>,
}

enum Rectifier {
    Relu,
    Prelu(Vec<f64>),
}

/// What was read so far.
#[derive(Default)]
struct Chain {
    /// Factors and summands of the input: one for all or one a channel; `None` until something is done to it.
    input: Option<[Vec<f64>; 2]>,
    layers: Vec<Layer>,
    pooled: bool,
    flat: bool,
    /// Weight of shape, bias.
    dense: Option<([usize; 2], Vec<f64>, Vec<f64>)>,
}

impl Chain {
    fn take(&mut self, graph: &Graph, node: &Node) -> Result<(), String> {
        let at_the_head = self.pooled || self.flat || self.dense.is_some();
        match node.op.as_str() {
            "Identity" | "Dropout" => Ok(()),
            "Flatten" if node.int("axis", 1) == 1 && self.dense.is_none() && !self.layers.is_empty() => {
                self.flat = true;
                Ok(())
            }
            "Flatten" => Err("is not along axis 1 between the layers and the dense layer".to_owned()),
            "Gemm" if self.flat && self.dense.is_none() => self.gemm(graph, node),
            "Gemm" => Err("is not the one dense layer behind Flatten".to_owned()),
            "Sub" | "Mul" | "Add" | "Div" if self.layers.is_empty() => self.affine(graph, node),
            "Conv" | "BatchNormalization" | "Relu" | "PRelu" | "GlobalAveragePool" if at_the_head => {
                Err("stands behind the layers".to_owned())
            }
            "Conv" => self.conv(graph, node),
            "BatchNormalization" => self.norm(graph, node),
            "Relu" => self.rectify(|_| Ok(Rectifier::Relu)),
            "PRelu" => self.rectify(|channels| {
                let slopes = constant(graph, node, 1)?;
                Ok(Rectifier::Prelu(by_channel(slopes, channels)?))
            }),
            "GlobalAveragePool" if !self.layers.is_empty() => {
                self.pooled = true;
                Ok(())
            }
            "GlobalAveragePool" => Err("stands before the layers".to_owned()),
            _ => Err("is of no use behind the first layer".to_owned()),
        }
    }

    fn affine(&mut self, graph: &Graph, node: &Node) -> Result<(), String> {
        let place = usize::from(node.inputs.get(1).is_some_and(|name| graph.constants.contains_key(name)));
        let tensor = constant(graph, node, place)?;
        let channels = match tensor.shape.as_slice() {
            shape if shape.iter().all(|n| *n == 1) => 1,
            [c, 1, 1] | [1, c, 1, 1] => *c,
            shape => return Err(format!("its constant {} is of shape {shape:?}, not one a channel", tensor.name)),
        };
        let c = by_channel(tensor, channels)?;
        let [factors, summands] = self.input()?;
        let combined = match node.op.as_str() {
            "Add" => [Some(factors), combine(&summands, &c, |s, c| s + c)],
            "Sub" => [Some(factors), combine(&summands, &c, |s, c| s - c)],
            "Mul" => [combine(&factors, &c, |f, c| f * c), combine(&summands, &c, |s, c| s * c)],
            _ => [combine(&factors, &c, |f, c| f / c), combine(&summands, &c, |s, c| s / c)],
        };
        let [Some(factors), Some(summands)] = combined else { return Err("has another number of channels".to_owned()) };
        self.input = Some([factors, summands]);
        Ok(())
    }

    fn input(&self) -> Result<[Vec<f64>; 2], String> {
        Ok(self.input.clone().unwrap_or_else(|| [vec![1.0], vec![0.0]]))
    }

    fn conv(&mut self, graph: &Graph, node: &Node) -> Result<(), String> {
        if node.has("auto_pad") {
            return Err("pads by name (auto_pad), which is not supported; export it with pads".to_owned());
        }
        if let Some(rate) = node.ints("dilations").iter().find(|d| **d != 1) {
            return Err(format!("is dilated by {rate}; the modules have no dilation"));
        }
        let stride = match sizes(node, "strides")?.as_slice() {
            [] => 1,
            [h, w] if h == w && *h > 0 => *h,
            other => return Err(format!("has the strides {other:?}; the modules step alike both ways")),
        };
        let pads: [usize; 4] = match sizes(node, "pads")? {
            none if none.is_empty() => [0; 4],
            pads => pads.try_into().map_err(|pads| format!("has the pads {pads:?}, not four"))?,
        };
        let weight = constant(graph, node, 1)?;
        let &[out, inside, kh, kw] = weight.shape.as_slice() else {
            return Err(format!("its weight {} is of shape {:?}", weight.name, weight.shape));
        };
        let kernel = sizes(node, "kernel_shape")?;
        if out * inside * kh * kw == 0 || !(kernel.is_empty() || kernel == [kh, kw]) {
            return Err(format!(
                "its weight {} of shape {:?} is not of a kernel {kernel:?}",
                weight.name, weight.shape
            ));
        }
        let groups = usize::try_from(node.int("group", 1)).unwrap_or_default();
        if groups == 0 || out % groups != 0 {
            return Err(format!("{} groups do not divide {out} channels", node.int("group", 1)));
        }
        let taken = inside.checked_mul(groups).ok_or("takes more channels than can be counted")?;
        if let Some(before) = self.layers.last()
            && before.shape[0] != taken
        {
            return Err(format!("takes {taken} channels, the layer before it gives {}", before.shape[0]));
        }
        if self.layers.is_empty() {
            let Some(input) = self.input.take() else {
                return Err("takes the bare pixels; a chain begins with Sub and Mul".to_owned());
            };
            let wide = |values: &Vec<f64>| combine(values, &vec![0.0; taken], |v, _| v);
            let [Some(factors), Some(summands)] = input.each_ref().map(wide) else {
                return Err(format!("takes {taken} channels, the input is prepared for another number"));
            };
            self.input = Some([factors, summands]);
        }
        let bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => Some(vector(constant(graph, node, 2)?, out)?),
            None => None,
        };
        let (shape, weight) = (weight.shape.clone(), numbers(weight)?);
        self.layers.push(Layer { shape, weight, bias, stride, pads, groups, norm: None, rectifier: None });
        Ok(())
    }

    fn norm(&mut self, graph: &Graph, node: &Node) -> Result<(), String> {
        let channels = constant(graph, node, 1)?.elements();
        let values = [1, 2, 3, 4].map(|i| constant(graph, node, i).and_then(|tensor| vector(tensor, channels)));
        let [scale, shift, mean, variance] = values;
        let (norm, epsilon) = ([scale?, shift?, mean?, variance?], f64::from(node.float("epsilon", 1e-5)));
        if node.int("training_mode", 0) != 0 || node.int("spatial", 1) != 1 {
            return Err("is not a batch norm at inference, one mean a channel".to_owned());
        }
        match self.layers.last_mut() {
            None => {
                let [scale, shift, mean, variance] = &norm;
                let factors: Vec<f64> = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
                let [before, summands] = self.input()?;
                let moved: Option<Vec<f64>> = combine(&summands, mean, |s, m| s - m)
                    .and_then(|moved| combine(&moved, &factors, |m, f| m * f))
                    .and_then(|moved| combine(&moved, shift, |m, s| m + s));
                let scaled = combine(&before, &factors, |b, f| b * f);
                self.input = Some(scaled.zip(moved).map(Into::into).ok_or("has another number of channels")?);
                Ok(())
            }
            Some(layer) if layer.norm.is_none() && layer.rectifier.is_none() && layer.shape[0] == channels => {
                layer.norm = Some((norm, epsilon));
                Ok(())
            }
            Some(_) => Err("is not behind a convolution of its channels, so it cannot be folded in".to_owned()),
        }
    }

    fn rectify(&mut self, rectifier: impl FnOnce(usize) -> Result<Rectifier, String>) -> Result<(), String> {
        match self.layers.last_mut() {
            Some(layer) if layer.rectifier.is_none() => {
                layer.rectifier = Some(rectifier(layer.shape[0])?);
                Ok(())
            }
            _ => Err("is not behind a convolution".to_owned()),
        }
    }

    fn gemm(&mut self, graph: &Graph, node: &Node) -> Result<(), String> {
        if node.int("transA", 0) != 0 || node.float("alpha", 1.0) != 1.0 || node.float("beta", 1.0) != 1.0 {
            return Err("is no plain product with a sum".to_owned());
        }
        let weight = constant(graph, node, 1)?;
        let &[rows, columns] = weight.shape.as_slice() else {
            return Err(format!("its weight {} is of shape {:?}", weight.name, weight.shape));
        };
        let values = numbers(weight)?;
        let (shape, values) = match node.int("transB", 0) {
            0 => {
                let turned = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect();
                ([columns, rows], turned)
            }
            _ => ([rows, columns], values),
        };
        let bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => vector(constant(graph, node, 2)?, shape[0])?,
            None => vec![0.0; shape[0]],
        };
        self.dense = Some((shape, values, bias));
        Ok(())
    }

    fn weights(self) -> Result<BTreeMap<String, Weight>, String> {
        let (shape, weight, bias) = self.dense.ok_or("the graph ends without a Gemm")?;
        let mut weights = BTreeMap::new();
        let mut keep = |key: String, weight: Weight| weights.insert(key, weight);
        for (key, values) in ["input.scale", "input.shift"].into_iter().zip(self.input.into_iter().flatten()) {
            keep(key.to_owned(), f32s(&[values.len()], values));
        }
        for (i, layer) in self.layers.into_iter().enumerate() {
            let key = |end: &str| format!("layers.{i}.{end}");
            let Layer { shape, weight, bias, stride, pads: [top, left, bottom, right], groups, norm, rectifier } =
                layer;
            let (kind, slopes) = match rectifier {
                None => (0, None),
                Some(Rectifier::Relu) => (1, None),
                Some(Rectifier::Prelu(slopes)) => (2, Some(slopes)),
            };
            let geometry = [stride, top, left, bottom, right, groups, kind].map(|n| n as f64);
            keep(key("geometry"), f32s(&[geometry.len()], geometry));
            if let Some(slopes) = slopes {
                keep(key("prelu"), f32s(&[slopes.len()], slopes));
            }
            // Without a batch norm: one that changes nothing, exactly.
            let channels = shape[0];
            let (norm, epsilon) = norm.unwrap_or_else(|| {
                let same = |v| vec![v; channels];
                ([same(1.0), same(0.0), same(0.0), same(1.0)], 0.0)
            });
            let (weight, bias) = fold(&shape, &weight, bias, &norm, epsilon)?;
            keep(key("weight"), weight);
            keep(key("bias"), bias);
        }
        keep("pool".to_owned(), f32s(&[1], [f64::from(u8::from(self.pooled))]));
        keep("fc.weight".to_owned(), f32s(&shape, weight));
        keep("fc.bias".to_owned(), f32s(&[bias.len()], bias));
        Ok(weights)
    }
}

fn constant<'g>(graph: &'g Graph, node: &Node, input: usize) -> Result<&'g SourceTensor, String> {
    let name = node.inputs.get(input).map_or("", String::as_str);
    graph.constants.get(name).ok_or_else(|| format!("its input {input} ({name:?}) is no constant"))
}

fn numbers(tensor: &SourceTensor) -> Result<Vec<f64>, String> {
    if tensor.dtype != Dtype::F32 {
        return Err(format!("{} is of type {}, not f32", tensor.name, tensor.dtype));
    }
    Ok(tensor.data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect())
}

/// `count` numbers along one axis; axes of length 1 do not matter.
fn vector(tensor: &SourceTensor, count: usize) -> Result<Vec<f64>, String> {
    let long = tensor.shape.iter().filter(|n| **n != 1).count();
    if long > 1 || tensor.elements() != count {
        return Err(format!("{} is of shape {:?}, not [{count}]", tensor.name, tensor.shape));
    }
    numbers(tensor)
}

/// One number a channel of `[n, c, h, w]`, from `[c, 1, 1]` or from one number for all.
fn by_channel(tensor: &SourceTensor, channels: usize) -> Result<Vec<f64>, String> {
    match tensor.shape.as_slice() {
        [c, 1, 1] | [1, c, 1, 1] if *c == channels => numbers(tensor),
        shape if shape.iter().all(|n| *n == 1) => Ok(numbers(tensor)?.repeat(channels)),
        shape => Err(format!("{} is of shape {shape:?}, not [{channels}, 1, 1]", tensor.name)),
    }
}

/// An attribute that is a list of lengths.
fn sizes(node: &Node, name: &str) -> Result<Vec<usize>, String> {
    let size = |n: &i64| usize::try_from(*n).map_err(|_| format!("has {name} of {n}"));
    node.ints(name).iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::onnx::{
        graph,
        tests::{Constant, Operator, float, floats, int, ints, model, node},
    };

    /// Sub, Mul, Conv, BatchNormalization, PRelu, Dropout, depthwise Conv with a bias, Relu, Conv, the given tail of
    /// operators on `z`; the constants of a Gemm are `fw` and `fb`.
    macro_rules! example {
        ($($tail:expr),* $(,)?) => {{
            let nodes = vec![
                node("Sub", "s", &["x", "mean"]),
                node("Mul", "m", &["s", "factor"]),
                ints(ints(node("Conv", "c1", &["m", "w1"]), "strides", &[2, 2]), "pads", &[1, 1, 1, 1]),
                float(node("BatchNormalization", "b1", &["c1", "one", "shift", "mu", "var"]), "epsilon", 1.0),
                node("PRelu", "p1", &["b1", "slope"]),
                node("Dropout", "d1", &["p1"]),
                int(ints(node("Conv", "c2", &["d1", "w2", "bias2"]), "pads", &[0, 1, 2, 3]), "group", 2),
                node("Relu", "r2", &["c2"]),
                node("Conv", "z", &["r2", "w3"]),
                $($tail),*
            ];
            model(nodes, constants())
        }};
    }

    fn constants() -> Vec<Constant> {
        vec![
            floats("mean", &[1], &[127.5]),
            floats("factor", &[1], &[0.5]),
            floats("w1", &[2, 3, 1, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            floats("one", &[2], &[1.0, 2.0]),
            floats("shift", &[2], &[0.5, 0.0]),
            floats("mu", &[2], &[0.0, 2.0]),
            floats("var", &[2], &[3.0, 0.0]),
            floats("slope", &[2, 1, 1], &[0.25, 0.75]),
            floats("w2", &[2, 1, 2, 1], &[1.0, 2.0, 3.0, 4.0]),
            floats("bias2", &[2], &[-1.0, 1.0]),
            floats("w3", &[1, 2, 1, 1], &[7.0, 8.0]),
            floats("fw", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            floats("fb", &[3], &[0.1, 0.2, 0.3]),
        ]
    }

    fn head() -> [Operator; 3] {
        let flat = |output, input| node("Flatten", output, &[input]);
        [flat("f", "z"), flat("ff", "f"), node("Gemm", "y", &["ff", "fw", "fb"])]
    }

    fn values(weight: &Weight) -> (Vec<usize>, Vec<f32>) {
        (weight.shape.clone(), weight.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    #[track_caller]
    fn faults(bytes: &bytes::Bytes) -> Vec<String> {
        match read(&graph(bytes).unwrap()) {
            Err(ConvertError::NotAChain(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chain_becomes_its_layers() {
        let [flat, again, gemm] = head();
        let weights = read(&graph(&example!(flat, again, gemm)).unwrap()).unwrap();
        let expected: [(&str, &[usize], &[f32]); 15] = [
            ("fc.bias", &[3], &[0.1, 0.2, 0.3]),
            // transB is 0: the matrix is stored the other way.
            ("fc.weight", &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
            ("input.scale", &[3], &[0.5; 3]),
            ("input.shift", &[3], &[-63.75; 3]),
            // (0 - 0) / sqrt(3 + 1) + 0.5 and (0 - 2) * 2 / sqrt(0 + 1)
            ("layers.0.bias", &[2], &[0.5, -4.0]),
            ("layers.0.geometry", &[7], &[2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]),
            ("layers.0.prelu", &[2], &[0.25, 0.75]),
            ("layers.0.weight", &[2, 3, 1, 1], &[0.5, 1.0, 1.5, 8.0, 10.0, 12.0]),
            ("layers.1.bias", &[2], &[-1.0, 1.0]),
            ("layers.1.geometry", &[7], &[1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]),
            ("layers.1.weight", &[2, 1, 2, 1], &[1.0, 2.0, 3.0, 4.0]),
            ("layers.2.bias", &[1], &[0.0]),
            ("layers.2.geometry", &[7], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
            ("layers.2.weight", &[1, 2, 1, 1], &[7.0, 8.0]),
            ("pool", &[1], &[0.0]),
        ];
        let found: Vec<_> = weights.iter().map(|(key, weight)| (key.as_str(), values(weight))).collect();
        let expected: Vec<_> = expected.iter().map(|(key, s, v)| (*key, (s.to_vec(), v.to_vec()))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pooling_and_a_turned_matrix_are_read() {
        let pool = node("GlobalAveragePool", "p", &["z"]);
        let gemm = int(node("Gemm", "y", &["f", "fw"]), "transB", 1);
        let bytes = example!(pool, node("Flatten", "f", &["p"]), node("Identity", "i", &["f"]), gemm);
        // The Gemm takes `f`, which Identity takes too.
        assert_eq!(faults(&bytes), ["a branch: f goes to Identity i and Gemm y"]);
        let pool = node("GlobalAveragePool", "p", &["z"]);
        let gemm = int(node("Gemm", "y", &["f", "fw"]), "transB", 1);
        let bytes = example!(pool, node("Flatten", "f", &["p"]), gemm);
        let weights = read(&graph(&bytes).unwrap()).unwrap();
        assert_eq!(values(&weights["pool"]).1, [1.0]);
        assert_eq!(values(&weights["fc.weight"]), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(values(&weights["fc.bias"]), (vec![2], vec![0.0; 2]));
    }

    #[test]
    fn a_batch_norm_of_the_pixels_is_part_of_the_input() {
        let three = |name: &str, values: [f32; 3]| floats(name, &[3], &values);
        let constants = vec![
            three("scale", [1.0, 2.0, 4.0]),
            three("shift", [0.0, 1.0, 2.0]),
            three("mu", [100.0, 50.0, 0.0]),
            three("var", [4.0, 1.0, 16.0]),
            floats("w", &[1, 3, 1, 1], &[1.0; 3]),
            floats("fw", &[1, 1], &[1.0]),
        ];
        let nodes = vec![
            float(node("BatchNormalization", "bn_data", &["x", "scale", "shift", "mu", "var"]), "epsilon", 0.0),
            node("Conv", "c", &["bn_data", "w"]),
            node("Flatten", "f", &["c"]),
            node("Gemm", "y", &["f", "fw"]),
        ];
        let weights = read(&graph(&model(nodes, constants)).unwrap()).unwrap();
        assert_eq!(values(&weights["input.scale"]).1, [0.5, 2.0, 1.0]);
        assert_eq!(values(&weights["input.shift"]).1, [-50.0, -99.0, 2.0]);
    }

    #[test]
    fn every_strange_operator_is_named() {
        let [flat, again, gemm] = head();
        let bytes = example!(flat, again, gemm, node("Softmax", "soft", &["y"]), node("Tanh", "t", &["soft"]));
        let expected = ["Softmax soft: is of a kind that no chain has", "Tanh t: is of a kind that no chain has"];
        assert_eq!(faults(&bytes), expected);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let flat = || node("Flatten", "f", &["z"]);
        let gemm = || node("Gemm", "y", &["f", "fw", "fb"]);
        let conv = |output: &str, input: &str| node("Conv", output, &[input, "w4"]);
        let with = |nodes: Vec<_>, more| model(nodes, constants().into_iter().chain([more]).collect());
        let bare = |nodes| with(nodes, floats("w4", &[1, 3, 1, 1], &[1.0; 3]));
        let first = |change: &dyn Fn(Operator) -> Operator| {
            bare(vec![node("Sub", "s", &["x", "mean"]), change(conv("z", "s")), flat(), gemm()])
        };
        let cases = [
            (
                example!(node("Add", "sum", &["z", "r2"]), node("Flatten", "f", &["sum"]), gemm()),
                "a branch: r2 goes to",
            ),
            (example!(flat(), gemm(), node("Relu", "side", &["fb"])), "not on the way from the input: Relu side"),
            (example!(flat()), "the graph ends without a Gemm"),
            (example!(node("Gemm", "y", &["z", "fw"])), "Gemm y: is not the one dense layer behind Flatten"),
            (example!(flat(), gemm(), node("Relu", "r", &["y"])), "Relu r: stands behind the layers"),
            (example!(node("Mul", "twice", &["z", "factor"])), "Mul twice: is of no use behind the first layer"),
            (example!(node("Relu", "r", &["z"]), node("Relu", "q", &["r"])), "Relu q: is not behind a convolution"),
            (example!(int(flat(), "axis", 2)), "Flatten f: is not along axis 1"),
            (example!(node("PRelu", "p", &["z", "slope"])), "PRelu p: slope is of shape [2, 1, 1], not [1, 1, 1]"),
            (example!(node("Conv", "c4", &["z", "w1"])), "Conv c4: takes 3 channels, the layer before it gives 1"),
            (example!(float(flat(), "x", 0.0), float(gemm(), "alpha", 0.5)), "Gemm y: is no plain product"),
            (bare(vec![conv("z", "x"), flat(), gemm()]), "Conv z: takes the bare pixels"),
            (first(&|c| ints(c, "dilations", &[2, 2])), "Conv z: is dilated by 2"),
            (first(&|c| ints(c, "strides", &[2, 1])), "Conv z: has the strides [2, 1]"),
            (first(&|c| ints(c, "pads", &[-1, 0, 0, 0])), "Conv z: has pads of -1"),
            (first(&|c| ints(c, "auto_pad", &[])), "Conv z: pads by name (auto_pad)"),
            (first(&|c| int(c, "group", 2)), "Conv z: 2 groups do not divide 1 channels"),
            (first(&|_| node("Conv", "z", &["s", "s"])), "a branch: s goes to Conv z and Conv z"),
            (first(&|_| node("Conv", "z", &["s", "fb"])), "Conv z: its weight fb is of shape [3]"),
        ];
        for (bytes, expected) in cases {
            let faults = faults(&bytes);
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{expected}: {faults:?}");
        }
    }
}

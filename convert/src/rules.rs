//! Applies a manifest's rules to the tensors of its source.

use std::collections::BTreeMap;

use bytes::Bytes;
use regex::Regex;

use crate::{
    error::{ConvertError, Result},
    layout::Layout,
    manifest::{Action, Rule},
    source::{Dtype, SourceTensor},
};

/// A tensor as it is written: PyTorch layout, dtype of the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Axes in PyTorch's order.
    pub shape: Vec<usize>,
    /// F32, F16, BF16 or affine U8.
    pub dtype: Dtype,
    /// Elements, little endian, row-major.
    pub data: Bytes,
}

/// The tensors of one source file.
#[derive(Debug)]
pub struct Part<'a> {
    /// Put before every key.
    pub prefix: &'a str,
    /// The tensors.
    pub tensors: Vec<SourceTensor>,
}

/// Renames and reorders every tensor by the first rule that matches its name; the result is sorted by key.
///
/// # Errors
/// [`ConvertError::Rules`] with every fault at once: tensors that no rule matches, rules that are first for no tensor,
/// keys given twice, shapes that do not fit the layout, and integer tensors that are not left out.
pub fn apply(rules: &[Rule], parts: Vec<Part<'_>>) -> Result<BTreeMap<String, Weight>> {
    let mut faults = Vec::new();
    let mut patterns = Vec::new();
    for rule in rules {
        match compile(rule) {
            Ok(pattern) => patterns.push(pattern),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(ConvertError::Rules(faults));
    }
    let mut used = vec![false; rules.len()];
    let mut weights = BTreeMap::new();
    for Part { prefix, tensors } in parts {
        for tensor in tensors {
            let name = tensor.name.clone();
            let matching = patterns.iter().enumerate().find_map(|(i, pattern)| Some((i, pattern.captures(&name)?)));
            let Some((index, captures)) = matching else {
                faults.push(format!("no rule matches {name} {:?} {}", tensor.shape, tensor.dtype));
                continue;
            };
            used[index] = true;
            let Action::Keep { to, layout } = &rules[index].action else { continue };
            let mut key = prefix.to_owned();
            captures.expand(to, &mut key);
            let key = key.replace('/', ".");
            match weight(tensor, *layout) {
                Ok(weight) => {
                    if weights.insert(key.clone(), weight).is_some() {
                        faults.push(format!("two tensors become {key}; the second is {name}"));
                    }
                }
                Err(reason) => faults.push(format!("{name} -> {key}: {reason}")),
            }
        }
    }
    let idle = rules.iter().zip(used).filter(|(_, used)| !used);
    faults.extend(idle.map(|(rule, _)| format!("rule {:?} matches no tensor that an earlier rule left", rule.from)));
    if faults.is_empty() { Ok(weights) } else { Err(ConvertError::Rules(faults)) }
}

fn compile(rule: &Rule) -> Result<Regex, String> {
    let regex = Regex::new(&format!("^(?:{})$", rule.from)).map_err(|e| format!("rule {:?}: {e}", rule.from))?;
    if let Action::Keep { to, .. } = &rule.action {
        // `$1_x` is the group named "1_x" to the regex crate, and an unknown group expands to nothing.
        let reference = Regex::new(r"\$\{?([0-9A-Za-z_]+)").map_err(|e| e.to_string())?;
        for group in reference.captures_iter(to).map(|c| c[1].to_owned()) {
            let known = match group.parse::<usize>() {
                Ok(number) => number < regex.captures_len(),
                Err(_) => regex.capture_names().flatten().any(|name| name == group),
            };
            if !known {
                return Err(format!(
                    "rule {:?} has no group {group:?} for {to:?} (write ${{1}} before a letter)",
                    rule.from
                ));
            }
        }
    }
    Ok(regex)
}

fn weight(tensor: SourceTensor, layout: Layout) -> Result<Weight, String> {
    let SourceTensor { shape, dtype, data, .. } = tensor;
    if !dtype.is_weight() {
        return Err(format!("type {dtype} is no weight; give it a `leave_out` reason"));
    }
    let (shape, data) = layout.apply(&shape, dtype.size(), &data)?;
    Ok(Weight { shape, dtype, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], dtype: Dtype) -> SourceTensor {
        let len = shape.iter().product::<usize>() * dtype.size();
        SourceTensor {
            name: name.into(),
            shape: shape.to_vec(),
            dtype,
            data: (0..len as u8).collect::<Vec<_>>().into(),
        }
    }

    fn keep(from: &str, to: &str, layout: Layout) -> Rule {
        Rule { from: from.into(), action: Action::Keep { to: to.into(), layout } }
    }

    fn leave_out(from: &str) -> Rule {
        Rule { from: from.into(), action: Action::LeaveOut { reason: "not needed".into() } }
    }

    fn faults(rules: &[Rule], tensors: Vec<SourceTensor>) -> Vec<String> {
        match apply(rules, vec![Part { prefix: "", tensors }]) {
            Err(ConvertError::Rules(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn renames_prefixes_and_reorders() {
        let rules = [keep("(.+)/w", "$1.weight", Layout::Io), leave_out(".*shape"), keep("(.+)", "$1", Layout::AsIs)];
        let part = |prefix, name: &str| Part {
            prefix,
            tensors: vec![tensor(name, &[1, 2], Dtype::F16), tensor("a/shape", &[1], Dtype::I32)],
        };
        let weights = apply(&rules, vec![part("p.", "net/fc/w"), part("q.", "net/alpha")]).unwrap();
        assert_eq!(weights.keys().collect::<Vec<_>>(), ["p.net.fc.weight", "q.net.alpha"]);
        assert_eq!(weights["p.net.fc.weight"].shape, [2, 1]);
        assert_eq!(weights["q.net.alpha"].shape, [1, 2]);
        assert_eq!(weights["q.net.alpha"].dtype, Dtype::F16);
    }

    #[test]
    fn every_unmatched_tensor_is_listed() {
        let tensors =
            vec![tensor("a", &[1], Dtype::F32), tensor("b", &[1], Dtype::F32), tensor("ab", &[1], Dtype::F32)];
        let faults = faults(&[keep("a", "a", Layout::AsIs)], tensors);
        assert_eq!(faults, ["no rule matches b [1] f32", "no rule matches ab [1] f32"]);
    }

    #[test]
    fn an_idle_rule_is_an_error() {
        let rules = [keep(".+", "x", Layout::AsIs), keep("a", "y", Layout::AsIs)];
        let faults = faults(&rules, vec![tensor("a", &[1], Dtype::F32)]);
        assert_eq!(faults, ["rule \"a\" matches no tensor that an earlier rule left"]);
    }

    #[test]
    fn keys_must_differ() {
        let tensors = vec![tensor("a", &[1], Dtype::F32), tensor("b", &[1], Dtype::F32)];
        assert_eq!(faults(&[keep(".", "x", Layout::AsIs)], tensors), ["two tensors become x; the second is b"]);
    }

    #[test]
    fn integers_are_no_weights() {
        let faults = faults(&[keep(".", "x", Layout::AsIs)], vec![tensor("n", &[1], Dtype::I64)]);
        assert!(faults[0].contains("type i64 is no weight"), "{faults:?}");
    }

    #[test]
    fn a_reference_to_no_group_is_an_error() {
        for to in ["$2", "$1_bias", "${name}"] {
            let faults = faults(&[keep("(a)", to, Layout::AsIs)], vec![tensor("a", &[1], Dtype::F32)]);
            assert!(faults[0].contains("has no group"), "{faults:?}");
        }
        let weights = apply(
            &[keep("(a)", "${1}_bias", Layout::AsIs)],
            vec![Part { prefix: "", tensors: vec![tensor("a", &[1], Dtype::F32)] }],
        );
        assert!(weights.unwrap().contains_key("a_bias"));
    }

    #[test]
    fn a_shape_that_does_not_fit_names_tensor_and_key() {
        let faults = faults(&[keep("a", "b", Layout::Hwio)], vec![tensor("a", &[4], Dtype::F32)]);
        assert_eq!(faults, ["a -> b: shape [4] is not [kh, kw, i, o]"]);
    }
}

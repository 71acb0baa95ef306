"""Writes the structure of an exported network, without its weights, for the tests of the `[onnx]` tables of manifests.

    pip install onnx numpy
    python convert/tests/graphs/structure.py EXPORT.ONNX NAME GAIN > convert/tests/graphs/NAME.graph

EXPORT.ONNX is an export of the definition and the seeded weights that models-src/NAME/reference.py uses, with its GAIN:

    torch.onnx.export(net.eval(), x, "EXPORT.ONNX", dynamo=False, opset_version=11)

The file has a line a constant (`= NAME TYPE SHAPE`, then `@KEY` or the values) and a line an operator
(`OP OUTPUTS <- INPUTS`, then its attributes). KEY is the tensor of the module that the constant is: that whose seeded values
the constant has, up to a factor for each output channel as a folded batch norm brings it. Names are replaced by numbers, as
exporters do it for whatever they fold.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "models-src"))
import full_profile
import seeded

TYPES = {1: "f32", 7: "i64", 9: "bool"}
KEPT = {"transA", "transB", "alpha", "beta", "epsilon", "perm", "axes", "axis"}
TRANSPOSED = {"MatMul", "Gemm"}


def state(name, gain):
    rows = [line.split() for line in (ROOT / f"tests/golden/models/{name}.keys").read_text().splitlines()]
    shapes = {key: tuple(map(int, dims)) for key, *dims in rows}
    values = {}
    for key, shape in shapes.items():
        kind = full_profile.kind_of(key, shape, shapes)
        values[key] = seeded.values(key, shape, kind) * np.float32(gain if kind == "weight" else 1)
    return values


def same(found, known):
    """Equal up to a factor for the first output channel."""
    a, b = found.reshape(-1), known.reshape(-1)
    if a.size != b.size:
        return False
    if found.ndim > 1:
        a, b = (v.reshape(len(found), -1)[0].astype(np.float64) for v in (found, known))
        return abs(a @ b) > 0.999999 * np.linalg.norm(a) * np.linalg.norm(b)
    return np.array_equal(a, b)


def main(path, name, gain):
    graph = onnx.load(path).graph
    known = state(name, float(gain))
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    keys = {}
    for node in nodes:
        for i, constant in enumerate(node.input):
            value = constants.get(constant)
            if value is None or value.dtype != np.float32:
                continue
            if value.size == 1 and node.op_type not in {"Conv", "Gemm"}:
                continue
            if node.op_type in TRANSPOSED and i == 1:
                transposed = not any(a.name == "transB" and a.i for a in node.attribute)
                value = value.T if transposed else value
            if i == 2 and node.op_type in {"Conv", "Gemm"}:
                keys[constant] = keys.get(node.input[1], "").replace(".weight", ".bias")
            elif constant in known:
                keys[constant] = constant
            else:
                shape = value.shape if i == 1 and value.ndim != 3 else (value.size,)
                fits = [k for k, v in known.items() if v.shape == shape and same(value.reshape(shape), v)]
                keys[constant] = fits[0] if len(fits) == 1 else constant if constant.endswith(".weight") else ""

    names = {}
    short = lambda name: names.setdefault(name, str(len(names))) if name else "-"
    for value in graph.input:
        print("input", short(value.name))
    for constant, value in constants.items():
        kind = TYPES[onnx.helper.np_dtype_to_tensor_dtype(value.dtype)]
        shape = ",".join(map(str, value.shape)) or "."
        plain = kind == "i64" or value.size == 1 and constant not in keys
        tail = " ".join(map(str, value.reshape(-1))) if plain else f"@{keys.get(constant) or '?'}"
        print("=", short(constant), kind, shape, tail)
    for node in nodes:
        attributes = []
        for a in (a for a in node.attribute if a.name in KEPT):
            value = onnx.helper.get_attribute_value(a)
            values = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else f"{value:.8g}"
            attributes.append(f"{a.name}:{'ilf'[[2, 7, 1].index(a.type)]}={values}")
        print(node.op_type, *map(short, node.output), "<-", *map(short, node.input), *attributes)


if __name__ == "__main__":
    main(*sys.argv[1:])

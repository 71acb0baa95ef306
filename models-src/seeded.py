"""Weights that need no file: every value is a hash of its tensor's name and its position.

`crates/testkit/src/seeded.rs` gives the same values bit by bit; its tests hold the numbers that `python
models-src/seeded.py` prints.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/golden/models"


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def split_mix(name, count):
    """`count` 64-bit hashes of the positions in tensor `name`."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + np.arange(count, dtype=np.uint64) + np.uint64(1)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def kind_of(name, shape):
    """The kind that the name and the shape of a state dict's tensor tell."""
    if name.endswith("running_var"):
        return "variance"
    if name.endswith("running_mean") or name.endswith("bias"):
        return "bias"
    if len(shape) > 1:
        return "weight"
    return "slope" if "prelu" in name else "scale"


def span(kind, shape):
    if kind == "weight":
        bound = np.sqrt(6.0 / np.prod(shape[1:], dtype=np.float64))
        return -bound, bound
    return {"bias": (-0.1, 0.1), "scale": (0.75, 1.25), "variance": (0.5, 1.5), "slope": (0.1, 0.4), "input": (-1.0, 1.0)}[
        kind
    ]


def values(name, shape, kind=None):
    """Float32 tensor `name`; without a kind, the one that its name tells."""
    shape = tuple(shape)
    low, high = span(kind or kind_of(name, shape), shape)
    unit = (split_mix(name, int(np.prod(shape, dtype=np.int64))) >> np.uint64(40)).astype(np.float64) / 2**24
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def pixels(name, shape):
    """Bytes of tensor `name`."""
    return (split_mix(name, int(np.prod(shape))) >> np.uint64(56)).astype(np.uint8).reshape(shape)


def fill(module):
    """Gives every floating-point entry of a torch module's state dict its seeded values."""
    import torch

    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.from_numpy(values(name, tensor.shape).copy()))
    return state


def write_keys(name, state):
    """tests/golden/models/NAME.keys: a line a tensor, its name and its dimensions. Integer entries (counters of
    training steps) are no weights."""
    lines = [" ".join([key, *map(str, t.shape)]) for key, t in sorted(state.items()) if t.dtype.is_floating_point]
    (GOLDEN / f"{name}.keys").write_text("\n".join(lines) + "\n")


def sample(golden, name, tensor, step):
    """Keeps the shape of a long tensor and every `step`-th of its values."""
    array = tensor.detach().numpy() if hasattr(tensor, "detach") else tensor
    golden[f"{name}.shape"] = np.array(array.shape, dtype=np.float32)
    golden[name] = np.ascontiguousarray(array.reshape(-1)[::step].astype(np.float32))


def write_golden(name, golden, framework, script, weights=None):
    """tests/golden/models/NAME.safetensors and .meta.json; `weights`: the source file, where there is one."""
    from safetensors.numpy import save_file

    keep = lambda a: np.ascontiguousarray(a if a.dtype == np.uint8 else a.astype(np.float32))
    save_file({key: keep(value) for key, value in golden.items()}, GOLDEN / f"{name}.safetensors")
    meta = {
        "framework": framework,
        "script": script,
        "seed": None,
        "weights_sha256": hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else None,
    }
    (GOLDEN / f"{name}.meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    for name, shape in [("conv1.weight", (2, 3, 1, 1)), ("bn.running_var", (3,)), ("prelu.weight", (2,))]:
        print(name, [f"{v:08x}" for v in values(name, shape).reshape(-1).view(np.uint32)])
    print("photo", pixels("photo", (6,)).tolist())

"""The repository's own files that the peers are built from."""

import importlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS, GOLDEN, MODELS_SRC = ROOT / "weights", ROOT / "tests/golden/models", ROOT / "models-src"

sys.path.insert(0, str(MODELS_SRC))
import full_profile
import seeded


def module(path):
    """The Python file at `path` below models-src, with what stands beside it."""
    path = MODELS_SRC / path
    sys.path.insert(0, str(path.parent))
    try:
        return full_profile.load(path)
    finally:
        sys.path.remove(str(path.parent))


def arrays(path):
    """The tensors of a safetensors file, F32."""
    from safetensors.numpy import load_file

    found = load_file(path)
    restored = {}
    for name, value in found.items():
        if value.dtype == np.uint8 and f"{name}.scale" in found:
            # TensorFlow.js computes in doubles and rounds once; so does the server.
            value = value * found[f"{name}.scale"].item() + found[f"{name}.min"].item()
        if not (value.dtype == np.float64 and name.endswith((".scale", ".min"))):
            restored[name] = value.astype(np.float32)
    return restored


def golden(name):
    """The tensors of a golden file, as they are."""
    from safetensors.numpy import load_file

    return load_file(GOLDEN / f"{name}.safetensors")


def keys(name):
    """Names and shapes of the weights of a network of the full profile."""
    lines = [line.split() for line in (GOLDEN / f"{name}.keys").read_text().splitlines()]
    return {name: tuple(map(int, shape)) for name, *shape in lines}

"""What the reference scripts of the full profile's networks share: quieter seeded weights, and pictures.

The weights of `seeded.py` keep the variance of a plain chain of layers. Residual branches add up, so deep networks need
a gain below 1; `crates/models/tests/common/mod.rs` applies the same.
"""

import importlib.util
import math

import numpy as np
import seeded


def load(path):
    """The Python file at `path` as a module."""
    spec = importlib.util.spec_from_file_location("reference_definition", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kind_of(name, shape, names):
    """As `seeded.kind_of`; a vector of weights without a bias beside it is the slopes of a rectifier."""
    lonely = name.endswith(".weight") and len(shape) == 1 and f"{name.removesuffix('weight')}bias" not in names
    return "slope" if lonely else seeded.kind_of(name, shape)


def fill(module, gain):
    """Gives a torch module seeded weights, kernels and matrices times `gain`, and puts it into evaluation mode."""
    import torch

    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point:
            kind = kind_of(name, tensor.shape, state)
            values = seeded.values(name, tensor.shape, kind)
            if kind == "weight":
                values = values * np.float32(gain)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    module.eval()
    return state


def pictures(count, size, cell):
    """`[count, size, size, 3]` RGB bytes: pictures of coloured cells, `cell` pixels wide.

    Cells, because the mean of white noise is the same everywhere: random networks would not tell two of them apart.
    """
    cells = math.ceil(size / cell)
    small = [seeded.pixels(f"picture.{i}", (cells, cells, 3)) for i in range(count)]
    return np.stack(small).repeat(cell, axis=1).repeat(cell, axis=2)[:, :size, :size]


def planes(pictures):
    """`[n, h, w, 3]` to a torch tensor `[n, 3, h, w]`."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32))


def watch(modules):
    """Records the outputs of the named modules; returns the dictionary that a forward pass fills."""
    found = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _module, _input, y, name=name: found.__setitem__(name, y.clone()))
    return found


def write(name, module, found, output, steps, framework):
    """Writes the golden file, its record and the key list, and prints what tells whether the activations are sane.

    Of the stages `found` the first picture's values are kept, every `steps`-th; of `output` everything.
    """
    import torch

    golden = {}
    for stage, y in (found | {"output": output}).items():
        y = y.detach()
        print(f"{stage:12} {str(tuple(y.shape)):22} mean {y.mean():8.4f} std {y.std():8.4f} max {y.abs().max():8.4f}")
        if stage != "output":
            seeded.sample(golden, f"stage.{stage}", y[:1], steps)
    golden["output"] = output.detach().numpy()
    print("cosines", torch.nn.functional.cosine_similarity(output[:1], output[1:]).tolist())
    print(name, sum(p.numel() for p in module.parameters()), "parameters")
    seeded.write_golden(name, golden, f"torch {torch.__version__} (cpu), {framework}", f"models-src/{name}/reference.py")
    seeded.write_keys(name, module.state_dict())

"""Writes tests/golden/models/genderage.* and genderage-relu.*: chains of MobileNet-0.25 with three outputs under seeded
weights.

    pip install torch numpy safetensors
    python models-src/genderage/reference.py [ONNX_FOLDER]

The layers of InsightFace's file are published nowhere, so these are no copy of it but networks of the same family: the
layers of MobileNet at width 0.25, the first with PReLU and all values of the last planes through the dense layer, the
second with ReLU and the planes' means. With ONNX_FOLDER they are exported there too, for a look at the whole way from a
file to its result: `pip install onnx`.
"""

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile
import seeded

STEP = 97
# Output channels and stride of the thirteen separable convolutions, paper's table 1, times 0.25.
ROWS = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]


class Layer(nn.Conv2d):
    """A convolution and its rectifier; the keys are those of crates/models/src/nn/chain.rs."""

    def __init__(self, c_in, c_out, kernel, stride, groups, prelu):
        super().__init__(c_in, c_out, kernel, stride, kernel // 2, groups=groups)
        self.prelu = nn.Parameter(torch.empty(c_out)) if prelu else None

    def forward(self, x):
        y = super().forward(x)
        return torch.relu(y) if self.prelu is None else torch.nn.functional.prelu(y, self.prelu)


class Chain(nn.Module):
    def __init__(self, prelu, pool):
        super().__init__()
        layers, c_in = [Layer(3, 8, 3, 2, 1, prelu)], 8
        for c_out, stride in ROWS:
            layers += [Layer(c_in, c_in, 3, stride, c_in, prelu), Layer(c_in, c_out, 1, 1, 1, prelu)]
            c_in = c_out
        self.layers, self.pool = nn.Sequential(*layers), pool
        self.fc = nn.Linear(c_in if pool else 9 * c_in, 3)

    def forward(self, x):
        y = self.layers((x - 127.5) * (1 / 128))
        return self.fc((nn.functional.adaptive_avg_pool2d(y, 1) if self.pool else y).flatten(1))


def main():
    x = full_profile.planes(full_profile.pictures(3, 96, 12))
    for name, chain in {"genderage": Chain(prelu=True, pool=False), "genderage-relu": Chain(prelu=False, pool=True)}.items():
        seeded.fill(chain)
        chain.eval()
        found = full_profile.watch({f"layers.{i:02}": layer for i, layer in enumerate(chain.layers)})
        with torch.no_grad():
            output = chain(x)
        print(output)
        golden = {}
        for stage, y in found.items():
            print(f"{stage:12} {str(tuple(y.shape)):22} std {y.std():8.4f} max {y.abs().max():8.4f}")
            seeded.sample(golden, f"stage.{stage}", y[:1], STEP)
        golden["output"] = output.numpy()
        print(name, sum(p.numel() for p in chain.parameters()), "parameters")
        seeded.write_golden(name, golden, f"torch {torch.__version__} (cpu)", "models-src/genderage/reference.py")
        seeded.write_keys(name, chain.state_dict())
        if len(sys.argv) > 1:
            export(chain, Path(sys.argv[1]) / f"{name}.onnx")


def export(chain, path):
    torch.onnx.export(chain, torch.zeros(1, 3, 96, 96), path, dynamo=False)


main()

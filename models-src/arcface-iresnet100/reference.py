"""Writes tests/golden/models/arcface-iresnet100.* with InsightFace's own definition and seeded weights.

    pip install torch numpy safetensors
    python models-src/arcface-iresnet100/reference.py IRESNET.PY

IRESNET.PY is recognition/arcface_torch/backbones/iresnet.py of https://github.com/deepinsight/insightface (MIT),
read at d9cb10e.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile

GAIN = 0.4
"""Residual branches add up over 49 units; with this gain the last one is about as loud as the first."""
STEP = 397


def run(name, constructor, path):
    net = getattr(full_profile.load(path), constructor)()
    full_profile.fill(net, GAIN)
    x = full_profile.planes((full_profile.pictures(3, 112, 16).astype("float32") - 127.5) / 127.5)
    found = full_profile.watch({"stem": net.prelu} | {f"layer{i}": getattr(net, f"layer{i}") for i in range(1, 5)})
    with torch.no_grad():
        embedding = net(x)
    full_profile.write(name, net, found, embedding, STEP, "InsightFace d9cb10e")


if __name__ == "__main__":
    run("arcface-iresnet100", "iresnet100", sys.argv[1])

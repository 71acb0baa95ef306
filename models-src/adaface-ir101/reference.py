"""Writes tests/golden/models/adaface-ir101.* with AdaFace's own definition and seeded weights.

    pip install torch numpy safetensors
    python models-src/adaface-ir101/reference.py NET.PY

NET.PY is net.py of https://github.com/mk-minchul/AdaFace (MIT), read at c60eaa7.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile

GAIN = 0.4
"""Residual branches add up over 49 units; with this gain the last one is about as loud as the first."""
STEP = 397
ENDS = {"layer1": 2, "layer2": 15, "layer3": 45, "layer4": 48}
"""The last unit of each width."""

net = full_profile.load(sys.argv[1]).build_model("ir_101")
full_profile.fill(net, GAIN)
bgr = full_profile.pictures(3, 112, 16)[..., ::-1]
x = full_profile.planes((bgr / 255.0 - 0.5) / 0.5)
ends = {name: net.body[i] for name, i in ENDS.items()}
# The network itself returns the direction and the length of what its last layer gives.
found = full_profile.watch({"stem": net.input_layer} | ends | {"embedding": net.output_layer})
with torch.no_grad():
    net(x)
embedding = found.pop("embedding")
full_profile.write("adaface-ir101", net, found, embedding, STEP, "AdaFace c60eaa7")

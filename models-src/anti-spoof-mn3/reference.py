"""Writes tests/golden/models/anti-spoof-mn3.* with the authors' definition and seeded weights.

    pip install torch numpy safetensors
    python models-src/anti-spoof-mn3/reference.py REPOSITORY

REPOSITORY is a checkout of https://github.com/kprokofi/light-weight-face-anti-spoofing (MIT), read at 82a2c26.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile

sys.path.insert(0, sys.argv[1])
from models import mobilenetv3_large

GAIN = 0.8
"""The rectifiers of this network let more through than plain ones."""
STEP = 97
MEAN, STD = (151.2405, 119.5950, 107.8395), (63.0105, 56.4570, 55.0035)

# As in configs/config.py, without the heads that serve the training alone.
net = mobilenetv3_large(
    width_mult=1.0, prob_dropout=0.1, type_dropout="bernoulli", mu=0.5, sigma=0.3, embeding_dim=1280,
    prob_dropout_linear=0.3, theta=0, multi_heads=False,
)
net.scaling = 1
full_profile.fill(net, GAIN)
pictures = full_profile.pictures(3, 128, 16).astype(np.float64)
x = full_profile.planes((pictures - MEAN) / STD)
modules = {f"features.{i:02}": module for i, module in enumerate(net.features)} | {"conv_last": net.conv_last}
found = full_profile.watch(modules)
with torch.no_grad():
    probabilities = net.forward_to_onnx(x)
print(probabilities)
full_profile.write("anti-spoof-mn3", net, found, probabilities, STEP, "light-weight-face-anti-spoofing 82a2c26")

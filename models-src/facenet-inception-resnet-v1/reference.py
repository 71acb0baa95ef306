"""Writes tests/golden/models/facenet-inception-resnet-v1.* with facenet-pytorch's definition and seeded weights.

    pip install facenet-pytorch==2.6.0 torch numpy safetensors
    python models-src/facenet-inception-resnet-v1/reference.py
"""

import sys
from pathlib import Path

import torch
from facenet_pytorch import InceptionResnetV1, fixed_image_standardization

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile

GAIN = 1.0
STEP = 97
STAGES = ["conv2d_2b", "conv2d_4b", "repeat_1", "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8"]

net = InceptionResnetV1()
full_profile.fill(net, GAIN)
x = fixed_image_standardization(full_profile.planes(full_profile.pictures(3, 160, 20)))
found = full_profile.watch({name: getattr(net, name) for name in STAGES})
with torch.no_grad():
    embedding = net(x)
full_profile.write("facenet-inception-resnet-v1", net, found, embedding, STEP, "facenet-pytorch 2.6.0")

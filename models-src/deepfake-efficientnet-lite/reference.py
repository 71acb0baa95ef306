"""Writes tests/golden/models/deepfake-efficientnet-lite.{safetensors,meta.json} with PyTorch.

    pip install -r models-src/deepfake-efficientnet-lite/requirements.txt
    python models-src/deepfake-efficientnet-lite/reference.py

The weights are the shipped ones, f16, computed in f32. The inputs are squares of photos of tests/images, roughly around
the face.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "models-src"))

import full_profile
import seeded
from network import INPUT_SIZE, to_tensor
from train import WEIGHTS, reload

NAME = "deepfake-efficientnet-lite"
PHOTOS = ["portrait.jpg", "profile.jpg", "grey.jpg"]
STEP = 499


def square(path):
    """The middle square."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    side = min(image.shape[:2])
    y, x = ((n - side) // 2 for n in image.shape[:2])
    return cv2.resize(image[y : y + side, x : x + side], (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)


def main():
    weights = ROOT / "weights" / WEIGHTS
    net = reload(weights)
    pictures = np.stack([square(ROOT / "tests/images" / photo) for photo in PHOTOS])
    watched = {f"maps.{i + 1:02}": block for i, block in enumerate(net.blocks)}
    found = full_profile.watch(watched | {"stem": net.stem, "features": net.dropout})
    with torch.no_grad():
        output = net(to_tensor(pictures))
    found["maps.00"] = found.pop("stem").clamp(0, 6)
    golden = {"input": pictures, "logits": output.numpy(), "features": found.pop("features").numpy()}
    for stage, y in sorted(found.items()):
        y = y.contiguous()
        print(f"{stage} {tuple(y.shape)} std {y.std():.3f} max {y.abs().max():.2f}")
        seeded.sample(golden, stage, y, STEP)
    print("logits", output.tolist())
    seeded.write_golden(NAME, golden, f"torch {torch.__version__} (cpu)", f"models-src/{NAME}/reference.py", weights)


if __name__ == "__main__":
    main()

"""Writes tests/golden/models/minifasnet-v2.*, seeded and trained, with the reference's own definition.

    pip install torch numpy safetensors opencv-python-headless
    python models-src/minifasnet-v2/reference.py MINIFASNET.PY GENERATE_PATCHES.PY WEIGHTS

MINIFASNET.PY and GENERATE_PATCHES.PY are src/model_lib/MiniFASNet.py and src/generate_patches.py of
https://github.com/minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0), read at b6d5f04. WEIGHTS is the published .pth
file. Of the trained network only the scores of three crops are kept.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile
import seeded

GAIN = 0.7
STEP = 97
FACES = [
    ("portrait.jpg", (180, 60, 89, 113)),
    ("portrait_2.jpg", (175, 120, 180, 220)),
    ("group.jpg", (373, 266, 106, 147)),
]
"""Left, top, width, height, as facenet-pytorch 2.6.0's MTCNN found them."""


def watch(net):
    rows = {"stem": net.conv2_dw, "rows.0": net.conv_3, "rows.1": net.conv_4, "rows.2": net.conv_5}
    return full_profile.watch(rows | {"features": net.conv_6_flatten})


def write_seeded(name, net, size, scale):
    """`scale`: divides the pixels; a network that takes them as they are is tested with those of 0..1 all the same,
    since random weights would carry the factor of 255 through to its output."""
    full_profile.fill(net, GAIN)
    x = full_profile.planes(full_profile.pictures(3, size, 8)) / scale
    found = watch(net)
    with torch.no_grad():
        output = net(x)
    full_profile.write(name, net, found, output, STEP, "Silent-Face-Anti-Spoofing b6d5f04")


def write_trained(name, crops, logits, framework, weights):
    """`crops`: RGB bytes `[3, size, size, 3]`."""
    print("trained", np.round(logits, 4).tolist())
    golden = {"input": crops, "output": logits}
    seeded.write_golden(f"{name}.trained", golden, framework, f"models-src/{name}/reference.py", weights)


def photo(name):
    return cv2.imread(str(seeded.ROOT / "tests/images" / name))


def run(name, constructor, scale, definition, patches, weights):
    definition, patches = full_profile.load(definition), full_profile.load(patches)
    net = getattr(definition, constructor)(conv6_kernel=(5, 5))
    write_seeded(name, net, 80, 255)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    crop = patches.CropImage().crop
    crops = np.stack([crop(photo(file), face, scale, 80, 80) for file, face in FACES])  # BGR
    with torch.no_grad():
        logits = net(full_profile.planes(crops))
    framework = f"torch {torch.__version__} (cpu), Silent-Face-Anti-Spoofing b6d5f04"
    write_trained(name, crops[..., ::-1], logits.numpy(), framework, weights)


if __name__ == "__main__":
    run("minifasnet-v2", "MiniFASNetV2", 2.7, *sys.argv[1:])

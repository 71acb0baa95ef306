"""Writes tests/golden/models/yolov10n-face.trained.*: what PyTorch makes of the committed weights.

    python models-src/yolov10n-face/golden.py

The weights are those of the file, rounded to f16, the arithmetic is f32. The picture is a part of
tests/images/tiny_faces.jpg, kept as bytes since JPEG decoders differ, in the middle of 640 x 640 pixels of grey.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import export
import full_profile
import seeded
from loss import anchors, decode, flat

NAME = "yolov10n-face"
SIDE, WIDTH, HEIGHT = 640, 320, 256
LEFT, TOP = (SIDE - WIDTH) // 2, (SIDE - HEIGHT) // 2
STEP = 997
MIN_SCORE = 0.1


def main():
    weights = seeded.ROOT / "weights/yolov10n_face.safetensors"
    net = export.load(weights).to(memory_format=torch.contiguous_format)
    photo = cv2.cvtColor(cv2.imread(str(seeded.ROOT / "tests/images/tiny_faces.jpg")), cv2.COLOR_BGR2RGB)
    part = np.ascontiguousarray(photo[:HEIGHT, :WIDTH])
    canvas = np.full((1, SIDE, SIDE, 3), 114, np.uint8)
    canvas[0, TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] = part
    m = net.model
    watched = {"backbone.0": m[4], "backbone.1": m[6], "backbone.2": m[10]}
    found = full_profile.watch(watched | {"pyramid.0": m[16], "pyramid.1": m[19], "pyramid.2": m[22]})
    with torch.no_grad():
        distances, logits = flat(net.heads_at_inference(full_profile.planes(canvas) / 255)["one"])
        boxes, scores = decode(distances, *anchors(SIDE))[0], logits[0].sigmoid()
    rows = torch.cat([boxes, scores[:, None]], 1)[scores.argsort(descending=True)]
    best = rows[rows[:, 4] >= MIN_SCORE].numpy()
    print(f"{len(best)} boxes score {MIN_SCORE} and more")
    print(np.round(best, 3))
    golden = {"input": part, "best": best}
    seeded.sample(golden, "scores", scores, 7)
    for stage, y in found.items():
        print(f"{stage:12} {str(tuple(y.shape)):22} std {y.std():8.4f} max {y.abs().max():8.4f}")
        seeded.sample(golden, f"stage.{stage}", y, STEP)
    framework = f"torch {torch.__version__} (cpu)"
    seeded.write_golden(f"{NAME}.trained", golden, framework, f"models-src/{NAME}/golden.py", weights)


if __name__ == "__main__":
    main()

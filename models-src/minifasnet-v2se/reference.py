"""Writes tests/golden/models/minifasnet-v2se.*: seeded with the reference's own definition, trained with ONNX Runtime.

    pip install torch numpy safetensors opencv-python-headless onnxruntime
    python models-src/minifasnet-v2se/reference.py MINIFASNET.PY VIDEO_PREDICT.PY WEIGHTS

MINIFASNET.PY is that of models-src/minifasnet-v2/reference.py. VIDEO_PREDICT.PY, of which the cropping is used, and
WEIGHTS, an .onnx file of three classes, are those of https://github.com/hairymax/Face-AntiSpoofing (Apache-2.0), read at
eed4e27.
"""

import ast
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(FOLDER))
import full_profile

NAME = "minifasnet-v2se"


def increased_crop(path):
    """The function of that name: the file's imports need a detector and a camera."""
    tree = ast.parse(Path(path).read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) == "increased_crop"]
    names = {"cv2": cv2}
    exec(compile(tree, path, "exec"), names)
    return names["increased_crop"]


def main(definition, video_predict, weights):
    minifasnet = full_profile.load(FOLDER / "minifasnet-v2/reference.py")
    net = full_profile.load(definition).MiniFASNetV2SE(conv6_kernel=(8, 8), num_classes=3)
    minifasnet.write_seeded(NAME, net, 128, 255)
    crop = increased_crop(video_predict)
    crops = []
    for file, (x, y, w, h) in minifasnet.FACES:
        rgb = cv2.cvtColor(minifasnet.photo(file), cv2.COLOR_BGR2RGB)
        crops.append(cv2.resize(crop(rgb, (x, y, x + w, y + h), 1.5), (128, 128)))
    crops = np.stack(crops)
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    run = lambda crop: session.run(None, {"input": (crop.transpose(2, 0, 1)[None] / 255).astype(np.float32)})[0]
    logits = np.concatenate([run(crop) for crop in crops])
    minifasnet.write_trained(NAME, crops, logits, f"onnxruntime {onnxruntime.__version__} (cpu)", weights)


if __name__ == "__main__":
    main(*sys.argv[1:])

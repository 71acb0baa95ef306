"""Writes tests/golden/models/blazeface-short.{safetensors,meta.json} with LiteRT.

    pip install ai-edge-litert numpy pillow safetensors
    python models-src/blazeface-short/reference.py PACKAGE

PACKAGE is the unpacked npm package (the folder with the .tflite files). The photos are those of tests/images.
"""

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image, ImageOps
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ["portrait.jpg", "group.jpg", "no_face.jpg"]
"""In tests/images; letterboxed they are the three inputs."""
STEP = 97
"""Of a long tensor every 97th value is kept."""

SHORT = dict(
    name="blazeface-short",
    file="face_detection_short_range.tflite",
    anchors=[(16, 2), (8, 6)],
    min_score=0.5,
    # The first block at stride 16: halves the resolution, widens the shortcut.
    block=("activation_11", "activation_12"),
    stages={
        "stem": "activation",
        "backbone.0": "activation_2",
        "backbone.1": "activation_5",
        "backbone.2": "activation_11",
        "backbone.3": "activation_16",
    },
    logits="classificators",
    regressors="regressors",
)


def letterbox(image, size):
    """The photo scaled to fit, centred on black."""
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size, size))
    canvas.paste(image.resize((width, height), Image.BILINEAR), ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas)


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return width * height / (area(a) + area(b) - width * height)


def detections(logits, regressors, config, size):
    """Rows of score, x1, y1, x2, y2, six points: decoded, and weighted suppression at IoU 0.3 as in MediaPipe."""
    centres = np.concatenate(
        [
            np.repeat(np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) + 0.5, k, axis=0) * size / n
            for n, k in config["anchors"]
        ]
    )
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    values = regressors.astype(np.float64)
    centre, half = values[:, :2] + centres, values[:, 2:4] / 2
    points = (values[:, 4:].reshape(-1, 6, 2) + centres[:, None]).reshape(-1, 12)
    rows = np.concatenate([scores[:, None], centre - half, centre + half, points], 1)
    rows = rows[(scores >= config["min_score"]) & (half >= 0).all(1)]
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    found = []
    while len(rows):
        same = np.array([iou(rows[0, 1:5], row[1:5]) > 0.3 for row in rows])
        same[0] = True
        mean = np.average(rows[same, 1:], axis=0, weights=rows[same, 0])
        found.append(np.concatenate([rows[0, :1], mean]))
        rows = rows[~same]
    return np.array(found).reshape(-1, 17)


def write(config, package):
    model = Path(package) / config["file"]
    net = Interpreter(
        str(model),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    net.allocate_tensors()
    where = {t["name"].removesuffix("__xeno_compat__1"): t["index"] for t in net.get_tensor_details()}
    entry = net.get_input_details()[0]
    size = int(entry["shape"][1])
    fetch = lambda name: net.get_tensor(where[name]).copy()
    nchw = lambda x: np.ascontiguousarray(np.moveaxis(x, -1, 1))

    golden = {}
    inputs = []
    rows = {name: [] for name in [*config["stages"], "logits", "regressors"]}
    for number, photo in enumerate(PHOTOS):
        image = letterbox(ImageOps.exif_transpose(Image.open(ROOT / "tests/images" / photo)).convert("RGB"), size)
        inputs.append(image)
        net.set_tensor(entry["index"], (image[None].astype(np.float32) - 127.5) / 127.5)
        net.invoke()
        for stage, tensor in config["stages"].items():
            rows[stage].append(nchw(fetch(tensor)))
        logits, regressors = fetch(config["logits"])[..., 0], fetch(config["regressors"])
        rows["logits"].append(logits)
        rows["regressors"].append(regressors)
        golden[f"detections.{number}"] = detections(logits[0], regressors[0], config, size)
        if number == 0:
            for end, tensor in zip(("input", "output"), config["block"]):
                golden[f"block.{end}"] = nchw(fetch(tensor))
    golden["input"] = np.stack(inputs)  # [3, size, size, 3]
    for stage, parts in rows.items():
        whole = np.concatenate(parts)
        golden[f"{stage}.shape"] = np.array(whole.shape)
        golden[stage] = whole if stage == "logits" else whole.reshape(-1)[::STEP]

    out = ROOT / "tests/golden/models" / config["name"]
    keep = lambda a: np.ascontiguousarray(a if a.dtype == np.uint8 else a.astype(np.float32))
    save_file({key: keep(value) for key, value in golden.items()}, out.with_suffix(".safetensors"))
    meta = {
        "framework": f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        "script": f"models-src/{config['name']}/reference.py",
        "seed": None,
        "weights_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    out.with_suffix(".meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    write(SHORT, sys.argv[1])

"""Writes tests/golden/models/face-antispoofing.{safetensors,meta.json} with LiteRT.

    pip install ai-edge-litert numpy pillow safetensors
    python models-src/face-antispoofing/reference.py PACKAGE

PACKAGE is the unpacked npm package. The inputs are squares of photos of tests/images, roughly around the face;
the three reach different leaves or differ in what the leaves say.
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
NAME = "face-antispoofing"
MODEL = "android/src/main/assets/FaceAntiSpoofing.tflite"
SIZE = 256
PHOTOS = ["portrait.jpg", "profile.jpg", "grey.jpg"]
STEP = 997
"""Of a long tensor every 997th value is kept."""

NET = "StatefulPartitionedCall/"
UNITS = ["", "_1", "_2", "_3", "_4", "_5", "_6"]
STAGES = {"stem": "conv/LeakyRelu"} | {f"nodes.{i}": f"cru{unit}/MaxPool" for i, unit in enumerate(UNITS)}
ROUTES = [f"tru{unit}/linear{unit}/MatMul" for unit in UNITS]
BLOCK = ("cru_1/MaxPool", "cru_3/MaxPool")
"""Input and output of the unit; the first 16 rows of the input decide over the first 5 of the output."""
BLOCK_ROWS = (16, 5)


def square(photo):
    """The middle square, 256 x 256."""
    return np.asarray(ImageOps.fit(photo, (SIZE, SIZE), Image.BILINEAR))


def main(package):
    model = Path(package) / MODEL
    net = Interpreter(
        str(model),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    net.allocate_tensors()
    where = {t["name"]: t["index"] for t in net.get_tensor_details()}
    entry = net.get_input_details()[0]["index"]
    fetch = lambda name: np.ascontiguousarray(np.moveaxis(net.get_tensor(where[NET + name]), -1, 1))

    images = [
        square(ImageOps.exif_transpose(Image.open(ROOT / "tests/images" / photo)).convert("RGB")) for photo in PHOTOS
    ]
    golden = {"input": np.stack(images)}  # [3, 256, 256, 3]
    rows = {name: [] for name in [*STAGES, "routes", "leaf_scores", "leaf_mask"]}
    for number, image in enumerate(images):
        net.set_tensor(entry, image[None].astype(np.float32) / 255)
        net.invoke()
        for stage, tensor in STAGES.items():
            rows[stage].append(fetch(tensor))
        rows["routes"].append(np.stack([fetch(route).reshape(-1) for route in ROUTES], 1))
        for name, output in (("leaf_scores", "Identity"), ("leaf_mask", "Identity_1")):
            rows[name].append(net.get_tensor(where[output]).copy())
        if number == 0:
            for end, tensor, keep in zip(("input", "output"), BLOCK, BLOCK_ROWS):
                golden[f"block.{end}"] = fetch(tensor)[:, :, :keep]
    for stage, parts in rows.items():
        whole = np.concatenate(parts)
        golden[f"{stage}.shape"] = np.array(whole.shape)
        golden[stage] = whole.reshape(-1)[::STEP] if stage in STAGES else whole
    golden["score"] = np.abs(golden["leaf_scores"]).mean(1)
    golden["reached_leaf_score"] = (np.abs(golden["leaf_scores"]) * golden["leaf_mask"]).sum(1)

    out = ROOT / "tests/golden/models" / NAME
    keep = lambda a: np.ascontiguousarray(a if a.dtype == np.uint8 else a.astype(np.float32))
    save_file({key: keep(value) for key, value in golden.items()}, out.with_suffix(".safetensors"))
    meta = {
        "framework": f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        "script": f"models-src/{NAME}/reference.py",
        "seed": None,
        "weights_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    out.with_suffix(".meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

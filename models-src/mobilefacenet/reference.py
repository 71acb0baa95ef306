"""Writes tests/golden/models/mobilefacenet.{safetensors,meta.json} with LiteRT.

    pip install ai-edge-litert numpy pillow safetensors
    python models-src/mobilefacenet/reference.py PACKAGE

PACKAGE is the unpacked npm package. The inputs are squares of photos of tests/images, roughly around the face: parity
needs pictures, not alignment.
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
NAME = "mobilefacenet"
MODEL = "android/src/main/assets/MobileFaceNet.tflite"
SIZE = 112
PHOTOS = ["portrait.jpg", "profile.jpg", "no_face.jpg"]
STEP = 97
"""Of a long tensor every 97th value is kept."""

NET = "MobileFaceNet/MobileFaceNet/"
STAGES = {
    "stem": NET + "Conv/BatchNorm/FusedBatchNorm",
    "rows.0": NET + "Conv2d_2_InvResBlock_4/Add",
    "rows.1": NET + "Conv2d_3_InvResBlock_0/Conv_1/BatchNorm/FusedBatchNorm",
    "rows.2": NET + "Conv2d_4_InvResBlock_5/Add",
    "rows.3": NET + "Conv2d_5_InvResBlock_0/Conv_1/BatchNorm/FusedBatchNorm",
    "rows.4": NET + "Conv2d_6_InvResBlock_1/Add",
    "features": NET + "Conv2d_7/add",
}
BLOCK = (NET + "Conv2d_6_InvResBlock_0/Add", NET + "Conv2d_6_InvResBlock_1/Add")


def square(photo):
    """The middle square, 112 x 112."""
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
    entry, exit = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]
    fetch = lambda name: np.ascontiguousarray(np.moveaxis(net.get_tensor(where[name])[:1], -1, 1))

    images = [
        square(ImageOps.exif_transpose(Image.open(ROOT / "tests/images" / photo)).convert("RGB")) for photo in PHOTOS
    ]
    golden = {"input": np.stack(images)}  # [3, 112, 112, 3]
    rows = {name: [] for name in [*STAGES, "embedding"]}
    for number, image in enumerate(images):
        # The graph's batch is fixed at two.
        x = (image[None].repeat(2, axis=0).astype(np.float32) - 127.5) / 128
        net.set_tensor(entry, x)
        net.invoke()
        for stage, tensor in STAGES.items():
            rows[stage].append(fetch(tensor))
        rows["embedding"].append(net.get_tensor(exit)[:1].copy())
        if number == 0:
            golden["block.input"], golden["block.output"] = map(fetch, BLOCK)
    for stage, parts in rows.items():
        whole = np.concatenate(parts)
        golden[f"{stage}.shape"] = np.array(whole.shape)
        golden[stage] = whole if stage == "embedding" else whole.reshape(-1)[::STEP]

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

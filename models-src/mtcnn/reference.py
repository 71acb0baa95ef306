"""Writes tests/golden/models/mtcnn.{safetensors,meta.json} with facenet-pytorch.

    pip install facenet-pytorch==2.6.0 torch safetensors requests
    python models-src/mtcnn/reference.py

The weights come with the package. The photos are those of tests/images.
"""

import hashlib
import json
from pathlib import Path

import facenet_pytorch
import numpy as np
import torch
from facenet_pytorch.models.mtcnn import MTCNN
from facenet_pytorch.models.utils.detect_face import detect_face
from PIL import Image, ImageOps
from safetensors.numpy import save_file

SEED = 20160404
ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ["portrait.jpg", "group.jpg", "profile.jpg", "no_face.jpg", "tiny_faces.jpg"]
"""In tests/images: each becomes `photo.<name>.{boxes,scores,points}`."""
PIXELS = {"portrait.jpg": (None, 200), "group.jpg": (None, 360), "tiny_faces.jpg": ((0, 0, 240, 180), 240)}
"""Part (left, top, right, bottom) and width of the photos that are stored as pixels, `pixels.<name>.*`."""


def features(net, x, last):
    """The activation of module `last`."""
    kept = {}
    handle = getattr(net, last).register_forward_hook(lambda _m, _i, out: kept.update(out=out))
    outputs = net(x)
    handle.remove()
    return kept["out"], outputs


def cascade(mtcnn, photo, name, golden):
    """Boxes, scores and points of the reference under `name`."""
    boxes, points = detect_face(photo, 20, mtcnn.pnet, mtcnn.rnet, mtcnn.onet, [0.6, 0.7, 0.7], 0.709, "cpu")
    boxes, points = (np.array(list(v[0]), dtype=np.float32) for v in (boxes, points))
    golden[f"{name}.boxes"] = boxes.reshape(-1, 5)[:, :4]
    golden[f"{name}.scores"] = boxes.reshape(-1, 5)[:, 4]
    golden[f"{name}.points"] = points.reshape(-1, 5, 2)
    print(name, len(boxes), "faces")


def main():
    torch.manual_seed(SEED)
    torch.set_grad_enabled(False)
    mtcnn = MTCNN(keep_all=True)
    pnet, rnet, onet = mtcnn.pnet, mtcnn.rnet, mtcnn.onet
    golden = {}

    # Blocks: seeded noise through the convolutional part of P-Net, odd and even sides.
    for name, (h, w) in {"even": (30, 24), "odd": (27, 33)}.items():
        x = torch.randn(1, 3, h, w)
        golden[f"block.{name}.input"] = x
        golden[f"block.{name}.output"], _ = features(pnet, x, "prelu3")

    # Networks: crops of faces and one of no face.
    photos = {name: load(ROOT / "tests/images" / name) for name in PHOTOS}
    crops = []
    for name in PHOTOS:
        photo = photos[name]
        boxes, _ = mtcnn.detect(photo)
        box = boxes[0] if boxes is not None else (10, 10, 110, 110)
        crops.append(photo.crop([int(v) for v in box]))
    crops = [crops[0], crops[2], crops[3]]  # frontal, profile, no face
    for net, size, last in ((pnet, (57, 44), "prelu3"), (rnet, (24, 24), "prelu4"), (onet, (48, 48), "prelu5")):
        name = type(net).__name__.lower()
        pixels = np.stack([np.asarray(c.resize(size, Image.BILINEAR)) for c in crops])
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) * 0.0078125
        kept, outputs = features(net, x, last)
        golden[f"{name}.input"] = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # [3, 3, h, w], 0..=255
        golden[f"{name}.features"] = kept
        for key, value in zip(("boxes", "points", "probability") if len(outputs) == 3 else ("boxes", "probability"), outputs):
            golden[f"{name}.{key}"] = value

    # Pipeline, on pixels that both sides read alike, and on the files, where each side has its own JPEG decoder.
    for name, (box, width) in PIXELS.items():
        photo = photos[name].crop(box) if box else photos[name]
        photo = photo.resize((width, round(photo.height * width / photo.width)), Image.LANCZOS)
        golden[f"pixels.{Path(name).stem}.input"] = np.asarray(photo)  # [h, w, 3]
        cascade(mtcnn, photo, f"pixels.{Path(name).stem}", golden)
    for name, photo in photos.items():
        cascade(mtcnn, photo, f"photo.{Path(name).stem}", golden)

    out = ROOT / "tests/golden/models/mtcnn.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in golden.items()}, out)
    data = Path(facenet_pytorch.__file__).parent / "data"
    weights = hashlib.sha256(b"".join((data / f"{n}.pt").read_bytes() for n in ("pnet", "rnet", "onet")))
    meta = {
        "framework": f"facenet-pytorch 2.6.0, torch {torch.__version__}",
        "script": "models-src/mtcnn/reference.py",
        "seed": SEED,
        "weights_sha256": weights.hexdigest(),
    }
    out.with_suffix(".meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def load(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


if __name__ == "__main__":
    main()

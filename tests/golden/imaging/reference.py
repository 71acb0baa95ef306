"""Writes the goldens of crates/imaging with OpenCV and Pillow: a small crop of the portrait, resized and warped.

    python reference.py

Needs numpy, opencv-python-headless, Pillow and scikit-image; their versions go into
cases.json. Pictures are PNG, so they hold the reference's pixels exactly.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import PIL
import skimage
from PIL import Image
from skimage.transform import SimilarityTransform

HERE = Path(__file__).parent
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def main():
    portrait = np.asarray(Image.open(HERE.parents[1] / "images" / "portrait.jpg").convert("RGB"))
    source = np.ascontiguousarray(portrait[40:200, 130:310])  # 180 x 160: the face
    cases = {"versions": {"opencv": cv2.__version__, "pillow": PIL.__version__, "scikit-image": skimage.__version__}}

    def save(name, pixels):
        Image.fromarray(pixels).save(HERE / f"{name}.png", optimize=True)

    save("source", source)
    cases["resize"] = []
    for width, height in [(64, 64), (97, 41), (233, 207)]:
        name = f"linear_{width}x{height}"
        save(name, cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR))
        cases["resize"].append({"file": name, "sampling": "bilinear", "width": width, "height": height})
    for width, height in [(64, 64), (97, 41)]:
        name = f"area_{width}x{height}"
        save(name, np.asarray(Image.fromarray(source).resize((width, height), Image.Resampling.BILINEAR)))
        cases["resize"].append({"file": name, "sampling": "area", "width": width, "height": height})

    # A turn, a shrink to 0.6 and a magnification; the first and the last leave the picture.
    cases["warp"] = []
    for name, scale, degrees, shift in [("turned", 1.0, 25.0, (10.3, -7.8)), ("smaller", 0.6, -10.0, (3.25, 4.5)),
                                        ("larger", 1.7, 5.0, (-60.7, -71.1))]:
        angle = np.deg2rad(degrees)
        a, b = scale * np.cos(angle), scale * np.sin(angle)
        matrix = np.array([[a, -b, shift[0]], [b, a, shift[1]]])
        save(f"warp_{name}", cv2.warpAffine(source, matrix, (96, 96), flags=cv2.INTER_LINEAR, borderValue=(9, 99, 199)))
        cases["warp"].append({"file": f"warp_{name}", "a": a, "b": b, "tx": shift[0], "ty": shift[1]})

    # Five points of this face by eye; what matters is that both sides fit and warp the same ones.
    points = np.array([[72.0, 61.0], [119.5, 62.5], [97.5, 82.0], [80.0, 104.5], [114.0, 103.0]])
    transform = SimilarityTransform.from_estimate(points, ARCFACE)
    save("arcface", cv2.warpAffine(source, transform.params[:2], (112, 112), borderValue=0.0))
    cases["arcface"] = {"file": "arcface", "points": points.tolist(), "matrix": transform.params[:2].tolist()}

    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()

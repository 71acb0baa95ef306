"""Writes tests/golden/models/blazeface-full.{safetensors,meta.json} with LiteRT.

    pip install ai-edge-litert numpy pillow safetensors
    python models-src/blazeface-full/reference.py PACKAGE

PACKAGE is the unpacked npm package. The work is done by the script of blazeface-short.
"""

import sys
from pathlib import Path
from runpy import run_path

FULL = dict(
    name="blazeface-full",
    file="face_detection_full_range.tflite",
    anchors=[(48, 1)],
    min_score=0.6,
    # The last block of the backbone.
    block=("activation_28", "activation_30"),
    stages={
        "stem": "activation",
        "backbone.0": "activation_4",
        "backbone.1": "activation_10",
        "backbone.2": "activation_16",
        "backbone.3": "activation_22",
        "backbone.4": "activation_30",
        "pyramid.0": "activation_36",
        "pyramid.1": "activation_42",
        "pyramid.2": "activation_46",
    },
    logits="reshaped_classifier_face_4",
    regressors="reshaped_regressor_face_4",
)

if __name__ == "__main__":
    script = Path(__file__).resolve().parents[1] / "blazeface-short/reference.py"
    run_path(str(script))["write"](FULL, sys.argv[1])

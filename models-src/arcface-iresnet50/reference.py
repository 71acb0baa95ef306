"""Writes tests/golden/models/arcface-iresnet50.* with InsightFace's own definition and seeded weights.

    python models-src/arcface-iresnet50/reference.py IRESNET.PY

The requirements and the argument are those of models-src/arcface-iresnet100/reference.py.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(FOLDER))
import full_profile

full_profile.load(FOLDER / "arcface-iresnet100/reference.py").run("arcface-iresnet50", "iresnet50", sys.argv[1])

"""Writes tests/golden/models/minifasnet-v1se.*, seeded and trained, with the reference's own definition.

    python models-src/minifasnet-v1se/reference.py MINIFASNET.PY GENERATE_PATCHES.PY WEIGHTS

The requirements and the arguments are those of models-src/minifasnet-v2/reference.py.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(FOLDER))
import full_profile

if __name__ == "__main__":
    minifasnet = full_profile.load(FOLDER / "minifasnet-v2/reference.py")
    minifasnet.run("minifasnet-v1se", "MiniFASNetV1SE", 4.0, *sys.argv[1:])

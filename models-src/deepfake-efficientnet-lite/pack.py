"""One file with all that training reads, for a machine that has neither the sets nor YuNet.

    python models-src/deepfake-efficientnet-lite/pack.py --data DIR --yunet FILE --pack FILE
    python models-src/deepfake-efficientnet-lite/train.py --pack FILE --init FILE --out DIR

A zip: the pictures' own files as they are, never compressed again, and `faces.json` with source, class, part, box and
points of each. It holds the training faces and those that runs are chosen by; test faces stay out. `--init FILE`
writes the ImageNet weights beside it, without the layers that this network has not.
"""

import argparse
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

import faces
from measure import judges
from network import STAGES, imagenet_weights

INDEX = "faces.json"


def write(path, data, yunet, cache):
    """Returns how many faces were packed."""
    every, account = faces.load(data, yunet, cache)
    known = json.loads(cache.read_text())
    packed = [f for f in every if f.part == "train" or f.part == "validation" and judges(f)]
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for face in packed:
            file.write(data / face.name, face.name)
            box, points = known[f"{face.source}/{face.name}"]
            row = {"name": face.name, "source": face.source, "fake": face.fake, "part": face.part}
            rows.append(row | {"box": box, "points": points})
        file.writestr(INDEX, json.dumps({"faces": rows, "account": account}), zipfile.ZIP_DEFLATED)
    return len(packed)


def read(path, threads=4):
    """What `faces.load` gives, of the packed faces."""
    with zipfile.ZipFile(path) as file:
        index = json.loads(file.read(INDEX))
        coded = [file.read(row["name"]) for row in index["faces"]]

    def face(row, data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        found = faces.cut(row["name"], row["source"], row["fake"], image, np.array(row["box"]), np.array(row["points"]))
        found.part = row["part"]
        return found

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(face, index["faces"], coded)), index["account"]


def write_init(path):
    """The layers of EfficientNet-Lite0 that the network takes over."""
    blocks = sum(count for *_, count in STAGES)
    wanted = ("_conv_stem.", "_bn0.", *(f"_blocks.{i}." for i in range(blocks)))
    source = torch.load(imagenet_weights(), map_location="cpu", weights_only=True)
    torch.save({name: tensor.clone() for name, tensor in source.items() if name.startswith(wanted)}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--detections", type=Path, help="where the faces found are kept; default: beside the pack")
    args = parser.parse_args()
    count = write(args.pack, args.data, args.yunet, args.detections or args.pack.with_name("detections.json"))
    print(f"{count} faces, {args.pack.stat().st_size / 2**20:.1f} MiB")
    if args.init:
        write_init(args.init)


if __name__ == "__main__":
    main()

"""Trains a few steps on drawn faces and exports the result: no data, no weights, less than a minute on one core.

    python models-src/yolov10n-face/smoke.py

Ends with an error unless the loss falls, the export reads back to the same answers within what f16 rounds, and the
exported keys are those that the manifest counts.
"""

import json
import sys
import tempfile
import tomllib
from pathlib import Path

import cv2
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import export
from data import SETS
from samples import Composer, Photos, texture
from train import SEED, FromNothing, losses_of, optimizer_of, to_torch

STEPS, SIDE, COUNT = 45, 128, 4
MOST = 0.8
"""Mean loss of the last six steps at most, of that of the first six."""


def drawn(rng):
    """A picture of 120 pixels with one to three drawn faces, their boxes and landmarks."""
    image = texture(rng, 120, 120)
    boxes, points = [], []
    for k in range(int(rng.integers(1, 4))):
        w = float(rng.uniform(16, 36))
        x, y, h = 20 + 40 * k, float(rng.uniform(30, 90)), 1.3 * w
        skin = (120 + rng.uniform(-60, 60)) * np.array([0.75, 0.9, 1.15])
        cv2.ellipse(image, (int(x), int(y)), (int(w / 2), int(h / 2)), 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
        eyes = [(x - 0.2 * w, y - 0.1 * h), (x + 0.2 * w, y - 0.1 * h)]
        mouth = [(x - 0.15 * w, y + 0.25 * h), (x + 0.15 * w, y + 0.25 * h)]
        for ex, ey in eyes:
            cv2.circle(image, (int(ex), int(ey)), max(1, int(0.08 * w)), (20, 20, 20), -1, cv2.LINE_AA)
        cv2.line(image, *(tuple(int(v) for v in p) for p in mouth), (40, 40, 130), max(1, int(0.07 * w)), cv2.LINE_AA)
        boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        points.append([v for p in (*eyes, (x, y + 0.05 * h), *mouth) for v in p])
    return image, boxes, points


def cache(folder):
    """As data.py leaves it, a few drawn pictures for every set."""
    rng = np.random.default_rng(SEED)
    index, pixels = [], []
    for i in range(8 * len(SETS)):
        image, boxes, points = drawn(rng)
        item = {"set": SETS[i % len(SETS)], "file": f"{i}.png", "h": 120, "w": 120, "at": i * image.size}
        index.append(item | {"boxes": boxes, "points": points, "ignore": []})
        pixels.append(image.reshape(-1))
    np.save(folder / "pixels.npy", np.concatenate(pixels))
    (folder / "index.json").write_text(json.dumps(index))


def main():
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(SEED)
    recipe = FromNothing()
    net = recipe.network().to(memory_format=torch.channels_last).train()
    optimizer = optimizer_of(net, recipe)
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cache(folder)
        composer = Composer(Photos(folder), SEED)
        batches = [[to_torch(part) for part in composer.batch(SIDE, COUNT)] for _ in range(2)]
        for step in range(STEPS):
            images, boxes, ignore = batches[step % 2]
            loss, _ = losses_of(recipe, net, images, boxes, ignore, 0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        first, last = np.mean(losses[:6]), np.mean(losses[-6:])
        print(f"loss {first:.2f} to {last:.2f} in {STEPS} steps")
        if not last < MOST * first:
            sys.exit("the loss does not fall")

        net.eval()
        half = export.write(export.folded_state(net), folder / "exported.safetensors")
        again = export.load(folder / "exported.safetensors")
        x = images[:1].permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            pairs = list(zip(net.heads(x)[1], again.heads_at_inference(x)["one"]))
        worst = max((a - b).abs().max().item() for before, after in pairs for a, b in zip(before, after))
        size = max(a.abs().max().item() for before, _ in pairs for a in before)
        print(f"exported and read again: logits up to {size:.1f} differ by {worst:.4f}")
        if not worst < 0.01 * size:
            sys.exit("the exported file answers otherwise")
    counted = tomllib.loads((HERE / "manifest.toml").read_text())["output"]
    found = {"tensors": len(half), "parameters": sum(v.size for v in half.values())}
    if any(counted[key] != value for key, value in found.items()):
        sys.exit(f"the manifest counts {counted}, exported are {found}")


if __name__ == "__main__":
    main()

"""Average precision of the trained network, with YuNet beside it.

    python models-src/yolov10n-face/evaluate.py --data DIR --parts CACHE/parts.json --weights ema.pt \
        --teacher yunet_n_dynamic.onnx [--part held]

Counts as `facesocial eval detection` does (server/src/eval/detection.rs): a detection covers a labelled box from IoU 0.5
on, each box is found once, AP is the area under the interpolated curve. Boxes outside of a range of heights are neither
to be found nor wrong to find. WEIGHTS: a checkpoint of train.py, or the exported file.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from data import YuNet, boxes_of, corners, iou, read
from export import load
from loss import anchors, decode, flat

SIDE = 640
MIN_IOU = 0.5
MIN_SCORE = 0.01
SETS = ("det_facemask", "det_fddb_sy32", "det_dlib")
RANGES = {
    "all": (0, 1e9),
    "20+": (20, 1e9),
    "<12": (0, 12),
    "12-20": (12, 20),
    "20-40": (20, 40),
    "40-100": (40, 100),
    "100+": (100, 1e9),
}
"""Heights in pixels of the photo."""


def letterbox(image, sampling="area"):
    """BGR photo to RGB `[640, 640, 3]`, centred, as large as it fits; and the scale and the bars' widths."""
    h, w = image.shape[:2]
    scale = SIDE / max(h, w)
    x, y = (SIDE - w * scale) / 2, (SIDE - h * scale) / 2
    if scale < 1 and sampling != "bilinear":
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        if sampling == "box":
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        else:
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
            how = {"mode": "bilinear", "antialias": True, "align_corners": False}
            image = torch.nn.functional.interpolate(tensor, size[::-1], **how)[0].permute(1, 2, 0).numpy()
    sx, sy = w * scale / image.shape[1], h * scale / image.shape[0]
    matrix = np.float64([[sx, 0, x + sx / 2 - 0.5], [0, sy, y + sy / 2 - 0.5]])
    boxed = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))
    return boxed[..., ::-1], scale, (x, y)


@torch.no_grad()
def heads_of(net, image, sampling="area"):
    """`{"one": [n, 5], "many": [n, 5]}`: corners in the photo and scores; "many" where the network has that head."""
    boxed, scale, (x, y) = letterbox(image, sampling)
    tensor = torch.from_numpy(np.ascontiguousarray(boxed)).permute(2, 0, 1)[None].float() / 255
    points, strides = anchors(SIDE)
    found = {}
    for name, outputs in net.heads_at_inference(tensor.contiguous(memory_format=torch.channels_last)).items():
        distances, logits = flat(outputs)
        boxes, scores = decode(distances, points, strides)[0], logits[0].sigmoid()
        keep = scores >= MIN_SCORE
        boxes = (boxes[keep] - torch.tensor([x, y, x, y])) / scale
        rows = torch.cat([boxes, scores[keep, None]], 1)
        found[name] = rows[rows[:, 4].argsort(descending=True)][:1000].numpy()
    return found


def nms(rows, limit):
    kept = []
    overlaps = iou(rows[:, :4], rows[:, :4])
    for i in range(len(rows)):
        if all(overlaps[i, j] <= limit for j in kept):
            kept.append(i)
    return rows[kept]


HIT, MISS, IGNORED = 1, 0, -1


def judge(rows, truth, counts):
    """Verdicts of detections in the order of falling scores, see server/src/eval/metrics/ap.rs."""
    taken = np.zeros(len(truth), bool)
    overlaps = iou(rows[:, :4], truth) if len(truth) else np.zeros((len(rows), 0))
    verdicts = []
    for row in overlaps:
        free = np.where(counts & ~taken, row, 0)
        if len(free) and free.max() >= MIN_IOU:
            taken[free.argmax()] = True
            verdicts.append(HIT)
        elif len(row) and np.where(~counts, row, 0).max() >= MIN_IOU:
            verdicts.append(IGNORED)
        else:
            verdicts.append(MISS)
    return np.array(verdicts, int)


def average_precision(scores, verdicts, positives):
    keep = verdicts != IGNORED
    scores, hits = scores[keep], verdicts[keep] == HIT
    if not len(scores) or not positives:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(hits[order])
    last = np.append(scores[1:] != scores[:-1], True)
    hits, seen = hits[last], (np.arange(len(scores)) + 1)[last]
    envelope = np.maximum.accumulate((hits / seen)[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * envelope).sum() / positives)


class Judged:
    """Verdicts of one detector on one set, by photo."""

    def __init__(self, found, truths, low, high):
        self.scores, self.verdicts, self.positives = [], [], []
        for rows, truth in zip(found, truths):
            heights = truth[:, 3] - truth[:, 1]
            counts = (heights >= low) & (heights < high)
            self.scores.append(rows[:, 4])
            self.verdicts.append(judge(rows, truth, counts))
            self.positives.append(int(counts.sum()))

    def ap(self, photos=None):
        photos = range(len(self.scores)) if photos is None else photos
        join = lambda parts, kind: np.concatenate([parts[i] for i in photos]).astype(kind)
        positives = sum(self.positives[i] for i in photos)
        return average_precision(join(self.scores, float), join(self.verdicts, int), positives)

    def at(self, threshold):
        scores, verdicts = np.concatenate(self.scores), np.concatenate(self.verdicts)
        hits = int(((scores >= threshold) & (verdicts == HIT)).sum())
        misses = int(((scores >= threshold) & (verdicts == MISS)).sum())
        return hits / max(1, hits + misses), hits / max(1, sum(self.positives))


def lead(ours, theirs, draws=2000):
    """Difference of two APs and its 95 % interval over photos drawn with replacement."""
    rng = np.random.default_rng(0)
    n = len(ours.scores)
    drawn = []
    for _ in range(draws):
        photos = rng.integers(0, n, n)
        drawn.append(ours.ap(photos) - theirs.ap(photos))
    return [ours.ap() - theirs.ap(), *np.percentile(drawn, [2.5, 97.5]).tolist()]


BINS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 1.01)


def logit(scores):
    scores = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.log(scores / (1 - scores))


def reliability(scores, hits):
    """`[(mean score, share of hits, how many)]` of the detections in each bin, and the mean gap, weighted."""
    rows = []
    for low, high in zip(BINS, BINS[1:]):
        inside = (scores >= low) & (scores < high)
        if inside.any():
            rows.append((float(scores[inside].mean()), float(hits[inside].mean()), int(inside.sum())))
    count = sum(n for *_, n in rows)
    return rows, sum(abs(s - h) * n for s, h, n in rows) / max(1, count)


def fit(scores, hits, steps=200):
    """Slope and offset on the logit that make scores probabilities (Platt 1999), by Newton's method."""
    x = np.stack([logit(scores), np.ones(len(scores))], 1)
    w = np.array([1.0, 0.0])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2), x.T @ (p - hits))
    return w


def calibration(found):
    """Scores of 0.05 and more of all sets together, and whether they hit."""
    scores, hits = [], []
    for truths, by in found.values():
        judged = Judged(by["ours+nms"], truths, 0, 1e9)
        scores.append(np.concatenate(judged.scores))
        hits.append(np.concatenate(judged.verdicts) == HIT)
    scores, hits = np.concatenate(scores), np.concatenate(hits)
    return scores[scores >= BINS[0]], hits[scores >= BINS[0]]


def detections(net, teacher, data, parts, part, sampling="area"):
    """Set to (truths, {detector: rows by photo})."""
    found = {}
    for name in SETS:
        files = [f for f, p in parts[name].items() if p == part or part == "all"]
        if not files:
            continue
        truth = boxes_of(data / name)
        truths, by = [truth[f.removeprefix("images/")] for f in files], {}
        for file in files:
            image = read(data / name / file)
            heads = heads_of(net, image, sampling)
            rows = {"ours": heads["one"], "ours+nms": nms(heads["one"], 0.6)}
            if "many" in heads:
                rows["many+nms"] = nms(heads["many"], 0.6)
            if teacher is not None:
                faces = teacher.detect(image, SIDE)
                faces = np.concatenate([corners(faces), faces[:, 14:]], 1)
                rows["yunet"] = faces[np.argsort(-faces[:, 4])]
            for detector, r in rows.items():
                by.setdefault(detector, []).append(r)
        found[name] = truths, by
    return found


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--data", type=Path, required=True)
    cli.add_argument("--parts", type=Path, required=True)
    cli.add_argument("--weights", type=Path, required=True)
    cli.add_argument("--teacher", type=Path, help="YuNet, to compare with")
    cli.add_argument("--part", default="held", choices=("held", "dev", "train", "all"))
    cli.add_argument("--sampling", default="area", choices=("area", "bilinear", "box"))
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--bootstrap", action="store_true", help="intervals of the lead over YuNet")
    cli.add_argument("--calibration", action="store_true", help="fits scores to hits on the dev part, tells how well")
    cli.add_argument("--json", type=Path, help="writes the figures there")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)
    net = load(args.weights)
    teacher = YuNet(args.teacher, threshold=MIN_SCORE) if args.teacher else None
    parts = json.loads(args.parts.read_text())
    found = detections(net, teacher, args.data, parts, args.part, args.sampling)
    report = {}
    for name, (truths, by) in found.items():
        print(f"{name}, {args.part}: {len(truths)} photos, {sum(map(len, truths))} boxes")
        judged = {(d, r): Judged(rows, truths, *RANGES[r]) for d, rows in by.items() for r in RANGES}
        for detector in by:
            figures = {r: judged[detector, r].ap() for r in RANGES if sum(judged[detector, r].positives)}
            row = " ".join(f"{r} {ap:.3f} ({sum(judged[detector, r].positives)})" for r, ap in figures.items())
            curve = " ".join(
                f"@{t}: {p:.3f}/{c:.3f}" for t in (0.1, 0.25, 0.3, 0.4, 0.5, 0.6) for p, c in [judged[detector, "all"].at(t)]
            )
            print(f"  {detector:9} AP {row}\n            P/R {curve}")
            report.setdefault(name, {})[detector] = figures
        if args.bootstrap and "yunet" in by:
            for detector in ("ours", "ours+nms"):
                for r in ("all", "20+"):
                    difference, low, high = lead(judged[detector, r], judged["yunet", r])
                    print(f"  lead of {detector} over yunet, {r}: {difference:+.3f} ({low:+.3f} to {high:+.3f})")
                    report[name][f"lead {detector} {r}"] = [difference, low, high]
    if args.calibration:
        slope, offset = fit(*calibration(detections(net, None, args.data, parts, "dev", args.sampling)))
        scores, hits = calibration(found)
        rows, gap = reliability(scores, hits)
        fitted = 1 / (1 + np.exp(-slope * logit(scores) - offset))
        print(f"score and share of hits, {args.part}, after NMS at 0.6; mean gap {gap:.3f}")
        print("  " + " ".join(f"{s:.2f}: {h:.2f} ({n})" for s, h, n in rows))
        rows, gap = reliability(fitted, hits)
        print(f"with {slope:.2f} x logit {offset:+.2f}, fitted on dev; mean gap {gap:.3f}")
        print("  " + " ".join(f"{s:.2f}: {h:.2f} ({n})" for s, h, n in rows))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""Measures trained weights on faces held back, across compression and size, and fits the probabilities.

    python models-src/deepfake-efficientnet-lite/evaluate.py --data DIR --yunet FILE --out DIR

DIR of `--out` is that of `train.py`; `figures.json` is written there. A source that training left out is judged whole, any
other by its test part. Areas under the curve carry the 95 % interval of 2000 bootstrap samples of the pictures.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

import faces
from blend import self_blend
from measure import PAIRS, auc, judges, logits, view
from train import WEIGHTS, reload

QUALITIES, SIZES = (60, 75, 90, 95), (0.5, 0.75, 1.0)
PLAIN = (75, 1.0)
"""The cell that single figures are of."""
CALIBRATED_PER_SOURCE = 60


def interval(real, fake, rng, samples=2000):
    draws = [auc(rng.choice(real, len(real)), rng.choice(fake, len(fake))) for _ in range(samples)]
    return [round(float(v), 4) for v in (auc(real, fake), *np.percentile(draws, [2.5, 97.5]))]


def platt(scores, labels, weights):
    """`a, b` of `sigmoid(a x + b)` by Newton's method on the weighted log loss."""
    a, b = 1.0, 0.0
    xs = np.stack([scores, np.ones_like(scores)], 1)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(a * scores + b)))
        gradient = xs.T @ (weights * (p - labels))
        hessian = (xs * (weights * p * (1 - p))[:, None]).T @ xs + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        a, b = a - step[0], b - step[1]
        if np.abs(step).max() < 1e-10:
            break
    return float(a), float(b)


def by_source(pool):
    return {s: [f for f in pool if f.source == s] for s in sorted({f.source for f in pool})}


def equal_weights(sources, labels):
    """Both classes weigh the same, and within a class every source."""
    weights = np.zeros(len(sources))
    for label in (0, 1):
        own = sorted({s for s, l in zip(sources, labels) if l == label})
        for source in own:
            of = (sources == source) & (labels == label)
            weights[of] = 0.5 / len(own) / of.sum()
    return weights


def scored(net, pool, cells):
    """Logits `[faces, cells]`."""
    return np.stack([logits(net, [view(f, q, s) for f in pool]) for q, s in cells], 1)


def grid(net, judged, rng):
    cells = [(q, s) for q in QUALITIES for s in SIZES]
    scores = {s: scored(net, pool, cells) for s, pool in judged.items() if judges(pool[0])}
    pairs = [(f, r) for f, r in PAIRS.items() if f in scores and r in scores]
    tables = {}
    for fake, real in pairs:
        tables[f"{fake} / {real}"] = [[q, s, *interval(scores[real][:, i], scores[fake][:, i], rng)] for i, (q, s) in enumerate(cells)]
    if len(pairs) > 1:
        pooled = [np.concatenate([scores[n] for n in dict.fromkeys(p[k] for p in pairs)]) for k in (1, 0)]
        tables["all / all"] = [[q, s, *interval(pooled[0][:, i], pooled[1][:, i], rng)] for i, (q, s) in enumerate(cells)]
    if "FFHQ" in scores and "hardfake StyleGAN2" in scores:
        tables["hardfake StyleGAN2 / FFHQ"] = [
            [q, s, *interval(scores["FFHQ"][:, i], scores["hardfake StyleGAN2"][:, i], rng)] for i, (q, s) in enumerate(cells)
        ]
    return tables


def calibrate(net, pool, rng):
    """The curve from validation faces over all cells, and what it promises there."""
    cells = [(q, s) for q in QUALITIES for s in SIZES]
    pool = [f for group in by_source(pool).values() for f in group[:CALIBRATED_PER_SOURCE]]
    scores = scored(net, pool, cells)
    sources, labels = np.array([f.source for f in pool]), np.array([float(f.fake) for f in pool])
    weights = np.repeat(equal_weights(sources, labels)[:, None], len(cells), 1) / len(cells)
    a, b = platt(scores.ravel(), np.repeat(labels, len(cells)), weights.ravel())
    p = 1 / (1 + np.exp(-(a * scores + b)))
    reals, fakes = p[labels == 0], p[labels == 1]
    wr, wf = weights[labels == 0], weights[labels == 1]
    return {"a": a, "b": b} | {"fake_above": quantile(reals, wr, 0.98), "real_below": quantile(fakes, wf, 0.05)}


def quantile(values, weights, share):
    order = np.argsort(values, axis=None)
    cumulated = np.cumsum(weights.ravel()[order]) / weights.sum()
    return float(values.ravel()[order][np.searchsorted(cumulated, share)])


def reliability(p, labels, weights, bins=10):
    """Per tenth of the probability: mean probability, share that is generated, weight."""
    rows = []
    for i in range(bins):
        of = (p >= i / bins) & ((p < (i + 1) / bins) | (i == bins - 1))
        w = weights[of].sum()
        if w > 0:
            rows.append([i / bins, *(round(float((weights[of] * v[of]).sum() / w), 3) for v in (p, labels)), round(float(w), 4), int(of.sum())])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detections", type=Path)
    parser.add_argument("--part", default="test", help="the part that is judged; validation while a recipe is chosen")
    parser.add_argument("--quick", action="store_true", help="the areas under the curve alone")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    cv2.setNumThreads(1)
    rng = np.random.default_rng(faces.SEED)
    record = json.loads((args.out / "training.json").read_text()) if (args.out / "training.json").exists() else {"left_out": []}
    left_out = record["left_out"]
    every, _ = faces.load(args.data, args.yunet, args.detections or args.out / "detections.json")
    net = reload(args.out / WEIGHTS)
    unseen = lambda f: f.source in left_out and (args.part == "test" or f.part != "test")
    judged = by_source([f for f in every if f.part == args.part or unseen(f)])
    figures = {"part": args.part, "left_out": left_out, "judged": {s: len(g) for s, g in judged.items()}}
    figures["grid"] = grid(net, judged, rng)
    for name, rows in figures["grid"].items():
        plain = next(r for r in rows if tuple(r[:2]) == PLAIN)
        print(f"{name:36} q75 x1 {plain[2]:.3f} [{plain[3]:.3f} {plain[4]:.3f}]  cells {min(r[2] for r in rows):.3f}..{max(r[2] for r in rows):.3f}", flush=True)
    if not args.quick:
        figures["calibration"] = c = calibrate(net, [f for f in every if f.part == "validation" and f.source not in left_out], rng)
        print(c)
        probability = lambda x: 1 / (1 + np.exp(-(c["a"] * x + c["b"])))
        figures["sources"] = {}
        cells = [(0, 1.0), PLAIN, (60, 0.5)]
        plain = {}
        for source, group in judged.items():
            p = probability(scored(net, group, cells))
            plain[source] = p[:, 1]
            row = [[round(float(v), 4) for v in ((p[:, i] >= c["fake_above"]).mean(), (p[:, i] < c["real_below"]).mean())] for i in range(3)]
            figures["sources"][source] = {"faces": len(group), "fake_and_real_as_is_q75_q60half": row}
            print(source, len(group), row, flush=True)
        blended = {}
        for source in ("FFHQ", "LFW", "UTKFace", "FDDB"):
            group = judged.get(source, [])
            if group and source not in PAIRS:
                images = [self_blend(f.image, f.points, rng) for f in group]
                p = probability(logits(net, [view(f, *PLAIN, image=i) for f, i in zip(group, images)]))
                blended[source] = interval(plain[source], p, rng)
        figures["self_blended_q75"] = blended
        print(blended)
        pool = [f for g in judged.values() for f in g if f.source != faces.SAMPLES]
        labels, sources = np.array([float(f.fake) for f in pool]), np.array([f.source for f in pool])
        p = np.concatenate([plain[s] for s in judged if s != faces.SAMPLES])
        figures["reliability_q75"] = reliability(p, labels, equal_weights(sources, labels))
        figures["samples"] = [[f.name, round(float(v), 3)] for f, v in zip(judged.get(faces.SAMPLES, []), plain.get(faces.SAMPLES, []))]
    (args.out / f"figures{'' if args.part == 'test' else '.' + args.part}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

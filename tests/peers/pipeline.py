"""Times the analysis of a photo in Python against this project's, by turns: the same networks, the same photos.

    python tests/peers/pipeline.py OURS [--threads 2] [--passes 15] [--json FILE]

OURS is the program of `cargo build --release -p facesocial-pipeline --example analysis_time`. Both sides must find the same
faces and say the same of them before anything is timed; how far apart they are is printed.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import analysis
import boxes
import numpy as np
import photos
import sources

GOAL = 0.5
"""Highest ratio of this project's time to Python's that is meant."""
ROUNDS = 5
DETECT = ("blazeface", "yolov10n", "mtcnn", "merge")
ANALYSE = ("align", "recognition", "deepfake", "antispoof", "gender_age")
SAME_BOX, SAME_FACE = 0.85, 0.98
"""Least overlap of the boxes and least cosine of the embeddings that count as the same answer: photos are scaled by other
code on either side."""
SCORES = {"live": 0.2, "fake": 0.2, "male": 0.1, "age": 5.0}
"""Most by which what is said of a face may differ."""


class Ours:
    def __init__(self, program, threads):
        command = [program, "--serve", "--threads", str(threads), "--weights", str(sources.WEIGHTS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, photo, passes):
        self.process.stdin.write(json.dumps({"photo": str(photo), "passes": passes}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the program ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def times(self, answer):
        stages = {stage: np.array(answer[f"{stage}_ms"]) for stage in ("decode", "detect", "analyse")}
        return stages | {"total": sum(stages.values())}


class Theirs:
    def __init__(self, threads, cache):
        self.analysis = analysis.Analysis(threads, cache)

    def ask(self, photo, passes):
        self.analysis.analyse(photo)
        rounds = []
        for _ in range(passes):
            faces, stages = self.analysis.analyse(photo)
            rounds.append(stages)
        return {"faces": faces, "rounds": rounds}

    def times(self, answer):
        """By stages that follow each other; those of detection and analysis apart, too."""
        each = {stage: np.array([r[stage] for r in answer["rounds"]]) for stage in answer["rounds"][0]}
        together = {"decode": each["decode"]}
        together["detect"] = sum(each[stage] for stage in DETECT)
        together["analyse"] = sum(each[stage] for stage in ANALYSE)
        return together | {"total": sum(together.values())} | each


def agree(ours, theirs):
    """Raises unless both found the same faces and say the same of them; a sentence about how far apart they are."""
    if len(ours) != len(theirs):
        raise RuntimeError(f"{len(ours)} faces here, {len(theirs)} in Python")
    worst = {"overlap": 1.0, "cosine": 1.0} | dict.fromkeys(SCORES, 0.0)
    corners = np.array([face["box"] for face in theirs])
    for face in ours:
        overlap = boxes.iou(np.array(face["box"]), corners)
        other = theirs[int(np.argmax(overlap))]
        worst["overlap"] = min(worst["overlap"], float(overlap.max()))
        worst["cosine"] = min(worst["cosine"], float(np.dot(face["embedding"], other["embedding"])))
        for name in SCORES:
            worst[name] = max(worst[name], abs(face[name] - other[name]))
    told = ", ".join(f"{name} {value:.3f}" for name, value in worst.items())
    same = worst["overlap"] >= SAME_BOX and worst["cosine"] >= SAME_FACE
    if not (same and all(worst[name] <= most for name, most in SCORES.items())):
        raise RuntimeError(f"the answers differ: {told}")
    return told


def spread(values):
    lower, median, upper = np.percentile(values, [25, 50, 75])
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper}


def text(values):
    s = spread(values)
    return f"{s['median']:.1f} ({s['lower_quartile']:.1f}-{s['upper_quartile']:.1f})"


def measure(ours, theirs, photo, passes):
    first = ours.ask(photo, 1), theirs.ask(photo, 1)
    told = agree(first[0]["faces"], first[1]["faces"])
    sides = ((theirs, []), (ours, []))
    for _ in range(ROUNDS):
        for side, times in sides:
            times.append(side.times(side.ask(photo, -(-passes // ROUNDS))))
    joined = [{stage: np.concatenate([t[stage] for t in times]) for stage in times[0]} for _, times in sides]
    return len(first[0]["faces"]), told, *joined


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("ours", type=Path)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--passes", type=int, default=15)
    cli.add_argument("--cache", type=Path, default=sources.ROOT / "target/peers")
    cli.add_argument("--json", type=Path)
    args = cli.parse_args()
    folder = photos.write(args.cache)
    ours, theirs = Ours(args.ours, args.threads), Theirs(args.threads, args.cache)
    rows = []
    for name in photos.PHOTOS:
        count, told, python, own = measure(ours, theirs, folder / f"{name}.jpg", args.passes)
        ratio = float(np.median(own["total"]) / np.median(python["total"]))
        print(f"{count} face{'s' * (count > 1)}, {args.threads} threads; furthest apart: {told}")
        for stage in ("decode", "detect", "analyse", "total"):
            share = np.median(own[stage]) / np.median(python[stage])
            print(f"  {stage:<12} {text(python[stage]):>26} {text(own[stage]):>26} {share:>6.2f}")
        apart = ", ".join(f"{stage} {np.median(python[stage]):.1f}" for stage in (*DETECT, *ANALYSE))
        print(f"  of Python's: {apart}")
        print(f"  ratio {ratio:.2f}, goal {GOAL:.2f}: {'ok' if ratio <= GOAL else 'OVER'}", flush=True)
        sides = {"ours_ms": own, "python_ms": python}
        row = {side: {stage: spread(v) for stage, v in times.items()} for side, times in sides.items()}
        rows.append({"faces": count, "threads": args.threads, "ratio": ratio, "goal": GOAL, "apart": told} | row)
    if args.json:
        args.json.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

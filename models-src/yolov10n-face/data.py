"""Reads the photo sets, puts a fifth of each aside, lets YuNet label what has no boxes, and caches decoded pixels.

    python models-src/yolov10n-face/data.py --data DIR --teacher yunet_n_dynamic.onnx --out CACHE

DIR holds one folder a set (see `SETS`). A set either has `boxes.csv` (file,x1,y1,x2,y2) or is a set of portraits,
whose boxes are YuNet's where it is sure of them, upright and mirrored. CACHE gets `pixels.npy` (all photos for training,
one after another, BGR), `index.json` (size, place, part, boxes, landmarks, areas to ignore) and `parts.json`: which file
is in which part.
"""

import argparse
import csv
import hashlib
import json
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

SEED = 20240523
HELD, DEV = 0.20, 0.08
"""Shares of scenes put aside: to report on, and to choose thresholds with. Neither is trained on."""

LABELLED = {"det_facemask": "maksssksksss", "det_fddb_sy32": None, "det_dlib": None}
PORTRAITS = (
    "lfw",
    "utkface",
    "kazceleb",
    "deepfake_gan256",
    "deepfake_hardfake",
    "antispoof_crops",
    "deepface_tests",
)
SETS = (*LABELLED, *PORTRAITS)
LONG_SIDE = 1000
"""Larger photos are shrunk to this."""


def boxes_of(folder):
    """File name to `[n, 4]` corners in pixels."""
    found = {row["file"]: [] for row in csv.DictReader(open(folder / "images.csv"))}
    for row in csv.DictReader(open(folder / "boxes.csv")):
        found.setdefault(row["file"], []).append([float(row[c]) for c in ("x1", "y1", "x2", "y2")])
    return {file: np.array(boxes, np.float32).reshape(-1, 4) for file, boxes in found.items()}


def files_of(folder):
    """Path below the set's folder, and the person or subject where the set tells."""
    name = folder.name
    if name in LABELLED:
        return [(f"images/{file}", None) for file in sorted(boxes_of(folder))]
    if name == "deepface_tests":
        return [(p.name, None) for p in sorted(folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    rows = list(csv.DictReader(open(folder / "labels.csv")))
    if name == "antispoof_crops":
        return [(r["file"], r["subject_source"]) for r in rows if r["spoof"] == "0"]
    return [(f"images/{r['file']}", r.get("identity")) for r in rows]


def read(path):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is no photo")
    return image


def thumbnail(image):
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return small.reshape(-1) / (np.linalg.norm(small) + 1e-6)


def scenes(names, people, thumbnails, like=0.97):
    """A scene's number for each photo: photos of one person, or nearly the same pixels, are one scene."""
    parent = list(range(len(names)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first = {}
    for i, person in enumerate(people):
        if person is not None:
            parent[root(i)] = root(first.setdefault(person, i))
    t = np.stack(thumbnails)
    for start in range(0, len(t), 1000):
        for a, b in zip(*np.nonzero(t[start : start + 1000] @ t.T > like)):
            parent[root(int(a) + start)] = root(int(b))
    return [root(i) for i in range(len(names))]


def parts(names, scene):
    """"held", "dev" or "train" for each photo; scenes are dealt in the order of a seeded hash of their first name."""
    members = {}
    for name, s in zip(names, scene):
        members.setdefault(s, []).append(name)
    order = sorted(members.values(), key=lambda m: hashlib.sha256(f"{SEED}:{min(m)}".encode()).digest())
    part, dealt = {}, 0
    for group in order:
        share = dealt / len(names)
        kind = "held" if share < HELD else "dev" if share < HELD + DEV else "train"
        part.update(dict.fromkeys(group, kind))
        dealt += len(group)
    return part


class YuNet:
    """The teacher, and what the network is compared with: `[n, 15]` x, y, w, h, five points, score."""

    def __init__(self, path, threshold=0.3, nms=0.45):
        self.net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, nms, 5000)

    def detect(self, image, long_side, margin=0.0):
        """In the photo's pixels; the photo gets a margin of its mean colour, and is scaled to `long_side`."""
        h, w = image.shape[:2]
        m = round(margin * max(h, w))
        if m:
            grey = image.reshape(-1, 3).mean(0).tolist()
            image = cv2.copyMakeBorder(image, m, m, m, m, cv2.BORDER_CONSTANT, value=grey)
        s = long_side / max(image.shape[:2])
        how = cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR
        scaled = cv2.resize(image, None, fx=s, fy=s, interpolation=how)
        self.net.setInputSize((scaled.shape[1], scaled.shape[0]))
        found = self.net.detect(scaled)[1]
        if found is None:
            return np.zeros((0, 15), np.float32)
        found = found.copy()
        found[:, 0:14:2] *= image.shape[1] / scaled.shape[1]
        found[:, 1:14:2] *= image.shape[0] / scaled.shape[0]
        found[:, [0, 1, *range(4, 14)]] -= m
        return found


def corners(found):
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], 1)


def mirrored(found, width):
    """Detections on the mirrored photo, back on the photo: eyes and corners of the mouth change sides."""
    found = found.copy()
    found[:, 0] = width - found[:, 0] - found[:, 2]
    found[:, 4:14:2] = width - found[:, 4:14:2]
    order = [0, 1, 2, 3, 6, 7, 4, 5, 8, 9, 12, 13, 10, 11, 14]
    return found[:, order]


def iou(a, b):
    """`[n, 4]` and `[m, 4]` corners to `[n, m]`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(2)
    area = lambda t: (t[:, 2:] - t[:, :2]).prod(1)
    return inter / (area(a)[:, None] + area(b)[None] - inter + 1e-9)


def both_ways(teacher, image, long_side, margin):
    """Faces found upright and mirrored, averaged; and those found once, or with doubt."""
    up = teacher.detect(image, long_side, margin)
    back = mirrored(teacher.detect(image[:, ::-1].copy(), long_side, margin), image.shape[1])
    sure, doubtful = [], []
    free = np.ones(len(back), bool)
    for face in up:
        overlap = iou(corners(face[None]), corners(back))[0] * free if len(back) else np.zeros(0)
        j = int(overlap.argmax()) if len(overlap) else -1
        if j >= 0 and overlap[j] > 0.5:
            free[j] = False
            mean = (face + back[j]) / 2
            (sure if mean[14] >= 0.8 and overlap[j] > 0.65 else doubtful).append(mean)
        else:
            doubtful.append(face)
    doubtful += list(back[free])
    stack = lambda rows: np.stack(rows) if rows else np.zeros((0, 15), np.float32)
    return stack(sure), stack(doubtful)


def describe(job):
    """Boxes, landmarks and areas to ignore of one photo, and its thumbnail."""
    folder, file, truth, teacher_path = job
    cv2.setNumThreads(1)
    image = read(folder / file)
    scale = min(1.0, LONG_SIDE / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    teacher = describe.__dict__.setdefault("teacher", None) or describe.__dict__.update(teacher=YuNet(teacher_path))
    teacher = describe.teacher
    full = folder.name in LABELLED or folder.name == "deepface_tests"
    sure, doubtful = both_ways(teacher, image, 640 if full else 320, 0.0 if full else 0.15)
    if truth is None:
        boxes, points, ignore = corners(sure), sure[:, 4:14], corners(doubtful[doubtful[:, 14] > 0.35])
    else:
        # What YuNet finds and nobody labelled may be a face: it is no background. Landmarks go to the box they lie in.
        boxes, points = truth, np.full((len(truth), 10), np.nan, np.float32)
        found = np.concatenate([sure, doubtful[doubtful[:, 14] > 0.5]])
        overlap = iou(corners(found), truth) if len(found) and len(truth) else np.zeros((len(found), 1))
        for face, row in zip(found, overlap):
            if len(truth) and row.max() > 0.4:
                points[row.argmax()] = face[4:14]
        ignore = corners(found[overlap.max(1) < 0.3]) if len(found) else np.zeros((0, 4))
    as_list = lambda a: np.round(a.astype(float), 2).tolist()
    points = [None if np.isnan(p).any() else as_list(p) for p in points]
    return image, thumbnail(image), as_list(boxes), points, as_list(ignore)


def face_patch(image, box):
    """The inner face, 24 x 24 and normalised, to recognise one photo in another cut."""
    x1, y1, x2, y2 = box
    cx, cy, s = (x1 + x2) / 2, (y1 + y2) / 2, 0.45 * max(x2 - x1, y2 - y1)
    matrix = np.float32([[12 / s, 0, 12 - cx * 12 / s], [0, 12 / s, 12 - cy * 12 / s]])
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    patch = cv2.warpAffine(cv2.GaussianBlur(grey, (0, 0), max(s / 24, 0.3)), matrix, (24, 24), flags=cv2.INTER_AREA)
    patch = patch.astype(np.float32) - patch.mean()
    return patch.reshape(-1) / (np.linalg.norm(patch) + 1e-6)


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--data", type=Path, required=True)
    cli.add_argument("--teacher", type=Path, required=True, help="YuNet, ONNX with free input size")
    cli.add_argument("--out", type=Path, required=True)
    cli.add_argument("--processes", type=int, default=2)
    args = cli.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    index, pixels, all_parts, offset = [], [], {}, 0
    held_patches, names_held = [], []
    # Started afresh: OpenCV's threads do not outlive a fork.
    pool = get_context("spawn").Pool(args.processes)
    # Labelled sets first: portraits that show a held-back photo of theirs in another cut are left out.
    for name in SETS:
        folder = args.data / name
        files = files_of(folder)
        truth = boxes_of(folder) if name in LABELLED else {}
        jobs = [(folder, f, truth.get(f.removeprefix("images/")) if truth else None, args.teacher) for f, _ in files]
        described = pool.map(describe, jobs, chunksize=16)
        part = parts([f for f, _ in files], scenes(files, [p for _, p in files], [d[1] for d in described]))
        if name == "det_dlib":
            part = dict.fromkeys(part, "held")
        left_out = 0
        for (file, _), (image, _, boxes, points, ignore) in zip(files, described):
            if name in PORTRAITS and not boxes:
                part[file] = "no face found"
            patches = [face_patch(image, b) for b in boxes if b[2] - b[0] >= 24]
            if name in LABELLED and part[file] != "train":
                held_patches += patches
                names_held += [f"{name}/{file}"] * len(patches)
            elif name in PORTRAITS and patches and part[file] == "train":
                like = np.stack(patches) @ np.stack(held_patches).T
                if like.max() > 0.93:
                    part[file] = f"left out: shows {names_held[like.max(0).argmax()]}"
                    left_out += 1
            if part[file] == "train":
                h, w = image.shape[:2]
                index.append(
                    {"set": name, "file": file, "h": h, "w": w, "at": offset}
                    | {"boxes": boxes, "points": points, "ignore": ignore}
                )
                pixels.append(image.reshape(-1))
                offset += image.size
        all_parts[name] = part
        count = lambda kind: sum(p == kind for p in part.values())
        print(name, len(files), "photos:", count("train"), "train,", count("dev"), "dev,", count("held"), "held,",
              count("no face found"), "without a sure face,", left_out, "left out", flush=True)  # fmt: skip

    pool.close()
    np.save(args.out / "pixels.npy", np.concatenate(pixels))
    (args.out / "index.json").write_text(json.dumps(index))
    (args.out / "parts.json").write_text(json.dumps(all_parts, indent=1))
    print(len(index), "photos,", sum(len(i["boxes"]) for i in index), "boxes for training")


if __name__ == "__main__":
    main()

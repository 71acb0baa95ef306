"""Labelled faces: reading, finding, splitting.

Every photograph and every generated picture goes the same way: YuNet finds the face, the face nearest to the middle and
largest counts, and a square around it is cut out. Nothing of a file's own framing remains but what the square shows.

The folder of the sets holds, each with its pictures in `images/` and a `labels.csv`: `deepfake_hardfake` (file, fake),
`deepfake_gan256` (file, fake, source), `lfw` and `kazceleb` (file, identity), `utkface` (file), `antispoof_crops` (file,
spoof, subject_source); and, pictures alone: `det_fddb_sy32`, `deepface_tests`, `deepfake_mesonet_samples/{df,real}`.
"""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ENLARGE = 1.05
"""Side of the square: the longer side of the face's box times this. Not more: in some sets the face fills the picture, and
a square cut short by the picture's edge would tell the set."""
SAMPLES = "MesoNet samples"
"""Four face swaps and their like: too few to learn from, only shown."""
LARGEST_FACE = 300
"""Faces of more pixels are shrunk when they are read; the network sees 160."""
SEED = 20261126
TEST, VALIDATION = 0.20, 0.15
"""Shares of each source held back."""
NEAR = 20
"""Two pictures whose 240 gradient signs differ in fewer places are one."""


@dataclass
class Face:
    name: str  # path in the folder of the sets
    source: str
    fake: int
    image: np.ndarray  # RGB, [h, w, 3]
    box: np.ndarray  # x, y, width, height
    points: np.ndarray  # [5, 2]: eyes, nose, corners of the mouth
    part: str = ""


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def folder(path, pattern="**/*"):
    return sorted(p for p in path.glob(pattern) if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def listing(data):
    """Of every picture: path, source, fake, and what must not be torn apart by the split (a person, where known)."""
    rows = []
    add = lambda path, source, fake, group: rows.append((path, source, fake, group))
    hard = data / "deepfake_hardfake"
    for row in table(hard / "labels.csv"):
        fake = int(row["fake"])
        add(hard / "images" / row["file"], "hardfake StyleGAN2" if fake else "hardfake portraits", fake, row["file"])
    gan = data / "deepfake_gan256"
    for row in table(gan / "labels.csv"):
        add(gan / "images" / row["file"], row["source"], int(row["fake"]), row["file"])
    mesonet = data / "deepfake_mesonet_samples"
    for path in folder(mesonet):
        add(path, SAMPLES, int(path.parent.name == "df"), path.name)

    identities = {}
    for row in table(data / "lfw/labels.csv"):
        identities.setdefault(row["identity"], row["file"])
    for identity, file in sorted(identities.items(), key=lambda kv: rank(kv[0]))[:1300]:
        path = next(p for p in (data / "lfw" / file, data / "lfw/images" / file) if p.exists())
        add(path, "LFW", 0, identity)
    utk = {row["file"]: row for row in table(data / "utkface/labels.csv")}
    for file in sorted(utk, key=rank)[:1300]:
        path = next(p for p in (data / "utkface" / file, data / "utkface/images" / file) if p.exists())
        add(path, "UTKFace", 0, file)
    for path in folder(data / "det_fddb_sy32"):
        add(path, "FDDB", 0, path.name)
    for path in folder(data / "kazceleb")[::2]:
        add(path, "KazCeleb", 0, path.stem.rsplit("_", 1)[0])
    for path in folder(data / "deepface_tests"):
        add(path, "deepface", 0, path.name)
    spoof = data / "antispoof_crops"
    for row in table(spoof / "labels.csv"):
        if row["spoof"] == "0":
            path = next(p for p in (spoof / row["file"], spoof / "images" / row["file"]) if p.exists())
            add(path, "live crops", 0, row["subject_source"])
    return rows


def rank(name):
    """A fixed place of `name` in a shuffled order."""
    return hashlib.sha256(f"{SEED}:{name}".encode()).hexdigest()


def gradient_signs(image):
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA).astype(int)
    return np.packbits((small[:, 1:] > small[:, :-1]).ravel())


def join_duplicates(groups, hashes):
    """Gives near-duplicates the same group. Returns how many pairs were joined."""
    parent = {g: g for g in groups}

    def root(g):
        while parent[g] != g:
            g = parent[g]
        return g

    joined = 0
    ones = np.array([bin(i).count("1") for i in range(256)], np.uint8)
    for i in range(len(hashes)):
        distance = ones[hashes[i + 1 :] ^ hashes[i]].sum(1)
        for j in np.nonzero(distance < NEAR)[0]:
            a, b = root(groups[i]), root(groups[i + 1 + j])
            if a != b:
                parent[max(a, b)] = min(a, b)
                joined += 1
    return [root(g) for g in groups], joined


def split(faces, groups):
    """Sets `part`: of each source the first fifth of the groups in shuffled order for testing, then for validation."""
    for source in sorted({f.source for f in faces}):
        own = sorted({g for f, g in zip(faces, groups) if f.source == source}, key=rank)
        test, validation = round(len(own) * TEST), round(len(own) * VALIDATION)
        part = {g: "test" if i < test else "validation" if i < test + validation else "train" for i, g in enumerate(own)}
        for face, group in zip(faces, groups):
            if face.source == source:
                face.part = "test" if source == SAMPLES else part[group]


class Detector:
    def __init__(self, path):
        self.net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, 0.3)

    def find(self, image):
        """Box and points of the face that is large and central, or None."""
        h, w = image.shape[:2]
        shrink = min(1.0, 640 / max(h, w))
        # A face that fills the picture is found once there is something around it.
        for pad in (0.0, 0.25):
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            bgr = cv2.resize(bgr, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else bgr
            edge = round(max(bgr.shape[:2]) * pad)
            bgr = cv2.copyMakeBorder(bgr, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(127, 127, 127))
            self.net.setInputSize((bgr.shape[1], bgr.shape[0]))
            found = self.net.detect(bgr)[1]
            if found is not None:
                break
        else:
            return None
        found = found.astype(np.float64)
        found[:, :2] -= edge
        found[:, 4:14] -= edge
        found[:, :14] /= shrink
        off = np.hypot(found[:, 0] + found[:, 2] / 2 - w / 2, found[:, 1] + found[:, 3] / 2 - h / 2)
        best = found[np.argmax(found[:, 2] * found[:, 3] / (1 + off / max(h, w)) ** 2)]
        return best[:4], best[4:14].reshape(5, 2)


def read(path):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"{path} is no picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cut(name, source, fake, image, box, points):
    """A face of a photo as it is kept: not larger than is of use, with what training can reach around it."""
    shrink = min(1.0, LARGEST_FACE / max(box[2:]))
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        box, points = box * shrink, points * shrink
    # The edges of the photo stay where they are seen.
    reach = 0.9 * max(box[2:])
    x0, y0 = (max(0, int(box[i] + box[i + 2] / 2 - reach)) for i in (0, 1))
    x1, y1 = (int(box[i] + box[i + 2] / 2 + reach) for i in (0, 1))
    image = np.ascontiguousarray(image[y0:y1, x0:x1])
    return Face(name, source, fake, image, box - [x0, y0, 0, 0], points - [x0, y0])


def load(data, yunet, cache):
    """All faces with their parts, and an account of what was left out. Detections are kept in `cache`."""
    detector = Detector(yunet)
    known = json.loads(cache.read_text()) if cache.exists() else {}
    faces, groups, hashes, missed = [], [], [], {}
    for path, source, fake, group in listing(data):
        image = read(path)
        name = str(path.relative_to(data))
        key = f"{source}/{name}"
        if key not in known:
            found = detector.find(image)
            known[key] = None if found is None else [found[0].tolist(), found[1].tolist()]
        if known[key] is None:
            missed[source] = missed.get(source, 0) + 1
            continue
        hashes.append(gradient_signs(image))
        faces.append(cut(name, source, fake, image, *(np.array(v) for v in known[key])))
        groups.append(f"{source}/{group}")
    cache.write_text(json.dumps(known))
    groups, joined = join_duplicates(groups, np.stack(hashes))
    split(faces, groups)
    return faces, {"missed": missed, "near_duplicates_joined": joined}


def square(box, width, height, enlarge=ENLARGE, shift=(0.0, 0.0)):
    """The square around a face's box as whole pixels `x, y, side`, moved, and where it must be shrunk, into the photo."""
    side = max(1, min(int(np.floor(enlarge * max(box[2], box[3]) + 0.5)), width, height))
    corner = []
    for i, extent in ((0, width), (1, height)):
        start = np.floor(box[i] + box[i + 2] / 2 + shift[i] * side - side / 2 + 0.5)
        corner.append(int(min(max(start, 0), extent - side)))
    return corner[0], corner[1], side


def resize(image, side):
    """What `crop_resize` with `Sampling::Box` does: shares of pixels when it shrinks, bilinear when it grows."""
    kind = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_LINEAR
    return cv2.resize(image, (side, side), interpolation=kind)

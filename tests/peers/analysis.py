"""What `facesocial analyze` does to a photo, as it is done in Python: the same networks in ONNX Runtime and LiteRT, OpenCV and
NumPy around them. Quality, which no network judges, is left out."""

import time
from pathlib import Path

import boxes
import cv2
import numpy as np
import published
from cascade import Cascade
from networks import NETWORKS, inputs
from runtimes import OnnxRuntime

MIN_SCORE = 0.5
# As in crates/pipeline/src/detect.rs.
SAME_FACE_IOU, YOLO_IOU, FAINT_SCORE = 0.3, 0.6, 0.05
CASCADE_ALONE, ALONE_WEIGHT, UNCONFIRMED_SCORE, UNCONFIRMED_MARGIN = 0.9, 0.6, 0.75, 0.1
MIN_FACE, RELATIVE_MIN_FACE = 20.0, 0.015
# As in crates/imaging/src/align.rs.
ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
DLIB_FACE = np.array(
    [[0.2254918, 0.2159903], [0.7547613, 0.2159903], [0.490127, 0.515625], [0.254149, 0.780233], [0.726104, 0.780233]]
)
DLIB = (0.25 + DLIB_FACE) / 1.5 * 150
WEIGHTS = (0.2, 0.75, 0.05)


class Timer:
    """Adds up the milliseconds of each stage."""

    def __init__(self):
        self.stages, self.last = {}, time.perf_counter()

    def done(self, stage):
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + (now - self.last) * 1e3
        self.last = now


def chw(pixels, mean, std):
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


class BlazeFace:
    """Boxes, scores and the three points that align a face and the mouth's centre, of a letterboxed photo."""

    def __init__(self, path, threads, grids):
        from ai_edge_litert.interpreter import Interpreter

        self.net = Interpreter(str(path), num_threads=threads)
        self.net.allocate_tensors()
        (entry,) = self.net.get_input_details()
        self.entry, self.side = entry["index"], int(entry["shape"][1])
        self.outputs = {int(o["shape"][-1]): o["index"] for o in self.net.get_output_details()}
        centres = []
        for cells, anchors in grids:
            at = (np.arange(cells) + 0.5) * self.side / cells
            x, y = np.meshgrid(at, at)
            centres.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), anchors, axis=0))
        self.centres = np.concatenate(centres).astype(np.float32)

    def detect(self, photo):
        square, scale, bars = boxes.letterbox(photo, self.side, 0)
        self.net.set_tensor(self.entry, ((square.astype(np.float32) - 127.5) / 127.5)[None])
        self.net.invoke()
        logits = self.net.get_tensor(self.outputs[1])[0, :, 0]
        values = self.net.get_tensor(self.outputs[16])[0]
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))  # single precision ends at 88
        sure = scores >= MIN_SCORE
        values, centres, scores = values[sure], self.centres[sure], scores[sure]
        middle, half = values[:, :2] + centres, values[:, 2:4] / 2
        points = values[:, 4:12].reshape(-1, 4, 2) + centres[:, None]
        rows = np.concatenate([middle - half, middle + half, points.reshape(-1, 8)], 1)
        rows = (rows.reshape(-1, 6, 2) - bars).reshape(-1, 12) / scale
        return weighted(rows, scores)


def weighted(rows, scores):
    """Weighted suppression: what overlaps the best is averaged with it."""
    order, found = np.argsort(-scores, kind="stable"), []
    rows, scores = rows[order], scores[order]
    while len(rows):
        same = boxes.iou(rows[0], rows[:, :4]) > SAME_FACE_IOU
        same[0] = True
        found.append((np.average(rows[same], axis=0, weights=scores[same]), scores[0]))
        rows, scores = rows[~same], scores[~same]
    return found


class Face:
    def __init__(self, box, score, points=None):
        self.box, self.score, self.points = np.asarray(box, np.float32), float(score), points


def same_face(a, b):
    both = boxes.shared(a, b)
    return boxes.iou(a, b) > SAME_FACE_IOU or both > 0.7 * min(boxes.area(a), boxes.area(b))


def suppress(faces):
    kept = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(same_face(other.box, face.box) for other in kept):
            kept.append(face)
    return kept


class Analysis:
    def __init__(self, threads, cache):
        cv2.setNumThreads(threads)
        runtime = OnnxRuntime(threads, "cpu", cache)

        def network(name):
            path = Path(cache) / "onnx" / f"{name}.onnx"
            return runtime.fastest(path, inputs(NETWORKS[name], 1))[1]

        self.ranges = [
            BlazeFace(published.tflite("blazeface-short", cache), threads, [(16, 2), (8, 6)]),
            BlazeFace(published.tflite("blazeface-full", cache), threads, [(48, 1)]),
        ]
        self.yolo = network("yolov10n_face")
        self.cascade = Cascade(*(network(f"mtcnn_{part}") for part in ("pnet", "rnet", "onet")))
        self.mobilefacenet, self.dlib, self.faceres = map(network, ("mobilefacenet", "dlib_resnet", "faceres"))
        self.antispoofing, self.deepfake = map(network, ("face_antispoofing", "efficientnet_lite_deepfake"))

    def analyse(self, path):
        """What is said of each face, largest first, and the milliseconds of each stage."""
        timer = Timer()
        bgr = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        photo = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        timer.done("decode")
        faces = self.detect(photo, timer)
        aligned = [self.aligned(photo, face) for face in faces]
        chips, faces_112 = np.stack([a[1] for a in aligned]), np.stack([a[0] for a in aligned])
        enlarged = np.stack([cv2.resize(face, (224, 224), interpolation=cv2.INTER_LINEAR) for face in faces_112])
        timer.done("align")
        embeddings = [
            self.mobilefacenet(chw(faces_112, 127.5, 128.0))[0],
            self.dlib(chw(chips, np.float32([122.782, 117.001, 104.298]), 256.0))[0],
            self.faceres(self.vgg(enlarged))[0],
        ]
        units = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in embeddings]
        fused = np.concatenate([unit * weight**0.5 for unit, weight in zip(units, WEIGHTS)], 1)
        timer.done("recognition")
        crops = np.stack([boxes.cut(photo, self.inside(face.box, photo), 160) for face in faces])
        fake = 1 / (1 + np.exp(-(0.9649 * self.deepfake(chw(crops, 127.0, 128.0))[0] - 1.0111)))
        timer.done("deepfake")
        crops = np.stack([boxes.cut(photo, boxes.scaled(face.box, 1.2), 256) for face in faces])
        leaves = np.concatenate([self.antispoofing(chw(crops[i : i + 4], 0.0, 255.0))[0] for i in range(0, len(crops), 4)])
        live = 1 / (1 + np.exp(14 * (np.abs(leaves).mean(1) - 0.7)))
        timer.done("antispoof")
        crops = np.stack([boxes.cut(photo, boxes.squared(face.box, 1.2), 224) for face in faces])
        _, ages, male = self.faceres(self.vgg(crops))
        likeliest = np.argsort(-ages, axis=1)[:, :2]
        weights = np.take_along_axis(ages, likeliest, 1)
        age = 1 + (likeliest * weights).sum(1) / weights.sum(1)
        timer.done("gender_age")
        return [
            {
                "box": face.box.tolist(),
                "score": face.score,
                "embedding": fused[i].tolist(),
                "live": float(live[i]),
                "fake": float(fake[i]),
                "age": float(age[i]),
                "male": float(male[i, 0]),
            }
            for i, face in enumerate(faces)
        ], timer.stages

    @staticmethod
    def vgg(crops):
        return chw(crops[..., ::-1], np.float32([103.939, 116.779, 123.68]), 1.0)

    @staticmethod
    def aligned(photo, face):
        warp = lambda target, side: cv2.warpAffine(photo, boxes.similarity(face.points, target), (side, side))
        return warp(ARCFACE, 112), warp(DLIB, 150)

    @staticmethod
    def inside(box, photo):
        """A square that is moved into the photo."""
        height, width = photo.shape[:2]
        side = min(round(float(np.max(box[2:] - box[:2])) * 1.05), width, height)
        middle = (box[:2] + box[2:]) / 2
        first = np.clip(np.round(middle - side / 2), 0, [width - side, height - side])
        return np.concatenate([first, first + side])

    def detect(self, photo, timer):
        """YOLOv10n, the cascade and BlazeFace together, as `auto`; each face has landmarks."""
        screened = []
        for blazeface in self.ranges:
            screened += blazeface.detect(photo)
        if screened:
            screened = weighted(np.stack([row for row, _ in screened]), np.array([score for _, score in screened]))
        timer.done("blazeface")
        seen = self.look(photo)
        timer.done("yolov10n")
        least = max(RELATIVE_MIN_FACE * max(photo.shape[:2]), MIN_FACE)
        corners, scores, points = self.cascade.detect(photo, least)
        cascaded = [Face(*found) for found in zip(corners, scores, points)]
        timer.done("mtcnn")
        faces = self.missed(photo, screened, self.both(photo, cascaded, seen))
        height, width = photo.shape[:2]
        for face in faces:
            face.box = np.clip(face.box, 0, np.float32([width, height, width, height]))
        faces = [face for face in faces if face.score >= MIN_SCORE and face.points is not None]
        timer.done("merge")
        return sorted(faces, key=lambda face: -boxes.area(face.box))

    def look(self, photo):
        """YOLOv10n's boxes, faint ones among them."""
        square, scale, bars = boxes.letterbox(photo, 640, 114)
        corners, scores = self.yolo(chw(square[None], 0.0, 255.0))
        sure = scores[0, 0] >= FAINT_SCORE
        corners, scores = corners[0].T[sure], scores[0, 0][sure]
        kept = boxes.suppress(corners, scores, YOLO_IOU)
        return [Face((corners[i] - np.tile(bars, 2)) / scale, scores[i]) for i in kept]

    def both(self, photo, cascaded, seen):
        faces, seen = [], list(seen)
        for face in suppress(cascaded):
            matches = [other for other in seen if same_face(face.box, other.box)]
            if matches:
                best = max(matches, key=lambda other: boxes.iou(face.box, other.box))
                seen.remove(best)
                face.score = (face.score + best.score) / 2
                faces.append(face)
            elif face.score >= CASCADE_ALONE:
                face.score *= ALONE_WEIGHT
                faces.append(face)
        new = [
            face for face in seen if face.score >= MIN_SCORE and not any(same_face(face.box, f.box) for f in faces)
        ]
        for face, refined in zip(new, self.refined(photo, new)):
            if refined is not None and same_face(refined.box, face.box):
                face.points = refined.points
            elif face.score < MIN_SCORE + UNCONFIRMED_MARGIN:
                continue
            faces.append(face)
        return faces

    def missed(self, photo, screened, faces):
        new = []
        for row, score in screened:
            face = Face(row[:4], score, self.blaze_points(row))
            match = next((f for f in faces if same_face(face.box, f.box)), None)
            if match is None:
                new.append(face)
            elif match.points is None:
                match.points = face.points
        for face, refined in zip(new, self.refined(photo, new)):
            if refined is not None and refined.score >= CASCADE_ALONE:
                refined.score *= ALONE_WEIGHT
                faces.append(refined)
            elif refined is None and face.score >= UNCONFIRMED_SCORE:
                faces.append(face)
        return suppress(faces)

    @staticmethod
    def blaze_points(row):
        """Both eyes, the nose and the mouth's centre, which stands for its two corners."""
        first, second, nose, mouth = row[4:12].reshape(4, 2)
        half = np.array([0.4 * (second[0] - first[0]), 0.0])
        return np.stack([first, second, nose, mouth - half, mouth + half])

    def refined(self, photo, faces):
        if not faces:
            return []
        corners, scores, points = self.cascade.refine(photo, np.stack([face.box for face in faces]))
        return [Face(c, s, p) if s > 0.7 else None for c, s, p in zip(corners, scores, points)]

"""MTCNN's cascade with its three networks in ONNX Runtime, the rest in NumPy and OpenCV: as facenet-pytorch has it."""

import boxes
import cv2
import numpy as np

CELL, STRIDE, FACTOR = 12, 2, 0.709
THRESHOLDS = (0.6, 0.7, 0.7)


def prepare(pixels):
    """`[n, h, w, 3]` bytes to `[n, 3, h, w]`."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2))


def regress(corners, regression, one=0.0):
    extent = corners[:, 2:] - corners[:, :2] + one
    return corners + regression * np.tile(extent, 2)


def square(corners):
    extent = corners[:, 2:] - corners[:, :2]
    side = extent.max(1, keepdims=True)
    first = corners[:, :2] + extent / 2 - side / 2
    return np.concatenate([first, first + side], 1)


class Cascade:
    def __init__(self, pnet, rnet, onet):
        self.pnet, self.rnet, self.onet = pnet, rnet, onet

    def detect(self, photo, min_face):
        """Corners, scores and five points of the faces."""
        height, width = photo.shape[:2]
        found, scale = [], CELL / min_face
        while min(height, width) * scale >= CELL:
            found.append(self.propose(photo, scale))
            scale *= FACTOR
        corners, scores, regression = (np.concatenate(part) for part in zip(*found))
        kept = boxes.suppress(corners, scores, 0.7)
        squares = square(regress(corners[kept], regression[kept]))
        regression, scores = self.judge(photo, squares)
        passed = scores > THRESHOLDS[1]
        squares, regression, scores = squares[passed], regression[passed], scores[passed]
        kept = boxes.suppress(squares, scores, 0.7)
        found = self.output(photo, square(regress(squares[kept], regression[kept], 1.0)))
        corners, scores, points = (part[found[1] > THRESHOLDS[2]] for part in found)
        kept = boxes.suppress(corners, scores, 0.7, least=True)
        return corners[kept], scores[kept], points[kept]

    def refine(self, photo, corners):
        """R-Net moves the boxes, O-Net judges them: corners, scores and points."""
        squares = square(corners + np.array([1, 1, 0, 0], np.float32))
        regression, _ = self.judge(photo, squares)
        return self.output(photo, square(regress(squares, regression, 1.0)))

    def propose(self, photo, scale):
        height, width = (int(n * scale + 1) for n in photo.shape[:2])
        level = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        regression, probability = self.pnet(prepare(level[None]))
        scores = probability[0, 1]
        y, x = np.nonzero(scores >= THRESHOLDS[0])
        cells = np.stack([x, y], 1).astype(np.float32) * STRIDE
        corners = np.floor(np.concatenate([cells + 1, cells + CELL], 1) / scale)
        scores, regression = scores[y, x], regression[0][:, y, x].T
        kept = boxes.suppress(corners, scores, 0.5)
        return corners[kept], scores[kept], regression[kept]

    def judge(self, photo, squares):
        if not len(squares):
            return np.empty((0, 4), np.float32), np.empty(0, np.float32)
        regression, probability = self.rnet(self.crops(photo, squares, 24))
        return regression, probability[:, 1]

    def output(self, photo, squares):
        if not len(squares):
            return np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
        regression, points, probability = self.onet(self.crops(photo, squares, 48))
        extent = squares[:, 2:] - squares[:, :2] + 1
        points = np.stack([points[:, :5], points[:, 5:]], 2) * extent[:, None] + squares[:, None, :2] - 1
        return regress(squares, regression, 1.0), probability[:, 1], points

    def crops(self, photo, squares, side):
        height, width = photo.shape[:2]
        found = np.zeros((len(squares), side, side, 3), np.uint8)
        for crop, (x1, y1, x2, y2) in zip(found, np.trunc(squares).astype(int)):
            part = photo[max(y1, 1) - 1 : min(max(y2, 0), height), max(x1, 1) - 1 : min(max(x2, 0), width)]
            if part.size:
                crop[:] = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
        return prepare(found)

"""Boxes as rows of left, top, right, bottom; overlap, suppression, and the way from a photo to a square and back."""

import cv2
import numpy as np


def area(boxes):
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def shared(one, others):
    low, high = np.maximum(one[:2], others[..., :2]), np.minimum(one[2:4], others[..., 2:4])
    return np.prod(np.maximum(high - low, 0), axis=-1)


def iou(one, others):
    both = shared(one, others)
    return both / np.maximum(area(one) + area(others) - both, 1e-9)


def suppress(boxes, scores, threshold, least=False):
    """Positions of the boxes that stay, best first; `least` compares with the smaller of two boxes."""
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        both = shared(boxes[best], boxes[rest])
        whole = np.minimum(area(boxes[best]), area(boxes[rest])) if least else area(boxes[best]) + area(boxes[rest]) - both
        order = rest[both <= threshold * whole]
    return np.array(kept, dtype=int)


def letterbox(photo, side, fill):
    """The photo in a square, and the scale and the bars that lead back."""
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    w, h = round(width * scale), round(height * scale)
    left, top = (side - w) // 2, (side - h) // 2
    canvas = np.full((side, side, 3), fill, np.uint8)
    canvas[top : top + h, left : left + w] = cv2.resize(photo, (w, h), interpolation=cv2.INTER_AREA)
    return canvas, scale, np.array([left, top], np.float32)


def cut(photo, box, side):
    """The part of the photo in a box that may leave it, black there, as a square."""
    left, top, right, bottom = (round(float(v)) for v in box)
    height, width = photo.shape[:2]
    inside = photo[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if inside.shape[:2] != (bottom - top, right - left):
        bars = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        inside = cv2.copyMakeBorder(inside, *bars, cv2.BORDER_CONSTANT, value=0)
    how = cv2.INTER_AREA if inside.shape[0] > side else cv2.INTER_LINEAR
    return cv2.resize(inside, (side, side), interpolation=how)


def scaled(box, factor):
    centre, half = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]) / 2 * factor
    return np.concatenate([centre - half, centre + half])


def squared(box, factor):
    centre, half = (box[:2] + box[2:4]) / 2, np.max(box[2:4] - box[:2]) / 2 * factor
    return np.concatenate([centre - half, centre + half])


def similarity(source, target):
    """The 2 x 3 matrix that turns, scales and moves `source` closest to `target`, by least squares."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    p, q = source - mean_s, target - mean_t
    spread = (p**2).sum()
    a, b = (p * q).sum() / spread, (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, mean_t - turn @ mean_s])

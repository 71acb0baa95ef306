"""Self-blended images: a face swap without a second face.

After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, <https://arxiv.org/abs/2204.08376>:
a photo is blended with a slightly changed copy of itself through a soft mask of the face. What remains to be seen are the
traces every swap leaves, not those of one generator. Written from the paper, with five landmarks for its eighty-one.
"""

import cv2
import numpy as np

from augment import colour


def mask_of(points, shape, rng):
    """A region about the five points: brow to chin or a part of it, deformed, with a soft edge. `[h, w]`, 0..1."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    right = points[1] - points[0]
    down = mouth - eyes
    kind = rng.integers(4)
    at = lambda u, v: eyes + u * right + v * down
    if kind == 0:  # whole face
        outline = [(-0.95, -0.45), (0, -0.8), (0.95, -0.45), (1.05, 0.3), (0.75, 1.2), (0, 1.75), (-0.75, 1.2), (-1.05, 0.3)]
    elif kind == 1:  # brow to below the mouth
        outline = [(-0.85, -0.35), (0, -0.45), (0.85, -0.35), (0.75, 0.9), (0, 1.4), (-0.75, 0.9)]
    elif kind == 2:  # mouth and nose
        outline = [(-0.6, 0.35), (0, 0.1), (0.6, 0.35), (0.6, 1.2), (0, 1.5), (-0.6, 1.2)]
    else:  # eyes and nose
        outline = [(-0.9, -0.4), (0.9, -0.4), (0.8, 0.35), (0, 0.8), (-0.8, 0.35)]
    corners = np.array([at(u, v) for u, v in outline])
    corners += rng.normal(0, 0.07 * np.linalg.norm(right), corners.shape)
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(corners.round().astype(np.int32)), 1.0)
    width = max(1.0, np.linalg.norm(right))
    if rng.random() < 0.5:
        mask = wave(mask, width, rng)
    mask = cv2.GaussianBlur(mask, (0, 0), width * rng.uniform(0.03, 0.18))
    if rng.random() < 0.5:  # the edge inwards only, as many tools do it
        mask = np.clip(mask * 2 - 1, 0, 1)
    return mask * rng.choice([0.4, 0.6, 0.8, 1.0, 1.0, 1.0])


def wave(mask, width, rng):
    h, w = mask.shape
    fields = (rng.standard_normal((2, 6, 6)) * width * 0.12).astype(np.float32)
    dx, dy = (cv2.resize(f, (w, h), interpolation=cv2.INTER_CUBIC) for f in fields)
    ys, xs = np.mgrid[:h, :w].astype(np.float32)
    return cv2.remap(mask, xs + dx, ys + dy, cv2.INTER_LINEAR)


def change(image, rng):
    """Another tone or another sharpness, as a second picture has."""
    image = colour(image, rng) if rng.random() < 0.75 else image
    choice = rng.random()
    h, w = image.shape[:2]
    if choice < 0.4:
        part = rng.uniform(0.35, 0.8)
        small = cv2.resize(image, (max(8, int(w * part)), max(8, int(h * part))), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)
    elif choice < 0.6:
        image = cv2.addWeighted(image, 1.8, cv2.GaussianBlur(image, (0, 0), 1.0), -0.8, 0)
    return image


def self_blend(image, points, rng):
    """`image` `[h, w, 3]` with the face blended over itself."""
    h, w = image.shape[:2]
    source, target = image, image
    # One of the two is changed, so that neither's look tells the class.
    if rng.random() < 0.5:
        source = change(source, rng)
    else:
        target = change(target, rng)
    centre = points.mean(0)
    scale, turn = rng.uniform(0.95, 1.05), rng.uniform(-2, 2)
    move = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, scale)
    move[:, 2] += rng.uniform(-0.04, 0.04, 2) * np.linalg.norm(points[1] - points[0]) * 2
    source = cv2.warpAffine(source, move, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = mask_of(points, image.shape, rng)[..., None]
    mixed = source * mask + target * (1 - mask)
    return (np.clip(mixed, 0, 255) + 0.5).astype(np.uint8)

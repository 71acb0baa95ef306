"""What befalls every picture in training, real or generated alike: nothing here may know the class."""

import cv2
import numpy as np

import faces
from network import INPUT_SIZE

SMALLEST, LARGEST = 64, 232
"""Sides in pixels that the square is brought to before it is compressed. Every generator's pictures reach the largest."""
SHRINKING = [cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]
GROWING = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]


def jpeg(image, quality, subsample):
    factor = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if subsample else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", bgr, settings)[1]
    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def colour(image, rng):
    tones = np.arange(256, dtype=np.float32)[:, None].repeat(3, 1) / 255
    if rng.random() < 0.5:
        tones = tones ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))
    if rng.random() < 0.5:
        tones = tones * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    xs = cv2.LUT(image, tones[None])
    if rng.random() < 0.6:
        mean, contrast = np.float32(cv2.mean(xs)[:3]).mean(), np.float32(rng.uniform(0.7, 1.3))
        xs = xs * contrast + (mean * (1 - contrast) + np.float32(rng.uniform(-0.1, 0.1)))
    saturation = 0.0 if rng.random() < 0.12 else rng.uniform(0.5, 1.4) if rng.random() < 0.6 else 1.0
    if saturation != 1:
        grey = cv2.cvtColor(xs, cv2.COLOR_RGB2GRAY)[..., None]
        xs = grey + (xs - grey) * np.float32(saturation)
    return (np.clip(xs, 0, 1) * 255 + 0.5).astype(np.uint8)


def degrade(image, rng):
    """Size, blur, noise and compression, in the order in which a photo meets them."""
    side = image.shape[0]
    target = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(max(SMALLEST + 1, min(side, LARGEST))))))
    # Half of the time nearer to the largest: most photos are.
    if rng.random() < 0.5:
        target = int(rng.uniform(target, max(target + 1, min(side, LARGEST))))
    if target < side:
        image = cv2.resize(image, (target, target), interpolation=SHRINKING[rng.integers(len(SHRINKING))])
    elif target > side:
        image = cv2.resize(image, (target, target), interpolation=GROWING[rng.integers(len(GROWING))])
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    elif rng.random() < 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = cv2.addWeighted(image, 1.5, soft, -0.5, 0)
    if rng.random() < 0.3:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 7)
        image = np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    image = jpeg(image, rng.integers(50, 96), rng.random() < 0.7)
    if rng.random() < 0.25:
        # Uploaded once more: another size, another compression.
        other = int(image.shape[0] * rng.uniform(0.7, 1.4))
        kinds = SHRINKING if other < image.shape[0] else GROWING
        image = cv2.resize(image, (other, other), interpolation=kinds[rng.integers(len(kinds))])
        image = jpeg(image, rng.integers(60, 96), rng.random() < 0.7)
    return image


def erase(image, largest, rng):
    h, w = (int(INPUT_SIZE * rng.uniform(0.1, largest)) for _ in range(2))
    y, x = int(rng.integers(INPUT_SIZE - h)), int(rng.integers(INPUT_SIZE - w))
    image[y : y + h, x : x + w] = rng.integers(0, 256, 3)


def turn(image, degrees, rng):
    """The square turned about its middle and enlarged until its corners are outside, so that nothing is filled."""
    side = image.shape[0]
    radians = np.deg2rad(abs(degrees))
    middle = (side - 1) / 2
    move = cv2.getRotationMatrix2D((middle, middle), degrees, np.cos(radians) + np.sin(radians))
    kind = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
    return cv2.warpAffine(image, move, (side, side), flags=kind, borderMode=cv2.BORDER_REFLECT)


def augment(image, box, rng, strong=False):
    """A photo and its face's box to one of the many squares of 160 that the network may see.

    `strong`: squares are also turned, and more of them erased.
    """
    h, w = image.shape[:2]
    enlarge = faces.ENLARGE * rng.uniform(0.78, 1.15)
    degrees = rng.uniform(-15, 15) if strong and rng.random() < 0.4 else 0.0
    if degrees:
        # What turning will cut off.
        enlarge *= 1 + np.sin(np.deg2rad(abs(degrees)))
    x, y, side = faces.square(box, w, h, enlarge, rng.uniform(-0.06, 0.06, 2))
    image = image[y : y + side, x : x + side]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = np.ascontiguousarray(image)
    if degrees:
        image = turn(image, degrees, rng)
    if rng.random() < 0.7:
        image = colour(image, rng)
    image = faces.resize(degrade(image, rng), INPUT_SIZE)
    if rng.random() < (0.4 if strong else 0.25):
        erase(image, 0.5 if strong else 0.4, rng)
    return image

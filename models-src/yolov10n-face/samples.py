"""Composes training pictures from the cache that `data.py` writes: crops of group photos, whole photos, mosaics, contact
sheets, and faces pasted on anything, from 6 pixels to more than the picture is wide."""

import json
import math
from pathlib import Path

import cv2
import numpy as np

GREY = 114
SMALLEST = 5.0
"""Faces less wide or high than this, in pixels of the training picture, are ignored: neither found nor missed."""
MOST = 64
"""Faces in one picture; further ones are ignored."""

LATE_FROM, BIG_FROM = 0.25, 400
KINDS = {
    (False, False): (0.12, 0.46, 0.70, 0.77, 0.97),
    (False, True): (0.40, 0.60, 0.78, 0.83, 0.97),
    (True, False): (0.22, 0.64, 0.83, 0.86, 0.97),
    (True, True): (0.45, 0.67, 0.84, 0.85, 0.97),
}
"""Late in the training or not, large pictures or not: shares, added up, of whole photos, single crops, mosaics, contact
sheets and pasted faces; the rest has no faces."""

# How often a portrait comes from each set; the sets differ in size.
PORTRAIT_SHARES = {
    "lfw": 0.36,
    "utkface": 0.16,
    "deepfake_gan256": 0.13,
    "deepfake_hardfake": 0.15,
    "kazceleb": 0.04,
    "antispoof_crops": 0.03,
    "deepface_tests": 0.13,
}


class Photos:
    """The cached photos."""

    def __init__(self, cache):
        cache = Path(cache)
        self.pixels = np.load(cache / "pixels.npy", mmap_mode="r")
        self.index = json.loads((cache / "index.json").read_text())
        self.of = {}
        for i, item in enumerate(self.index):
            self.of.setdefault(item["set"], []).append(i)
            item["boxes"] = np.array(item["boxes"], np.float32).reshape(-1, 4)
            item["ignore"] = np.array(item["ignore"], np.float32).reshape(-1, 4)

    def image(self, i):
        item = self.index[i]
        size = item["h"] * item["w"] * 3
        return self.pixels[item["at"] : item["at"] + size].reshape(item["h"], item["w"], 3)


def log_uniform(rng, low, high):
    return math.exp(rng.uniform(math.log(low), math.log(max(high, low * 1.001))))


def texture(rng, h, w):
    """A picture without faces: noise of several octaves, gradients, shapes, stripes, writing."""
    base = rng.integers(0, 256, 3)
    image = np.empty((h, w, 3), np.float32)
    image[:] = base
    for _ in range(int(rng.integers(1, 5))):
        n = int(log_uniform(rng, 2, 64))
        layer = rng.normal(0, rng.uniform(5, 60), (n, n, 3 if rng.random() < 0.5 else 1)).astype(np.float32)
        layer = cv2.resize(layer, (w, h), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST, cv2.INTER_CUBIC])))
        image += layer.reshape(h, w, -1)
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    colour = lambda: tuple(int(c) for c in rng.integers(0, 256, 3))
    at = lambda: (int(rng.integers(0, w)), int(rng.integers(0, h)))
    for _ in range(int(rng.integers(0, 14))):
        kind = rng.integers(0, 5)
        thick = int(rng.choice([-1, -1, 1, 2, 5]))
        if kind == 0:
            cv2.rectangle(image, at(), at(), colour(), thick)
        elif kind == 1:
            axes = (int(log_uniform(rng, 3, w / 3)), int(log_uniform(rng, 3, h / 3)))
            cv2.ellipse(image, at(), axes, float(rng.uniform(0, 180)), 0, 360, colour(), thick)
        elif kind == 2:
            cv2.line(image, at(), at(), colour(), max(thick, 1))
        elif kind == 3:
            text = "".join(chr(c) for c in rng.integers(33, 126, 8))
            cv2.putText(image, text, at(), int(rng.integers(0, 8)), float(rng.uniform(0.3, 3)), colour(), max(thick, 1))
        else:
            cv2.fillPoly(image, [rng.integers(0, (w, h), (int(rng.integers(3, 8)), 2)).astype(np.int32)], colour())
    return image


def wear_mask(rng, image, box, points):
    """Draws a face mask from the bridge of the nose to the chin. `points`: eyes, nose, corners of the mouth."""
    low = np.maximum(box[:2] - 0.1 * (box[2:] - box[:2]), 0).astype(int)
    high = np.minimum(box[2:] + 0.1 * (box[2:] - box[:2]), image.shape[1::-1]).astype(int)
    if (high - low).min() < 8:
        return image
    whole, image = image.copy(), image[low[1] : high[1], low[0] : high[0]]
    x1, y1, x2, y2 = box - np.tile(low, 2)
    points = np.float32(points) - np.tile(low, 5)
    w = x2 - x1
    p = np.array(points, np.float32).reshape(5, 2)
    eyes, nose, mouth = p[:2].mean(0), p[2], p[3:].mean(0)
    top = eyes[1] + rng.uniform(0.3, 0.75) * (nose[1] - eyes[1])
    side = top + rng.uniform(-0.05, 0.2) * (y2 - top)
    chin = y2 + rng.uniform(-0.06, 0.04) * (y2 - y1)
    polygon = np.float32([
        (x1 + rng.uniform(-0.02, 0.1) * w, side), (nose[0] - 0.12 * w, top), (nose[0] + 0.12 * w, top),
        (x2 - rng.uniform(-0.02, 0.1) * w, side), (x2 - 0.08 * w, mouth[1]), (mouth[0] + 0.24 * w, chin),
        (mouth[0] - 0.24 * w, chin), (x1 + 0.08 * w, mouth[1]),
    ])  # fmt: skip
    colours = [(200, 170, 120), (235, 235, 235), (30, 30, 30), (190, 200, 150), tuple(rng.integers(0, 256, 3).tolist())]
    colour = np.array(colours[int(rng.integers(len(colours)))], np.float32) * rng.uniform(0.6, 1.05)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    shade = cv2.resize(rng.normal(0, 14, (6, 6)).astype(np.float32), image.shape[1::-1])
    if rng.random() < 0.5:
        shade += 8 * np.sin(np.arange(image.shape[0]) * 2 * np.pi / max(3.0, 0.09 * (y2 - y1)))[:, None]
    # Some of the light on the face stays on the mask.
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    light = 0.35 * cv2.resize(grey - grey.mean(), image.shape[1::-1])
    cloth = np.clip(colour + (shade + light)[..., None], 0, 255)
    a = mask[..., None] / 255.0
    whole[low[1] : high[1], low[0] : high[0]] = image * (1 - a) + cloth * a
    return whole


def wear_glasses(rng, image, points, width):
    image = np.ascontiguousarray(image)
    p = np.array(points, np.float32).reshape(5, 2)
    dark = tuple(int(c) for c in rng.integers(0, 60, 3))
    r = (int(max(1, 0.17 * width * rng.uniform(0.8, 1.2))), int(max(1, 0.13 * width * rng.uniform(0.8, 1.2))))
    for x, y in p[:2]:
        cv2.ellipse(image, (int(x), int(y)), r, 0, 0, 360, dark, -1, cv2.LINE_AA)
    a, b = p[0].astype(int).tolist(), p[1].astype(int).tolist()
    cv2.line(image, a, b, dark, max(1, int(width * 0.03)), cv2.LINE_AA)
    return image


def moved(matrix, boxes):
    """Boxes under an affine map: the extents of the ellipse in each box, since faces are rounder than their boxes."""
    if not len(boxes):
        return boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.sqrt(half**2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - half, centres + half], 1).astype(np.float32)


def area(boxes):
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)


def covered(boxes, x1, y1, x2, y2):
    """Share of each box inside of a rectangle."""
    low = np.maximum(boxes[:, :2], (x1, y1))
    high = np.minimum(boxes[:, 2:], (x2, y2))
    return np.clip(high - low, 0, None).prod(1) / np.maximum(area(boxes), 1e-6)


class Canvas:
    """The picture in the making."""

    def __init__(self, image):
        self.image = image
        self.boxes = np.zeros((0, 4), np.float32)
        self.ignore = np.zeros((0, 4), np.float32)

    def add(self, boxes, ignore, x1, y1, x2, y2):
        """Faces of which enough lies in the rectangle, cut at its border; of some of it, they are ignored."""
        for kind, found in (("boxes", boxes), ("ignore", ignore)):
            if not len(found):
                continue
            share = covered(found, x1, y1, x2, y2)
            cut = found.copy()
            cut[:, 0::2] = cut[:, 0::2].clip(x1, x2)
            cut[:, 1::2] = cut[:, 1::2].clip(y1, y2)
            small = (cut[:, 2:] - cut[:, :2]).min(1) < SMALLEST
            keep = (share >= 0.6) & ~small if kind == "boxes" else np.zeros(len(cut), bool)
            doubt = (share > 0.15) & ~keep
            self.boxes = np.concatenate([self.boxes, cut[keep]])
            self.ignore = np.concatenate([self.ignore, cut[doubt]])

    def room(self, x1, y1, x2, y2, most=0.3):
        """Whether a patch hides no face by more than `most`."""
        return not len(self.boxes) or covered(self.boxes, x1, y1, x2, y2).max() <= most


class Composer:
    def __init__(self, photos, seed):
        self.photos = photos
        self.rng = np.random.default_rng(seed)
        sets = [s for s in PORTRAIT_SHARES if photos.of.get(s)]
        shares = np.array([PORTRAIT_SHARES[s] for s in sets])
        self.sets, self.shares = sets, shares / shares.sum()

    # Sources

    def portrait(self, size, most_scale=2.6):
        """A portrait whose main face can be `size` pixels without being blown up too much."""
        best = None
        for _ in range(6):
            name = self.sets[self.rng.choice(len(self.sets), p=self.shares)]
            i = self.photos.of[name][self.rng.integers(len(self.photos.of[name]))]
            boxes = self.photos.index[i]["boxes"]
            main = int(self.rng.integers(len(boxes)))
            scale = size / max(boxes[main, 2:] - boxes[main, :2])
            if best is None or scale < best[2]:
                best = (i, main, scale)
            if scale <= most_scale:
                break
        return best

    def one_of(self, name):
        members = self.photos.of[name]
        return members[self.rng.integers(len(members))]

    def dressed(self, i, main, chance=0.3):
        """The photo, some with a mask or dark glasses on the main face."""
        item, image = self.photos.index[i], self.photos.image(i)
        points = item["points"][main] if len(item["points"]) > main else None
        if points is not None and self.rng.random() < chance:
            box = item["boxes"][main]
            if self.rng.random() < 0.8:
                image = wear_mask(self.rng, image, box, points)
            else:
                image = wear_glasses(self.rng, image.copy(), points, box[2] - box[0])
        return image

    # Placing

    def backdrop(self, h, w):
        r = self.rng.random()
        if r < 0.45:
            return np.full((h, w, 3), GREY, np.uint8)
        if r < 0.6:
            return np.full((h, w, 3), self.rng.integers(0, 256, 3), np.uint8)
        if r < 0.85:
            return texture(self.rng, h, w)
        return self.faceless(h, w)

    def faceless(self, h, w):
        """A part of a photo with no face in it, or a texture where none is found."""
        name = self.rng.choice(["det_facemask", "det_fddb_sy32"])
        if self.photos.of.get(name):
            for _ in range(4):
                i = self.one_of(name)
                item = self.photos.index[i]
                side = self.rng.uniform(0.2, 0.6) * min(item["h"], item["w"])
                x, y = self.rng.uniform(0, item["w"] - side), self.rng.uniform(0, item["h"] - side)
                around = np.concatenate([item["boxes"], item["ignore"]])
                if not len(around) or covered(around, x, y, x + side, y + side).max() < 0.02:
                    x, y, side = int(x), int(y), int(side)
                    cut = self.photos.image(i)[y : y + side, x : x + side]
                    return cv2.resize(cut, (w, h), interpolation=cv2.INTER_LINEAR)
        return texture(self.rng, h, w)

    def place(self, canvas, rect, i, image, scale, focus=None, turn=8.0):
        """Warps photo `i` into a rectangle of the canvas; the point `focus` of the photo lands inside of it."""
        rng, item = self.rng, self.photos.index[i]
        x1, y1, x2, y2 = rect
        w, h = x2 - x1, y2 - y1
        boxes, ignore = item["boxes"], item["ignore"]
        source = image
        shrink = 1.0
        if scale < 0.7:
            # Every pixel by its share: warping alone skips pixels. Now and then it may.
            how = cv2.INTER_AREA if rng.random() < 0.75 else cv2.INTER_LINEAR
            size = (max(2, round(item["w"] * scale)), max(2, round(item["h"] * scale)))
            source = cv2.resize(image, size, interpolation=how)
            shrink = size[0] / item["w"]
        aspect = math.exp(rng.normal(0, 0.05))
        angle = math.radians(rng.normal(0, turn)) if rng.random() < 0.4 else 0.0
        flip = -1.0 if rng.random() < 0.5 else 1.0
        s = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
        linear = np.float32([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ np.float32(
            [[s[0] * flip, 0], [0, s[1]]]
        )
        if focus is None:
            # Anywhere such that as much as can be of the rectangle is covered.
            target = np.float32([w / 2, h / 2])
            free = np.float32([(item["w"] * scale - w) / 2, (item["h"] * scale - h) / 2])
            target = target + np.float32([rng.uniform(-abs(f), abs(f)) for f in free])
            focus = np.float32([item["w"] / 2, item["h"] / 2])
        else:
            focus, half = focus
            margin = np.minimum(half * scale, (w / 2, h / 2))
            target = np.float32([rng.uniform(margin[0], w - margin[0]), rng.uniform(margin[1], h - margin[1])])
        matrix = np.concatenate([linear, (target - linear @ focus)[:, None]], 1).astype(np.float32)
        warp = matrix.copy()
        warp[:, :2] /= shrink
        part = np.ascontiguousarray(canvas.image[y1:y2, x1:x2])
        cv2.warpAffine(source, warp, (w, h), dst=part, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
        canvas.image[y1:y2, x1:x2] = part
        shift = np.float32([x1, y1, x1, y1])
        # A face at the photo's own border is cut there already.
        canvas.add(moved(matrix, boxes) + shift, moved(matrix, ignore) + shift, x1, y1, x2, y2)

    def fill(self, canvas, rect, kind):
        rng = self.rng
        x1, y1, x2, y2 = rect
        side = min(x2 - x1, y2 - y1)
        canvas.image[y1:y2, x1:x2] = self.backdrop(y2 - y1, x2 - x1)
        if kind == "empty":
            canvas.image[y1:y2, x1:x2] = self.faceless(y2 - y1, x2 - x1)
        elif kind == "portrait":
            size = log_uniform(rng, max(8, 0.1 * side), 1.05 * side)
            i, main, scale = self.portrait(size)
            box = self.photos.index[i]["boxes"][main]
            focus = ((box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2)
            self.place(canvas, rect, i, self.dressed(i, main), scale, focus)
        else:
            i = self.one_of(kind)
            item = self.photos.index[i]
            fit = min((x2 - x1) / item["w"], (y2 - y1) / item["h"])
            boxes = item["boxes"]
            if len(boxes) and rng.random() < 0.7:
                main = int(rng.integers(len(boxes)))
                box = boxes[main]
                span = max(box[2:] - box[:2])
                # About the scale at which the whole photo would fill 640 pixels, half to twice of it.
                usual = 640 / max(item["w"], item["h"])
                scale = usual * log_uniform(rng, 0.45, 1.9)
                scale = min(max(scale, 7 / span), 1.05 * side / span)
                focus = ((box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2)
                self.place(canvas, rect, i, self.dressed(i, main, 0.1), scale, focus)
            else:
                scale = fit * log_uniform(rng, 0.6, 1.6)
                self.place(canvas, rect, i, self.photos.image(i), scale)

    def kind(self):
        r = self.rng.random()
        return "det_facemask" if r < 0.5 else "det_fddb_sy32" if r < 0.7 else "portrait" if r < 0.93 else "empty"

    def split(self, rect, least):
        """Cuts a rectangle in two again and again."""
        x1, y1, x2, y2 = rect
        w, h = x2 - x1, y2 - y1
        if max(w, h) < 2 * least or (max(w, h) < 4 * least and self.rng.random() < 0.3):
            return [rect]
        if w > h or (w == h and self.rng.random() < 0.5):
            cut = x1 + int(w * self.rng.uniform(0.35, 0.65))
            halves = (x1, y1, cut, y2), (cut, y1, x2, y2)
        else:
            cut = y1 + int(h * self.rng.uniform(0.35, 0.65))
            halves = (x1, y1, x2, cut), (x1, cut, x2, y2)
        return [r for half in halves for r in self.split(half, least)]

    def paste(self, canvas, count):
        """Faces cut out with some of what surrounds them, with a soft or a hard edge."""
        rng, n = self.rng, canvas.image.shape[0]
        for _ in range(count):
            size = log_uniform(rng, 7, 0.45 * n)
            i, main, scale = self.portrait(size)
            item = self.photos.index[i]
            box = item["boxes"][main]
            grow = rng.uniform(1.15, 1.8)
            centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * grow
            low = np.maximum(centre - half, 0).astype(int)
            high = np.minimum(centre + half, (item["w"], item["h"])).astype(int)
            cut = self.dressed(i, main, 0.4)[low[1] : high[1], low[0] : high[0]]
            w, h = max(3, round(cut.shape[1] * scale)), max(3, round(cut.shape[0] * scale))
            if w >= n or h >= n:
                continue
            cut = cv2.resize(cut, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            inside = box - np.tile(low, 2)
            others = np.delete(np.concatenate([item["boxes"], item["ignore"]]), main, 0) - np.tile(low, 2)
            if len(others) and covered(others, 0, 0, high[0] - low[0], high[1] - low[1]).max() > 0.1:
                continue
            stretch = np.float32([w / (high[0] - low[0]), h / (high[1] - low[1])] * 2)
            inside = inside * stretch
            if rng.random() < 0.5:
                cut, inside = cut[:, ::-1], inside[[2, 1, 0, 3]] * (-1, 1, -1, 1) + (w, 0, w, 0)
            for _ in range(8):
                x, y = int(rng.integers(0, n - w + 1)), int(rng.integers(0, n - h + 1))
                if canvas.room(x, y, x + w, y + h):
                    break
            else:
                continue
            mask = np.zeros((h, w), np.float32)
            if rng.random() < 0.6:
                cv2.ellipse(mask, (w // 2, h // 2), (max(1, w // 2), max(1, h // 2)), 0, 0, 360, 1.0, -1)
                mask = cv2.GaussianBlur(mask, (0, 0), max(0.3, 0.03 * w))
            else:
                mask[:] = 1
            under = canvas.image[y : y + h, x : x + w]
            canvas.image[y : y + h, x : x + w] = under + (cut.astype(np.float32) - under) * mask[..., None]
            at = np.float32([x, y, x, y])
            canvas.add((inside + at)[None].astype(np.float32), np.zeros((0, 4), np.float32), 0, 0, n, n)

    # Pictures

    def whole(self, n):
        """A photo as the network will get it: scaled to fit, grey around it."""
        rng = self.rng
        r = rng.random()
        if r < 0.45:
            i = self.one_of("det_facemask")
        elif r < 0.75:
            i = self.one_of("det_fddb_sy32")
        else:
            i = self.portrait(0.5 * n)[0]
        item = self.photos.index[i]
        image = self.dressed(i, int(rng.integers(len(item["boxes"]))), 0.15) if len(item["boxes"]) else self.photos.image(i)
        canvas = Canvas(np.full((n, n, 3), GREY, np.uint8))
        fit = n / max(item["w"], item["h"]) * (1.0 if rng.random() < 0.5 else log_uniform(rng, 0.35, 1.0))
        w, h = min(n, round(item["w"] * fit)), min(n, round(item["h"] * fit))
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if fit < 1 else cv2.INTER_LINEAR)
        boxes, ignore = item["boxes"] * fit, item["ignore"] * fit
        if rng.random() < 0.5:
            image = image[:, ::-1]
            back = lambda b: b[:, [2, 1, 0, 3]] * np.float32([-1, 1, -1, 1]) + np.float32([w, 0, w, 0])
            boxes, ignore = back(boxes), back(ignore)
        x, y = (n - w) // 2, (n - h) // 2
        canvas.image[y : y + h, x : x + w] = image
        at = np.float32([x, y, x, y])
        canvas.add(boxes + at, ignore + at, x, y, x + w, y + h)
        return canvas

    def picture(self, n, done):
        rng = self.rng
        r = rng.random()
        steps = KINDS[done >= LATE_FROM, n >= BIG_FROM]
        blank = lambda: Canvas(np.full((n, n, 3), GREY, np.uint8))
        if r < steps[0]:
            canvas = self.whole(n)
        elif r < steps[1]:
            canvas = blank()
            self.fill(canvas, (0, 0, n, n), self.kind())
        elif r < steps[2]:
            canvas = blank()
            for rect in self.split((0, 0, n, n), int(rng.integers(n // 5, n // 2 + 1))):
                self.fill(canvas, rect, self.kind())
        elif r < steps[3]:
            canvas = blank()
            k = int(rng.integers(3, 9))
            edges = np.linspace(0, n, k + 1).astype(int)
            for a in range(k):
                for b in range(k):
                    if rng.random() < 0.85:
                        self.fill(canvas, (edges[b], edges[a], edges[b + 1], edges[a + 1]), "portrait")
        elif r < steps[4]:
            canvas = Canvas(self.faceless(n, n)) if rng.random() < 0.4 else blank()
            if rng.random() < 0.6:
                self.fill(canvas, (0, 0, n, n), self.kind())
            self.paste(canvas, int(rng.integers(1, 13)))
        else:
            canvas = Canvas(self.faceless(n, n) if rng.random() < 0.6 else texture(rng, n, n))
        if len(canvas.boxes) > MOST:
            order = rng.permutation(len(canvas.boxes))
            canvas.ignore = np.concatenate([canvas.ignore, canvas.boxes[order[MOST:]]])
            canvas.boxes = canvas.boxes[order[:MOST]]
        canvas.image = self.light(canvas.image)
        return canvas

    def light(self, image):
        """Colour, blur, noise, compression."""
        rng = self.rng
        if rng.random() < 0.8:
            gamma = math.exp(rng.normal(0, 0.25))
            contrast, bright = math.exp(rng.normal(0, 0.2)), rng.normal(0, 16)
            tint = np.exp(rng.normal(0, 0.07, 3)) if rng.random() < 0.5 else np.ones(3)
            steps = np.arange(256) / 255.0
            table = 255 * steps[:, None] ** gamma * tint
            table = np.clip((table - 128) * contrast + 128 + bright, 0, 255).astype(np.uint8)
            image = cv2.LUT(image, table.reshape(1, 256, 3))
        r = rng.random()
        if r < 0.08:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        elif r < 0.35:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            s = rng.uniform(0.3, 1.6)
            image = cv2.addWeighted(image, s, grey, 1 - s, 0)
        r = rng.random()
        if r < 0.12:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
        elif r < 0.16:
            k = int(rng.integers(3, 8))
            kernel = np.zeros((k, k), np.float32)
            cv2.line(kernel, (0, int(rng.integers(0, k))), (k - 1, int(rng.integers(0, k))), 1.0)
            image = cv2.filter2D(image, -1, kernel / kernel.sum())
        elif r < 0.24:
            n = image.shape[0]
            m = int(n * rng.uniform(0.4, 0.8))
            image = cv2.resize(cv2.resize(image, (m, m), interpolation=cv2.INTER_AREA), (n, n), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.12:
            noise = np.empty(image.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(1 << 30)))
            cv2.randn(noise, 0, float(rng.uniform(2, 14)))
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        if rng.random() < 0.25:
            image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])[1], 1)
        return image

    def batch(self, n, count, done=1.0):
        """RGB bytes `[count, n, n, 3]`, and boxes and areas to ignore of each picture."""
        made = [self.picture(n, done) for _ in range(count)]
        images = np.stack([c.image for c in made])[..., ::-1]
        return np.ascontiguousarray(images), [c.boxes for c in made], [c.ignore for c in made]


if __name__ == "__main__":
    # A look at the pictures: python samples.py CACHE OUT.jpg [SIZE]
    import sys
    import time

    cv2.setNumThreads(0)
    composer = Composer(Photos(sys.argv[1]), 1)
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 320
    start = time.time()
    images, boxes, ignore = composer.batch(n, 24)
    print(f"{(time.time() - start) / 24 * 1000:.1f} ms a picture,", sum(map(len, boxes)), "boxes")
    images = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    for image, b, g in zip(images, boxes, ignore):
        for x1, y1, x2, y2 in b.astype(int).tolist():
            cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 1)
        for x1, y1, x2, y2 in g.astype(int).tolist():
            cv2.rectangle(image, (x1, y1), (x2, y2), (0, 0, 255), 1)
    rows = [np.concatenate(images[i : i + 6], 1) for i in range(0, 24, 6)]
    cv2.imwrite(sys.argv[2], np.concatenate(rows, 0))

"""Training targets and losses of YOLOv10: https://arxiv.org/abs/2405.14458, section 3.1.

Both heads choose their anchors with the same measure, score^0.5 x IoU^6 (consistent matching); the one-to-many head takes
the ten best for a face, the one-to-one head the best. Boxes: complete IoU (https://arxiv.org/abs/1911.08287) and
distribution focal loss (https://arxiv.org/abs/2006.04388). Assignment as in TOOD, https://arxiv.org/abs/2108.07755.
"""

import math

import torch
from torch.nn import functional as F

STRIDES = (8, 16, 32)
BINS = 16
ALPHA, BETA = 0.5, 6.0
BOX, CLASS, DISTRIBUTION = 7.5, 0.5, 1.5
REACH = 10.0
"""Faces are taken to be at least this wide and high when anchors inside of them are sought: cells are 8 pixels."""


def anchors(n):
    """Centres in pixels `[a, 2]` and strides `[a]` of a picture `n` pixels wide and high."""
    points, strides = [], []
    for s in STRIDES:
        at = (torch.arange(n // s) + 0.5) * s
        y, x = torch.meshgrid(at, at, indexing="ij")
        points.append(torch.stack([x, y], 2).view(-1, 2))
        strides.append(torch.full((len(points[-1]),), float(s)))
    return torch.cat(points), torch.cat(strides)


def ciou(a, b):
    """Complete IoU of corners `[..., 4]`, and IoU."""
    wa, ha = (a[..., 2] - a[..., 0]).clamp(min=1e-3), (a[..., 3] - a[..., 1]).clamp(min=1e-3)
    wb, hb = (b[..., 2] - b[..., 0]).clamp(min=1e-3), (b[..., 3] - b[..., 1]).clamp(min=1e-3)
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    iou = inter / (wa * ha + wb * hb - inter)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    diagonal = hull.square().sum(-1) + 1e-6
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    v = 4 / math.pi**2 * (torch.atan(wb / hb) - torch.atan(wa / ha)).square()
    with torch.no_grad():
        weight = v / (v - iou + 1 + 1e-6)
    return iou - apart / diagonal - weight * v, iou


def flat(outputs):
    """Levels of `(distances [b, 64, h, w], score logits [b, 1, h, w])` to `[b, a, 64]` and `[b, a]`, in f32."""
    distances = torch.cat([d.flatten(2) for d, _ in outputs], 2).float().transpose(1, 2)
    logits = torch.cat([c.flatten(2) for _, c in outputs], 2).float()[:, 0]
    return distances, logits


def decode(distances, points, strides):
    """Corners in pixels `[b, a, 4]`."""
    bins = torch.arange(float(BINS))
    sides = distances.unflatten(2, (4, BINS)).softmax(3) @ bins * strides[:, None]
    return torch.cat([points - sides[..., :2], points + sides[..., 2:]], 2)


class Targets:
    """Faces of a batch: which anchors lie inside of which."""

    def __init__(self, boxes, ignore, n):
        self.points, self.strides = anchors(n)
        count = max(1, max(map(len, boxes)))
        self.boxes = torch.zeros(len(boxes), count, 4)
        for i, b in enumerate(boxes):
            self.boxes[i, : len(b)] = b
        centre, half = (self.boxes[..., :2] + self.boxes[..., 2:]) / 2, (self.boxes[..., 2:] - self.boxes[..., :2]) / 2
        real = half[..., 0] > 0
        half = half.clamp(min=REACH / 2)
        x, y = self.points.T
        inside = (x - centre[..., :1]).abs() < half[..., :1]
        inside &= (y - centre[..., 1:]).abs() < half[..., 1:]
        inside &= real[..., None]
        self.inside = inside  # [b, m, a]
        self.pairs = inside.nonzero(as_tuple=True)
        self.ignored = torch.zeros(len(boxes), len(self.points), dtype=torch.bool)
        for i, areas in enumerate(ignore):
            for x1, y1, x2, y2 in areas.tolist():
                self.ignored[i] |= (x > x1 - 2) & (x < x2 + 2) & (y > y1 - 2) & (y < y2 + 2)

    @torch.no_grad()
    def assign(self, scores, corners, top):
        """For every anchor the face it has to answer with, its target score, and whether it has one."""
        b, m, a = self.inside.shape
        image, face, anchor = self.pairs
        overlap = ciou(corners[image, anchor], self.boxes[image, face])[0].clamp(min=0)
        measure = scores[image, anchor].pow(ALPHA) * overlap.pow(BETA)
        dense = torch.full((b, m, a), -1.0)
        dense[self.pairs] = measure
        overlaps = torch.zeros(b, m, a)
        overlaps[self.pairs] = overlap
        value, index = dense.topk(min(top, a), 2)
        chosen = torch.zeros(b, m, a, dtype=torch.bool)
        chosen.scatter_(2, index, value >= 0)
        # An anchor that several faces want goes to the one which it covers best.
        wanted = chosen.sum(1, keepdim=True) > 1
        best = torch.zeros_like(chosen).scatter_(1, torch.where(chosen, overlaps, -1.0).argmax(1, keepdim=True), True)
        chosen &= ~wanted | best
        dense = dense.clamp(min=0) * chosen
        peak = dense.amax(2, keepdim=True)
        reach = (overlaps * chosen).amax(2, keepdim=True)
        target = (dense / (peak + 1e-12) * reach).amax(1)
        taken = chosen.any(1)
        return chosen.float().argmax(1), target * taken, taken


def head_loss(outputs, targets, top):
    """Sum of the three losses, and each of them for the log."""
    distances, logits = flat(outputs)
    corners = decode(distances, targets.points, targets.strides)
    face, score, taken = targets.assign(logits.detach().sigmoid(), corners.detach(), top)
    total = score.sum().clamp(min=1.0)
    weight = (taken | ~targets.ignored).float()
    classes = (F.binary_cross_entropy_with_logits(logits, score, reduction="none") * weight).sum() / total

    image, anchor = taken.nonzero(as_tuple=True)
    if not len(image):
        return CLASS * classes, (0.0, classes.item(), 0.0)
    wanted = targets.boxes[image, face[image, anchor]]
    share = score[image, anchor]
    boxes = ((1 - ciou(corners[image, anchor], wanted)[0]) * share).sum() / total

    points, strides = targets.points[anchor], targets.strides[anchor][:, None]
    sides = torch.cat([points - wanted[:, :2], wanted[:, 2:] - points], 1) / strides
    sides = sides.clamp(0, BINS - 1.01)
    low = sides.floor()
    rows = distances[image, anchor].unflatten(1, (4, BINS)).log_softmax(2)
    at = lambda bins: -rows.gather(2, bins.long()[..., None])[..., 0]
    spread = at(low) * (low + 1 - sides) + at(low + 1) * (sides - low)
    spread = (spread.mean(1) * share).sum() / total
    loss = BOX * boxes + CLASS * classes + DISTRIBUTION * spread
    return loss, (boxes.item(), classes.item(), spread.item())

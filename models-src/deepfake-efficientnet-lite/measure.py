"""How faces are judged: the squares that the network sees at a given size and compression, the area under the curve."""

import cv2
import numpy as np
import torch

import faces
from augment import jpeg
from network import INPUT_SIZE, to_tensor

PAIRS = {
    "hardfake StyleGAN2": "hardfake portraits",
    "StyleGAN2-tpdne": "FFHQ",
    "StyleGAN3": "FFHQ",
}
"""Generated source to the photographs it is held against."""
CHOSEN_BY = [(75, 1.0), (90, 0.75), (60, 0.5)]
"""JPEG quality and size of the validation pictures that training and the choice of runs go by."""


def judges(face):
    """Whether the areas under the curve are of this face's source."""
    return face.source in PAIRS or face.source in PAIRS.values()


def view(face, quality, size, image=None):
    """The square that the network sees once the photo was shrunk to `size` and compressed; both classes alike."""
    image = face.image if image is None else image
    box = face.box
    if size != 1:
        w, h = (max(8, round(n * size)) for n in (image.shape[1], image.shape[0]))
        image, box = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), box * size
    if quality:
        image = jpeg(image, quality, True)
    x, y, side = faces.square(box, image.shape[1], image.shape[0])
    return faces.resize(np.ascontiguousarray(image[y : y + side, x : x + side]), INPUT_SIZE)


@torch.inference_mode()
def logits(net, pictures, device="cpu", at_once=32):
    parts = [net(to_tensor(np.stack(pictures[i : i + at_once]), device)) for i in range(0, len(pictures), at_once)]
    return torch.cat(parts).double().cpu().numpy() if parts else np.zeros(0)


def auc(real, fake):
    """Chance that a generated face scores higher than a photograph."""
    ranks = np.argsort(np.argsort(np.concatenate([real, fake]), kind="stable"), kind="stable") + 1
    return (ranks[len(real) :].sum() - len(fake) * (len(fake) + 1) / 2) / (len(real) * len(fake))


class Validation:
    """The faces by which recipes and runs are chosen, and what they say of a network."""

    def __init__(self, pool):
        self.sources = np.array([f.source for f in pool])
        self.fake = np.array([bool(f.fake) for f in pool])
        self.cells = [[view(f, *cell) for f in pool] for cell in CHOSEN_BY]

    def measure(self, net, device):
        """Means over the cells: the area of all generated against all photographs, and that of each source's pair."""
        scores = np.stack([logits(net, pictures, device, 256) for pictures in self.cells])
        area = lambda real, fake: round(float(np.mean([auc(row[real], row[fake]) for row in scores])), 4)
        pairs = {f: (self.sources == r, self.sources == f) for f, r in PAIRS.items()}
        return area(~self.fake, self.fake), {f: area(r, g) for f, (r, g) in pairs.items() if r.any() and g.any()}

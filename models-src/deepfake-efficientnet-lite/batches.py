"""Batches: which faces, how they are changed, and the processes that make them.

A batch depends on the seed and on its number alone: the same for any count of workers, and a run that goes on after a
stop sees new ones.
"""

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from augment import augment
from blend import self_blend

PAIRED = {"FFHQ", "hardfake portraits"}
"""Photographs that are of one kind with the generated pictures."""
MADE_AHEAD = 4
"""Batches a worker."""


class Batches(Dataset):
    """By number: bytes `[n, 160, 160, 3]` and classes `[n]`, half fakes, a quarter of them self-blended photographs."""

    def __init__(self, pool, size, seed):
        by = lambda keep: [[f for f in pool if f.source == s] for s in sorted({f.source for f in pool if keep(f)})]
        self.generated = by(lambda f: f.fake)
        self.paired = by(lambda f: not f.fake and f.source in PAIRED)
        self.others = by(lambda f: not f.fake and f.source not in PAIRED)
        self.size, self.seed = size, seed

    def __getitem__(self, number):
        rng = np.random.default_rng([self.seed, number])
        pictures, labels = zip(*(self.draw(rng) for _ in range(self.size)))
        return np.stack(pictures), np.array(labels, np.float32)

    def draw(self, rng):
        """A picture of 160 x 160 and its class."""
        choice = rng.random()
        if choice < 0.38:
            face, blend = pick(self.generated, rng), False
        elif choice < 0.50:
            face, blend = pick(self.paired + self.others, rng), True
        elif choice < 0.80 and self.paired:
            face, blend = pick(self.paired, rng), False
        else:
            face, blend = pick(self.others, rng), False
        image = self_blend(face.image, face.points, rng) if blend else face.image
        return augment(image, face.box, rng), float(face.fake or blend)


def pick(sources, rng):
    """Larger sources more often, but by the square root: none drowns the others."""
    share = np.sqrt([len(s) for s in sources])
    source = sources[rng.choice(len(sources), p=share / share.sum())]
    return source[rng.integers(len(source))]


def stream(batches, numbers, workers):
    """The batches of `numbers` in order. An error in a worker is raised here; the workers end with the stream."""
    settings = {}
    if workers:
        # Forked, so that all share the pool. Plain arrays through a pipe: shared memory is small in many containers.
        settings = {"multiprocessing_context": "fork", "prefetch_factor": MADE_AHEAD, "worker_init_fn": one_thread}
    return iter(DataLoader(batches, None, sampler=numbers, num_workers=workers, collate_fn=as_is, **settings))


def as_is(batch):
    return batch


def one_thread(_):
    cv2.setNumThreads(1)


def mix(xs, labels, rng):
    """Every picture with another of its batch: their mean by a share, or a rectangle of the other (mixup, CutMix).

    Zhang et al. 2018, <https://arxiv.org/abs/1710.09412>; Yun et al. 2019, <https://arxiv.org/abs/1905.04899>.
    """
    order = torch.from_numpy(rng.permutation(len(xs))).to(xs.device)
    if rng.random() < 0.5:
        kept = rng.beta(0.4, 0.4)
        mixed = xs * kept + xs[order] * (1 - kept)
    else:
        side = xs.shape[2]
        scale, tall = np.sqrt(rng.uniform(0, 0.5)), np.exp(rng.uniform(-0.3, 0.3))
        h, w = (max(1, int(side * v)) for v in (scale * tall, scale / tall))
        y, x = int(rng.integers(side - h)), int(rng.integers(side - w))
        mixed = xs.clone()
        mixed[:, :, y : y + h, x : x + w] = xs[order, :, y : y + h, x : x + w]
        kept = 1 - h * w / side**2
    return mixed, labels * kept + labels[order] * (1 - kept)

"""Batches: which faces, how they are changed, and the processes that make them.

A batch depends on the seed and on its number alone: the same for any count of workers, and a run that goes on after a
stop sees new ones.
"""

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from augment import augment
from blend import self_blend

PAIRED = {"FFHQ", "hardfake portraits"}
"""Photographs that are of one kind with the generated pictures."""
MADE_AHEAD = 4
"""Batches a worker."""


class Batches(Dataset):
    """By number: bytes `[n, 160, 160, 3]` and classes `[n]`, half fakes, a quarter of them self-blended photographs."""

    def __init__(self, pool, size, seed, strong=False):
        by = lambda keep: [[f for f in pool if f.source == s] for s in sorted({f.source for f in pool if keep(f)})]
        self.generated = by(lambda f: f.fake)
        self.paired = by(lambda f: not f.fake and f.source in PAIRED)
        self.others = by(lambda f: not f.fake and f.source not in PAIRED)
        self.size, self.seed, self.strong = size, seed, strong

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
        return augment(image, face.box, rng, self.strong), float(face.fake or blend)


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

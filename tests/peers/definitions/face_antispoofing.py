"""Deep tree network against spoofed faces, https://arxiv.org/abs/1904.02860."""

import torch
from torch import nn
from torch.nn import functional as F

from .layers import SameConv2d

NODES, LEAVES, CHANNELS, LEAK = 7, 8, 32, 0.2


def leaky(xs):
    return F.leaky_relu(xs, LEAK)


class Unit(nn.Module):
    """Two residual pairs of convolutions, then max pooling."""

    def __init__(self):
        super().__init__()
        self.conv = nn.ModuleList(SameConv2d(CHANNELS, CHANNELS, 3) for _ in range(4))

    def forward(self, xs):
        for first, second in ((self.conv[0], self.conv[1]), (self.conv[2], self.conv[3])):
            xs = leaky(second(leaky(first(xs))) + xs)
        return F.max_pool2d(xs, 3, 2, ceil_mode=True)


class Routing(nn.Module):
    """`[n, 32, h, w] -> [n, 1]`: which child is next."""

    def __init__(self, steps):
        super().__init__()
        self.downsample = nn.ModuleList(SameConv2d(CHANNELS, CHANNELS, 3, 2) for _ in range(steps))
        self.mean = nn.Parameter(torch.zeros(8 * 8 * CHANNELS))
        self.direction = nn.Parameter(torch.zeros(8 * 8 * CHANNELS))

    def forward(self, xs):
        for conv in self.downsample:
            xs = leaky(conv(xs))
        xs = F.avg_pool2d(xs, 3, 2, ceil_mode=True, count_include_pad=False)
        xs = xs.permute(0, 2, 3, 1).flatten(1)  # channels last as in the weights
        return (xs - self.mean) @ self.direction.unsqueeze(1)


class Leaf(nn.Module):
    """`[n, 32, 32, 32] -> [n, 1]`"""

    def __init__(self):
        super().__init__()
        steps = [SameConv2d(32, 32, 3, 2), SameConv2d(32, 32, 3, 2), SameConv2d(32, 64, 3, 2), nn.Conv2d(64, 128, 4)]
        self.downsample = nn.ModuleList(steps)
        self.dense = nn.ModuleList([nn.Linear(128, 256), nn.Linear(256, 1, bias=False)])

    def forward(self, xs):
        for conv in self.downsample:
            xs = leaky(conv(xs))
        return self.dense[1](leaky(self.dense[0](xs.flatten(1))))


class FaceAntiSpoofing(nn.Module):
    """`[n, 3, 256, 256]` to the scores of the leaves and the mask of the leaf reached, `[n, 8]` each."""

    def __init__(self):
        super().__init__()
        self.conv = SameConv2d(3, CHANNELS, 5)
        self.cru = nn.ModuleList(Unit() for _ in range(NODES))
        self.tru = nn.ModuleList(Routing(3 - (i + 1).bit_length() + 1) for i in range(NODES))
        self.sfl = nn.ModuleList(Leaf() for _ in range(LEAVES))

    def forward(self, xs):
        nodes = [leaky(self.conv(xs))]
        for i, unit in enumerate(self.cru):
            nodes.append(unit(nodes[0 if i == 0 else (i - 1) // 2 + 1]))
        nodes = nodes[1:]
        scores = torch.cat([leaf(nodes[(NODES + i - 1) // 2]) for i, leaf in enumerate(self.sfl)], 1)
        first = [(tru(xs) >= 0).float() for tru, xs in zip(self.tru, nodes)]
        mask = []
        for leaf in range(LEAVES):
            node, reached = NODES + leaf, None
            while node > 0:
                parent = (node - 1) // 2
                taken = first[parent] if node == 2 * parent + 1 else 1 - first[parent]
                reached = taken if reached is None else reached * taken
                node = parent
            mask.append(reached)
        return scores, torch.cat(mask, 1)

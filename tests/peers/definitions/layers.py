"""Layers that several networks share."""

import torch
from torch import nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """TensorFlow's `SAME` padding: the odd row or column goes below or after."""

    def forward(self, xs):
        stride = self.stride[0]
        pad = lambda n, k: max((-(-n // stride) - 1) * stride + k - n, 0)
        # As plain numbers, so that an exported graph holds them and computes none.
        v, h = (pad(int(n), k) for n, k in zip(xs.shape[2:], self.kernel_size))
        if v % 2 == 0 and h % 2 == 0:
            return F.conv2d(xs, self.weight, self.bias, stride, (v // 2, h // 2), 1, self.groups)
        xs = F.pad(xs, (h // 2, h - h // 2, v // 2, v - v // 2))
        return F.conv2d(xs, self.weight, self.bias, stride, 0, 1, self.groups)


class Affine(nn.Module):
    """A batch norm of which a factor and a shift are left."""

    def __init__(self, channels, factor, shift):
        super().__init__()
        self.names = (factor, shift)
        for name in self.names:
            self.register_parameter(name, nn.Parameter(torch.zeros(channels)))

    def forward(self, xs):
        factor, shift = (getattr(self, name).view(1, -1, 1, 1) for name in self.names)
        return xs * factor + shift

"""MobileFaceNet, https://arxiv.org/abs/1804.07573, batch norms folded."""

import torch
from torch import nn
from torch.nn import functional as F

from .layers import SameConv2d

BOTTLENECKS = [(128, 64, 5, 2), (256, 128, 1, 2), (256, 128, 6, 1), (512, 128, 1, 2), (256, 128, 2, 1)]
"""Channels inside, channels out, how many, stride of the first."""


class ConvPRelu(SameConv2d):
    """The weights hold half of the slopes, as the source writes the rectifier."""

    def __init__(self, c_in, c_out, kernel, stride=1, groups=1):
        super().__init__(c_in, c_out, kernel, stride, groups=groups)
        self.half_slope = nn.Parameter(torch.zeros(c_out))

    def forward(self, xs):
        return F.prelu(super().forward(xs), self.half_slope)

    def double(self):
        self.half_slope.data *= 2


class Bottleneck(nn.Module):
    def __init__(self, c_in, c_inside, c_out, stride):
        super().__init__()
        self.expand = ConvPRelu(c_in, c_inside, 1)
        self.depthwise = ConvPRelu(c_inside, c_inside, 3, stride, c_inside)
        self.project = nn.Conv2d(c_inside, c_out, 1)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, xs):
        ys = self.project(self.depthwise(self.expand(xs)))
        return xs + ys if self.residual else ys


class Global(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(512, 512, 7, groups=512)
        self.pointwise = nn.Conv2d(512, 512, 1)

    def forward(self, xs):
        return self.pointwise(self.depthwise(xs))


class MobileFaceNet(nn.Module):
    """`[n, 3, 112, 112] -> [n, 192]`"""

    def __init__(self):
        super().__init__()
        self.conv1 = ConvPRelu(3, 64, 3, 2)
        self.depthwise2 = ConvPRelu(64, 64, 3, 1, 64)
        self.pointwise2 = nn.Conv2d(64, 64, 1)
        blocks, channels = [], 64
        for inside, c_out, count, stride in BOTTLENECKS:
            for i in range(count):
                blocks.append(Bottleneck(channels, inside, c_out, stride if i == 0 else 1))
                channels = c_out
        self.bottlenecks = nn.ModuleList(blocks)
        self.conv_last = ConvPRelu(channels, 512, 1)
        self.add_module("global", Global())
        self.linear = nn.Conv2d(512, 192, 1)

    def finish(self):
        for module in self.modules():
            if isinstance(module, ConvPRelu):
                module.double()

    def forward(self, xs):
        xs = self.pointwise2(self.depthwise2(self.conv1(xs)))
        for block in self.bottlenecks:
            xs = block(xs)
        return self.linear(getattr(self, "global")(self.conv_last(xs))).flatten(1)

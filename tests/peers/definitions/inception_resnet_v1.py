"""Inception-ResNet v1, https://arxiv.org/abs/1602.07261, in FaceNet's public training."""

import torch
from torch import nn
from torch.nn import functional as F


class BasicConv2d(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, xs):
        return F.relu(self.bn(self.conv(xs)))


class Branches(nn.Module):
    def branches(self, *branches):
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch[0] if len(branch) == 1 else nn.Sequential(*branch))
        self.count = len(branches)

    def side_by_side(self, xs):
        return [getattr(self, f"branch{i}")(xs) for i in range(self.count)]


class Block(Branches):
    """Residual unit; `channels` inside of all branches and outside."""

    def __init__(self, channels, scale, relu, *branches):
        super().__init__()
        self.branches(*branches)
        self.conv2d = nn.Conv2d(*channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, xs):
        xs = self.conv2d(torch.cat(self.side_by_side(xs), 1)) * self.scale + xs
        return F.relu(xs) if self.relu else xs


class Reduction(Branches):
    def __init__(self, *branches):
        super().__init__()
        self.branches(*branches)

    def forward(self, xs):
        return torch.cat([*self.side_by_side(xs), F.max_pool2d(xs, 3, 2)], 1)


def block35():
    conv = BasicConv2d
    return Block(
        (96, 256), 0.17, True,
        [conv(256, 32, 1)],
        [conv(256, 32, 1), conv(32, 32, 3, padding=1)],
        [conv(256, 32, 1), conv(32, 32, 3, padding=1), conv(32, 32, 3, padding=1)],
    )  # fmt: skip


def line(c, length):
    """A row of weights, then a column of them."""
    pad = length // 2
    return [BasicConv2d(c, c, (1, length), padding=(0, pad)), BasicConv2d(c, c, (length, 1), padding=(pad, 0))]


def block17():
    conv = BasicConv2d
    return Block((256, 896), 0.10, True, [conv(896, 128, 1)], [conv(896, 128, 1), *line(128, 7)])


def block8(scale, relu):
    conv = BasicConv2d
    return Block((384, 1792), scale, relu, [conv(1792, 192, 1)], [conv(1792, 192, 1), *line(192, 3)])


class InceptionResNetV1(nn.Module):
    """`[n, 3, 160, 160] -> [n, 512]`, each row of length 1."""

    def __init__(self):
        super().__init__()
        conv = BasicConv2d
        self.conv2d_1a = conv(3, 32, 3, 2)
        self.conv2d_2a = conv(32, 32, 3)
        self.conv2d_2b = conv(32, 64, 3, padding=1)
        self.conv2d_3b = conv(64, 80, 1)
        self.conv2d_4a = conv(80, 192, 3)
        self.conv2d_4b = conv(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            [conv(256, 384, 3, 2)], [conv(256, 192, 1), conv(192, 192, 3, padding=1), conv(192, 256, 3, 2)]
        )
        self.repeat_2 = nn.Sequential(*(block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            [conv(896, 256, 1), conv(256, 384, 3, 2)],
            [conv(896, 256, 1), conv(256, 256, 3, 2)],
            [conv(896, 256, 1), conv(256, 256, 3, padding=1), conv(256, 256, 3, 2)],
        )
        self.repeat_3 = nn.Sequential(*(block8(0.20, True) for _ in range(5)))
        self.block8 = block8(1.0, False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=1e-3)

    def forward(self, xs):
        xs = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(xs)))
        xs = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(F.max_pool2d(xs, 3, 2))))
        xs = self.repeat_2(self.mixed_6a(self.repeat_1(xs)))
        xs = self.block8(self.repeat_3(self.mixed_7a(xs)))
        return F.normalize(self.last_bn(self.last_linear(xs.mean((2, 3)))))

"""dlib's face recognition network, a ResNet-34 with fewer filters and layers; its `affine` layers are kept apart."""

from torch import nn
from torch.nn import functional as F

from .layers import Affine

STAGES = [(32, 3), (64, 3), (128, 2), (256, 2)]
"""Channels, and units that keep the extent."""


class ConvScale(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride, padding):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding)
        self.scale = Affine(c_out, "weight", "bias")

    def finish(self):
        weight, bias = self.scale.weight.data, self.scale.bias.data
        self.conv.weight.data *= weight.view(-1, 1, 1, 1)
        self.conv.bias.data = self.conv.bias.data * weight + bias
        self.scale = nn.Identity()

    def forward(self, xs):
        return self.scale(self.conv(xs))


class Residual(nn.Module):
    def __init__(self, c_in, c_out, down):
        super().__init__()
        self.conv1 = ConvScale(c_in, c_out, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = ConvScale(c_out, c_out, 3, 1, 1)
        self.down = down

    def forward(self, xs):
        ys = self.conv2(F.relu(self.conv1(xs)))
        if not self.down:
            return F.relu(ys + xs)
        # Branch and shortcut can differ by a row, a column and in channels: zeros fill what is missing.
        xs = F.avg_pool2d(xs, 2)
        rows, columns, channels = (int(xs.shape[axis]) - int(ys.shape[axis]) for axis in (2, 3, 1))
        if rows or columns:
            ys = F.pad(ys, (0, columns, 0, rows))
        if channels:
            xs = F.pad(xs, (0, 0, 0, 0, 0, -channels))
        return F.relu(ys + xs)


class DlibResNet(nn.Module):
    """`[n, 3, 150, 150] -> [n, 128]`"""

    def __init__(self):
        super().__init__()
        self.conv32_down = ConvScale(3, 32, 7, 2, 0)
        self.order, c_in = [], 32
        for channels, count in STAGES:
            if channels != c_in:
                self.unit(f"conv{channels}_down", c_in, channels, True)
            for i in range(1, count + 1):
                self.unit(f"conv{channels}_{i}", channels, channels, False)
            c_in = channels
        self.unit("conv256_down_out", 256, 256, True)
        self.fc = nn.Linear(256, 128, bias=False)

    def unit(self, name, c_in, c_out, down):
        self.add_module(name, Residual(c_in, c_out, down))
        self.order.append(name)

    def finish(self):
        for module in self.modules():
            if isinstance(module, ConvScale):
                module.finish()

    def forward(self, xs):
        xs = F.max_pool2d(F.relu(self.conv32_down(xs)), 3, 2)
        for name in self.order:
            xs = getattr(self, name)(xs)
        return self.fc(xs.mean((2, 3)))

"""MiniFASNet: MobileFaceNet, https://arxiv.org/abs/1804.07573, pruned channel by channel."""

from torch import nn

DOWN = (103, 231, 308)
V1 = ((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26))
V2 = ((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26))
CHANNELS = (32, 64, 128, 128)


class ConvBn(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, stride=1, groups=1, padding=None, prelu=True):
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        if prelu:
            self.prelu = nn.PReLU(c_out)

    def forward(self, xs):
        xs = self.bn(self.conv(xs))
        return self.prelu(xs) if hasattr(self, "prelu") else xs


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        inside = channels // 4
        self.fc1, self.bn1 = nn.Conv2d(channels, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.fc2, self.bn2 = nn.Conv2d(inside, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, xs):
        ys = xs.mean((2, 3), keepdim=True)
        return xs * self.bn2(self.fc2(self.bn1(self.fc1(ys)).relu())).sigmoid()


class Block(nn.Module):
    def __init__(self, c_in, inside, c_out, stride, squeeze=False):
        super().__init__()
        self.conv = ConvBn(c_in, inside)
        self.conv_dw = ConvBn(inside, inside, 3, stride, inside)
        self.project = ConvBn(inside, c_out, prelu=False)
        if squeeze:
            self.se_module = SqueezeExcite(c_out)
        self.residual = stride == 1

    def forward(self, xs):
        ys = self.project(self.conv_dw(self.conv(xs)))
        if hasattr(self, "se_module"):
            ys = self.se_module(ys)
        return xs + ys if self.residual else ys


class Row(nn.Module):
    def __init__(self, channels, widths, squeeze):
        super().__init__()
        last = len(widths) - 1
        self.model = nn.Sequential(
            *(Block(channels, width, channels, 1, squeeze and i == last) for i, width in enumerate(widths))
        )

    def forward(self, xs):
        return self.model(xs)


class MiniFasNet(nn.Module):
    """`[n, 3, s, s] -> [n, 3]`, logits; `kernel` is the side of the last map."""

    def __init__(self, widths, kernel, squeeze):
        super().__init__()
        self.conv1 = ConvBn(3, 32, 3, 2)
        self.conv2_dw = ConvBn(32, 32, 3, groups=32)
        for i, (down, row) in enumerate((("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))):
            self.add_module(down, Block(CHANNELS[i], DOWN[i], CHANNELS[i + 1], 2))
            self.add_module(row, Row(CHANNELS[i + 1], widths[i], squeeze))
        self.conv_6_sep = ConvBn(128, 512)
        self.conv_6_dw = ConvBn(512, 512, kernel, groups=512, padding=0, prelu=False)
        self.linear = nn.Linear(512, 128, bias=False)
        self.bn = nn.BatchNorm1d(128)
        self.prob = nn.Linear(128, 3, bias=False)

    def forward(self, xs):
        xs = self.conv2_dw(self.conv1(xs))
        xs = self.conv_3(self.conv_23(xs))
        xs = self.conv_4(self.conv_34(xs))
        xs = self.conv_5(self.conv_45(xs))
        return self.prob(self.bn(self.linear(self.conv_6_dw(self.conv_6_sep(xs)).flatten(1))))

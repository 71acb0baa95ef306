"""MobileNetV3-Large, https://arxiv.org/abs/1905.02244, with the anti-spoofing head of MN3."""

from torch import nn

R, H = nn.ReLU, nn.Hardswish
ROWS = [
    (3, 1.0, 16, False, R, 1), (3, 4.0, 24, False, R, 2), (3, 3.0, 24, False, R, 1), (5, 3.0, 40, True, R, 2),
    (5, 3.0, 40, True, R, 1), (5, 3.0, 40, True, R, 1), (3, 6.0, 80, False, H, 2), (3, 2.5, 80, False, H, 1),
    (3, 2.3, 80, False, H, 1), (3, 2.3, 80, False, H, 1), (3, 6.0, 112, True, H, 1), (3, 6.0, 112, True, H, 1),
    (5, 6.0, 160, True, H, 2), (5, 6.0, 160, True, H, 1), (5, 6.0, 160, True, H, 1),
]  # fmt: skip
"""The paper's table 1: kernel, widening, channels out, squeeze-and-excite, rectifier, stride."""


def make_divisible(channels):
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class SELayer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        inside = make_divisible(channels // 4)
        self.fc = nn.Sequential(
            nn.Linear(channels, inside), nn.ReLU(), nn.Linear(inside, channels), nn.Hardsigmoid()
        )

    def forward(self, xs):
        factors = self.fc(xs.mean((2, 3)))
        return xs * factors.unsqueeze(2).unsqueeze(3)


class InvertedResidual(nn.Module):
    def __init__(self, c_in, kernel, widening, c_out, se, rectifier, stride):
        super().__init__()
        inside = make_divisible(c_in * widening)
        squeeze = SELayer(inside) if se else nn.Identity()
        depthwise = nn.Conv2d(inside, inside, kernel, stride, kernel // 2, groups=inside, bias=False)
        project = [nn.Conv2d(inside, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        if inside == c_in:
            layers = [depthwise, nn.BatchNorm2d(inside), rectifier(), squeeze, *project]
        else:
            expand = [nn.Conv2d(c_in, inside, 1, bias=False), nn.BatchNorm2d(inside), rectifier()]
            layers = [*expand, depthwise, nn.BatchNorm2d(inside), squeeze, rectifier(), *project]
        self.conv = nn.Sequential(*layers)
        self.identity = stride == 1 and c_in == c_out

    def forward(self, xs):
        return xs + self.conv(xs) if self.identity else self.conv(xs)


class Mn3(nn.Module):
    """`[n, 3, 128, 128]` to the probabilities of real and spoof, `[n, 2]`."""

    def __init__(self):
        super().__init__()
        features = [nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())]
        channels = 16
        for row in ROWS:
            features.append(InvertedResidual(channels, *row))
            channels = row[2]
        self.features = nn.Sequential(*features)
        self.conv_last = nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.Hardswish())
        self.spoofer = nn.Sequential(nn.Identity(), nn.BatchNorm1d(1280), nn.Hardswish(), nn.Linear(1280, 2))

    def forward(self, xs):
        return self.spoofer(self.conv_last(self.features(xs)).mean((2, 3))).softmax(1)

"""IResNet of ArcFace, https://arxiv.org/abs/1801.07698, and AdaFace's IR-101, https://arxiv.org/abs/2204.00964."""

from torch import nn

UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
CHANNELS = (64, 128, 256, 512)


def units(depth):
    """Channels in and out and stride of every residual unit."""
    c_in = 64
    for c_out, count in zip(CHANNELS, UNITS[depth]):
        for i in range(count):
            yield c_in, c_out, 2 if i == 0 else 1
            c_in = c_out


class IBasicBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        else:
            self.downsample = nn.Identity()

    def forward(self, xs):
        ys = self.prelu(self.bn2(self.conv1(self.bn1(xs))))
        return self.bn3(self.conv2(ys)) + self.downsample(xs)


class IResNet(nn.Module):
    """`[n, 3, 112, 112] -> [n, 512]`"""

    def __init__(self, depth):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        blocks = iter([IBasicBlock(*unit) for unit in units(depth)])
        for i, count in enumerate(UNITS[depth]):
            self.add_module(f"layer{i + 1}", nn.Sequential(*(next(blocks) for _ in range(count))))
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, xs):
        xs = self.prelu(self.bn1(self.conv1(xs)))
        xs = self.layer4(self.layer3(self.layer2(self.layer1(xs))))
        return self.features(self.fc(self.bn2(xs).flatten(1)))


class AdaFaceUnit(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        if c_in == c_out:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, xs):
        return self.res_layer(xs) + self.shortcut_layer(xs)


class AdaFace(nn.Module):
    """`[n, 3, 112, 112] -> [n, 512]`"""

    def __init__(self):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential(*(AdaFaceUnit(*unit) for unit in units(100)))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Identity(),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, xs):
        return self.output_layer(self.body(self.input_layer(xs)))

"""The three networks of MTCNN, https://arxiv.org/abs/1604.02878."""

from torch import nn
from torch.nn import functional as F


class PNet(nn.Module):
    """`[n, 3, h, w]` to the box regression `[n, 4, ..]` and the probabilities of no face and face, `[n, 2, ..]`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, xs):
        xs = F.max_pool2d(self.prelu1(self.conv1(xs)), 2, 2, ceil_mode=True)
        xs = self.prelu3(self.conv3(self.prelu2(self.conv2(xs))))
        return self.conv4_2(xs), self.conv4_1(xs).softmax(1)


def columns_first(xs):
    """Column, row, channel: the order in which the dense layers were trained."""
    return xs.permute(0, 3, 2, 1).flatten(1)


class RNet(nn.Module):
    """`[n, 3, 24, 24]` to the box regression `[n, 4]` and the probabilities of no face and face, `[n, 2]`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, xs):
        xs = F.max_pool2d(self.prelu1(self.conv1(xs)), 3, 2, ceil_mode=True)
        xs = F.max_pool2d(self.prelu2(self.conv2(xs)), 3, 2, ceil_mode=True)
        xs = self.prelu4(self.dense4(columns_first(self.prelu3(self.conv3(xs)))))
        return self.dense5_2(xs), self.dense5_1(xs).softmax(1)


class ONet(nn.Module):
    """`[n, 3, 48, 48]` to the box regression `[n, 4]`, the landmarks `[n, 10]` (five x, then five y) and the probabilities
    of no face and face, `[n, 2]`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, xs):
        xs = F.max_pool2d(self.prelu1(self.conv1(xs)), 3, 2, ceil_mode=True)
        xs = F.max_pool2d(self.prelu2(self.conv2(xs)), 3, 2, ceil_mode=True)
        xs = F.max_pool2d(self.prelu3(self.conv3(xs)), 2, 2, ceil_mode=True)
        xs = self.prelu5(self.dense5(columns_first(self.prelu4(self.conv4(xs)))))
        return self.dense6_2(xs), self.dense6_3(xs), self.dense6_1(xs).softmax(1)

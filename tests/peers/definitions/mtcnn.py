"""The first network of MTCNN, https://arxiv.org/abs/1604.02878."""

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

"""BlazeFace, https://arxiv.org/abs/1907.05047: MediaPipe's two graphs."""

import torch
from torch import nn
from torch.nn import functional as F

from .layers import SameConv2d

SHORT = dict(
    stem=(5, 24),
    stages=[
        [(24,), (28,)],
        [(32,), (36,), (42,)],
        [(48,), (56,), (64,), (72,), (80,), (88,)],
        [(96,)] * 5,
    ],
    pyramid=[],
    heads=[(8, 2), (16, 6)],
)
FULL = dict(
    stem=(3, 32),
    stages=[
        [(8, 32), (8, 32)],
        [(12, 48), (12, 48), (16, 64)],
        [(24, 96), (32, 128), (32, 128)],
        [(36, 144), (48, 192), (64, 256)],
        [(96, 384)] * 4,
    ],
    pyramid=[(96, [(48, 96)] * 2), (64, [(32, 64)] * 2), (48, [(24, 48)])],
    heads=[(4, 1)],
)


class Separable(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.depthwise = SameConv2d(c_in, c_in, 3, stride, groups=c_in)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)

    def forward(self, xs):
        return self.pointwise(self.depthwise(xs))


class Block(nn.Module):
    def __init__(self, c_in, channels, stride):
        super().__init__()
        convs, last = [], c_in
        for i, c_out in enumerate(channels):
            convs.append(Separable(last, c_out, stride if i == 0 else 1))
            last = c_out
        self.convs, self.stride, self.missing = nn.ModuleList(convs), stride, last - c_in

    def forward(self, xs):
        ys = xs
        for i, conv in enumerate(self.convs):
            ys = conv(F.relu(ys) if i > 0 else ys)
        if self.stride == 2:
            xs = F.max_pool2d(xs, 2)
        if self.missing:
            xs = F.pad(xs, (0, 0, 0, 0, 0, self.missing))
        return F.relu(ys + xs)


class Step(nn.Module):
    """Adds the coarser features, enlarged, to the finer ones."""

    def __init__(self, c_coarse, c_fine, channels, blocks):
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(c_coarse, channels, 1), nn.Conv2d(c_fine, channels, 1)
        self.blocks = nn.ModuleList(Block(channels, block, 1) for block in blocks)

    def forward(self, coarse, fine):
        coarse = F.interpolate(F.relu(self.coarse(coarse)), scale_factor=2, mode="bilinear", align_corners=False)
        xs = F.relu(self.fine(fine)) + coarse
        for block in self.blocks:
            xs = block(xs)
        return xs


class BlazeFace(nn.Module):
    """`[n, 3, s, s]` to the regressions `[n, a, 16]` and the logits `[n, a]`."""

    def __init__(self, config):
        super().__init__()
        kernel, channels = config["stem"]
        self.stem = SameConv2d(3, channels, kernel, 2)
        stages, widths = [], []
        for s, blocks in enumerate(config["stages"]):
            stage = []
            for b, block in enumerate(blocks):
                stage.append(Block(channels, block, 2 if s > 0 and b == 0 else 1))
                channels = block[-1]
            stages.append(nn.ModuleList(stage))
            widths.append(channels)
        self.stages = nn.ModuleList(stages)
        steps = []
        for (c_out, blocks), c_fine in zip(config["pyramid"], widths[-2::-1]):
            steps.append(Step(channels, c_fine, c_out, blocks))
            channels = c_out
        self.pyramid = nn.ModuleList(steps)
        self.heads = [stride for stride, _ in config["heads"]]
        for stride, anchors in config["heads"]:
            c_in = channels if steps else widths[stride.bit_length() - 2]
            self.add_module(f"classifier_{stride}", nn.Conv2d(c_in, anchors, 1))
            self.add_module(f"regressor_{stride}", nn.Conv2d(c_in, anchors * 16, 1))

    def forward(self, xs):
        xs = F.relu(self.stem(xs))
        levels = []
        for stage in self.stages:
            for block in stage:
                xs = block(xs)
            levels.append(xs)
        for step, fine in zip(self.pyramid, levels[-2::-1]):
            xs = step(xs, fine)
        regressors, logits = [], []
        for stride in self.heads:
            ys = xs if self.pyramid else levels[stride.bit_length() - 2]
            cells = lambda ys: ys.permute(0, 2, 3, 1).flatten(1)
            regressors.append(cells(getattr(self, f"regressor_{stride}")(ys)).unflatten(1, (-1, 16)))
            logits.append(cells(getattr(self, f"classifier_{stride}")(ys)))
        return torch.cat(regressors, 1), torch.cat(logits, 1)

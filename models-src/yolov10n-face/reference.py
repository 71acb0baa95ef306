"""Writes tests/golden/models/yolov10n-face.* with PyTorch and seeded weights.

    pip install torch numpy safetensors
    python models-src/yolov10n-face/reference.py

The network is written here from the paper, https://arxiv.org/abs/2405.14458 (figures 2 and 3, sections 3 and 4): the
public implementations are under the AGPL. Only the names of the weights are theirs. Written apart from
crates/models/src/yolov10.rs: nothing is folded or merged here, and boxes are decoded anchor by anchor.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile
import seeded

NAME = "yolov10n-face"
GAIN = 0.9
STEP = 97
SMALL = 128
"""Stages are compared at this size, since all layers slide; 640 is compared at the end alone."""


class Conv(nn.Module):
    def __init__(self, i, o, k=1, s=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(o, eps=1e-3)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c, shortcut):
        super().__init__()
        self.cv1, self.cv2, self.shortcut = Conv(c, c, 3), Conv(c, c, 3), shortcut

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class RepVGGDW(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = Conv(c, c, 7, groups=c, act=False)
        self.conv1 = Conv(c, c, 3, groups=c, act=False)

    def forward(self, x):
        return F.silu(self.conv(x) + self.conv1(x))


class CIB(nn.Module):
    def __init__(self, c, shortcut):
        super().__init__()
        self.cv1 = nn.Sequential(
            Conv(c, c, 3, groups=c), Conv(c, 2 * c), RepVGGDW(2 * c), Conv(2 * c, c), Conv(c, c, 3, groups=c)
        )
        self.shortcut = shortcut

    def forward(self, x):
        return x + self.cv1(x) if self.shortcut else self.cv1(x)


class C2f(nn.Module):
    def __init__(self, i, o, n, shortcut, block=Bottleneck):
        super().__init__()
        self.c = o // 2
        self.cv1, self.cv2 = Conv(i, o), Conv((2 + n) * self.c, o)
        self.m = nn.ModuleList(block(self.c, shortcut) for _ in range(n))

    def forward(self, x):
        kept, y = self.cv1(x).split(self.c, 1)
        parts = [kept, y]
        for block in self.m:
            y = block(y)
            parts.append(y)
        return self.cv2(torch.cat(parts, 1))


class SCDown(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.cv1, self.cv2 = Conv(i, o), Conv(o, o, 3, 2, groups=o, act=False)

    def forward(self, x):
        return self.cv2(self.cv1(x))


class SPPF(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2), Conv(2 * c, c)

    def forward(self, x):
        x = self.cv1(x)
        pools = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
        return self.cv2(torch.cat([x, *pools], 1))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c // 64
        self.qkv, self.proj = Conv(c, 2 * c, act=False), Conv(c, c, act=False)
        self.pe = Conv(c, c, 3, groups=c, act=False)

    def forward(self, x):
        n, c, h, w = x.shape
        parts, values = [], []
        for head in self.qkv(x).chunk(self.heads, 1):
            q, k, v = (t.flatten(2) for t in head.split([32, 32, 64], 1))
            weights = torch.einsum("ncq,nck->nqk", q, k).div(32**0.5).softmax(2)
            parts.append(torch.einsum("nck,nqk->ncq", v, weights))
            values.append(v)
        y, v = (torch.cat(t, 1).view(n, c, h, w) for t in (parts, values))
        return self.proj(y + self.pe(v))


class PSA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c // 2
        self.cv1, self.cv2, self.attn = Conv(c, c), Conv(c, c), Attention(self.c)
        self.ffn = nn.Sequential(Conv(self.c, c), Conv(c, self.c, act=False))

    def forward(self, x):
        kept, x = self.cv1(x).split(self.c, 1)
        x = x + self.attn(x)
        x = x + self.ffn(x)
        return self.cv2(torch.cat([kept, x], 1))


class DFL(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 1, 1, bias=False).requires_grad_(False)


class Detect(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        width = max(channels[0], min(classes, 100))
        box = lambda c: nn.Sequential(Conv(c, 64, 3), Conv(64, 64, 3), nn.Conv2d(64, 64, 1))
        cls = lambda c: nn.Sequential(
            nn.Sequential(Conv(c, c, 3, groups=c), Conv(c, width)),
            nn.Sequential(Conv(width, width, 3, groups=width), Conv(width, width)),
            nn.Conv2d(width, classes, 1),
        )
        self.cv2, self.cv3 = nn.ModuleList(map(box, channels)), nn.ModuleList(map(cls, channels))
        self.dfl = DFL()
        self.one2one_cv2, self.one2one_cv3 = nn.ModuleList(map(box, channels)), nn.ModuleList(map(cls, channels))

    def forward(self, levels):
        """Rows of left, top, right, bottom in pixels and the classes' scores: `[n, 4 + classes, anchors]`."""
        rows = []
        for x, stride, box, cls in zip(levels, (8, 16, 32), self.one2one_cv2, self.one2one_cv3):
            distances, scores = box(x), cls(x).sigmoid()
            bins = torch.arange(16.0).view(1, 16, 1, 1)
            left, top, right, bottom = ((d.softmax(1) * bins).sum(1) for d in distances.chunk(4, 1))
            cy, cx = torch.meshgrid(*(torch.arange(float(n)) + 0.5 for n in x.shape[2:]), indexing="ij")
            corners = torch.stack([cx - left, cy - top, cx + right, cy + bottom], 1) * stride
            rows.append(torch.cat([corners, scores], 1).flatten(2))
        return torch.cat(rows, 2)


class YOLOv10n(nn.Module):
    def __init__(self, classes):
        super().__init__()
        none = nn.Identity  # enlarging and concatenating have no weights, but have numbers
        self.model = nn.ModuleList([
            Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C2f(32, 32, 1, True),
            Conv(32, 64, 3, 2), C2f(64, 64, 2, True),
            SCDown(64, 128), C2f(128, 128, 2, True),
            SCDown(128, 256), C2f(256, 256, 1, True), SPPF(256), PSA(256),
            none(), none(), C2f(384, 128, 1, False),
            none(), none(), C2f(192, 64, 1, False),
            Conv(64, 64, 3, 2), none(), C2f(192, 128, 1, False),
            SCDown(128, 128), none(), C2f(384, 256, 1, True, CIB),
            Detect((64, 128, 256), classes),
        ])  # fmt: skip

    def pyramid(self, x):
        """Features at strides 8, 16 and 32, which the head reads."""
        m = self.model
        run = lambda x, first, last: nn.Sequential(*m[first : last + 1])(x)
        twice = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")
        p8 = run(x, 0, 4)
        p16 = run(p8, 5, 6)
        p32 = run(p16, 7, 10)
        up16 = m[13](torch.cat([twice(p32), p16], 1))
        n8 = m[16](torch.cat([twice(up16), p8], 1))
        n16 = m[19](torch.cat([m[17](n8), up16], 1))
        n32 = m[22](torch.cat([m[20](n16), p32], 1))
        return [n8, n16, n32]

    def forward(self, x):
        return self.model[23](self.pyramid(x))


def main():
    net = YOLOv10n(1)
    full_profile.fill(net, GAIN)
    m = net.model
    watched = {"backbone.0": m[4], "backbone.1": m[6], "backbone.2": m[10]}
    watched |= {"pyramid.0": m[16], "pyramid.1": m[19], "pyramid.2": m[22]}
    found = full_profile.watch(watched)
    small = full_profile.planes(full_profile.pictures(3, SMALL, 8)) / 255
    large = full_profile.planes(full_profile.pictures(1, 640, 32)) / 255
    with torch.no_grad():
        output = net(large)
        best = output[0, 4].argsort(descending=True)[:20]
        extra = {"large": output, "best": output[0, :, best].T.numpy()}
        output = net(small)
    print("best", extra["best"][:3].tolist())
    scores = output[:, 4]
    print("scores", scores.min().item(), scores.max().item(), "of 640:", extra["large"][0, 4].std().item())

    golden = {"best": extra["best"], "output": output.flatten(1).numpy()}
    for stage, y in (found | {"large": extra["large"]}).items():
        print(f"{stage:12} {str(tuple(y.shape)):22} std {y.std():8.4f} max {y.abs().max():8.4f}")
        seeded.sample(golden, f"stage.{stage}", y[:1], STEP)
    seeded.write_golden(NAME, golden, f"torch {torch.__version__} (cpu)", f"models-src/{NAME}/reference.py")
    seeded.write_keys(NAME, net.state_dict())
    parameters = lambda module: sum(p.numel() for p in module.parameters() if p.requires_grad)
    head = m[23]
    print(parameters(net), "parameters,", parameters(net) - parameters(head.cv2) - parameters(head.cv3), "at inference")


if __name__ == "__main__":
    main()

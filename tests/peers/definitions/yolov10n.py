"""YOLOv10n, https://arxiv.org/abs/2405.14458: the definition of models-src/yolov10n-face with batch norms folded."""

import torch
from torch import nn

import sources

STRIDES, BINS, SIDE = (8, 16, 32), 16, 640


class Attention(nn.Module):
    """As the definition has it, with products of matrices, which runtimes know better than sums by index."""

    def forward(self, xs):
        n, _, h, w = xs.shape
        parts = self.qkv(xs).reshape(n, self.heads, -1, h * w)  # per head 32, 32 and 64 rows
        query, key, value = parts[:, :, :32], parts[:, :, 32:64], parts[:, :, 64:]
        weights = (query.transpose(2, 3) @ key * 32**-0.5).softmax(3)
        ys = (value @ weights.transpose(2, 3)).reshape(n, -1, h, w)
        return self.proj(ys + self.pe(value.reshape(n, -1, h, w)))


class YoloV10n(nn.Module):
    """`[n, 3, 640, 640]` to corners in pixels `[n, 4, a]` and scores `[n, 1, a]`."""

    def __init__(self):
        super().__init__()
        export = sources.module("yolov10n-face/export.py")
        self.net = export.Folded()
        for module in self.net.modules():
            if isinstance(module, export.reference.Attention):
                module.forward = Attention.forward.__get__(module)
        self.register_buffer("bins", torch.arange(float(BINS)).view(1, 1, BINS, 1), persistent=False)
        centres = []
        for stride in STRIDES:
            at = torch.arange(float(SIDE // stride)) + 0.5
            y, x = torch.meshgrid(at, at, indexing="ij")
            centres.append(torch.stack([x, y]).flatten(1) * stride)
        self.register_buffer("centres", torch.cat(centres, 1).unsqueeze(0), persistent=False)
        strides = [torch.full((1, 1, (SIDE // stride) ** 2), float(stride)) for stride in STRIDES]
        self.register_buffer("strides", torch.cat(strides, 2), persistent=False)

    def forward(self, xs):
        levels = self.net.heads_at_inference(xs)["one"]
        distances = torch.cat([box.flatten(2) for box, _ in levels], 2)
        scores = torch.cat([cls.flatten(2) for _, cls in levels], 2).sigmoid()
        shares = distances.unflatten(1, (4, BINS)).softmax(2)
        distances = (shares * self.bins).sum(2) * self.strides  # [n, 4, a]: left, top, right, bottom
        return torch.cat([self.centres - distances[:, :2], self.centres + distances[:, 2:]], 1), scores

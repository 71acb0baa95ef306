"""FaceRes, a MobileNet with three heads, https://arxiv.org/abs/1807.07718."""

import torch
from torch import nn
from torch.nn import functional as F

from .layers import Affine, SameConv2d

UNITS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
"""Channels out and stride."""


class FaceRes(nn.Module):
    """`[n, 3, 224, 224]` to the embedding `[n, 1024]`, the ages `[n, 100]` and male `[n, 1]`."""

    def __init__(self):
        super().__init__()
        self.conv1 = SameConv2d(3, 32, 3, 2)
        c_in = 32
        for i, (c_out, stride) in enumerate(UNITS, 1):
            self.add_module(f"conv_dw_{i}", SameConv2d(c_in, c_in, 3, stride, groups=c_in, bias=False))
            self.add_module(f"conv_dw_{i}_bn", Affine(c_in, "mul", "sub"))
            self.add_module(f"conv_pw_{i}", nn.Conv2d(c_in, c_out, 1))
            c_in = c_out
        self.feats = nn.Linear(1024, 256)
        self.age_pred = nn.Linear(256, 100)
        self.gender_pred = nn.Linear(256, 1)

    def finish(self):
        """The factor of the batch norm goes into the convolution, as TensorFlow.js's converter did for the others."""
        for i in range(1, len(UNITS) + 1):
            conv, bn = getattr(self, f"conv_dw_{i}"), getattr(self, f"conv_dw_{i}_bn")
            conv.weight.data *= bn.mul.data.view(-1, 1, 1, 1)
            conv.bias = nn.Parameter(bn.sub.data.clone())
            setattr(self, f"conv_dw_{i}_bn", nn.Identity())

    def forward(self, xs):
        xs = F.relu6(self.conv1(xs))
        for i in range(1, len(UNITS) + 1):
            depthwise, pointwise = getattr(self, f"conv_dw_{i}"), getattr(self, f"conv_pw_{i}")
            xs = F.relu6(getattr(self, f"conv_dw_{i}_bn")(depthwise(xs)))
            xs = F.relu6(pointwise(xs))
        embedding = xs.mean((2, 3))
        feats = F.relu(self.feats(embedding))
        return embedding, self.age_pred(feats).softmax(1), torch.sigmoid(self.gender_pred(feats))

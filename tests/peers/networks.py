"""What is compared: for each network its PyTorch module with weights, its input, and what it must answer.

The names are those of `cargo run --example network_time`, and so are the order and the shapes of the outputs.
"""

from dataclasses import dataclass
from typing import Callable

import numpy as np
import sources
from sources import full_profile, golden, seeded

TOLERANCE = 1e-3
"""Of the largest value of an output."""


@dataclass(frozen=True)
class Network:
    name: str
    shape: tuple
    """Channels, height and width of the input."""
    module: Callable
    """Gives the PyTorch module, ready for inference."""
    check: Callable
    """Takes a function from `[n, 3, h, w]` to a list of outputs; gives pairs of what it answered and what it must."""
    outputs: tuple = ("output",)


def ready(module):
    if hasattr(module, "finish"):
        module.finish()
    return module.eval().requires_grad_(False)


def shipped(file, build):
    """With the weights that ship."""

    def module():
        import torch

        net = build()
        state = {key: torch.from_numpy(value) for key, value in sources.arrays(sources.WEIGHTS / file).items()}
        net.load_state_dict(state)
        return ready(net)

    return module


def seeded_weights(name, gain, build):
    """With the seeded weights of the reference `name`."""

    def module():
        net = build()
        state = full_profile.fill(net, gain)
        shapes = {key: tuple(t.shape) for key, t in state.items() if t.dtype.is_floating_point}
        if shapes != sources.keys(name):
            raise ValueError(f"the module has other weights than {name}: {set(shapes) ^ set(sources.keys(name))}")
        return ready(net)

    return module


def definition(module, name, *arguments):
    """A constructor of `definitions`, imported when it is called."""
    import importlib

    return lambda: getattr(importlib.import_module(f"definitions.{module}"), name)(*arguments)


def chw(pictures):
    """`[n, h, w, 3]` to `[n, 3, h, w]`."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def answers(name, normalise, outputs, last=True):
    """Against the golden file of a network that ships; `last`: whether its pictures have the channels last."""

    def check(run):
        file = golden(name)
        pictures = file["input"] if not last else chw(file["input"])
        got = run(normalise(pictures.astype(np.float32)))
        return [(got[i], file[key]) for i, key in outputs.items()]

    return check


def pictures(name, size, cell, normalise, after=lambda y: y):
    """Against the golden file of a network with seeded weights, on the pictures of its reference script."""

    def check(run):
        shown = chw(full_profile.pictures(3, size, cell)).astype(np.float32)
        return [(after(run(normalise(shown).astype(np.float32))[0]), golden(name)["output"])]

    return check


def blazeface(name):
    """Only every 97th regression was kept."""

    def check(run):
        file = golden(name)
        regressors, logits = run(chw(file["input"]).astype(np.float32) / 127.5 - 1)
        return [(regressors.reshape(-1)[::97], file["regressors"]), (logits, file["logits"])]

    return check


def yolo(run):
    """The picture of models-src/yolov10n-face/golden.py, its scores and its best boxes."""
    file = golden("yolov10n-face.trained")
    height, width = file["input"].shape[:2]
    canvas = np.full((1, 640, 640, 3), 114, np.float32)
    top, left = (640 - height) // 2, (640 - width) // 2
    canvas[0, top : top + height, left : left + width] = file["input"]
    corners, scores = run(chw(canvas) / 255)
    rows = np.concatenate([corners[0], scores[0]]).T
    best = rows[np.argsort(-rows[:, 4], kind="stable")][: len(file["best"])]
    return [(scores.reshape(-1)[::7], file["scores"]), (best, file["best"])]


def stage(name, *outputs):
    """Against what a network of the cascade answered to three crops."""

    def check(run):
        file = golden("mtcnn")
        answered = run((file[f"{name}.input"].astype(np.float32) - 127.5) / 128)
        return [(got, file[f"{name}.{output}"]) for got, output in zip(answered, outputs)]

    return check


def stage_module(name, build):
    def module():
        import torch

        net, prefix = build(), f"{name}."
        state = sources.arrays(sources.WEIGHTS / "mtcnn.safetensors").items()
        net.load_state_dict({k.removeprefix(prefix): torch.from_numpy(v) for k, v in state if k.startswith(prefix)})
        return ready(net)

    return module


def yolo_module():
    import torch
    from definitions.yolov10n import YoloV10n

    net = YoloV10n()
    state = sources.arrays(sources.WEIGHTS / "yolov10n_face.safetensors").items()
    net.net.load_state_dict({key: torch.from_numpy(value) for key, value in state})
    return ready(net)


def softmax(y):
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


FACERES_MEAN = np.array([103.939, 116.779, 123.68], np.float32).reshape(1, 3, 1, 1)
DLIB_MEAN = np.array([122.782, 117.001, 104.298], np.float32).reshape(1, 3, 1, 1)
MN3_MEAN = np.array([151.2405, 119.5950, 107.8395]).reshape(1, 3, 1, 1)
MN3_STD = np.array([63.0105, 56.4570, 55.0035]).reshape(1, 3, 1, 1)

centred = lambda x: (x - 127.5) / 127.5
bgr = lambda x: np.ascontiguousarray(x[:, ::-1])


def square(side):
    return (3, side, side)


def minifasnet(kind, widths, side, kernel, squeeze):
    reference = f"minifasnet-{kind}"
    build = lambda: definition("minifasnet", "MiniFasNet", widths(), kernel, squeeze)()
    name = {"v2": "minifasnet_v2", "v1se": "minifasnet_v1_se", "v2se": "minifasnet_v2_se"}[kind]
    check = pictures(reference, side, 8, lambda x: x / 255)
    return Network(name, square(side), seeded_weights(reference, 0.7, build), check)


def widths(name):
    def get():
        from definitions import minifasnet

        return getattr(minifasnet, name)

    return get


def efficientnet():
    from definitions.layers import SameConv2d

    definition = sources.module("deepfake-efficientnet-lite/network.py")
    net = definition.EfficientNetLite()
    for module in net.modules():
        if isinstance(module, definition.SameConv2d):
            module.__class__ = SameConv2d
    return net


def blazeface_config(name):
    def build():
        from definitions import blazeface as definitions

        return definitions.BlazeFace(getattr(definitions, name))

    return build


NETWORKS = {
    network.name: network
    for network in [
        Network(
            "mobilefacenet",
            square(112),
            shipped("mobilefacenet.safetensors", definition("mobilefacenet", "MobileFaceNet")),
            answers("mobilefacenet", lambda x: (x - 127.5) / 128, {0: "embedding"}),
        ),
        Network(
            "dlib_resnet",
            square(150),
            shipped("dlib_resnet.safetensors", definition("dlib_resnet", "DlibResNet")),
            answers("dlib-resnet", lambda x: (x - DLIB_MEAN) / 256, {0: "embedding"}, last=False),
        ),
        Network(
            "faceres",
            square(224),
            shipped("faceres.safetensors", definition("faceres", "FaceRes")),
            answers("faceres", lambda x: bgr(x) - FACERES_MEAN, {0: "embedding", 1: "age", 2: "male"}, last=False),
            ("embedding", "age", "male"),
        ),
        Network(
            "mtcnn_pnet",
            (3, 649, 1153),
            stage_module("pnet", definition("mtcnn", "PNet")),
            stage("pnet", "boxes", "probability"),
            ("boxes", "probability"),
        ),
        Network(
            "mtcnn_rnet",
            square(24),
            stage_module("rnet", definition("mtcnn", "RNet")),
            stage("rnet", "boxes", "probability"),
            ("boxes", "probability"),
        ),
        Network(
            "mtcnn_onet",
            square(48),
            stage_module("onet", definition("mtcnn", "ONet")),
            stage("onet", "boxes", "points", "probability"),
            ("boxes", "points", "probability"),
        ),
        Network(
            "blazeface_short",
            square(128),
            shipped("blazeface_short.safetensors", blazeface_config("SHORT")),
            blazeface("blazeface-short"),
            ("regressors", "logits"),
        ),
        Network(
            "blazeface_full",
            square(192),
            shipped("blazeface_full.safetensors", blazeface_config("FULL")),
            blazeface("blazeface-full"),
            ("regressors", "logits"),
        ),
        Network("yolov10n_face", square(640), yolo_module, yolo, ("corners", "scores")),
        Network(
            "efficientnet_lite_deepfake",
            square(160),
            shipped("efficientnet_lite_deepfake.safetensors", efficientnet),
            answers("deepfake-efficientnet-lite", lambda x: (x - 127) / 128, {0: "logits"}),
        ),
        Network(
            "face_antispoofing",
            square(256),
            shipped("face_antispoofing.safetensors", definition("face_antispoofing", "FaceAntiSpoofing")),
            answers("face-antispoofing", lambda x: x / 255, {0: "leaf_scores", 1: "leaf_mask"}),
            ("leaf_scores", "leaf_mask"),
        ),
        minifasnet("v2", widths("V2"), 80, 5, False),
        minifasnet("v1se", widths("V1"), 80, 5, True),
        minifasnet("v2se", widths("V2"), 128, 8, True),
        Network(
            "mn3",
            square(128),
            seeded_weights("anti-spoof-mn3", 0.8, definition("mn3", "Mn3")),
            pictures("anti-spoof-mn3", 128, 16, lambda x: (x - MN3_MEAN) / MN3_STD),
        ),
        Network(
            "iresnet50",
            square(112),
            seeded_weights("arcface-iresnet50", 0.4, definition("iresnet", "IResNet", 50)),
            pictures("arcface-iresnet50", 112, 16, centred),
        ),
        Network(
            "iresnet100",
            square(112),
            seeded_weights("arcface-iresnet100", 0.4, definition("iresnet", "IResNet", 100)),
            pictures("arcface-iresnet100", 112, 16, centred),
        ),
        Network(
            "adaface_ir101",
            square(112),
            seeded_weights("adaface-ir101", 0.4, definition("iresnet", "AdaFace")),
            pictures("adaface-ir101", 112, 16, lambda x: centred(bgr(x))),
        ),
        Network(
            "inception_resnet_v1",
            square(160),
            seeded_weights("facenet-inception-resnet-v1", 1.0, definition("inception_resnet_v1", "InceptionResNetV1")),
            pictures("facenet-inception-resnet-v1", 160, 20, lambda x: (x - 127.5) / 128),
        ),
        Network(
            "vit",
            square(224),
            seeded_weights("vit-deepfake", 0.7, definition("vit", "ViT")),
            pictures("vit-deepfake", 224, 28, centred, softmax),
        ),
    ]
}


def inputs(network, batch):
    """What is timed on: the same numbers as in `network_time`."""
    return seeded.values("input", (batch, *network.shape), "input")


def verify(network, run):
    """Raises if `run`, from an array to a list of arrays, is not the network; gives the worst difference."""
    worst = 0.0
    for got, want in network.check(run):
        if got.shape != want.shape:
            got = got.reshape(want.shape)
        difference = float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-6))
        if not difference <= TOLERANCE:
            raise ValueError(f"{network.name}: differs from the golden file by {difference:.2e} of its largest value")
        worst = max(worst, difference)
    return worst

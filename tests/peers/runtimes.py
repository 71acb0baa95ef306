"""The runtimes that this project is compared with."""

from pathlib import Path

import numpy as np
from networks import NETWORKS, inputs, verify


class Runtime:
    """`load` gives a function that passes once over the input and returns when the outputs are there."""

    name = ""
    devices = ("cpu",)

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
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Its threads spin while a pass runs, as by default, and stop when it ends: the other side is next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = self.onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        run = lambda x: session.run(None, {"input": x})
        self.difference = verify(network, lambda x: run(np.ascontiguousarray(x, dtype=np.float32)))
        x = inputs(network, batch)
        return lambda: run(x)


RUNTIMES = {runtime.name: runtime for runtime in (Torch, OnnxRuntime)}

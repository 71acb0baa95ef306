"""Times one pass of a network in another runtime, as `cargo run --example network_time` does in this project's.

    python tests/peers/peer.py --runtime onnxruntime --threads 1 --networks mobilefacenet,vit --batch 1 --passes 15
    python tests/peers/peer.py --runtime torch --device cuda --networks all --batch 8
    python tests/peers/peer.py --runtime onnxruntime --threads 2 --serve

A line of JSON for each network; with `--serve` one for each request of a line, `{"network": .., "batch": .., "passes":
..}`, with `"outputs": true` for a sample of the outputs and `"photo"` for a cascade's photo. Before a network is timed, its
answers to the pictures of tests/golden are held against the golden file.

A pass begins with an array in memory, or on the card, and ends when the outputs are there. PyTorch on a card runs in full
single precision: no TF32.
"""

import argparse
import json
import sys
import time

import numpy as np
import runtimes
import sources
from networks import NETWORKS

SAMPLE = 512
"""Values of one output that an answer holds at most."""


def sample(output):
    """Of all values in a row, every which one."""
    values = output.reshape(-1)
    if not np.isfinite(values).all():
        raise ValueError("an output is not finite")
    step = max(1, -(-values.size // SAMPLE))
    return {"shape": list(output.shape), "step": step, "values": values[::step].tolist()}


class Server:
    def __init__(self, runtime, warm_up):
        self.runtime, self.warm_up = runtime, warm_up
        self.loaded = None
        self.verified = {}

    def answer(self, network, batch, passes, outputs=False, photo=None, runtime=None):
        if runtime not in (None, self.runtime.name):
            raise ValueError(f"this process runs {self.runtime.name}, not {runtime}")
        asked = (network, batch, photo)
        warm_up = 1
        if self.loaded is None or self.loaded[0] != asked:
            # The old one goes first: two large networks need not fit in memory.
            self.loaded = None
            self.loaded = (asked, self.runtime.load(network, batch, photo))
            warm_up = self.warm_up
        run = self.loaded[1]
        for _ in range(warm_up):
            answered = run()
        wall = []
        for _ in range(passes):
            start = time.perf_counter()
            run()
            wall.append((time.perf_counter() - start) * 1e3)
        answer = {"network": network, "batch": batch, "threads": self.runtime.threads, "device": self.runtime.device}
        answer |= {"runtime": self.runtime.name, "version": self.runtime.version}
        if wall:
            answer["median_ms"] = float(np.median(wall))
        answer["wall_ms"] = wall
        if self.runtime.difference is not None:
            answer["golden_difference"] = self.runtime.difference
        if outputs and self.runtime.same_input:
            answer["outputs"] = [sample(output) for output in self.runtime.arrays(answered)]
        return answer


def serve(server):
    for line in sys.stdin:
        try:
            answer = server.answer(**json.loads(line))
        except Exception as error:
            # Whatever it is, the other side has to be told, and other networks may work.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--runtime", required=True, choices=sorted(runtimes.RUNTIMES))
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    cli.add_argument("--cache", default=sources.ROOT / "target/peers", help="folder of the exported networks")
    cli.add_argument("--networks", default="all", help="names with commas between")
    cli.add_argument("--batch", type=int, default=1)
    cli.add_argument("--passes", type=int, default=15)
    cli.add_argument("--warm-up", type=int, default=3)
    cli.add_argument("--serve", action="store_true")
    args = cli.parse_args()
    server = Server(runtimes.RUNTIMES[args.runtime](args.threads, args.device, args.cache), max(1, args.warm_up))
    if args.serve:
        return serve(server)
    for name in NETWORKS if args.networks == "all" else args.networks.split(","):
        print(json.dumps(server.answer(name, args.batch, args.passes)), flush=True)


if __name__ == "__main__":
    main()

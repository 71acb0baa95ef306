"""Times single convolutions with ReLU in ONNX Runtime: the peer of `examples/shapes.rs`.

    pip install onnxruntime onnx numpy
    cargo run --release -p facesocial-kernels --example shapes -- --list > shapes.tsv
    python crates/kernels/benches/ort_shapes.py shapes.tsv [part of a name]

Milliseconds are the best of several runs of the wall clock; GFLOP/s are of one thread's own time on the processor.
"""

import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper


def session(c_in, c_out, kernel, stride, groups, side, n, threads):
    pad = kernel // 2 if side > kernel else 0
    rng = np.random.default_rng(1)
    weight = rng.random((c_out, c_in // groups, kernel, kernel), np.float32) - 0.5
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride] * 2, pads=[pad] * 4, group=groups, kernel_shape=[kernel] * 2),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [n, c_in, side, side])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads == 1 else "0")
    x = rng.random((n, c_in, side, side), np.float32) - 0.5
    out = (side + 2 * pad - kernel) // stride + 1
    flops = 2 * n * out * out * c_out * c_in // groups * kernel * kernel
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), {"x": x}, flops


def best(s, feed):
    s.run(None, feed)
    start = time.perf_counter()
    s.run(None, feed)
    runs = int(min(1000, max(1, 0.004 / max(time.perf_counter() - start, 1e-7))))
    wall = own = float("inf")
    for _ in range(6):
        before = time.thread_time()
        for _ in range(runs):
            start = time.perf_counter()
            s.run(None, feed)
            wall = min(wall, time.perf_counter() - start)
        own = min(own, (time.thread_time() - before) / runs)
    return wall, own


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    print(f"ONNX Runtime {ort.__version__}, onnx {onnx.__version__}")
    print(f"{'layer':<22} {'n':>2} {'GFLOP/s':>8} {'1 ms':>8} {'2 ms':>8}")
    for line in open(sys.argv[1]):
        name, *numbers = line.rstrip("\n").split("\t")
        if wanted not in name:
            continue
        for n in (1, 8):
            s, feed, flops = session(*map(int, numbers), n, 1)
            wall, own = best(s, feed)
            del s
            s, feed, flops = session(*map(int, numbers), n, 2)
            wall2, _ = best(s, feed)
            del s
            print(f"{name:<22} {n:>2} {flops / own / 1e9:>8.1f} {wall * 1e3:>8.3f} {wall2 * 1e3:>8.3f}", flush=True)


main()

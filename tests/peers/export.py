"""Writes the networks as ONNX files, and the photos, into target/peers.

    python tests/peers/export.py [NAME ..]

Each ONNX file is held against the golden file before it is kept. A file that is there is taken as it is, unless a source of
it is newer.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import photos
import sources
from networks import NETWORKS, verify

OPSET = 17
ERRORS = 3
"""ONNX Runtime tells of each constant that it removes, else."""


def newest_source():
    """When what an export is made of changed last."""
    here = Path(__file__).parent
    files = [here / "networks.py", here / "export.py", *here.glob("definitions/*.py")]
    return max(path.stat().st_mtime for path in [*files, *sources.WEIGHTS.glob("*.safetensors")])


def fold_pads(path):
    """Gives a convolution the zeros that are padded before it: it knows uneven padding itself, which PyTorch's does not."""
    import onnx
    import onnxruntime

    # Computes what depends on no input, the widths of the paddings among it.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = ERRORS
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for pad in [node for node in graph.node if node.op_type == "Pad" and node.input[1] in constants]:
        widths = constants[pad.input[1]].tolist()  # before each axis, then behind each
        value = constants[pad.input[2]].item() if len(pad.input) > 2 and pad.input[2] else 0.0
        readers = [node for node in graph.node if pad.output[0] in node.input]
        if value != 0.0 or widths[:2] + widths[4:6] != [0] * 4 or any(node.op_type != "Conv" for node in readers):
            continue
        for conv in readers:
            (own,) = (attribute for attribute in conv.attribute if attribute.name == "pads")
            own.ints[:] = [a + b for a, b in zip(own.ints, widths[2:4] + widths[6:8])]
            conv.input[0] = pad.input[0]
        graph.node.remove(pad)
    onnx.save(model, path)


def export(network, path):
    """Writes the network, of any batch, and checks it."""
    import onnxruntime
    import torch

    module = network.module()
    xs = torch.zeros(2, *network.shape)
    axes = {"input": {0: "batch"}} | {name: {0: "batch"} for name in network.outputs}
    if network.name == "mtcnn_pnet":
        for name in axes:
            axes[name] |= {2: f"{name}_height", 3: f"{name}_width"}
    part = path.with_suffix(".part")
    torch.onnx.export(
        module,
        (xs,),
        str(part),
        opset_version=OPSET,
        input_names=["input"],
        output_names=list(network.outputs),
        dynamic_axes=axes,
        dynamo=False,
    )
    fold_pads(part)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    session = onnxruntime.InferenceSession(str(part), options, providers=["CPUExecutionProvider"])
    run = lambda x: session.run(None, {"input": np.ascontiguousarray(x, dtype=np.float32)})
    difference = verify(network, run)
    if network.name != "mtcnn_pnet":
        run(np.zeros((1, *network.shape), np.float32))
    part.rename(path)
    print(f"{network.name}: {path.stat().st_size / 2**20:.1f} MiB, {difference:.1e} from the golden file", flush=True)


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("networks", nargs="*", metavar="NAME", help="all unless told")
    cli.add_argument("--cache", type=Path, default=sources.ROOT / "target/peers")
    args = cli.parse_args()
    folder = args.cache / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    since = newest_source()
    photos.write(args.cache)
    for name in args.networks or NETWORKS:
        path = folder / f"{name}.onnx"
        if not (path.is_file() and path.stat().st_mtime > since):
            export(NETWORKS[name], path)


if __name__ == "__main__":
    sys.exit(main())

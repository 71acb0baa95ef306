"""Makes one network of several runs of `train.py`: the mean of their weights.

    python models-src/deepfake-efficientnet-lite/average.py --out DIR RUN...

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", ICML 2022, <https://arxiv.org/abs/2203.05482>. Each RUN is the folder of a run; all must have left out
the same sources. Weights and record go to DIR, where `evaluate.py` expects them.
"""

import argparse
import json
from pathlib import Path

from train import WEIGHTS, export, reload


def mean(networks):
    states = [net.state_dict() for net in networks]
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    records = [json.loads((run / "training.json").read_text()) for run in args.runs]
    left_out = {tuple(sorted(record["left_out"])) for record in records}
    if len(left_out) > 1:
        raise SystemExit(f"the runs left out different sources: {sorted(left_out)}")
    args.out.mkdir(parents=True, exist_ok=True)
    export(mean([reload(run / WEIGHTS) for run in args.runs]), args.out / WEIGHTS)
    record = {"left_out": records[0]["left_out"], "runs": records}
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

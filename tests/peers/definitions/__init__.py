"""The networks as PyTorch modules, written from the papers with the keys of the weight files and of the key lists in
tests/golden/models: what the other runtimes are given to run."""

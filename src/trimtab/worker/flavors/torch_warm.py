"""Importing this module makes PyTorch do once, before workers are forked, what it otherwise does in every worker.

A nursery imports it (`imports` in runtimes.toml) after torch. The first TorchScript call of a process costs some 35 ms
of registering, sorting and touching memory; a worker that is forked afterwards starts with all that done.

Safe before a fork: everything runs on one thread. A process that has once computed on several (OpenMP) hangs in its
forked children's first parallel operation. And nothing asks for GPUs: CUDA, once initialised, is lost in children.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch

from trimtab.worker.flavors import pytorch  # noqa: F401 every such worker needs it

_SIZE = 2
_NETWORK = """
def forward(self, x):
    return torch.softmax(torch.relu(torch.addmm(x, x, x)), 1)
"""


def save_load_and_run() -> None:
    """Write a small network in both forms that models come in, read it back, and ask it."""
    module = torch.jit.ScriptModule()
    module.define(_NETWORK)
    archive, weights = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, archive)
    torch.save(torch.nn.Linear(_SIZE, _SIZE).state_dict(), weights)
    archive.seek(0)
    weights.seek(0)
    linear = torch.nn.Linear(_SIZE, _SIZE)
    linear.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        loaded = torch.jit.load(archive).eval()
        for _ in range(3):  # the executor profiles the first call and optimises in the second
            rows = torch.as_tensor(np.ones((_SIZE, _SIZE), np.float32))
            linear(loaded(rows)).numpy().tolist()


torch.set_num_threads(1)
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)  # such models exist, and are to start soon
    save_load_and_run()

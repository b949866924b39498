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


def _saved() -> tuple[bytes, bytes]:
    """A small network in both forms that models come in: TorchScript, and weights."""
    module = torch.jit.ScriptModule()
    module.define(_NETWORK)
    archive, weights = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, archive)
    torch.save(torch.nn.Linear(_SIZE, _SIZE).state_dict(), weights)
    return archive.getvalue(), weights.getvalue()


def load_and_run(archive: bytes, weights: bytes) -> None:
    """Read what `_saved` wrote, and ask it."""
    linear = torch.nn.Linear(_SIZE, _SIZE)
    linear.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    with torch.no_grad():
        loaded = torch.jit.load(io.BytesIO(archive)).eval()
        for _ in range(3):  # the executor profiles the first call and optimises in the second
            rows = torch.as_tensor(np.ones((_SIZE, _SIZE), np.float32))
            linear(loaded(rows)).numpy().tolist()


def rehearse() -> None:
    """The same again, in a process that was forked since: it copies the memory that this touches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)  # such models exist, and must start soon
        load_and_run(*SAVED)


torch.set_num_threads(1)
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
    SAVED = _saved()
rehearse()

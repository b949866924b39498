"""From a forked copy of the nursery to a process of its own: what must be shed, and what must be put on."""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
from pathlib import Path

import setproctitle

from trimtab import allocator
from trimtab.newborn import close_descriptors, reset_signals
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.worker.environment import model_environment

_reseeded_pid = 0  # the process that `reseed` was last called in; a spare calls it when it rehearses
_OOM_SCORE = 500  # a worker dies before control and the gateways do when the machine's memory is gone


def become_worker(launch: WorkerLaunch, spec: ReplicaSpec) -> None:
    """Leave the parent's session, descriptors, signals and random numbers behind; take on the launch's own.

    Descriptors other than 0, 1, 2, the lifeline and its own socket are closed. The log is not opened here.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    of = f"{spec.endpoint}/{spec.variant}" + (f" {spec.model_name}" if launch.owned else "")
    setproctitle.setproctitle(f"trimtab: worker {of}")
    reset_signals()
    close_descriptors(keep={launch.lifeline_fd, launch.listener_fd})
    os.chdir("/")
    os.environ.update(model_environment(launch, spec))
    for layer in reversed(launch.layers):
        sys.path.insert(0, layer)
    _limit(launch)
    allocator.keep_freed_memory()
    reseed()


def reseed() -> None:
    """Give this process its own random numbers: replicas forked from one parent would draw the same ones.

    A process that has them already keeps them.
    """
    global _reseeded_pid
    if _reseeded_pid == os.getpid():
        return
    _reseeded_pid = os.getpid()
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(int.from_bytes(os.urandom(7), "little"))


def settle_memory() -> None:
    """After loading: what is alive now stays, so the collector need not look at it with every sweep."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _limit(launch: WorkerLaunch) -> None:
    if launch.cpus:
        os.sched_setaffinity(0, launch.cpus)
    if launch.memory_limit_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        ceiling = launch.memory_limit_bytes
        if hard != resource.RLIM_INFINITY:
            ceiling = min(ceiling, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))

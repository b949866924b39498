"""What a process that the nursery has forked becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import msgspec

if TYPE_CHECKING:
    from trimtab.resources.launch import WorkerLaunch


def newborn_life() -> Callable[[WorkerLaunch], NoReturn]:
    """A worker, or a host of many models. Imports what both need, before there is one."""
    from trimtab.host.main import run as run_host
    from trimtab.resources.replica import ReplicaSpec
    from trimtab.worker.artifact import kind_in
    from trimtab.worker.main import run as run_worker

    def live(launch: WorkerLaunch) -> NoReturn:
        if msgspec.msgpack.decode(launch.spec, type=ReplicaSpec).hosting is not None:
            run_host(launch, kind_in)
        run_worker(launch)

    return live

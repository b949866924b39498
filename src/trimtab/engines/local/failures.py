"""Why a local replica failed, in words that say what to do. Reasons are those of `resources.replica.Failure`."""

from __future__ import annotations

import os
import signal

from trimtab.engines.local.orders import Exited
from trimtab.resources.replica import Failure


class StartFailed(Exception):
    """A start came to its end before the replica was ready."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def exited(what: str, end: Exited | None, tail: str, *, out_of_memory: bool) -> Failure:
    """A process ended that should not have. `end` is None when nobody saw how."""
    if out_of_memory or _says_memory(tail):
        return Failure(
            reason="OutOfMemory",
            message=f"{what} ran out of memory and was ended. Use an instance type with more memory, fewer model "
            "server workers (MODEL_SERVER_WORKERS), or a smaller model.",
            tail=tail,
        )
    how = "ended" if end is None else describe(end.status)
    return Failure(reason="Exited", message=f"{what} {how}. The last lines of its log may say why.", tail=tail)


def describe(status: int) -> str:
    """A wait(2) status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def start_timeout(limit_s: float, step: str, tail: str) -> Failure:
    """Not ready in time."""
    return Failure(
        reason="StartTimeout",
        message=f"The replica was not ready within {limit_s:g} s; it was {step}. Raise "
        "ContainerStartupHealthCheckTimeoutInSeconds if the model needs longer, or see the log for what it waits for.",
        tail=tail,
    )


def download_timeout(limit_s: float, url: str) -> Failure:
    """The artifact or the requirements did not come in time."""
    return Failure(
        reason="StartTimeout",
        message=f"Getting {url or 'the requirements'} took longer than {limit_s:g} s. Raise "
        "ModelDataDownloadTimeoutInSeconds, or make the artifact smaller.",
    )


def hung(busy_s: float, tail: str) -> Failure:
    """A request that never ends, or a worker that no longer answers."""
    return Failure(
        reason="Hung",
        message=f"A model server process has been busy with one request for {busy_s:.3g} s, longer than an invocation "
        "may take, and was ended. See the log for where it is stuck.",
        tail=tail,
    )


def _says_memory(tail: str) -> bool:
    last = tail.splitlines()[-3:]
    return any(
        line.startswith(("MemoryError", "numpy._core._exceptions._ArrayMemoryError")) or "std::bad_alloc" in line
        for line in last
    )

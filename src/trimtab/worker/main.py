"""From a fresh process to a served model, step by step; and out again."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from trimtab.logfile import LineStream, LogFile, capture
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec, StartCause
from trimtab.wire.listening import listen
from trimtab.worker import failures, loading, process
from trimtab.worker.answers import Served
from trimtab.worker.attendant import BROKEN_EXIT, Attendant
from trimtab.worker.batching import batching_of
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop

T = TypeVar("T")


def run(launch: WorkerLaunch) -> NoReturn:
    """Be the worker that `launch` describes, until told to end. Call it in a process of its own, freshly forked.

    The socket listens before the model loads, so that control sees Starting. A model that cannot be loaded leaves the
    worker up in state Failed, to say why, until STOP or DRAIN comes or the lifeline ends.
    """
    try:
        _run(launch)
    except BaseException:  # noqa: BLE001 never back into the nursery's own code
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(BROKEN_EXIT)


def _run(launch: WorkerLaunch) -> NoReturn:
    born_s = time.monotonic()
    spec = msgspec.msgpack.decode(launch.spec, type=ReplicaSpec)
    process.become_worker(launch, spec)
    log = capture(Path(launch.log_path), launch.log_max_bytes) if launch.log_path else None
    faulthandler.enable(file=2)  # a segmentation fault leaves its traceback in the log
    report = Report(launch, spec.id)
    if launch.ordered_monotonic_s:
        report.fork_s = born_s - launch.ordered_monotonic_s
    if spec.cause in (StartCause.SCALE_OUT, StartCause.ON_DEMAND):  # somebody waits for it: when did it begin to help?
        report.note_first = lambda took_s: _note(f"first answer: {_ms(took_s)}{_since_decision(spec)}")
    loop = Loop()
    report.load = loop.load
    attendant = _attend(launch, report, loop, log)
    os.register_at_fork(after_in_child=loop.forsake)
    os.register_at_fork(after_in_child=attendant.forsake)
    served = _bring_up(launch, spec, report)
    process.settle_memory()
    if served is None:
        loop.refuse()
        loop.run(_never)
    else:
        batches = batching_of(served, loading.batch_limits(os.environ), loop, report, _note)
        report.become_ready()
        _note(
            f"ready: fork {_ms(report.fork_s)}, import {_ms(report.import_s)}, load {_ms(report.load_s)}, "
            f"warm-up {_ms(report.warm_s)}{_since_decision(spec)}"
        )
        if batches is not None:
            batches.run()
        else:
            loop.run(served.answer, on_first=report.answered_first)
    _end(launch.socket_path)


def _attend(launch: WorkerLaunch, report: Report, loop: Loop, log: LogFile | None) -> Attendant:
    def end() -> NoReturn:
        _end(launch.socket_path)

    at = launch.listener_fd
    attendant = Attendant(
        socket.socket(fileno=at) if at >= 0 else listen(launch.socket_path),
        report,
        loop,
        end=end,
        lifeline_fd=launch.lifeline_fd,
        orphan_grace_s=launch.orphan_grace_s,
        log=log,
        owned=launch.owned,
    )
    attendant.start()
    return attendant


def _bring_up(launch: WorkerLaunch, spec: ReplicaSpec, report: Report) -> Served | None:
    """Import, load, warm up, each timed. None, and the report says why, when one fails."""
    doing = "finding the model"
    try:
        recipe = loading.recipe(launch, spec)
        doing = f"importing {recipe.name}"
        _, report.import_s = _timed(recipe.prepare)
        doing = f"loading {recipe.name}"
        served, report.load_s = _timed(recipe.load)
        doing = f"warming up {recipe.name}"
        _, report.warm_s = _timed(served.warm)
    except BaseException as error:  # noqa: BLE001 whatever the model's code raises becomes the replica's failure
        failure = failures.of(error, doing)
        _note(f"{failure.reason}: {failure.message}\n{failure.tail}".rstrip())
        report.fail(failure)
        return None
    return served


def _timed(step: Callable[[], T]) -> tuple[T, float]:
    began_s = time.monotonic()
    result = step()
    return result, time.monotonic() - began_s


def _never(_body: object, _meta: object) -> NoReturn:
    raise AssertionError("a failed worker refuses requests before they come here")


def _note(text: str) -> None:
    """A line of the worker's own in the replica's log."""
    now_s = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_s))}.{int(now_s % 1 * 1000):03d}"
    print(f"{stamp}Z trimtab: {text}", file=sys.stderr, flush=True)


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.1f} ms"


def _since_decision(spec: ReplicaSpec) -> str:
    """How long ago somebody decided that this replica should be."""
    decided_s = spec.decided_monotonic_s
    return f"; {_ms(time.monotonic() - decided_s)} after the decision" if decided_s else ""


def _end(socket_path: str) -> NoReturn:
    """Leave at once: what was answered is in the kernel's hands, and nothing else is owed."""
    Path(socket_path).unlink(missing_ok=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush_all() if isinstance(stream, LineStream) else stream.flush()
    os._exit(0)

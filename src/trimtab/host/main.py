"""From a fresh process to a model host that answers; and out again."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from trimtab import logs
from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.engines.local import gpus
from trimtab.engines.local.failures import StartFailed
from trimtab.engines.local.memory import available_memory, total_memory
from trimtab.engines.local.proc import is_ending
from trimtab.engines.local.shapes import shape_of
from trimtab.errors import Invalid
from trimtab.host.clients import Clients
from trimtab.host.control import ControlLink
from trimtab.host.foreign import ForeignRunner
from trimtab.host.host import Host
from trimtab.host.runner import Runner
from trimtab.host.workers import WorkerRunner
from trimtab.logfile import LineStream, LogFile, capture
from trimtab.logs import fields
from trimtab.newborn import close_descriptors, reset_signals
from trimtab.policies.models.bounds import models_bytes
from trimtab.policies.models.cache import ModelCache
from trimtab.resources.hosting import Hosting
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.lifecycles import REPLICA, step
from trimtab.resources.replica import Failure, ReplicaSpec, ReplicaState
from trimtab.resources.runtime import RuntimeKind
from trimtab.wire.frames import WorkerDescription
from trimtab.wire.hosting import HostHello, ModelAt, Used, Want
from trimtab.wire.listening import listen

logger = logging.getLogger(__name__)

KindOf = Callable[[Path], str]

_BROKEN_EXIT = 70  # EX_SOFTWARE
_GPU_SHARE = 0.95  # of the devices' memory
_OOM_SCORE = 100  # models go first when the machine's memory is gone
_TELL_LIMIT_S = 1.0  # how long the end waits for control to write down what was unloaded
_LOG_TICK_S = 1.0


def run(launch: WorkerLaunch, kind_of: KindOf = lambda path: "") -> NoReturn:
    """Be the model host that `launch` describes, until told to end. In a process of its own, freshly forked.

    `kind_of` says what an unpacked artifact holds (inputs.Fetched.kind). Does I/O.
    """
    status = _BROKEN_EXIT
    try:
        spec = msgspec.msgpack.decode(launch.spec, type=ReplicaSpec)
        log = _become_host(launch, spec)
        import uvloop

        uvloop.run(HostProcess(launch, spec, kind_of, log).serve())
        status = 0
    except BaseException:  # noqa: BLE001 never back into the nursery's own code
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush_all() if isinstance(stream, LineStream) else stream.flush()
    os._exit(status)


class HostProcess:
    """What clients, control and signals reach: the host, and the state of the replica that it is (clients.Takes)."""

    def __init__(self, launch: WorkerLaunch, spec: ReplicaSpec, kind_of: KindOf, log: LogFile | None) -> None:
        self._launch = launch
        self._spec = spec
        self._log = log
        hosting = spec.hosting or Hosting(prefix="")
        at = launch.listener_fd
        listener = socket.socket(fileno=at) if at >= 0 else listen(launch.socket_path)
        listener.setblocking(False)
        self._clients = Clients(listener, self)
        self._link = ControlLink(
            Paths(Path(launch.data_dir)).hosts_socket,
            HostHello(replica_id=spec.id, endpoint=spec.endpoint, variant=spec.variant, prefix=hosting.prefix),
            on_changed=lambda said: self.host.changed(said),
            on_settings=lambda said: self.host.settings(said),
        )
        self.host = Host(
            ModelCache(_memory_of(launch, spec, hosting), cache=hosting.cache, gpu_memory_bytes=_gpu_memory_of(launch)),
            self._link,
            SystemClock(),
            tell=self._clients.tell_gateways,
            kind_of=kind_of,
            available_bytes=available_memory,
            is_ending=is_ending,
        )
        self.host.runner = self._runner()
        self._state = ReplicaState.STARTING
        self._failure: Failure | None = None
        self._over = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    def _runner(self) -> Runner:
        launch, spec, host = self._launch, self._spec, self.host
        if spec.runtime.kind is RuntimeKind.PYTHON:
            return WorkerRunner(launch, spec, host.ended, in_hand=host.in_hand)
        return ForeignRunner(launch, spec, host.ended, on_broken=self._break, quiet=host.quiet)

    async def serve(self) -> None:
        """Until it has been told to end, and has."""
        self._listen_to_signals()
        await self._clients.open()
        try:
            await self.host.runner.open()
        except StartFailed as error:
            self._failure = error.failure
            self._move(ReplicaState.FAILED)
        else:
            self._link.open()
            self.host.open()
            self._move(ReplicaState.READY)
        ticking = asyncio.create_task(self._tick_log(), name="log")
        await self._over.wait()
        ticking.cancel()
        await self._link.close()
        await self._clients.close()
        Path(self._launch.socket_path).unlink(missing_ok=True)

    # --- clients.Takes: models are the host's ---------------------------------------------------------------------

    def known(self) -> Iterable[ModelAt]:
        """See Host."""
        return self.host.known()

    def wanted(self, want: Want, answer: Callable[[ModelAt], None]) -> None:
        """See Host."""
        self.host.wanted(want, answer)

    def used(self, gateway: int, used: Used) -> None:
        """See Host."""
        self.host.used(gateway, used)

    def lost(self, gateway: int) -> None:
        """See Host."""
        self.host.lost(gateway)

    # --- clients.Takes: the replica's life ------------------------------------------------------------------------

    def describe(self) -> WorkerDescription:
        """Of the whole replica."""
        failure = self._failure
        return WorkerDescription(
            replica_id=self._spec.id,
            index=self._launch.index,
            pid=os.getpid(),
            state=self._state.value,
            spec=self._launch.spec,
            in_flight=self.host.in_hand_of_all,
            failure_reason=failure.reason if failure else "",
            failure_message=failure.message if failure else "",
            failure_tail=failure.tail if failure else "",
            family=self.host.runner.pids,
        )

    def _break(self, failure: Failure) -> None:
        """What holds the models cannot be started any more: the replica is to be replaced."""
        if self._state is ReplicaState.READY:
            self._failure = failure
            self._move(ReplicaState.FAILED)

    def drain(self) -> None:
        """Finish what is in hand, then end. Its models' workers take as long as they take: STOP cuts that short."""
        if self._state is ReplicaState.FAILED:
            self.stop()
        elif self._state is not ReplicaState.DRAINING:
            self._move(ReplicaState.DRAINING)
            self._ending = asyncio.create_task(self._end(self._launch.orphan_grace_s), name="drain")

    def stop(self) -> None:
        """End now."""
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.create_task(self._end(0.0), name="stop")

    async def _end(self, grace_s: float) -> None:
        await self.host.leave(grace_s)
        await self.host.runner.close(grace_s=0.0)
        if grace_s:
            await self._link.settled(_TELL_LIMIT_S)
        self._over.set()

    def _move(self, state: ReplicaState) -> None:
        self._state = step(REPLICA, self._state, state)
        logger.info("model host %s", fields(state=state.value, replica=self._spec.id))
        self._clients.tell_control()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        lifeline = self._launch.lifeline_fd
        if lifeline >= 0:  # nobody writes to it: readable means that the supervisor has gone

            def ended() -> None:
                loop.remove_reader(lifeline)
                loop.call_later(self._launch.orphan_grace_s, self.stop)
                self.drain()

            loop.add_reader(lifeline, ended)

    async def _tick_log(self) -> None:
        while self._log is not None:
            await asyncio.sleep(_LOG_TICK_S)
            self._log.tick()


def _become_host(launch: WorkerLaunch, spec: ReplicaSpec) -> LogFile | None:
    """Leave the nursery's affairs behind. The model's environment is for its workers, not for the host."""
    from setproctitle import setproctitle

    if os.getsid(0) != os.getpid():
        os.setsid()
    setproctitle(f"trimtab: models {spec.endpoint}/{spec.variant}")
    reset_signals()
    close_descriptors(keep={launch.lifeline_fd, launch.listener_fd})
    os.chdir("/")
    random.seed()
    if launch.cpus:
        os.sched_setaffinity(0, launch.cpus)
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    log = capture(Path(launch.log_path), launch.log_max_bytes) if launch.log_path else None
    logs.configure("models")
    faulthandler.enable(file=2)
    return log


def _gpu_memory_of(launch: WorkerLaunch) -> int:
    """Of its devices together, but for what the driver keeps and a model's own reserve; 0: it has none."""
    cards = [gpu.memory_bytes for gpu in gpus.inventory() if gpu.index in launch.gpus] if launch.gpus else []
    return int(sum(cards) * _GPU_SHARE)


def _memory_of(launch: WorkerLaunch, spec: ReplicaSpec, hosting: Hosting) -> int:
    try:
        instance_bytes = shape_of(spec.instance_type).memory_bytes
    except Invalid:  # the engine has started it all the same
        instance_bytes = total_memory()
    machine_bytes = launch.memory_limit_bytes or total_memory()
    return models_bytes(hosting.memory_bytes, instance_bytes=instance_bytes, machine_bytes=machine_bytes)

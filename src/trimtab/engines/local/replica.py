"""One local replica: its spec, its place, its processes, and the state that follows from theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from trimtab.engines.local.members import Member
from trimtab.engines.local.orders import Born
from trimtab.engines.local.placement import Place
from trimtab.engines.local.workers import WorkerMember
from trimtab.logs import fields
from trimtab.resources.lifecycles import REPLICA, step
from trimtab.resources.replica import Failure, ReplicaSpec, ReplicaState, ReplicaStatus, StartBudget, Wire
from trimtab.resources.runtime import RuntimeKind
from trimtab.wire.frames import WorkerDescription

logger = logging.getLogger(__name__)

ENDED = (ReplicaState.FAILED, ReplicaState.GONE)


class Lease(Protocol):
    """An artifact on local disk, unpacked, that stays there until it is released."""

    @property
    def path(self) -> Path:
        """Its folder."""
        ...

    def release(self) -> None:
        """Nobody reads it under this lease any more."""
        ...


class LocalReplica:
    """Changes only through `attach`, `fail`, `drain_begins` and what its members report."""

    def __init__(
        self, spec: ReplicaSpec, place: Place, *, processes: int, started_s: float, on_change: Callable[[], None]
    ) -> None:
        """A replica without processes yet. `on_change` is called whenever `status` would answer something new."""
        self.spec = spec
        self.place = place
        self.processes = processes
        self.started_s = started_s
        self.state = ReplicaState.STARTING
        self.failure: Failure | None = None
        self.budget = StartBudget(detect_s=spec.detect_s, decide_s=spec.decide_s)
        self.members: list[Member] = []
        self.unwanted: list[asyncio.Task[Born]] = []  # orders that were given up before they were carried out
        self.artifact: Lease | None = None  # held while any process may read it
        self.step = "waiting for its turn"  # what a start is busy with, for the words of a timeout
        self.settled = asyncio.Event()  # no longer on its way
        self.retrying = False  # a death is being dealt with: it is not the replica's yet
        self.start: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self._on_change = on_change

    @property
    def wire(self) -> Wire:
        """How gateways talk to it."""
        if self.spec.hosting is not None:
            return Wire.MODELS
        return Wire.FRAMES if self.spec.runtime.kind is RuntimeKind.PYTHON else Wire.HTTP

    @property
    def pids(self) -> list[int]:
        """Its living processes, a model host's workers included."""
        living = [member for member in self.members if not member.dead.is_set()]
        own = [member.record.pid for member in living]
        return own + [pid for member in living for pid in member.family]

    def spend(self, **steps: float | None) -> None:
        """Note steps of the start budget."""
        self.budget = msgspec.structs.replace(self.budget, **steps)

    def attach(self, member: Member) -> None:
        """Add a process."""
        self.members.append(member)
        self.members_changed()

    def fail(self, failure: Failure) -> None:
        """It will not become ready, or has stopped being so. The first reason stays."""
        if self.state in ENDED:
            return
        self.failure = failure
        logger.warning("replica failed %s", fields(id=self.spec.id, reason=failure.reason, why=failure.message))
        self._to(ReplicaState.FAILED)

    def drain_begins(self) -> None:
        """Nothing new is to be sent to it."""
        self._to(ReplicaState.DRAINING)

    def release_artifact(self) -> None:
        """No process of it reads its artifact any more."""
        if self.artifact is not None:
            self.artifact.release()
            self.artifact = None

    def gone(self) -> None:
        """Nothing of it is left."""
        self._to(ReplicaState.GONE)

    def members_changed(self) -> None:
        """Draw the conclusion from what the members are."""
        if self.state in ENDED or self.retrying:
            self._on_change()
            return
        if self.state is not ReplicaState.DRAINING:
            broken = next((m for m in self.members if m.failure is not None or m.dead.is_set()), None)
            if broken is not None and broken.failure is not None:
                self.fail(broken.failure)
                return
            if any(member.state is ReplicaState.DRAINING for member in self.members):
                self._to(ReplicaState.DRAINING)  # its supervisor has gone, and it knows
                return
        if self.state is ReplicaState.STARTING and self._all_ready():
            self._note_budget()
            logger.info("replica ready %s", fields(id=self.spec.id, endpoint=self.spec.endpoint))
            self._to(ReplicaState.READY)
            return
        self._on_change()

    def status(self) -> ReplicaStatus:
        """What is observed of it now."""
        spec, members = self.spec, self.members
        return ReplicaStatus(
            id=spec.id,
            endpoint=spec.endpoint,
            variant=spec.variant,
            version=spec.version,
            state=self.state,
            wire=self.wire,
            addresses=tuple(member.record.address for member in members),
            pids=tuple(member.record.pid for member in members if not member.dead.is_set()),
            concurrency=max((member.concurrency for member in members), default=1),
            batch_size=max((member.batch_size for member in members), default=0),
            batching=next((member.batching for member in members if member.batching), ""),
            in_flight=sum(member.in_flight for member in members),
            gpus=self.place.gpus,
            started_s=self.started_s,
            cause=spec.cause,
            budget=self._budget_with_first_answer(),
            failure=self.failure,
        )

    def _all_ready(self) -> bool:
        return len(self.members) == self.processes and all(member.ready for member in self.members)

    def _to(self, state: ReplicaState) -> None:
        if state is self.state:
            return
        self.state = step(REPLICA, self.state, state)
        if state is not ReplicaState.STARTING:
            self.settled.set()
        self._on_change()

    def _descriptions(self) -> list[WorkerDescription]:
        workers = (member for member in self.members if isinstance(member, WorkerMember))
        return [worker.description for worker in workers if worker.description]

    def _budget_with_first_answer(self) -> StartBudget:
        """A worker tells of its first answer once it has given it; the quickest worker's is the replica's."""
        first = [said.first_answer_s for said in self._descriptions() if said.first_answer_s is not None]
        return msgspec.structs.replace(self.budget, first_answer_s=min(first)) if first else self.budget

    def _note_budget(self) -> None:
        """The slowest worker's steps are the replica's."""
        said = self._descriptions()
        if said:
            slow = max(said, key=lambda d: sum(s or 0.0 for s in (d.fork_s, d.import_s, d.load_s, d.warm_s)))
            self.spend(fork_s=slow.fork_s, import_s=slow.import_s, load_s=slow.load_s, warm_s=slow.warm_s)

"""FakeEngine: an engine without processes, and with scripted faults. A peer of the real ones, not a mock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.errors import NoCapacity
from trimtab.resources.lifecycles import REPLICA, step
from trimtab.resources.replica import Failure, ReplicaSpec, ReplicaState, ReplicaStatus, StartBudget
from trimtab.resources.usage import ReplicaUsage

S = ReplicaState


class Fault(Struct, frozen=True, kw_only=True):
    """What the next start does instead of becoming ready."""

    failure: Failure | None = None  # it fails with this
    never_ready: bool = False  # it stays Starting until it is stopped
    steps: int = 0  # it takes so many steps more than usual
    raises: Exception | None = None  # the order itself raises
    version: str = ""  # only a start of this endpoint config; "" = the next one whatever it is


class FakeEngine:
    """Replicas move one arrow per `step`; with `automatic`, they move by themselves, soon.

    It outlives the controls that use it, as processes do: a new control opens the same FakeEngine. Every order is
    kept in `orders`. `capacity` bounds the replicas that live at the same time (None: any number).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        automatic: bool = False,
        capacity: int | None = None,
        address_of: Callable[[ReplicaSpec], tuple[str, ...]] = lambda spec: (f"unix:/fake/{spec.id}-0.sock",),
    ) -> None:
        self._clock = clock
        self._automatic = automatic
        self.capacity = capacity
        self._address_of = address_of
        self._statuses: dict[str, ReplicaStatus] = {}
        self._specs: dict[str, ReplicaSpec] = {}
        self._slow: dict[str, int] = {}
        self._doomed: dict[str, Failure | None] = {}  # will fail so; None = never becomes ready
        self._ever: set[str] = set()
        self._wakes: list[Callable[[], None]] = []
        self._stepping = False
        self._measured: set[str] = set()
        self.usages: dict[str, ReplicaUsage] = {}  # by replica
        self.faults: deque[Fault] = deque()
        self.standing_faults: dict[str, Fault] = {}  # version -> what each of its starts does
        self.orders: list[tuple[str, str]] = []  # ("start" | "drain" | "stop", replica id)

    async def open(self) -> None:
        """See Engine."""

    async def close(self) -> None:
        """See Engine."""
        self._wakes.clear()

    def on_change(self, wake: Callable[[], None]) -> None:
        """See Engine."""
        self._wakes.append(wake)

    def observe(self) -> Sequence[ReplicaStatus]:
        """See Engine."""
        return list(self._statuses.values())

    async def measure(self) -> Sequence[ReplicaUsage]:
        """See Engine. `usages` has what a test wants to be read of a replica; CPU is unknown in the first reading."""
        found = []
        for status in self.alive():
            usage = self.usages.get(status.id) or ReplicaUsage(
                replica_id=status.id,
                endpoint=status.endpoint,
                variant=status.variant,
                cpu_percent=1.0,
                memory_bytes=1 << 20,
                memory_percent=0.1,
            )
            found.append(usage if status.id in self._measured else replace(usage, cpu_percent=None))
        self._measured = {usage.replica_id for usage in found}
        return found

    async def start(self, spec: ReplicaSpec) -> None:
        """See Engine."""
        self.orders.append(("start", spec.id))
        if spec.id in self._statuses:
            return
        if spec.id in self._ever:
            raise AssertionError(f"the id {spec.id} was used before")
        fault = self._take_fault(spec)
        if fault.raises is not None:
            raise fault.raises
        if self.capacity is not None and len(self.alive()) >= self.capacity:
            raise NoCapacity(f"The machine has room for {self.capacity} replicas.")
        self._ever.add(spec.id)
        self._specs[spec.id] = spec
        self._slow[spec.id] = fault.steps
        if fault.failure is not None or fault.never_ready:
            self._doomed[spec.id] = fault.failure
        self.put(
            ReplicaStatus(
                id=spec.id,
                endpoint=spec.endpoint,
                variant=spec.variant,
                version=spec.version,
                state=S.STARTING,
                started_s=self._clock.now_s(),
                cause=spec.cause,
                budget=StartBudget(detect_s=spec.detect_s, decide_s=spec.decide_s, fetch_s=0.0),
            )
        )

    async def drain(self, replica_id: str, *, grace_s: float) -> None:
        """See Engine."""
        self.orders.append(("drain", replica_id))
        status = self._statuses.get(replica_id)
        if status is not None and status.state in (S.STARTING, S.READY):
            self._move(replica_id, S.DRAINING)

    async def stop(self, replica_id: str) -> None:
        """See Engine."""
        self.orders.append(("stop", replica_id))
        if self._statuses.pop(replica_id, None) is not None:
            self._changed()

    # the script

    def alive(self) -> list[ReplicaStatus]:
        """Replicas that use a place: starting, ready, draining."""
        return [status for status in self._statuses.values() if status.state in (S.STARTING, S.READY, S.DRAINING)]

    def ids(self, *states: ReplicaState, version: str = "") -> list[str]:
        """Ids of the replicas in these states (none given: all), oldest first."""
        return [
            status.id
            for status in self._statuses.values()
            if (not states or status.state in states) and version in ("", status.version)
        ]

    def spec(self, replica_id: str) -> ReplicaSpec:
        """What the replica was ordered with."""
        return self._specs[replica_id]

    def step(self) -> bool:
        """Move every replica one arrow on; return whether one moved."""
        moved = [self._advance(replica_id) for replica_id in list(self._statuses)]
        return any(moved)

    def fail(self, replica_id: str, failure: Failure) -> None:
        """It fails now, for this reason, and stays listed."""
        self._move(replica_id, S.FAILED, failure=failure)

    def kill(self, replica_id: str) -> None:
        """It dies now without a word and is listed Gone."""
        self._move(replica_id, S.GONE)

    def vanish(self, replica_id: str) -> None:
        """It dies now and is not even listed any more."""
        del self._statuses[replica_id]
        self._changed()

    # how it works

    def _take_fault(self, spec: ReplicaSpec) -> Fault:
        for fault in self.faults:
            if fault.version in ("", spec.version):
                self.faults.remove(fault)
                return fault
        return self.standing_faults.get(spec.version, Fault())

    def _advance(self, replica_id: str) -> bool:
        status = self._statuses[replica_id]
        if status.state is S.DRAINING:
            del self._statuses[replica_id]
            self._changed()
            return True
        if status.state is not S.STARTING:
            return False
        if self._slow[replica_id] > 0:
            self._slow[replica_id] -= 1
            self._changed()
            return True
        if replica_id not in self._doomed:
            self._move(replica_id, S.READY, addresses=self._address_of(self._specs[replica_id]))
        elif (failure := self._doomed[replica_id]) is not None:
            self._move(replica_id, S.FAILED, failure=failure)
        else:
            return False
        return True

    def _move(self, replica_id: str, state: ReplicaState, **changes: object) -> None:
        status = self._statuses[replica_id]
        self.put(replace(status, state=step(REPLICA, status.state, state), **changes))

    def put(self, status: ReplicaStatus) -> None:
        """Observe this from now on."""
        self._statuses[status.id] = status
        self._changed()

    def _changed(self) -> None:
        for wake in self._wakes:
            wake()
        if self._automatic and not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_soon(self._step_soon)

    def _step_soon(self) -> None:
        self._stepping = False
        self.step()

"""What every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from trimtab.resources.replica import ReplicaSpec, ReplicaStatus
from trimtab.resources.usage import ReplicaUsage


class Engine(Protocol):
    """Run replicas somewhere. Calls are idempotent and return before their effect is complete.

    A replica that dies is reported FAILED or GONE, never restarted by the engine: restarting is a decision, and
    decisions are the plan's.
    """

    async def open(self) -> None:
        """Connect, and adopt what an earlier control left running. Returns when `observe` is truthful."""
        ...

    async def start(self, spec: ReplicaSpec) -> None:
        """Order a replica. The same id again: no effect. Raises NoCapacity when the machine is full."""
        ...

    async def drain(self, replica_id: str, *, grace_s: float) -> None:
        """Finish what is in hand, then end; after `grace_s` end anyway. Unknown id: no effect.

        The caller has made sure that no gateway routes to it any more.
        """
        ...

    async def stop(self, replica_id: str) -> None:
        """End it now and forget it, failed ones too. Unknown id: no effect."""
        ...

    def observe(self) -> Sequence[ReplicaStatus]:
        """All replicas that this engine owns, strays of earlier controls included. Cheap; no I/O."""
        ...

    async def measure(self) -> Sequence[ReplicaUsage]:
        """What each replica that has processes takes now. For one caller, about once a second: CPU is told since its
        last call. May do I/O, but holds up nobody; what cannot be measured is None, never zero."""
        ...

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from the event loop) whenever `observe` would answer something new."""
        ...

    async def close(self) -> None:
        """Let go without stopping any replica."""
        ...

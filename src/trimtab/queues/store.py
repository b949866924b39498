"""What keeps queues durably, and what asks them. Every store keeps the same promises: see testing/queue_store.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from trimtab.queues.model import Depth, Op, Result


class StoreLost(Exception):
    """What the store holds is unknown: its keeper must end, and the next one must read it anew."""


class QueueStore(Protocol):
    """Synchronous, used by one thread at a time; each call is one transaction. What it has answered survives
    the machine's death, but for leases: one that was lost with the machine means that its message is leased again."""

    def apply(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        """Carry all out, in order, in one transaction; each sees those before it. An op that is refused (Full, Lost,
        ...) leaves no trace and does not hinder the others. With no ops, time takes its course: leases end, messages
        become visible and expire. Raises QueuesFull, nothing done, when the disk is full; Unavailable, nothing known,
        when the database is away.
        """
        ...

    def due(self, now_s: float) -> float:
        """The wall time at which something becomes visible, expires, or a lease ends, without anybody asking; inf."""
        ...

    def changed(self) -> Sequence[str]:
        """Queues that the last `apply` has changed in any way, those that it dropped included."""
        ...

    def depths(self, queues: Sequence[str]) -> Sequence[Depth | None]:
        """How each of these queues is (`delayed` may be 0); None where there is no such queue. Cheap."""
        ...

    def names(self, prefix: str) -> Sequence[str]:
        """Queues below a prefix, in order. Cheap."""
        ...

    def owners(self) -> Sequence[str]:
        """Who holds leases."""
        ...

    def shift(self, by_s: float) -> None:
        """The wall clock has jumped by so much: all times that are kept follow it, so that what remains of leases,
        delays and lives is what it was. A store whose clock is another's does nothing."""
        ...

    def hear(self, told: Callable[[Sequence[str]], None]) -> None:
        """Call `told`, from whatever thread, with queues that another keeper of the same store has changed."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Queues(Protocol):
    """What the rest of trimtab is given: a client of the keeper (client.py)."""

    owner: str  # of this client's leases: they are free when its connection is gone for good

    async def ask(self, op: Op) -> Result:
        """One op, durably. Survives the keeper's death: asked again until it is answered (ids, tokens make that safe).
        Raises Unavailable when no keeper answers for a long time, QueuesFull."""
        ...

    def watch(self, prefix: str, told: Callable[[Depth], None]) -> None:
        """Call `told` with how a queue below `prefix` is: of all at once, at once when one begins or ceases to hold
        anything, and else several times a second while it changes."""
        ...

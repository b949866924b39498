"""QueueSignaller: tells control at once what waits in the queues of asynchronous endpoints, as gateways tell of calls.

So an endpoint at zero is woken by its first task, and one that is scaled by events grows with its backlog.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from trimtab.gateway.gateway import Gateway
from trimtab.gateway.signalled import Source
from trimtab.gateway.signaller import Signaller
from trimtab.gateway.variant import Variant
from trimtab.queues.model import Depth
from trimtab.resources.asynchronous import QUEUE_PREFIX, QueueMark

_LEAST_STARVING_S: Final = 1e-6


class QueueSignaller(Signaller):
    """`told` must hear of every queue below `QUEUE_PREFIX`."""

    def __init__(self, gateway: Gateway, socket_path: Path, *, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(gateway, socket_path, now_s=now_s)
        self._depths: dict[str, Depth] = {}  # by endpoint, of those that hold anything
        self._put: dict[str, int] = {}  # by endpoint, tasks put so far

    def told(self, depth: Depth) -> None:
        """How a queue is."""
        endpoint = depth.queue.removeprefix(QUEUE_PREFIX)
        if not depth.settings.attributes:  # dropped
            self._depths.pop(endpoint, None)
            self._put.pop(endpoint, None)
            return
        if endpoint in self._put and self.is_connected:
            for variant in self._variants(endpoint):  # counting begins before this change of the queue
                if variant.signals:
                    self._signalled(variant)
        self._put[endpoint] = depth.put
        if depth.waiting + depth.leased:
            self._depths[endpoint] = depth
        else:
            self._depths.pop(endpoint, None)
        if endpoint in self._depths:
            for variant in self._variants(endpoint):
                self._wake(variant)

    def _wake(self, variant: Variant) -> None:
        if variant.signals and variant not in self._active:
            self.began(variant)
        if variant.signals and not variant.lanes and self.backlog(variant)[1]:
            self.starved(variant)

    def switched(self, active: Iterable[Variant]) -> None:
        """See Watcher."""
        waiting = [variant for endpoint in self._depths for variant in self._variants(endpoint)]
        super().switched([*active, *waiting])
        for variant in waiting:
            self._wake(variant)

    def source(self, variant: Variant) -> Source:
        """The part of the queue that is the variant's."""
        return _Part(self, variant, self._now_s)

    def backlog(self, variant: Variant) -> tuple[int, int]:
        """Tasks of the variant that have not ended, and of these, those that nobody works on."""
        depth = self._depths.get(variant.endpoint)
        if depth is None or not self._is_of(depth, variant):
            return 0, 0
        share = self._share(variant)
        return _part(depth.waiting + depth.leased, share), _part(depth.waiting, share)

    def put(self, variant: Variant) -> int:
        """Tasks of the variant that came so far."""
        return _part(self._put.get(variant.endpoint, 0), self._share(variant))

    def _is_of(self, depth: Depth, variant: Variant) -> bool:
        """Tasks of an endpoint that was deleted need no replica."""
        mark = msgspec.json.decode(depth.settings.attributes, type=QueueMark)
        entry = self._gateway.endpoints.get(variant.endpoint)
        return not mark.deleted and entry is not None and (not mark.uid or entry.route.uid == mark.uid)

    def _share(self, variant: Variant) -> float:
        """Which part of its endpoint's tasks is to come to the variant, by weight."""
        entry = self._gateway.endpoints.get(variant.endpoint)
        if entry is None:
            return 0.0
        whole = sum(other.route.weight for other in entry.variants)
        return variant.route.weight / whole if whole > 0 else 0.0

    def _variants(self, endpoint: str) -> Iterator[Variant]:
        entry = self._gateway.endpoints.get(endpoint)
        yield from entry.variants if entry is not None else ()


def _part(count: int, share: float) -> int:
    """Rounded up where it is not nothing: a single task wakes whoever may get it."""
    return -int(-count * share // 1) if share < 1 else count


class _Part:
    """`Source` of one variant."""

    def __init__(self, queues: QueueSignaller, variant: Variant, now_s: Callable[[], float]) -> None:
        self._queues = queues
        self._variant = variant
        self._now_s = now_s
        self._ended = 0
        self._hungry_since_s: float | None = None

    @property
    def in_hand(self) -> int:
        """Tasks that have not ended."""
        return self._queues.backlog(self._variant)[0]

    @property
    def waiting(self) -> int:
        """Of these, those that nobody works on."""
        return self._queues.backlog(self._variant)[1]

    def counted(self) -> tuple[int, int]:
        """Tasks that came so far, and of these that have ended. A task taken out of the dead letters comes again."""
        in_hand = self.in_hand
        self._ended = max(self._ended, self._queues.put(self._variant) - in_hand)
        return self._ended + in_hand, self._ended

    def busy_so_far_s(self) -> float:
        """Replica-seconds with a call in hand."""
        return self._variant.busy_so_far_s()

    def starving_s(self) -> float:
        """For how long tasks have waited without any replica; else 0."""
        if self._variant.lanes or not self.waiting:
            self._hungry_since_s = None
            return 0.0
        if self._hungry_since_s is None:
            self._hungry_since_s = self._now_s()
        return max(_LEAST_STARVING_S, self._now_s() - self._hungry_since_s)

"""Which model was asked when, and what each asynchronous request took: what gateways and the consumer report of single
requests, kept for those who record traffic.

It is for the simulator: nothing live goes by it. So it is written without an acknowledgement, a moment after the
report: what a crash takes is missing, and whoever reads it compares it with the metrics of the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from trimtab.errors import NotFound, TrimtabError
from trimtab.logs import fields
from trimtab.wire.reports import Report, VariantReport

logger = logging.getLogger(__name__)

_MOST_WAITING: Final = 10_000  # rows that are not written yet: beyond it the file cannot be written for long


def life_of(replica_id: str) -> str:
    """The life of the endpoint that a replica is of (EndpointRecord.uid begins all their ids)."""
    return replica_id.partition("-")[0]


class Asked(Struct, array_like=True, frozen=True):
    """Requests for one model in one report: how many, and when they came, in milliseconds after the report's start (of
    asynchronous ones, which are told of when they have ended, before it). Of many requests the moments of the first are
    told, of the rest nothing but that they came. `took_us`: for how long each of them was in work (asynchronous)."""

    count: int
    at_ms: tuple[int, ...] = ()
    took_us: tuple[int, ...] = ()


class CameRow(Struct, frozen=True, kw_only=True):
    """What one gateway has told of `span_s` seconds from `start_s` (wall time), by model; of tasks, under ""."""

    variant: str
    start_s: int
    span_s: int
    models: dict[str, Asked]


class Keeps(Protocol):
    """Who writes it (`History`)."""

    async def add_came(self, rows: Sequence[tuple[str, CameRow]]) -> None: ...


class Came:
    """`take` each report once. On the event loop."""

    def __init__(self, keeps: Keeps, look: Callable[[str], str]) -> None:
        """`look` an endpoint's life up, by which the history knows it: where a report names no replica. NotFound."""
        self._keeps = keeps
        self._look = look
        self._waiting: list[tuple[str, CameRow]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_open = True

    def take(self, report: Report) -> None:
        """Write what it says of single requests, soon."""
        if not self._is_open:
            return
        self._waiting += self._rows(report)
        del self._waiting[:-_MOST_WAITING]
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._write(), name="write what was asked")

    def _rows(self, report: Report) -> Iterator[tuple[str, CameRow]]:
        for of in report.variants:
            models = _models(of, report.start_s * 1000)
            if not models:
                continue
            try:
                life = life_of(next(iter(of.busy_s), "")) or self._look(of.endpoint)
            except NotFound:  # it was deleted meanwhile
                continue
            yield life, CameRow(variant=of.variant, start_s=report.start_s, span_s=report.span_s, models=models)

    async def _write(self) -> None:
        try:
            while rows := self._waiting:
                self._waiting = []
                try:
                    await self._keeps.add_came(rows)
                except TrimtabError as error:
                    logger.error("what was asked is not written %s", fields(rows=len(rows), error=error))
        finally:
            self._task = None

    async def close(self) -> None:
        """Once what was taken is written; nothing is taken any more."""
        self._is_open = False
        if self._task is not None:
            await self._task


def _models(of: VariantReport, start_ms: int) -> dict[str, Asked]:
    if (tasks := of.tasks) is not None and tasks.in_work.count:
        at_ms = tuple(accepted_ms - start_ms for accepted_ms, _ in tasks.each)
        return {"": Asked(round(tasks.in_work.count), at_ms, tuple(took_us for _, took_us in tasks.each))}
    if (models := of.models) is None:
        return {}
    return {
        model: Asked(sum(counts), tuple(at_ms - start_ms for at_ms in models.came_ms.get(model, ())))
        for model, counts in models.models.items()
    }


packed = msgspec.msgpack.Encoder().encode
unpacked = msgspec.msgpack.Decoder(dict[str, Asked]).decode

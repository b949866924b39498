"""Which model was asked when: what gateways report of multi-model variants, kept for those who record traffic.

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
from trimtab.wire.reports import Report

logger = logging.getLogger(__name__)

_MOST_WAITING: Final = 10_000  # rows that are not written yet: beyond it the file cannot be written for long


class Asked(Struct, array_like=True, frozen=True):
    """Requests for one model in one report: how many, and when they came, in milliseconds after the report's start.
    Of many requests the moments of the first are told, of the rest nothing but that they came."""

    count: int
    at_ms: tuple[int, ...] = ()


class CameRow(Struct, frozen=True, kw_only=True):
    """What one gateway has told of `span_s` seconds from `start_s` (wall time)."""

    variant: str
    start_s: int
    span_s: int
    models: dict[str, Asked]


class Keeps(Protocol):
    """Who writes it (`History`)."""

    async def add_came(self, rows: Sequence[tuple[str, CameRow]]) -> None: ...


class Came:
    """`take` each report once. On the event loop."""

    def __init__(self, keeps: Keeps, life_of: Callable[[str], str]) -> None:
        """`life_of` an endpoint: what the history knows it by. NotFound."""
        self._keeps = keeps
        self._life_of = life_of
        self._waiting: list[tuple[str, CameRow]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_open = True

    def take(self, report: Report) -> None:
        """Write what it says of models, soon."""
        if not self._is_open:
            return
        self._waiting += self._rows(report)
        del self._waiting[:-_MOST_WAITING]
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._write(), name="write which models were asked")

    def _rows(self, report: Report) -> Iterator[tuple[str, CameRow]]:
        for of in report.variants:
            if of.models is None or not of.models.models:
                continue
            try:
                life = self._life_of(of.endpoint)
            except NotFound:  # it was deleted meanwhile
                continue
            came_ms, start_ms = of.models.came_ms, report.start_s * 1000
            models = {
                model: Asked(sum(counts), tuple(at_ms - start_ms for at_ms in came_ms.get(model, ())))
                for model, counts in of.models.models.items()
            }
            yield life, CameRow(variant=of.variant, start_s=report.start_s, span_s=report.span_s, models=models)

    async def _write(self) -> None:
        try:
            while rows := self._waiting:
                self._waiting = []
                try:
                    await self._keeps.add_came(rows)
                except TrimtabError as error:
                    logger.error("which models were asked is not written %s", fields(rows=len(rows), error=error))
        finally:
            self._task = None

    async def close(self) -> None:
        """Once what was taken is written; nothing is taken any more."""
        self._is_open = False
        if self._task is not None:
            await self._task


packed = msgspec.msgpack.Encoder().encode
unpacked = msgspec.msgpack.Decoder(dict[str, Asked]).decode

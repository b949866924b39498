"""CostBook: answers what was spent, from the ledger's notes; hours that are long ago become days."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import Final

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.costs import notes as names
from trimtab.control.costs.ledger import CostStore, Ledger
from trimtab.control.costs.only_models import ModelOf, nobody
from trimtab.errors import Invalid
from trimtab.logs import fields
from trimtab.policies.costs.cells import DAY_S, HOUR_S, Cell, CellKey, by_day
from trimtab.policies.costs.report import DIMENSIONS, CostReport, rows_of, total_of
from trimtab.policies.costs.variant import packed_cell, unpacked_cell
from trimtab.resources.names import key_of

logger = logging.getLogger(__name__)

HOURS_KEPT_S: Final = 35 * DAY_S  # after that, days
DAYS_KEPT_S: Final = 1100 * DAY_S
_TIDY_EVERY_S: Final = 3600.0


class CostQuery(Struct, frozen=True, kw_only=True):
    """What is asked. `endpoint` "" means all; `by`: of DIMENSIONS. `until_s` None: now."""

    endpoint: str = ""
    since_s: float = 0.0
    until_s: float | None = None
    by: tuple[str, ...] = ("endpoint", "variant")

    def check(self) -> CostQuery:
        """Return it; Invalid when it asks for something that there is not."""
        for dimension in self.by:
            if dimension not in DIMENSIONS:
                raise Invalid(f"Costs are told by {', '.join(DIMENSIONS)}, not by {dimension[:40]!r}.")
        if self.until_s is not None and self.until_s <= self.since_s:
            raise Invalid("The end of the time that is asked for must be after its beginning.")
        return self


class CostBook:
    """Answers queries; `tidy` now and then. The store is read on another thread."""

    def __init__(self, ledger: Ledger, store: CostStore, clock: Clock, model_of: ModelOf = nobody) -> None:
        self._ledger = ledger
        self._model_of = model_of
        self._store = store
        self._clock = clock

    async def report(self, query: CostQuery, sees: Callable[[str], bool] = lambda name: True) -> CostReport:
        """What was spent in the hours that the query's time touches, on endpoints that `sees` lets be seen, deleted
        ones included. Nothing spent: no rows."""
        query.check()
        self._ledger.tick(everything=True)
        now_s = self._clock.now_s()
        since_s = int(max(0.0, query.since_s)) // HOUR_S * HOUR_S
        until_s = -(-int(now_s if query.until_s is None else min(now_s, query.until_s)) // HOUR_S) * HOUR_S
        cells = await asyncio.to_thread(self._cells, since_s, max(since_s, until_s))
        wanted = key_of(query.endpoint)
        found = [
            (key, cell)
            for key, cell in cells.items()
            if (not wanted or key_of(key.endpoint) == wanted) and sees(key.endpoint)
        ]
        if "model" in query.by:
            model_of = cache(self._model_of)  # many hours are of the same versions
            found = [(_named(key, model_of), cell) for key, cell in found]
        return CostReport(
            since_s=since_s,
            until_s=until_s,
            charged_s=self._ledger.charged_s,
            by=query.by,
            rows=tuple(rows_of(found, query.by)),
            total=total_of(found),
            usd_per_hour=self._now(query.endpoint, sees),
            notes=tuple(self._ledger.prices.notes(cell.instance_type for _, cell in found)),
        )

    def _now(self, endpoint: str, sees: Callable[[str], bool]) -> float | None:
        wanted = key_of(endpoint)
        costs = self._ledger.usd_per_hour().items()
        found = [usd for (name, _), usd in costs if (not wanted or key_of(name) == wanted) and sees(name)]
        return sum(found) if found else None

    def _cells(self, since_s: int, until_s: int) -> dict[CellKey, Cell]:
        """By hour, or by day where hours are not kept any more; a day that is asked for in part is told whole."""
        found = self._range(names.DAYS, since_s // DAY_S * DAY_S, until_s)
        found.update(self._range(names.HOURS, since_s, until_s))
        return found

    def _range(self, prefix: str, since_s: int, until_s: int) -> dict[CellKey, Cell]:
        notes = self._store.notes_between(names.since(prefix, since_s), names.since(prefix, until_s))
        return {names.cell_key(name): unpacked_cell(value) for name, value in notes.items()}

    # --- long ago -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tidy for ever."""
        while True:
            try:
                await self.tidy()
            except Exception as error:  # the next time is another one
                logger.exception("old costs could not be added up by days %s", fields(error=error))
            await asyncio.sleep(_TIDY_EVERY_S)

    async def tidy(self) -> None:
        """Make days of hours that are long ago, in one transaction; forget days that are very long ago."""
        now_s = int(self._clock.now_s())
        before_s = (now_s - HOURS_KEPT_S) // DAY_S * DAY_S
        gone = await asyncio.to_thread(self._range, names.DAYS, 0, max(0, now_s - DAYS_KEPT_S))
        hours = await asyncio.to_thread(self._range, names.HOURS, 0, before_s)
        if hours:  # again, for nothing may be charged between this look and the writing: a day's worth, once a day
            hours = self._range(names.HOURS, 0, before_s)
        days = by_day(hours)
        for key, cell in days.items():
            name = names.cell_note(key, names.DAYS)
            if (found := self._store.notes_between(name, name + "\0").get(name)) is not None:
                cell.add(unpacked_cell(found))
        written: dict[str, bytes | None] = {names.cell_note(key): None for key in hours}
        written |= {names.cell_note(key, names.DAYS): packed_cell(cell) for key, cell in days.items()}
        written |= {names.cell_note(key, names.DAYS): None for key in gone}
        if written:
            self._store.record((), notes=written)


def _named(key: CellKey, model_of: ModelOf) -> CellKey:
    """With the model of replicas that have one; the ledger names those of several."""
    return key if key.model else key._replace(model=model_of(key.version, key.variant))

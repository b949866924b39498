"""Exposition: what Prometheus reads, as text. What did not change since the last time is not rendered again.

While somebody scrapes, what changes is rendered soon after, a little at a time, so that a scrape has little left to do.

Text format 0.0.4, or OpenMetrics 1.0: they differ in how a counter's family is called, and in the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Final

from trimtab.control.metering import Metering, Place, Variant
from trimtab.control.totals import Sum, VersionTotals
from trimtab.metrics import families as f
from trimtab.metrics.families import BOUNDS_S, FAMILIES, SAMPLED, Family
from trimtab.resources.cost import MICRO

logger = logging.getLogger(__name__)

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_AT: Final = {family.name: index for index, family in enumerate(FAMILIES)}  # its place in a variant's row
_SAMPLED: Final = {sampled.metric: sampled.family for sampled in SAMPLED}
_RENDERED_IN_A_TURN: Final = 50  # variants; 0.5 ms
_AHEAD_EVERY_S: Final = 0.25
_AHEAD_FOR_S: Final = 150.0  # after a scrape: Prometheus comes every minute at least, nearly everywhere
_JOINED: Final = 200  # texts of variants in one piece: 0.4 MB of histograms

# In templates: where a series' labels go, and where a family ends. One character each: longer ones are found slowly.
_LABELS: Final = "\x00"
_END: Final = "\x01"


class Exposition:
    """Renders a `Metering`. One reader at a time renders; the texts are shared.

    `run` renders ahead: without it everything is rendered when it is asked for.
    """

    def __init__(self, metering: Metering, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._metering = metering
        self._monotonic_s = monotonic_s
        self._ahead_until_s = 0.0
        self._rows: dict[Place, tuple[str, ...]] = {}  # by variant, a text for each of FAMILIES
        self._rendering = asyncio.Lock()

    async def text(
        self, *, open_metrics: bool = False, visible: Callable[[str], bool] | None = None
    ) -> AsyncIterator[bytes]:
        """The text in pieces; the loop has its turn between them. `visible` chooses endpoints by name."""
        self._ahead_until_s = self._monotonic_s() + _AHEAD_FOR_S
        await self._refresh()
        rows = [row for place, row in self._rows.items() if visible is None or visible(place[0])]
        for index, family in enumerate(FAMILIES):
            head = _header(family, open_metrics=open_metrics)
            for first in range(0, len(rows), _JOINED):
                if part := "".join([row[index] for row in rows[first : first + _JOINED]]):
                    yield head + part.encode()
                    head = b""
                    await asyncio.sleep(0)
        if open_metrics:
            yield b"# EOF\n"

    async def run(self) -> None:
        """Render ahead for ever; nothing while nobody scrapes."""
        while True:
            await asyncio.sleep(_AHEAD_EVERY_S)
            if self._monotonic_s() < self._ahead_until_s:
                try:
                    await self._refresh()
                except Exception:  # a scrape shows the same, and answers 500; control goes on
                    logger.exception("metrics cannot be rendered")

    async def _refresh(self) -> None:
        async with self._rendering:
            changed, number = self._metering.changed, 0
            while changed:
                self._render(changed.pop())  # one by one: a client that leaves in between takes none with it
                number += 1
                if number % _RENDERED_IN_A_TURN == 0:
                    await asyncio.sleep(0)

    def _render(self, place: Place) -> None:
        variant = self._metering.variants.get(place)
        if variant is None:
            self._rows.pop(place, None)
        else:
            self._rows[place] = rendered(place, variant)


def rendered(place: Place, variant: Variant) -> tuple[str, ...]:
    """The lines of a variant: a text for each of FAMILIES, "" for what it has never had."""
    labels = f'endpoint="{escaped(place[0])}",variant="{escaped(place[1])}"'
    row = [""] * len(FAMILIES)
    totals = variant.totals
    ready = len({lane.replica_id for lane in variant.route.lanes})
    if totals.received:
        values = (totals.received, variant.in_hand, variant.waiting, variant.busy, ready, totals.throttled,
                  totals.retried, totals.clients_gone)  # fmt: skip
        _USED.put(row, labels, values)
    else:
        _UNUSED.put(row, labels, (0, variant.in_hand, variant.waiting, variant.busy, ready))
    if totals.model_hits or totals.model_misses:
        row[_AT[f.MODEL_HITS.name]] = f"{f.MODEL_HITS.name}{{{labels}}} {totals.model_hits}\n"
        row[_AT[f.MODEL_MISSES.name]] = f"{f.MODEL_MISSES.name}{{{labels}}} {totals.model_misses}\n"
        row[_AT[f.MODEL_WAIT.name]] = _summary(f.MODEL_WAIT, labels, totals.model_wait, 1e-6)
    for metric, value in variant.sampled.items():
        family = _SAMPLED[metric]
        row[_AT[family.name]] = f"{family.name}{{{labels}}} {value!r}\n"
    for metric, total in totals.sampled.items():
        family = _SAMPLED[metric]
        if family.kind == "counter":
            row[_AT[family.name]] = f"{family.name}{{{labels}}} {total.sum!r}\n"
        else:
            row[_AT[family.name]] = _summary(family, labels, total)
    for part, micro_usd in variant.costs.items():
        row[_AT[f.COST.name]] += f'{f.COST.name}{{{labels},part="{part}"}} {micro_usd / MICRO!r}\n'
    for name, version in totals.versions.items():
        _put_version(row, f'{labels},version="{escaped(name)}"', version)
    return tuple(row)


def _put_version(row: list[str], labels: str, version: VersionTotals) -> None:
    duration = version.duration
    values = [*accumulate(version.below), duration.sum * 1e-6, duration.count, version.client_faults,
              version.server_faults]  # fmt: skip
    had = []
    for family, total in (
        (f.MODEL_DURATION, version.model),
        (f.QUEUE_DURATION, version.queue),
        (f.COMPUTE_DURATION, version.compute),
        (f.FIRST_CHUNK, version.first_chunk),
    ):
        if total.count:
            had.append(family)
            values += (total.sum * 1e-6, total.count)
    _of_version(tuple(had)).put(row, labels, values)
    for reason, count in version.errors.items():
        row[_AT[f.ERRORS.name]] += f'{f.ERRORS.name}{{{labels},reason="{escaped(reason)}"}} {count}\n'
    if version.first_chunk.count:
        row[_AT[f.STREAM_ERRORS.name]] += f"{f.STREAM_ERRORS.name}{{{labels}}} {version.broken_streams}\n"
    if version.batches.count:
        row[_AT[f.BATCH_SIZE.name]] += _summary(f.BATCH_SIZE, labels, version.batches)


class _Template:
    """The lines of several families that have the same labels: filled in by one `%`, much faster than line by line."""

    def __init__(self, *families: tuple[Family, str]) -> None:
        self._places = [_AT[family.name] for family, _ in families]
        self._text = _END.join(lines for _, lines in families)

    def put(self, row: list[str], labels: str, values: Sequence[float]) -> None:
        """Add the lines to a variant's row."""
        texts = (self._text % tuple(values)).split(_END)  # before the labels come, which can hold anything
        for place, text in zip(self._places, texts, strict=True):
            row[place] += text.replace(_LABELS, labels)


def _line(family: Family, form: str = "%d") -> tuple[Family, str]:
    return family, f"{family.name}{{{_LABELS}}} {form}\n"


def _sum_and_count(family: Family) -> str:
    """The last lines of a duration's histogram or summary: to a microsecond."""
    return f"{family.name}_sum{{{_LABELS}}} %.6f\n{family.name}_count{{{_LABELS}}} %d\n"


_UNUSED: Final = _Template(
    _line(f.INVOCATIONS), _line(f.IN_PROGRESS), _line(f.QUEUED), _line(f.UTILIZATION, "%.6g"), _line(f.READY)
)
_USED: Final = _Template(
    _line(f.INVOCATIONS),
    _line(f.IN_PROGRESS),
    _line(f.QUEUED),
    _line(f.UTILIZATION, "%.6g"),
    _line(f.READY),
    _line(f.THROTTLED),
    _line(f.RETRIES),
    _line(f.CLIENTS_GONE),
)


@cache
def _of_version(summaries: tuple[Family, ...]) -> _Template:
    """For a version that has had values of `summaries`: there are a few such sets."""
    name = f.DURATION.name
    buckets = "".join(f'{name}_bucket{{{_LABELS},le="{bound}"}} %d\n' for bound in (*map(repr, BOUNDS_S), "+Inf"))
    errors = "".join(f'{f.MODEL_ERRORS.name}{{{_LABELS},class="{of}"}} %d\n' for of in ("4xx", "5xx"))
    return _Template(
        (f.DURATION, buckets + _sum_and_count(f.DURATION)),
        (f.MODEL_ERRORS, errors),
        *((family, _sum_and_count(family)) for family in summaries),
    )


def _summary(family: Family, labels: str, total: Sum, scale: float = 1.0) -> str:
    name = family.name
    return f"{name}_sum{{{labels}}} {total.sum * scale!r}\n{name}_count{{{labels}}} {round(total.count)}\n"


def _header(family: Family, *, open_metrics: bool) -> bytes:
    name = family.name.removesuffix("_total") if open_metrics and family.kind == "counter" else family.name
    return f"# HELP {name} {family.meaning}\n# TYPE {name} {family.kind}\n".encode()


def escaped(value: str) -> str:
    """A label's value, as both formats want it."""
    if "\\" in value or '"' in value or "\n" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value

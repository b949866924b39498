"""Exposition: what Prometheus reads, as text. What did not change since the last time is not rendered again.

Text format 0.0.4, or OpenMetrics 1.0: they differ in how a counter's family is called, and in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import accumulate
from typing import Final

from trimtab.control.metering import Metering, Place, Variant
from trimtab.control.totals import Sum, VersionTotals
from trimtab.metrics import families as f
from trimtab.metrics.families import BOUNDS_S, FAMILIES, SAMPLED, Family

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_NAMES: Final = tuple(family.name for family in FAMILIES)
_SAMPLED: Final = {sampled.metric: sampled.family for sampled in SAMPLED}
_RENDERED_IN_A_TURN: Final = 100  # variants; 1 to 2 ms
_JOINED: Final = 200  # texts of variants in one piece: 0.4 MB of histograms

_LABELS: Final = "\x00"  # where a template has a series' labels: they can hold anything but this
_HISTOGRAM: Final = "".join(
    [f'{f.DURATION.name}_bucket{{{_LABELS},le="{bound_s!r}"}} %d\n' for bound_s in BOUNDS_S]
    + [
        f'{f.DURATION.name}_bucket{{{_LABELS},le="+Inf"}} %d\n',
        f"{f.DURATION.name}_sum{{{_LABELS}}} %r\n{f.DURATION.name}_count{{{_LABELS}}} %d\n",
    ]
)


class Exposition:
    """Renders a `Metering`. One reader at a time renders; the texts are shared."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self._rows: dict[Place, list[str]] = {}  # by variant, a text for each of FAMILIES
        self._rendering = asyncio.Lock()

    async def text(
        self, *, open_metrics: bool = False, visible: Callable[[str], bool] | None = None
    ) -> AsyncIterator[bytes]:
        """The text in pieces; the loop has its turn between them. `visible` chooses endpoints by name."""
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


def rendered(place: Place, variant: Variant) -> list[str]:
    """The lines of a variant: a text for each of FAMILIES, "" for what it has never had."""
    labels = f'endpoint="{escaped(place[0])}",variant="{escaped(place[1])}"'
    texts = dict.fromkeys(_NAMES, "")
    totals = variant.totals

    def put(family: Family, value: float) -> None:
        texts[family.name] = f"{family.name}{{{labels}}} {value!r}\n"

    put(f.INVOCATIONS, totals.received)
    put(f.IN_PROGRESS, variant.in_hand)
    put(f.QUEUED, variant.waiting)
    put(f.UTILIZATION, variant.busy)
    put(f.READY, len({lane.replica_id for lane in variant.route.lanes}))
    if totals.received:
        put(f.THROTTLED, totals.throttled)
        put(f.RETRIES, totals.retried)
        put(f.CLIENTS_GONE, totals.clients_gone)
    for metric, value in variant.sampled.items():
        put(_SAMPLED[metric], value)
    for metric, total in totals.sampled.items():
        family = _SAMPLED[metric]
        if family.kind == "counter":
            put(family, total.sum)
        else:
            texts[family.name] = _summary(family, labels, total)
    for name, version in totals.versions.items():
        _put_version(texts, f'{labels},version="{escaped(name)}"', version)
    return list(texts.values())


def _put_version(texts: dict[str, str], labels: str, version: VersionTotals) -> None:
    texts[f.DURATION.name] += _histogram(labels, version)
    for family, total in (
        (f.MODEL_DURATION, version.model),
        (f.QUEUE_DURATION, version.queue),
        (f.COMPUTE_DURATION, version.compute),
        (f.FIRST_CHUNK, version.first_chunk),
    ):
        if total.count:
            texts[family.name] += _summary(family, labels, total, 1e-6)
    texts[f.MODEL_ERRORS.name] += (
        f'{f.MODEL_ERRORS.name}{{{labels},class="4xx"}} {version.client_faults}\n'
        f'{f.MODEL_ERRORS.name}{{{labels},class="5xx"}} {version.server_faults}\n'
    )
    for reason, count in version.errors.items():
        texts[f.ERRORS.name] += f'{f.ERRORS.name}{{{labels},reason="{escaped(reason)}"}} {count}\n'
    if version.first_chunk.count:
        texts[f.STREAM_ERRORS.name] += f"{f.STREAM_ERRORS.name}{{{labels}}} {version.broken_streams}\n"
    if version.batches.count:
        texts[f.BATCH_SIZE.name] += _summary(f.BATCH_SIZE, labels, version.batches)


def _histogram(labels: str, version: VersionTotals) -> str:
    total = version.duration
    return (_HISTOGRAM % (*accumulate(version.below), total.sum * 1e-6, total.count)).replace(_LABELS, labels)


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
    return value.replace(_LABELS, "") if _LABELS in value else value

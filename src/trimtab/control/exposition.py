"""Exposition: what Prometheus reads, as text. What did not change since the last time is not rendered again.

Text format 0.0.4, or OpenMetrics 1.0: they differ in how a counter's family is called, and in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Final

from trimtab.control.metering import Metering, Place, Variant
from trimtab.control.totals import Sum, VersionTotals
from trimtab.metrics import families as f
from trimtab.metrics.families import BOUNDS_S, FAMILIES, SAMPLED, Family

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_RENDERED_IN_A_TURN: Final = 100  # variants; 1 to 2 ms
_JOINED: Final = 500  # texts of variants in one piece

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
        self._texts: dict[str, dict[Place, str]] = {family.name: {} for family in FAMILIES}
        self._rendering = asyncio.Lock()

    async def text(
        self, *, open_metrics: bool = False, visible: Callable[[str], bool] | None = None
    ) -> AsyncIterator[bytes]:
        """The text in pieces; the loop has its turn between them. `visible` chooses endpoints by name."""
        await self._refresh()
        for family in FAMILIES:
            texts = self._texts[family.name]
            if not texts:
                continue
            yield _header(family, open_metrics=open_metrics)
            shown = list(texts.values()) if visible is None else [t for p, t in texts.items() if visible(p[0])]
            pieces = iter(shown)
            while part := "".join(islice(pieces, _JOINED)):
                yield part.encode()
                await asyncio.sleep(0)
        if open_metrics:
            yield b"# EOF\n"

    async def _refresh(self) -> None:
        async with self._rendering:
            changed, self._metering.changed = self._metering.changed, set()
            for number, place in enumerate(changed):
                self._render(place)
                if number % _RENDERED_IN_A_TURN == _RENDERED_IN_A_TURN - 1:
                    await asyncio.sleep(0)

    def _render(self, place: Place) -> None:
        variant = self._metering.variants.get(place)
        new = dict(rendered(place, variant)) if variant is not None else {}
        for name, texts in self._texts.items():
            if text := new.get(name):
                texts[place] = text
            else:
                texts.pop(place, None)


def rendered(place: Place, variant: Variant) -> Iterator[tuple[str, str]]:
    """The lines of a variant by family. Of what it has never had there are none, but its requests are always there."""
    labels = f'endpoint="{escaped(place[0])}",variant="{escaped(place[1])}"'
    totals = variant.totals
    yield _line(f.INVOCATIONS, labels, totals.received)
    yield _line(f.IN_PROGRESS, labels, variant.in_hand)
    yield _line(f.QUEUED, labels, variant.waiting)
    yield _line(f.UTILIZATION, labels, variant.busy)
    yield _line(f.READY, labels, len({lane.replica_id for lane in variant.route.lanes}))
    if totals.received:
        yield _line(f.THROTTLED, labels, totals.throttled)
        yield _line(f.RETRIES, labels, totals.retried)
        yield _line(f.CLIENTS_GONE, labels, totals.clients_gone)
    for sampled in SAMPLED:
        total = totals.sampled.get(sampled.metric)
        if sampled.how != "total":
            if sampled.metric in variant.sampled:
                yield _line(sampled.family, labels, variant.sampled[sampled.metric])
        elif total is not None and sampled.family.kind == "counter":
            yield _line(sampled.family, labels, total.sum)
        elif total is not None:
            yield sampled.family.name, _summary(sampled.family, labels, total)
    versions = [(f'{labels},version="{escaped(name)}"', version) for name, version in totals.versions.items()]
    if versions:
        for family, texts in _of_versions(versions):
            yield family.name, "".join(texts)


def _of_versions(versions: list[tuple[str, VersionTotals]]) -> Iterator[tuple[Family, Iterator[str]]]:
    yield f.ERRORS, (_errors(labels, version) for labels, version in versions)
    yield f.MODEL_ERRORS, (_model_errors(labels, version) for labels, version in versions)
    yield f.DURATION, (_histogram(labels, version) for labels, version in versions)
    yield f.MODEL_DURATION, (_seconds(f.MODEL_DURATION, labels, v.model) for labels, v in versions)
    yield f.QUEUE_DURATION, (_seconds(f.QUEUE_DURATION, labels, v.queue) for labels, v in versions)
    yield f.COMPUTE_DURATION, (_seconds(f.COMPUTE_DURATION, labels, v.compute) for labels, v in versions)
    yield f.FIRST_CHUNK, (_seconds(f.FIRST_CHUNK, labels, v.first_chunk) for labels, v in versions)
    yield f.BATCH_SIZE, (_summary(f.BATCH_SIZE, labels, v.batches) for labels, v in versions if v.batches.count)
    yield (
        f.STREAM_ERRORS,
        (f"{f.STREAM_ERRORS.name}{{{labels}}} {v.broken_streams}\n" for labels, v in versions if v.first_chunk.count),
    )


def _line(family: Family, labels: str, value: float) -> tuple[str, str]:
    return family.name, f"{family.name}{{{labels}}} {value!r}\n"


def _errors(labels: str, version: VersionTotals) -> str:
    name = f.ERRORS.name
    return "".join(f'{name}{{{labels},reason="{escaped(r)}"}} {count}\n' for r, count in version.errors.items())


def _model_errors(labels: str, version: VersionTotals) -> str:
    name = f.MODEL_ERRORS.name
    return (
        f'{name}{{{labels},class="4xx"}} {version.client_faults}\n'
        f'{name}{{{labels},class="5xx"}} {version.server_faults}\n'
    )


def _histogram(labels: str, version: VersionTotals) -> str:
    counts: list[float] = []
    seen = 0
    for count in version.below:
        seen += count
        counts.append(seen)
    return (_HISTOGRAM % (*counts, version.duration.sum / 1e6, version.duration.count)).replace(_LABELS, labels)


def _seconds(family: Family, labels: str, total: Sum) -> str:
    return _summary(family, labels, Sum(total.count, total.sum / 1e6)) if total.count else ""


def _summary(family: Family, labels: str, total: Sum) -> str:
    name = family.name
    return f"{name}_sum{{{labels}}} {total.sum!r}\n{name}_count{{{labels}}} {round(total.count)}\n"


def _header(family: Family, *, open_metrics: bool) -> bytes:
    name = family.name.removesuffix("_total") if open_metrics and family.kind == "counter" else family.name
    meaning = family.meaning.replace("\\", "\\\\").replace("\n", "\\n")
    if open_metrics:
        meaning = meaning.replace('"', '\\"')
    return f"# HELP {name} {meaning}\n# TYPE {name} {family.kind}\n".encode()


def escaped(value: str) -> str:
    """A label's value, as both formats want it."""
    if "\\" in value or '"' in value or "\n" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value.replace(_LABELS, "") if _LABELS in value else value

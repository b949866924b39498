"""`read`: a trace, whichever of the kinds it is, its flaws mended and told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.traces import unit_of
from trimtab.sim.load import Floats
from trimtab.sim.traces.layout import Layout, layout_of
from trimtab.sim.traces.steps import RateSeries, series_of
from trimtab.sim.traces.table import Table, Words, header_of, read_table, rows_of

_TOLD: Final = 8  # names in a message


class RequestTrace(Struct, frozen=True, kw_only=True):
    """Requests, in order of time. `took_s`: how long each took where it was recorded, NaN where that one was not.

    `from_s`, `until_s`: the time that it is of, where that is known.
    """

    name: str
    at_s: Floats
    took_s: Floats | None
    is_dated: bool
    from_s: float | None = None
    until_s: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def start_s(self) -> float:
        """When it begins: with the first request, if nothing else is known."""
        return float(self.at_s[0]) if self.from_s is None else self.from_s

    @property
    def end_s(self) -> float:
        """When it ends: a mean distance after the last request (a second after a single one), if nothing is known."""
        if self.until_s is not None:
            return self.until_s
        first, last, count = float(self.at_s[0]), float(self.at_s[-1]), len(self.at_s)
        return last + ((last - first) / (count - 1) if last > first else 1.0)


class RateTrace(Struct, frozen=True, kw_only=True):
    """Series that come together, on one grid of time."""

    name: str
    series: tuple[RateSeries, ...]
    is_dated: bool
    notes: tuple[str, ...] = ()

    @property
    def start_s(self) -> float:
        """When the first step begins."""
        return min(one.start_s for one in self.series)

    @property
    def end_s(self) -> float:
        """When the last step ends."""
        return max(one.end_s for one in self.series)


Trace = RequestTrace | RateTrace


def read(
    path: Path,
    *,
    only: Sequence[str] = (),
    time: str = "",
    count: str = "",
    group: str = "",
    duration: str = "",
    step_s: float | None = None,
    hold: bool = False,
    zone: tzinfo = UTC,
) -> Trace:
    """The trace in `path`.

    `only`: of a file with several series, these. `time`, `count`, `group`, `duration`: columns, where their names do
    not tell. `step_s`: of a rate trace with one row. `hold`: a gap has the rate before it, else none. `zone`: of dates
    without an offset. Raises Invalid.
    """
    header = header_of(path)
    layout = layout_of(header, path.name, time=time, count=count, group=group, duration=duration)
    numbers = [column for column in (layout.count, layout.duration, layout.cv) if column]
    words = [layout.group] if layout.group else []
    if layout.family is not None:
        words.append(layout.family[0])
        numbers += layout.family[1:]
    table = read_table(path, times=(layout.time,), numbers=tuple(numbers), words=tuple(words), zone=zone)
    if not len(table.lines):
        raise Invalid(f"The trace {path.name} has a header and no rows.")
    table = _chosen(table, layout, path.name, only)
    if layout.count:
        return _rates(table, layout, path.name, step_s, hold=hold)
    return _requests(table, layout, path.name, unread=[name for name in header if name and name not in layout.columns])


def _chosen(table: Table, layout: Layout, name: str, only: Sequence[str]) -> Table:
    """The rows of the series that were asked for."""
    if not layout.group:
        if only:
            raise Invalid(f"The trace {name} is one series: there is no {only[0]!r} to choose in it.")
        return table
    groups = table.words[layout.group]
    there = _listed(groups.labels)
    if not only:
        if layout.is_merged or len(groups.labels) == 1:
            return table
        raise Invalid(f"The trace {name} has a series for each {layout.group}: {there}. Choose: `only: NAME`.")
    if unknown := [one for one in only if one not in groups.labels]:
        raise Invalid(f"The trace {name} has no {layout.group} {unknown[0]!r}; it has {there}.")
    mask = np.isin(groups.codes, [groups.labels.index(one) for one in only])
    return Table(
        rows_of(table.numbers, mask),
        {column: replace(words, codes=words.codes[mask]) for column, words in table.words.items()},
        table.lines[mask],
        table.is_dated,
    )


def _requests(table: Table, layout: Layout, name: str, *, unread: Sequence[str]) -> RequestTrace:
    at_s = table.numbers[layout.time]
    took_s = table.numbers[layout.duration] * unit_of(layout.duration) if layout.duration else None
    if took_s is not None and (took_s < 0).any():
        line = int(table.lines[int(np.argmax(took_s < 0))])
        raise Invalid(f"{name}, line {line}: {layout.duration} is negative.")
    notes = []
    if unread:  # a count under a name that is not known would else be lost without a word
        notes.append(
            f"{name}: each row counts as one request; not read: {_listed(unread)} (`count: COLUMN` names a count)."
        )
    if back := int((np.diff(at_s) < 0).sum()):
        notes.append(f"{name}: rows are out of order ({back:,} where the time goes back); they were sorted.")
        order = np.argsort(at_s, kind="stable")
        at_s = at_s[order]
        took_s = took_s[order] if took_s is not None else None
    if same := int((np.diff(at_s) == 0).sum()):
        notes.append(f"{name}: requests at the same time as the one before: {same:,}; all of them count.")
    if len(at_s) == 1:
        notes.append(f"{name}: it has one request.")
    return RequestTrace(name=name, at_s=at_s, took_s=took_s, is_dated=table.is_dated, notes=tuple(notes))


def _rates(table: Table, layout: Layout, name: str, step_s: float | None, *, hold: bool) -> RateTrace:
    counts = table.numbers[layout.count]
    wrong = (counts < 0) | np.isinf(counts)
    if wrong.any():
        line = int(table.lines[int(np.argmax(wrong))])
        raise Invalid(f"{name}, line {line}: {layout.count} must be 0 or more, and finite.")
    groups = table.words[layout.group] if layout.group else Words(np.zeros(len(counts), dtype=np.int64), ("",))
    found: list[RateSeries] = []
    notes: list[str] = []
    for code in np.unique(groups.codes).tolist():
        mask = groups.codes == code
        rows = rows_of(table.numbers, mask)
        families = None
        if layout.family is not None:
            words = table.words[layout.family[0]]
            families = np.array(words.labels)[words.codes[mask]]
        label = groups.labels[code]
        series, told = series_of(rows, layout, families, f"{name} ({label})" if label else name, step_s, hold=hold)
        found.append(replace(series, label=label))
        notes += told
    if len(notes) > _TOLD:
        notes = [*notes[:_TOLD], f"{name}: and {len(notes) - _TOLD} more of the kind."]
    if not any(one.per_s.any() for one in found):
        raise Invalid(f"The trace {name} has no requests: all counts are 0.")
    return RateTrace(name=name, series=tuple(found), is_dated=table.is_dated, notes=tuple(notes))


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _TOLD
    return ", ".join(labels[:_TOLD]) + (f" and {more} more" if more > 0 else "")

"""What a trace's columns mean, by their names or by what the caller says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.traces import COUNT_COLUMNS, PER_SECOND_COLUMNS, TIME_COLUMNS, first_named

_GROUPS: Final = ("client", "function", "model", "endpoint", "series")
_MERGED: Final = ("client", "function")  # streams of one service: without a choice all of them come
_DURATIONS: Final = (
    "duration_s",
    "duration_ms",
    "service_s",
    "service_ms",
    "took_s",
    "took_ms",
    "latency_s",
    "latency_ms",
)
_CVS: Final = ("cv", "rate_weighted_cv")
_FAMILY: Final = ("arrival", "p1", "p2")


class Layout(Struct, frozen=True, kw_only=True):
    """The names of the columns; "" where there is none."""

    time: str
    count: str = ""  # a rate trace has it
    is_per_second: bool = False  # the count is a rate
    group: str = ""  # one file, several series
    is_merged: bool = True  # they are parts of one
    duration: str = ""  # a request trace may have it: how long the request took
    cv: str = ""  # of the times between arrivals
    family: tuple[str, str, str] | None = None  # the distribution of these, and its parameters

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read."""
        given = (self.time, self.count, self.group, self.duration, self.cv, *(self.family or ()))
        return tuple(column for column in given if column)


def layout_of(
    header: Sequence[str], name: str, *, time: str = "", count: str = "", group: str = "", duration: str = ""
) -> Layout:
    """How to read a file with this header. Raises Invalid, saying what the file has and what is to be said."""
    for said in (time, count, group, duration):
        if said and said not in header:
            raise Invalid(f"The trace {name} has no column {said!r}; it has {', '.join(header)}.")
    time = time or first_named(TIME_COLUMNS, header)
    if not time:
        raise Invalid(
            f"The trace {name} has no column of times; it has {', '.join(header)}. Name it: `time: COLUMN`."
            " (A file of sizes alone says what requests take, not when they come: use it under `work`.)"
        )
    count = count or first_named(COUNT_COLUMNS, header)
    if count and duration:
        raise Invalid(f"A row of {name} is a step of time, by its column {count}: what a request took is not in it.")
    group = group or first_named(_GROUPS, header)
    found = Layout(
        time=time,
        count=count,
        is_per_second=count.lower() in PER_SECOND_COLUMNS,
        group=group,
        is_merged=not group or group.lower() in _MERGED,
        duration="" if count else duration or first_named(_DURATIONS, header),
        cv=first_named(_CVS, header) if count else "",
        family=("arrival", "p1", "p2") if count and set(_FAMILY) <= set(header) else None,
    )
    if twice := next((column for column in found.columns if header.count(column) > 1), ""):
        raise Invalid(f"The trace {name} has two columns {twice!r}.")
    return found

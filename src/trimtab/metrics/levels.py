"""The levels that metrics are kept at, and how they are read: the rows of a level, and finer ones where it lags.

Points of 1 s are rolled up into points of 60 s, these into 300 s, these into 3600 s. Beside what is rolled up into a
level there is what came to it directly (`direct_60` what was recorded as 60 s; the others what came when finer points
of its time were forgotten already), so that rolling up can be repeated: a period that got something new is *stale*
(table `stale`, written with the points themselves) until its row is made again from the level below; readers take a
stale period from below. Whatever moment a process is killed at, nothing is missing and nothing counts twice.

Coarse rows hold runs: `n` points one after the other that are all the same. An idle endpoint's zeros cost a row a day.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

DAY_S: Final = 86_400
RUN_MOST: Final = 1440  # points in one row
FAR_S: Final = 2**53  # times are kept within +- this; SQLite's integers end at 2**63


class Level(Struct, frozen=True):
    """Points of `step_s` seconds, kept for `kept_s` (AWS's retention; CloudWatch user guide, "Metrics retention")."""

    table: str
    step_s: int
    kept_s: int


SECONDS: Final = Level("points_1", 1, 3 * 3600)
MINUTES: Final = Level("points_60", 60, 15 * DAY_S)
FIVES: Final = Level("points_300", 300, 63 * DAY_S)
HOURS: Final = Level("points_3600", 3600, 455 * DAY_S)
CHAIN: Final = (SECONDS, MINUTES, FIVES, HOURS)
DIRECT: Final = tuple(Level(f"direct_{level.step_s}", level.step_s, level.kept_s) for level in CHAIN)  # [0] is no table
ALL: Final = (*CHAIN, *DIRECT[1:])


def bounded(start_s: int) -> int:
    """`start_s`, within what can be kept."""
    return max(-FAR_S, min(FAR_S, start_s))


def aligned(start_s: int, step_s: int) -> int:
    """The start of the period that `start_s` is in."""
    return start_s - start_s % step_s


def level_for(period_s: int) -> int:
    """Index in `CHAIN` of the coarsest level that periods of `period_s` are whole multiples of."""
    return max(index for index, level in enumerate(CHAIN) if period_s % level.step_s == 0)


def read(
    db: sqlite3.Connection, series: int, depth: int, start_s: int, end_s: int, cuts: tuple[int, ...]
) -> Iterator[tuple[int, bytes]]:
    """What is known of a series in [start_s, end_s): start and packed sketch, at level `depth` or, where a level's
    time is over (`cuts[depth]`: nothing earlier is left), at the next coarser one. Not in order."""
    last = len(CHAIN) - 1
    for index in range(depth, last + 1):
        since_s = cuts[index] if index < last else -FAR_S
        if end_s > since_s:
            for start, sketch in _known(db, series, index, max(start_s, since_s), end_s):
                if start_s <= start < end_s:
                    yield start, sketch
        end_s = min(end_s, since_s)
        if start_s >= end_s:
            return


def _known(db: sqlite3.Connection, series: int, index: int, start_s: int, end_s: int) -> Iterator[tuple[int, bytes]]:
    """The points of a level, and what came directly to coarser ones."""
    yield from _level(db, series, index, start_s, end_s)
    for direct in DIRECT[index + 1 :]:
        yield from _rows(db, direct, series, start_s, end_s)


def _level(db: sqlite3.Connection, series: int, index: int, start_s: int, end_s: int) -> Iterator[tuple[int, bytes]]:
    """The points of a level: rolled up, or made from below where they are stale; and what came directly to it."""
    if index == 0:
        yield from db.execute(
            "SELECT start_s, sketch FROM points_1 WHERE series=? AND start_s>=? AND start_s<?", (series, start_s, end_s)
        )
        return
    level = CHAIN[index]
    yield from _rows(db, DIRECT[index], series, start_s, end_s)
    stale = {start for (start,) in db.execute(_STALE, (index, series, aligned(start_s, level.step_s), end_s))}
    for start, sketch in _rows(db, level, series, start_s, end_s):
        if start not in stale:
            yield start, sketch
    for start in stale:
        yield from _level(db, series, index - 1, max(start, start_s), min(start + level.step_s, end_s))


_STALE = "SELECT start_s FROM stale WHERE level=? AND series=? AND start_s>=? AND start_s<?"


def _rows(db: sqlite3.Connection, level: Level, series: int, start_s: int, end_s: int) -> Iterator[tuple[int, bytes]]:
    """The points of a table of runs."""
    table, step_s = level.table, level.step_s
    found = db.execute(
        f"SELECT start_s, n, sketch FROM {table} WHERE series=:series AND start_s>=coalesce("
        f"(SELECT max(start_s) FROM {table} WHERE series=:series AND start_s<=:start), :start) AND start_s<:end",
        {"series": series, "start": start_s, "end": end_s},
    )
    for first, count, sketch in found:
        low = max(first, aligned(start_s, step_s))
        for start in range(low, min(first + count * step_s, end_s), step_s):
            yield start, sketch


def sources(db: sqlite3.Connection, series: int, index: int, start_s: int) -> list[bytes]:
    """What the point of level `index` that begins at `start_s` is made of, from the level below."""
    return [sketch for _, sketch in _level(db, series, index - 1, start_s, start_s + CHAIN[index].step_s)]


def is_rolled_up(db: sqlite3.Connection, series: int, index: int, start_s: int) -> bool:
    """Whether level `index` has a row for the time `start_s`."""
    return next(_rows(db, CHAIN[index], series, start_s, start_s + 1), None) is not None

"""Trace files: CSV (also gzip'd) with a time a request, or with counts (or rates) a step, as public traces are."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import statistics
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.patterns import Arrivals, PointArrivals, ProfileArrivals
from trimtab.jobs.loadtest.profiles import of_counts
from trimtab.jobs.loadtest.quantities import positive

_MAX_ROWS: Final = 20_000_000
LATEST_S: Final = 1e11  # the year 5138: what is later is in another unit than somebody says
_UNITS: Final = {"_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}
_COUNTED: Final = {"minute": 60.0, "minute_local": 60.0, "hour": 3600.0}  # columns of which one is so many seconds
TIME_COLUMNS: Final = (
    "t_s", "t_ms", "t_us", "time_s", "time_ms", "start_s", "arrival_s", "arrival_ms", "time", "timestamp", "datetime",
    "second_of_day", "minute_local", "date", "t",
)  # fmt: skip
COUNT_COLUMNS: Final = ("count", "requests", "invocations", "req_per_s", "rps", "rate", "value")
PER_SECOND_COLUMNS: Final = frozenset({"req_per_s", "rps", "rate"})


class Trace(Struct, frozen=True):
    """What a file holds. With `counts`, `times_s` are the starts of steps of `step_s`; without, requests."""

    times_s: tuple[float, ...]  # from 0
    counts: tuple[float, ...] = ()
    step_s: float = 0.0
    unread: tuple[str, ...] = ()  # columns, where a row is a request: a count under a name that is not known, say

    @property
    def total(self) -> float:
        """Requests in it."""
        return sum(self.counts) if self.counts else float(len(self.times_s))

    @property
    def duration_s(self) -> float:
        """From the first request (or step) until the last one's end."""
        return self.times_s[-1] + self.step_s if self.counts else self.times_s[-1]


def read_trace(path: Path, *, time_column: str = "", count_column: str = "") -> Trace:
    """Read a trace. Raises Invalid with the line where something is wrong."""
    with opened(path) as file:
        return _read(file, path.name, time_column, count_column)


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """The text of a trace, gzip'd or not. Invalid for what cannot be read while it is read, or is no CSV."""
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise Invalid(f"The trace {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"The trace {path} is no CSV text: {error.reason}.") from error
    except csv.Error as error:
        raise Invalid(f"The trace {path} is no CSV: {error}.") from error


def _read(file: Iterator[str], name: str, time_column: str, count_column: str) -> Trace:
    rows = csv.reader(file)
    header = [column.strip() for column in next(rows, [])]
    if not header:
        raise Invalid(f"The trace {name} is empty.")
    if all(is_number(column) for column in header):
        raise Invalid(f"{name}, line 1: there must be a line with the columns' names, such as t_s or timestamp,count.")
    time_at = _column(header, time_column, TIME_COLUMNS, name, "of the times", "--time-column")
    count_at = _column(header, count_column, COUNT_COLUMNS, name, "of the counts", "--count-column", needed=False)
    times: list[float] = []
    counts: list[float] = []
    for row in rows:
        if not row:
            continue
        where = f"{name}, line {rows.line_num}"
        if len(row) <= max(time_at, count_at):
            raise Invalid(f"{where}: {len(row)} columns, where the header has {len(header)}.")
        times.append(_seconds(row[time_at].strip(), header[time_at], where))
        if len(times) > 1 and times[-1] < times[-2]:
            raise Invalid(
                f"{where}: the time goes back, from {times[-2]:g} s to {times[-1]:g} s. Sort the rows by time."
            )
        if count_at >= 0:
            counts.append(_count(row[count_at].strip(), where))
        if len(times) > _MAX_ROWS:
            raise Invalid(f"The trace {name} has more than {_MAX_ROWS:,} rows.")
    if count_at >= 0:
        return _trace(times, counts, name, per_second=header[count_at].lower() in PER_SECOND_COLUMNS)
    unread = tuple(column for place, column in enumerate(header) if column and place != time_at)
    return replace(_trace(times, counts, name, per_second=False), unread=unread)


def _trace(times: Sequence[float], counts: list[float], name: str, *, per_second: bool) -> Trace:
    if len(times) < 2:
        raise Invalid(f"The trace {name} has {len(times)} rows; it must have two at the least.")
    times = [time - times[0] for time in times]
    if not counts:
        if times[-1] == 0:
            raise Invalid(f"The trace {name} lasts no time: all rows have the same.")
        return Trace(tuple(times))
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if min(gaps) <= 0:
        line = gaps.index(min(gaps)) + 3
        raise Invalid(f"{name}, line {line}: a second row for the same step. Keep one series of counts only.")
    step_s = statistics.median(gaps)
    if min(gaps) < step_s * 0.999:
        line = next(i for i, gap in enumerate(gaps) if gap < step_s * 0.999) + 3
        raise Invalid(f"{name}, line {line}: the steps are not equally long ({min(gaps):g} s and {step_s:g} s).")
    if per_second:
        counts = [rate * step_s for rate in counts]
    if not sum(counts):
        raise Invalid(f"The trace {name} has no requests: all counts are 0.")
    return Trace(tuple(times), tuple(counts), step_s)


def arrivals_of(
    trace: Trace, *, rate: float | None = None, speed_up: float = 1.0, duration_s: float | None = None, seed: int = 0
) -> Arrivals:
    """The trace replayed `speed_up` times as fast, up to `duration_s` of the test's time.

    `rate` is the mean rate to reach: counts are scaled to it; times of requests, which cannot be multiplied, are
    replayed at the speed that gives it.
    """
    positive(speed_up, "--speed-up")
    if trace.counts:
        profile = of_counts(trace.times_s, trace.counts, trace.step_s).sped_up(speed_up)
        if rate is not None:
            profile = profile.scaled(positive(rate, "the rate") * profile.duration_s / profile.expected)
        return ProfileArrivals(profile.cut(duration_s or math.inf), random=True, seed=seed)
    if rate is not None:
        if speed_up != 1.0:
            raise Invalid("Of a trace of requests, either --rate or --speed-up sets the speed, not both.")
        speed_up = positive(rate, "the rate") * trace.duration_s / trace.total
    times = tuple(time / speed_up for time in trace.times_s)
    end_s = math.nextafter(times[-1], math.inf)  # the last request belongs to it
    return PointArrivals(times, min(duration_s or math.inf, end_s))


def _column(
    header: list[str], asked: str, known: tuple[str, ...], name: str, what: str, option: str, *, needed: bool = True
) -> int:
    if asked:
        if asked not in header:
            raise Invalid(f"The trace {name} has no column {asked!r}; it has {', '.join(header)}.")
        return header.index(asked)
    if found := first_named(known, header):
        return header.index(found)
    if needed:
        raise Invalid(f"The trace {name} has the columns {', '.join(header)}; name that {what} with {option}.")
    return -1


def first_named(names: Sequence[str], header: Sequence[str]) -> str:
    """The column that has the first of these names; capitals count only where two columns differ by them alone. "":
    none."""
    lower = {column.lower(): column for column in reversed(header)}
    return next((name if name in header else lower[name] for name in names if name in lower), "")


def _seconds(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise Invalid(f"{where}: {text!r} is neither a number nor a time (2026-01-31T12:00:00).") from None
    if not math.isfinite(value):
        raise Invalid(f"{where}: the time {text!r} is not finite.")
    try:
        return seconds_since(value, text, column)
    except ValueError as error:
        raise Invalid(f"{where}: {error}") from None


def seconds_since(value: float, text: str, column: str) -> float:
    """A number in a column of times, in seconds. ValueError for one that must be in another unit than the name says."""
    if abs(at_s := value * unit_of(column)) > LATEST_S:
        raise ValueError(f"{text!r} is too late for {_unit_words(column)}.")
    return at_s


def unit_of(column: str) -> float:
    """Seconds of one, by the column's name: `_ms`, `_us`, `_ns`, `minute`, `hour`."""
    name = column.lower()
    return _COUNTED.get(name) or next((size for end, size in _UNITS.items() if name.endswith(end)), 1.0)


def _unit_words(column: str) -> str:
    if unit_of(column) != 1.0:
        return f"a time in the column {column}"
    return f"seconds, which {column} is in (a column of milliseconds has a name that ends in _ms)"


def _count(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Invalid(f"{where}: the count {text!r} is not a number.") from None
    if not 0 <= value < math.inf:
        raise Invalid(f"{where}: the count {text!r} must be 0 or more.")
    return value


def is_number(text: str) -> bool:
    """Whether a cell is a number: a header has none."""
    try:
        float(text)
    except ValueError:
        return False
    return True

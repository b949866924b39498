"""When a workload's requests come: of a trace, or of a shape that the scenario tells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, pi
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.sim.arrivals import WEIBULL, Merged, Rates, Thinned, Times
from trimtab.sim.load import MOST_REQUESTS, MOST_STEPS, Floats
from trimtab.sim.scenario.declared import ArrivalsIn, DailyIn
from trimtab.sim.scenario.document import Document, Path_
from trimtab.sim.scenario.quantities import When
from trimtab.sim.traces.reading import RateTrace, RequestTrace, Trace, read
from trimtab.sim.traces.steps import RateSeries
from trimtab.sim.world import Arrivals

_WAYS: Final = ("trace", "rate", "steps", "daily", "times")
_TRACE_ONLY: Final = ("only", "time", "count", "by", "took", "step", "cut_from", "until", "gaps", "timezone")
_USUAL: Final = {"gaps": "none", "timezone": "UTC"}  # what these are where nobody says them
_WAVE_STEP_S: Final = 60.0
_FINEST_S: Final = 1.0  # steps into which the steps of a rate trace are drawn out


class Coming(Struct, frozen=True, kw_only=True):
    """A workload's requests before it is known when the simulation begins: `trace`, or a shape from 0 on."""

    declared: ArrivalsIn
    path: Path_
    trace: Trace

    @property
    def start_s(self) -> float | None:
        """When they come by the trace's own dates; None: it has none."""
        return self.trace.start_s if self.trace.is_dated else None


def coming(document: Document, path: Path_, declared: ArrivalsIn) -> Coming:
    """Read what is to be read, and cut it. Raises Invalid."""
    given = [way for way in _WAYS if getattr(declared, way) not in (None, "")]
    if len(given) != 1:
        what = f"there are {' and '.join(given)}" if given else "there is none of them"
        raise document.fault(path, f"exactly one of {', '.join(_WAYS)} says when requests come; {what}.")
    for name in ("scale", "speed"):
        value = getattr(declared, name)
        if not 0 < value < float("inf"):
            raise document.fault((*path, name), f"it must be more than 0, not {value:g}.")
    if declared.repeat < 1:
        raise document.fault((*path, "repeat"), "it must be 1 or more.")
    if declared.cv is not None and not 0 <= declared.cv <= 100:
        raise document.fault((*path, "cv"), f"it must be from 0 to 100, not {declared.cv:g}.")
    try:
        trace = _of_file(document, path, declared) if declared.trace else _of_shape(document, path, declared)
    except Invalid as error:
        if str(error).startswith(document.name):
            raise
        raise document.fault(path, str(error)) from None
    told = _told(trace, declared)
    if isinstance(told, RateTrace):
        count = sum(float(one.per_s.sum()) * one.step_s for one in told.series) * declared.scale
        if count > MOST_REQUESTS:
            raise document.fault(path, f"these are {count:.3g} requests; at most {MOST_REQUESTS:.0e} are simulated.")
    return Coming(declared=declared, path=path, trace=told)


def _of_file(document: Document, path: Path_, declared: ArrivalsIn) -> Trace:
    try:
        zone = ZoneInfo(declared.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise document.fault((*path, "timezone"), f"there is no time zone {declared.timezone!r}.") from None
    if declared.step is not None and declared.step <= 0:
        raise document.fault((*path, "step"), "it must be more than 0.")
    only = [declared.only] if isinstance(declared.only, str) else declared.only
    trace = read(
        document.folder / declared.trace, only=[one for one in only if one], time=declared.time, count=declared.count,
        group=declared.by, duration=declared.took, step_s=declared.step, hold=declared.gaps == "hold", zone=zone,
    )  # fmt: skip
    if isinstance(trace, RequestTrace):
        _must_say_no_rate(document, path, declared)
    from_s = _moment(declared.cut_from, trace) if declared.cut_from is not None else trace.start_s
    ends = [_moment(declared.until, trace)] if declared.until is not None else []
    ends += [from_s + declared.lasting] if declared.lasting is not None else []
    until_s = min(ends, default=trace.end_s)
    if not from_s < until_s:
        raise Invalid("`from` must be before `until`, and within the trace.")
    return _cut(trace, from_s, until_s)


def _must_say_no_rate(document: Document, path: Path_, declared: ArrivalsIn) -> None:
    """Invalid where something is said of rates, and requests are told one by one: it would do nothing."""
    for name in ("cv", "step", "gaps"):
        if getattr(declared, name) not in (None, _USUAL.get(name)):
            raise document.fault((*path, name), "it is of rates, and these are single requests.")


def _moment(when: When, trace: Trace) -> float:
    if not when.is_date:
        return trace.start_s + when
    if not trace.is_dated:
        raise Invalid(
            f"The times of {trace.name} are no dates: say `from` and `until` as times after its beginning (2h)."
        )
    return float(when)


def _cut(trace: Trace, from_s: float, until_s: float) -> Trace:
    if isinstance(trace, RequestTrace):
        first, last = np.searchsorted(trace.at_s, [from_s, until_s])
        if first == last:
            raise Invalid(f"{trace.name} has no request between `from` and `until`.")
        took_s = trace.took_s[first:last] if trace.took_s is not None else None
        return replace(trace, at_s=trace.at_s[first:last], took_s=took_s, from_s=from_s, until_s=until_s)
    parts = [cut for one in trace.series if (cut := _cut_series(one, from_s, until_s)) is not None]
    if not parts or not any(one.per_s.any() for one in parts):
        raise Invalid(f"{trace.name} has no request between `from` and `until`.")
    step_s = max(one.step_s for one in parts)
    if from_s < trace.start_s - step_s or until_s > trace.end_s + step_s:
        beyond = (
            f"{trace.name}: its steps do not reach as far as `from`, `until` and `for` say; nothing comes beyond them."
        )
        trace = replace(trace, notes=(*trace.notes, beyond))
    return replace(trace, series=tuple(parts))


def _cut_series(series: RateSeries, from_s: float, until_s: float) -> RateSeries | None:
    """At the edges of steps."""
    first = max(0, round((from_s - series.start_s) / series.step_s))
    last = min(len(series.per_s), round((until_s - series.start_s) / series.step_s))
    if first >= last:
        return None

    def part(column: Floats | None) -> Floats | None:
        return None if column is None else column[first:last]

    return replace(
        series,
        start_s=series.start_s + first * series.step_s,
        per_s=series.per_s[first:last],
        cv=part(series.cv),
        family=None if series.family is None else series.family[first:last],
        p1=part(series.p1),
        p2=part(series.p2),
    )


def _of_shape(document: Document, path: Path_, declared: ArrivalsIn) -> Trace:
    for name in _TRACE_ONLY:
        if getattr(declared, name) not in (None, "", _USUAL.get(name)):
            said = "from" if name == "cut_from" else name
            raise document.fault((*path, said), "it is of a trace, and there is none.")
    if declared.times is not None:
        _must_say_no_rate(document, path, declared)
        if not declared.times:
            raise document.fault((*path, "times"), "there is no time in it.")
        at_s = np.sort(np.array(declared.times, dtype=np.float64))
        until_s = float(declared.lasting) if declared.lasting is not None else None
        if until_s is not None and until_s < at_s[-1]:
            raise document.fault((*path, "for"), f"the last request comes later, at {at_s[-1]:g} s.")
        return RequestTrace(name="times", at_s=at_s, took_s=None, is_dated=False, from_s=0.0, until_s=until_s)
    if declared.lasting is None or declared.lasting <= 0:
        raise document.fault(path, "how long requests come must be said: `for: 24h`.")
    series = _series(document, path, declared, float(declared.lasting))
    if not series.per_s.any():
        raise document.fault(path, "no request comes.")
    return RateTrace(name="rates", series=(series,), is_dated=False)


def _series(document: Document, path: Path_, declared: ArrivalsIn, lasting_s: float) -> RateSeries:
    if declared.rate is not None:
        return RateSeries(start_s=0.0, step_s=lasting_s, per_s=np.array([float(declared.rate)]))
    if declared.daily is not None:
        return _wave(document, (*path, "daily"), declared.daily, lasting_s)
    steps = declared.steps or []
    if not steps or steps[0][0] > 0 or any(a >= b for (a, _), (b, _) in pairwise(steps)):
        raise document.fault((*path, "steps"), "it is a list of [from when on, rate], the first at 0s, in order.")
    if steps[-1][0] >= lasting_s:
        raise document.fault((*path, "for"), f"the last step begins at {steps[-1][0]:g} s: it must last longer.")
    edges = [float(at_s) for at_s, _ in steps]
    step_s = _common_step(*edges[1:], lasting_s)
    at = (np.arange(round(lasting_s / step_s)) + 0.5) * step_s
    if len(at) > MOST_STEPS:
        raise document.fault((*path, "steps"), f"these are too many steps of {step_s:g} s: choose rounder times.")
    rates = np.array([float(rate) for _, rate in steps])
    return RateSeries(start_s=0.0, step_s=step_s, per_s=rates[np.searchsorted(edges, at, side="right") - 1])


def _common_step(*edges_s: float) -> float:
    """The largest step, in whole milliseconds, at whose multiples all of them lie."""
    return max(1, int(np.gcd.reduce([max(1, round(edge * 1000)) for edge in edges_s]))) / 1000


def _wave(document: Document, path: Path_, daily: DailyIn, lasting_s: float) -> RateSeries:
    if daily.every <= 0 or daily.low > daily.high:
        raise document.fault(path, "`low` is at most `high`, and `every` more than 0.")
    step_s = min(_WAVE_STEP_S, daily.every / 100, lasting_s)
    at = (np.arange(max(1, round(lasting_s / step_s))) + 0.5) * step_s
    if len(at) > MOST_STEPS:
        raise document.fault(path, "it has too many waves for the time that it lasts.")
    middle, swing = (daily.high + daily.low) / 2, (daily.high - daily.low) / 2
    return RateSeries(
        start_s=0.0, step_s=step_s, per_s=middle + swing * np.cos(2 * pi * (at - daily.peak) / daily.every)
    )


def _told(trace: Trace, declared: ArrivalsIn) -> Trace:
    """With what else is done to it: speed and repetition."""
    start_s = trace.start_s
    speed, repeat = declared.speed, declared.repeat
    if isinstance(trace, RequestTrace):
        span_s = trace.end_s - start_s
        at_s = (trace.at_s - start_s) / speed
        at_s = np.concatenate([at_s + round_ * span_s / speed for round_ in range(repeat)])
        took_s = None if trace.took_s is None else np.tile(trace.took_s, repeat)
        end_s = start_s + repeat * span_s / speed
        return replace(trace, at_s=start_s + at_s, took_s=took_s, from_s=start_s, until_s=end_s)

    def again(column: Floats | None) -> Floats | None:
        return None if column is None else np.tile(column, repeat)

    first_s, span_s = trace.start_s, trace.end_s - trace.start_s
    parts = []
    for one in trace.series:
        lead = round((one.start_s - first_s) / one.step_s)
        rest = round((first_s + span_s - one.end_s) / one.step_s)
        per_s = np.tile(np.pad(one.per_s, (lead, rest)), repeat) * speed
        columns = {
            name: again(None if (column := getattr(one, name)) is None else np.pad(column, (lead, rest)))
            for name in ("cv", "p1", "p2")
        }
        family = None if one.family is None else np.tile(np.pad(one.family, (lead, rest)), repeat)
        parts.append(replace(one, start_s=first_s, step_s=one.step_s / speed, per_s=per_s, family=family, **columns))
    return replace(trace, series=tuple(parts))


def arrivals_of(came: Coming, shift_s: float) -> Arrivals:
    """The requests, `shift_s` later than the trace tells."""
    trace, declared = came.trace, came.declared
    if isinstance(trace, RequestTrace):
        at_s = trace.at_s + shift_s
        end_s = max(trace.end_s + shift_s, float(at_s[-1]))
        times = Times(at_s=at_s, start_s=trace.start_s + shift_s, end_s=end_s, uniform=_draws(trace.took_s))
        return times if declared.scale == 1 else Thinned(arrivals=times, factor=declared.scale)
    parts = [_rates(one, declared, shift_s) for one in trace.series]
    return parts[0] if len(parts) == 1 else Merged(tuple(parts))


def _draws(took_s: Floats | None) -> Floats | None:
    """Each request's place among all by how long it took: so `Work.service_s` gives it its own time again."""
    if took_s is None or np.isnan(took_s).any():
        return None
    draws = np.empty(len(took_s))
    draws[np.argsort(took_s, kind="stable")] = (np.arange(len(took_s)) + 0.5) / len(took_s)
    return draws


def _rates(series: RateSeries, declared: ArrivalsIn, shift_s: float) -> Arrivals:
    cv: Floats | float = 1.0
    if declared.cv is not None:
        cv = max(declared.cv, 1e-3)
    elif series.cv is not None:
        cv = np.where(series.cv > 0, series.cv, 1.0)
    family = _family(series)
    made = Rates(
        rate=series.per_s * declared.scale, step_s=series.step_s, start_s=series.start_s + shift_s, cv=cv,
        **({"family": family} if family else {}),
    )  # fmt: skip
    drawn_out = declared.trace and np.ndim(cv) == 0 and series.step_s > _FINEST_S and len(series.per_s) > 1
    return made.smooth(max(_FINEST_S, series.step_s / 60)) if drawn_out else made


def _family(series: RateSeries) -> str:
    """The one that most requests follow: a stream has one."""
    if series.family is None:
        return ""
    is_weibull = np.char.lower(series.family) == WEIBULL
    return WEIBULL if float(series.per_s[is_weibull].sum()) > float(series.per_s.sum()) / 2 else ""


def starts_of(came: Sequence[Coming], start_s: float | None, default_s: float) -> list[float]:
    """How much later each comes than its trace tells. `start_s`: when all are to begin; None: dates stay as they are,
    and what has none begins with the earliest of them, or at `default_s`."""
    dated = [one.start_s for one in came if one.start_s is not None]
    base_s = start_s if start_s is not None else min(dated, default=default_s)
    shifts = [0.0 if start_s is None and one.start_s is not None else base_s - one.trace.start_s for one in came]
    assert all(map(isfinite, shifts))
    return shifts

"""Why an alarm is in its state, in the words and the JSON of AWS's answers (StateReason, StateReasonData)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from msgspec import Struct

from trimtab.resources.alarm import AlarmState, Watched

_REASON_CHARS: Final = 1023  # AWS
_DATA_CHARS: Final = 4000  # AWS; and half of it, so that a history item can hold an old and a new one
_SHOWN: Final = 5  # points in a reason

COMPARISONS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "GreaterThanThreshold": (lambda value, limit: value > limit, "greater than"),
    "GreaterThanOrEqualToThreshold": (lambda value, limit: value >= limit, "greater than or equal to"),
    "LessThanThreshold": (lambda value, limit: value < limit, "less than"),
    "LessThanOrEqualToThreshold": (lambda value, limit: value <= limit, "less than or equal to"),
}


class AlarmPoint(Struct, frozen=True):
    """A point that is there."""

    start_s: int
    value: float
    samples: float = 1.0


class Seen(Struct, frozen=True):
    """What one judgement looked at."""

    watched: Watched
    real: list[AlarmPoint]  # at most N, newest first
    breaching: list[AlarmPoint]  # of these
    end_s: int
    now_s: float


def reason(seen: Seen, state: AlarmState, filled_as: str) -> str:
    """StateReason. `filled_as`: what missing points were taken for, if they were."""
    return _text(seen, state, filled_as)[:_REASON_CHARS]


def _text(seen: Seen, state: AlarmState, filled_as: str) -> str:
    watched, real = seen.watched, seen.real
    holes = watched.evaluation_periods - len(real)
    if state is AlarmState.INSUFFICIENT_DATA:
        return f"Insufficient Data: {holes} {_plural(holes, 'datapoint was', 'datapoints were')} unknown."
    if filled_as:
        received = f"{len(real) or 'no'} {_plural(len(real), 'datapoint was', 'datapoints were')} received"
        periods = f"{watched.evaluation_periods} {_plural(watched.evaluation_periods, 'period', 'periods')}"
        missing = f"{holes} missing {_plural(holes, 'datapoint was', 'datapoints were')}"
        return f"Threshold Crossed: {received} for {periods} and {missing} treated as [{filled_as}]."
    return "Threshold Crossed: " + _of_points(seen, state)


def _of_points(seen: Seen, state: AlarmState) -> str:
    watched, alarm = seen.watched, state is AlarmState.ALARM
    chosen = seen.breaching if alarm else [point for point in seen.real if point not in seen.breaching]
    count, m_of_n = len(chosen), watched.datapoints_to_alarm is not None
    many = f"{count} out of the last {len(seen.real)} datapoints" if m_of_n else _count(count)
    _, words = COMPARISONS[watched.comparison]
    verb = f"{_plural(count, 'was', 'were')}{'' if alarm else ' not'}"
    limit = f"{verb} {words} the threshold ({java(watched.threshold)})"
    listed = ", ".join(f"{java(point.value)} ({_short(point.start_s)})" for point in chosen[:_SHOWN])
    if count < _SHOWN:
        text = f"{many} [{listed}] {limit}"
    else:
        text = f"{many} {limit}. The most recent datapoints which crossed the threshold: [{listed}]"
    return f"{text}{_minimum(watched, alarm) if m_of_n else ''}."


def _minimum(watched: Watched, alarm: bool) -> str:
    least = watched.needed if alarm else watched.evaluation_periods - watched.needed + 1
    return f" (minimum {_count(least)} for {'OK -> ALARM' if alarm else 'ALARM -> OK'} transition)"


def reason_data(seen: Seen, filled_as: str) -> str:
    """StateReasonData, with as many of the newest points as fit."""
    real = seen.real
    unknown = [] if filled_as == "" and len(real) else _missing(seen)
    shown = len(real) + len(unknown)
    while True:
        text = json.dumps(_fields(seen, real[:shown], unknown[: max(0, shown - len(real))]), separators=(",", ":"))
        if len(text) <= _DATA_CHARS // 2 or not shown:
            return text
        shown = min(shown - 1, shown * 3 // 4)


def _missing(seen: Seen) -> list[int]:
    """The newest starts of periods without a point, as many as were missing."""
    there = {point.start_s for point in seen.real}
    starts = (seen.end_s - (n + 1) * seen.watched.period_s for n in range(2 * seen.watched.evaluation_periods))
    return [at_s for at_s in starts if at_s not in there][: seen.watched.evaluation_periods - len(seen.real)]


def _fields(seen: Seen, known: list[AlarmPoint], unknown: list[int]) -> dict[str, object]:
    stat = seen.watched.stat
    points: list[dict[str, object]] = [
        {"timestamp": iso(point.start_s), "sampleCount": point.samples, "value": point.value} for point in known
    ]
    return {
        "version": "1.0",
        "queryDate": iso(seen.now_s),
        **({"startDate": iso(known[-1].start_s)} if known else {}),
        **({"unit": stat.unit} if stat is not None and stat.unit else {}),
        **({"statistic": stat.stat} if stat is not None else {}),
        "period": seen.watched.period_s,
        "recentDatapoints": [point.value for point in reversed(known)],
        "threshold": seen.watched.threshold,
        "evaluatedDatapoints": [*points, *({"timestamp": iso(at_s)} for at_s in unknown)],
    }


def _count(count: int) -> str:
    return f"{count} {_plural(count, 'datapoint', 'datapoints')}"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def java(value: float) -> str:
    """A double as Java prints it, which is how AWS's texts have it: 40000.0, 1.0E-4."""
    text = repr(float(value))
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return text
    number = Decimal(text)
    digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
    return f"{'-' if value < 0 else ''}{digits[0]}.{digits[1:] or '0'}E{number.adjusted()}"


def _short(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%d/%m/%y %H:%M:%S")


def iso(at_s: float) -> str:
    """A time as CloudWatch writes it inside of JSON: 2026-01-02T03:04:05.678+0000."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")

"""Labels of series, with CloudWatch's dynamic parts: `p99 [max: ${MAX}]`.

Source: CloudWatch user guide, "Use dynamic labels". Parts that are not known stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import numpy as np

from trimtab.aws.cloudwatch.words import invalid
from trimtab.metrics.math.series import Series

_PART = re.compile(r"\$\{\s*([A-Z_]+)\s*\}|\$\{\s*PROP\(\s*'([^'}]*)'\s*\)\s*\}")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)")
_NONE: Final = "--"  # what the console shows where there is no point


def zone_of(text: str) -> timezone:
    """LabelOptions.Timezone: `+0130`. Raises AwsError."""
    match = _ZONE.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise invalid(f"The value {text[:40]!r} for parameter LabelOptions.Timezone must be like +0130.")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def shown(label: str, series: Series, *, zone: timezone, about: Mapping[str, str], own: str, now_s: float) -> str:
    """`label` with its dynamic parts filled in. `own` is the series' label; `about` AccountId and Region."""
    if "${" not in label:
        return label
    properties = {**about, **dict(series.properties)}

    def part(match: re.Match[str]) -> str:
        if match[2] is not None:
            return properties.get(match[2], match[0])
        if match[1] == "LABEL":
            return own
        return _live(match[1], series, zone, now_s) or match[0]

    return _PART.sub(part, label)


_NUMBERS: Final[Mapping[str, Callable[[Series], float]]] = {
    "AVG": lambda one: float(one.values.mean()),
    "DATAPOINT_COUNT": lambda one: float(len(one)),
    "FIRST": lambda one: float(one.values[0]),
    "LAST": lambda one: float(one.values[-1]),
    "MAX": lambda one: float(one.values.max()),
    "MIN": lambda one: float(one.values.min()),
    "SUM": lambda one: float(one.values.sum()),
    "FIRST_LAST_RANGE": lambda one: float(one.values[-1] - one.values[0]),
    "MIN_MAX_RANGE": lambda one: float(one.values.max() - one.values.min()),
}
_TIMES: Final[Mapping[str, Callable[[Series], int]]] = {
    "FIRST_TIME": lambda one: int(one.times[0]),
    "LAST_TIME": lambda one: int(one.times[-1]),
    "MAX_TIME": lambda one: int(one.times[np.argmax(one.values)]),
    "MIN_TIME": lambda one: int(one.times[np.argmin(one.values)]),
}


def _live(name: str, series: Series, zone: timezone, now_s: float) -> str:
    """What a part says; empty for one that is not known."""
    if name in _NUMBERS:
        return _number(_NUMBERS[name](series)) if len(series) or name == "DATAPOINT_COUNT" else _NONE
    if name in _TIMES:
        return _time(_TIMES[name](series), zone) if len(series) else _NONE
    if name.endswith("_TIME_RELATIVE") and name.removesuffix("_RELATIVE") in _TIMES:
        at = _TIMES[name.removesuffix("_RELATIVE")]
        return _span(now_s - at(series)) if len(series) else _NONE
    if name == "FIRST_LAST_TIME_RANGE":
        return _span(series.times[-1] - series.times[0]) if len(series) else _NONE
    if name == "MIN_MAX_TIME_RANGE":
        return _span(abs(_TIMES["MAX_TIME"](series) - _TIMES["MIN_TIME"](series))) if len(series) else _NONE
    return ""


def _number(value: float) -> str:
    return f"{value:.15g}"


def _time(at_s: int, zone: timezone) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.tzname(None)}"


def _span(seconds: float) -> str:
    whole = max(0, round(float(seconds)))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (whole % 60, "s")) if n]
    return "".join(parts) or "0s"

"""Durations, percentages and rates as people write them: `30s`, `1.5m`, `200ms`, `0.1%`."""

from __future__ import annotations

import math
import re
from typing import Final

from trimtab.errors import Invalid

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_QUANTITY: Final = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z%]*)\s*", re.IGNORECASE)


def seconds_of(text: str, what: str, *, may_be_0: bool = False) -> float:
    """Seconds of `text` (a bare number is seconds). Raises Invalid, naming `what`, unless it is more than zero."""
    number, unit = _split(text, what, "30s, 5m, 200ms")
    if (unit or "s") not in _SECONDS:
        raise Invalid(f"{what}: {text!r} has the unit {unit!r}; there are {', '.join(_SECONDS)}.")
    seconds = number * _SECONDS[unit or "s"]
    if not (0 < seconds < math.inf or (may_be_0 and seconds == 0)):
        raise Invalid(f"{what} must be {'0 or more' if may_be_0 else 'more than 0'}, not {text!r}.")
    return seconds


def fraction_of(text: str, what: str) -> float:
    """A part of one: `0.1%` or `0.001`. Raises Invalid unless it is in [0, 1)."""
    number, unit = _split(text, what, "0.1% or 0.001")
    if unit not in ("", "%"):
        raise Invalid(f"{what}: {text!r} is neither a percentage (0.1%) nor a part of one (0.001).")
    fraction = number / 100 if unit == "%" else number
    if not 0 <= fraction < 1:
        raise Invalid(f"{what} must be at least 0 and below 100 %, not {text!r}.")
    return fraction


def positive(value: float, what: str) -> float:
    """`value`, if it is finite and more than zero. Raises Invalid."""
    if not 0 < value < math.inf:  # NaN is refused here too
        raise Invalid(f"{what} must be a finite number above 0, not {value:g}.")
    return value


def _split(text: str, what: str, examples: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        return float(match[1]), match[2].lower()
    except ValueError:
        raise Invalid(f"{what}: {text!r} cannot be read. Write it like {examples}.") from None


def seconds_text(seconds: float) -> str:
    """For people, in one unit: `750 us`, `12.3 ms`, `4.5 s`, `2.5 min`, `3.0 h`."""
    for limit, size, unit in ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min")):
        if seconds < limit:
            value = seconds / size
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"

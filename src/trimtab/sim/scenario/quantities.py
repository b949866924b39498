"""Quantities as people write them in a scenario: `20ms`, `12/s`, `3GB`, `99.9%`, `2026-03-02T06:00`."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.quantities import seconds_of
from trimtab.jobs.loadtest.traces import LATEST_S

_RATE: Final = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*(?:/\s*(s|min|m|h|d|day))?", re.IGNORECASE)
_PER_S: Final = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "day": 86_400.0}
_SIZE: Final = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_SIZES: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_FIRST_S: Final = 1e8  # 1973: from then on a bare number may be meant as seconds since the epoch


class Seconds(float):
    """A time that passes: `20ms`, `5m`, 0.02."""


class PerSecond(float):
    """A rate: `12/s`, `300/min`; a bare number is a second's."""


class Bytes(int):
    """`3GB` (10^9), `3GiB` (2^30), 3000."""


class Part(float):
    """A part of one: `99.9%`, 0.999."""


class Moment(float):
    """Seconds since the epoch: `2026-03-02`, `2026-03-02T06:00` (UTC), `2026-03-02T06:00+01:00`."""


class When(float):
    """Seconds after the beginning, or a date (then `is_date`)."""

    is_date = False


def read_quantity(kind: type, value: Any) -> Any:
    """msgspec's dec_hook for the kinds above. ValueError says what is wrong."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"it must be {_LIKE.get(kind, 'a quantity')}, not {_short(value)}.")
    try:
        return _READERS[kind](value)
    except KeyError:
        raise NotImplementedError(f"a scenario has no {kind}") from None
    except (Invalid, ValueError, OverflowError) as error:
        said = str(error).removeprefix(": ")
        raise ValueError(said if isinstance(error, Invalid) else f"{_short(value)} is not {_LIKE[kind]}.") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _seconds(value: str | float) -> Seconds:
    return Seconds(seconds_of(str(value), "", may_be_0=True))


def _rate(value: str | float) -> PerSecond:
    found = _RATE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError
    return PerSecond(_finite(float(found[1]) / _PER_S[(found[2] or "s").lower()]))


def _bytes(value: str | float) -> Bytes:
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError
    unit = found[2].lower().removesuffix("b")
    base = 1024 if unit.endswith("i") else 1000
    return Bytes(_finite(float(found[1]) * base ** _SIZES[unit.removesuffix("i")]))


def _part(value: str | float) -> Part:
    text = str(value).strip()
    part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < part <= 1:
        raise ValueError
    return Part(round(part, 15))


def _moment(value: str | float) -> Moment:
    if isinstance(value, int | float):  # 2026 and 20260302 are dates that somebody meant otherwise
        if not _FIRST_S <= value <= LATEST_S:
            raise ValueError
        return Moment(value)
    moment = datetime.fromisoformat(value.strip())
    return Moment((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())


def _when(value: str | float) -> When:
    if isinstance(value, str) and re.match(r"\d{4}-", value.strip()):
        found = When(_moment(value))
        found.is_date = True
        return found
    return When(_seconds(value))


def _finite(value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError
    return value


_READERS: Final[dict[type, Any]] = {
    Seconds: _seconds, PerSecond: _rate, Bytes: _bytes, Part: _part, Moment: _moment, When: _when,
}  # fmt: skip
_LIKE: Final[dict[type, str]] = {
    Seconds: "a time like 20ms, 5m or 2h",
    PerSecond: "a rate like 12/s or 300/min",
    Bytes: "a size like 900MB or 3GiB",
    Part: "a part like 99.9% or 0.999",
    Moment: "a date like 2026-03-02T06:00",
    When: "a time after the beginning (2h) or a date (2026-03-02T06:00)",
}

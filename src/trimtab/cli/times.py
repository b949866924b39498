"""`--last 1h`, `--from` and `--to`: which part of the past is meant."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from trimtab.cli.render import CliError

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST_S: Final = 50 * 365 * 86400.0
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def span(last: str, start: str, end: str, now_s: float) -> tuple[float, float]:
    """Start and end in seconds since the epoch. CliError for what cannot be read, or is empty."""
    if last and (start or end):
        raise CliError("Give --last, or --from and --to; not both.")
    if last:
        return now_s - length(last, "--last"), now_s
    end_s = moment(end, "--to", now_s) if end else now_s
    start_s = moment(start, "--from", now_s) if start else end_s - 3600.0
    if start_s >= end_s:
        raise CliError("--from must be before --to.")
    return start_s, end_s


def length(text: str, option: str) -> float:
    """`90s`, `15m`, `1h`, `1h30m`, `7d` in seconds."""
    parts = _LENGTH.findall(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or total <= 0:
        raise CliError(f"{option} takes a length of time such as 90s, 15m, 1h or 7d, not {text!r}.")
    if total > _LONGEST_S:
        raise CliError(f"{option} takes 50 years at most, not {text}.")
    return total


def moment(text: str, option: str, now_s: float) -> float:
    """A local or zoned ISO time (`2026-03-01T12:00`, `12:00` of today), `1h` (ago), or seconds since the epoch."""
    if re.fullmatch(rf"({_LENGTH.pattern})+", text):
        return now_s - length(text, option)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
            hours, minutes, *rest = (int(part) for part in text.split(":"))
            today = datetime.fromtimestamp(now_s)
            return today.replace(hour=hours, minute=minutes, second=rest[0] if rest else 0, microsecond=0).timestamp()
        if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
            return float(text)
        if (at_s := datetime.fromisoformat(text).timestamp()) < 0:
            raise ValueError(text)
        return at_s
    except (ValueError, OverflowError):
        raise CliError(f"{option} takes a time such as 2026-03-01T12:00, 12:00 or 1h (ago), not {text!r}.") from None

"""The three ways AWS writes a point in time. Values inside trimtab are aware datetimes in UTC, or epoch seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

Moment = datetime | int | float


def parse(text: str) -> datetime:
    """Read an ISO 8601 or RFC 822 date, or epoch seconds, whichever `text` is. Raises ValueError."""
    text = text.strip()
    try:
        return from_epoch(float(text))
    except ValueError:
        pass  # not a number: a date
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"{text!r} is not a timestamp") from error
    return in_utc(moment)


def from_epoch(seconds: float) -> datetime:
    """The datetime of epoch seconds. Raises ValueError outside the years 1 to 9999, and for NaN."""
    if not math.isfinite(seconds):
        raise ValueError("not a finite number of seconds")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is out of the range of timestamps") from error


def epoch(moment: Moment) -> int | float:
    """Seconds since 1970 with milliseconds, as JSON protocols write it."""
    seconds = _aware(moment).timestamp()
    return int(seconds) if seconds.is_integer() else round(seconds, 3)


def iso8601(moment: Moment, *, always_millis: bool = False) -> str:
    """`2026-01-02T03:04:05Z`, with milliseconds if there are any (S3 always writes them)."""
    at = _aware(moment)
    millis = at.microsecond // 1000
    text = f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}"
    return f"{text}.{millis:03d}Z" if millis or always_millis else f"{text}Z"


def rfc822(moment: Moment) -> str:
    """`Fri, 02 Jan 2026 03:04:05 GMT`, as headers carry it."""
    return format_datetime(_aware(moment).replace(microsecond=0), usegmt=True)


def write(moment: Moment, format: str, *, always_millis: bool = False) -> str:
    """`moment` in one of the model's formats: iso8601, rfc822, unixTimestamp."""
    if format == "rfc822":
        return rfc822(moment)
    if format == "unixTimestamp":
        return str(epoch(moment))
    return iso8601(moment, always_millis=always_millis)


def _aware(moment: Moment) -> datetime:
    return in_utc(moment) if isinstance(moment, datetime) else from_epoch(moment)


def in_utc(moment: datetime) -> datetime:
    """`moment`, aware and in UTC; without a zone it is taken to be in it. Raises ValueError at the ends of time."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the timestamp is out of range") from error

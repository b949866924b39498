"""AWS's cron expressions: six fields (minutes, hours, day of month, month, day of week, year), by croniter.

Source: Application Auto Scaling user guide, "Schedule recurring scaling actions using cron expressions". Days of the
week are 1 (Sunday) to 7; one of the two day fields is `?`. Years after 2099 are not supported.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from croniter import croniter
from croniter.croniter import CroniterBadDateError, CroniterError

from trimtab.errors import Invalid

_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LAST_YEAR: Final = 2099  # croniter's


def _list_of(value: str) -> str:
    one = rf"(?:\*|(?:{value})(?:-(?:{value}))?)(?:/[1-9]\d{{0,3}})?"
    return rf"{one}(?:,{one})*"


_NUMBER: Final = r"\d{1,2}"
_DAY: Final = rf"[1-7]|{'|'.join(_DAYS)}"
_FIELDS: Final = (
    ("minutes", re.compile(_list_of(_NUMBER))),
    ("hours", re.compile(_list_of(_NUMBER))),
    ("day of month", re.compile(rf"\?|L|\d{{1,2}}W|{_list_of(_NUMBER)}")),
    ("month", re.compile(_list_of(rf"{_NUMBER}|{'|'.join(_MONTHS)}"))),
    ("day of week", re.compile(rf"\?|L|(?:{_DAY})L|(?:{_DAY})#[1-5]|{_list_of(_DAY)}")),
    ("year", re.compile(_list_of(r"\d{4}"))),
)


def parse(expression: str) -> str:
    """The expression as croniter has it: with seconds, days of the week from 0. Raises Invalid."""
    fields = expression.upper().split()
    if len(fields) != len(_FIELDS):
        raise Invalid(f"cron({expression}) has {len(fields)} fields; there are {len(_FIELDS)}: minutes ... year.")
    for (name, form), field in zip(_FIELDS, fields, strict=True):
        if not form.fullmatch(field):
            raise Invalid(f"cron({expression}): {field!r} is not a {name}.")
    minutes, hours, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        raise Invalid(f"cron({expression}): one of day of month and day of week is ?, and only one.")
    translated = f"{minutes} {hours} {'*' if day == '?' else day} {month} {_weekdays(weekday)} 0 {year}"
    try:
        croniter(translated, datetime(2000, 1, 1))
    except (CroniterError, ValueError) as exc:
        years = f" Years are supported up to {_LAST_YEAR}." if year != "*" else ""
        raise Invalid(f"cron({expression}) cannot be read.{years}") from exc
    return translated


def next_after(translated: str, local: datetime) -> datetime | None:
    """The first wall-clock time after `local` (naive); None: there is none in the next 50 years."""
    try:
        found: datetime = croniter(translated, local).get_next(datetime)
    except CroniterBadDateError:
        return None
    return found


def _weekdays(field: str) -> str:
    """AWS counts from 1 (Sunday), croniter from 0, where 7 is Sunday again."""
    if field == "?":
        return "*"
    if field == "L":  # the week's last
        return "6"
    if field.endswith("L"):
        return f"L{_weekday(field[:-1])}"
    if "#" in field:
        day, nth = field.split("#")
        return f"{_weekday(day)}#{nth}"
    return ",".join(str(day) for day in sorted({day for term in field.split(",") for day in _days_of(term)}))


def _days_of(term: str) -> list[int]:
    days, _, step = term.partition("/")
    first, _, last = days.partition("-")
    if first == "*":
        count, start = 7, 0
    else:
        start = _weekday(first)
        end = _weekday(last) if last else 6 if step else start
        count = (end - start) % 7 + 1  # FRI-MON goes over the week's end
    return [(start + day) % 7 for day in range(0, count, int(step or 1))]


def _weekday(day: str) -> int:
    return _DAYS.index(day) if day in _DAYS else int(day) - 1

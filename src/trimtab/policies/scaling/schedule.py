"""When scheduled actions are due: AWS's at(), rate() and cron(), in their time zones.

Source: Application Auto Scaling user guide, "Scheduled scaling", "cron expressions". What it leaves open is as in
EventBridge Scheduler: a local time that a change of clocks leaves out is left out; one that comes twice counts once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import floor
from typing import Final
from zoneinfo import ZoneInfo

from trimtab.errors import Invalid
from trimtab.policies.scaling import cron
from trimtab.resources.scaling import ScheduledAction

_FORM: Final = re.compile(r"(at|rate|cron)\((.*)\)", re.DOTALL)
_AT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?")
_RATE: Final = re.compile(r"([1-9]\d{0,8}) +(minute|hour|day)s?")
_UNITS_S: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_TRIES: Final = 200  # local times that are looked at: an hour that comes twice has 60 of them


def check(action: ScheduledAction, now_s: float) -> None:
    """Raise Invalid for a schedule that cannot be read, has no time left, or moves no bound."""
    low, high = action.min_capacity, action.max_capacity
    if low is None and high is None:
        raise Invalid("A scheduled action has MinCapacity, MaxCapacity or both.")
    if (low or 0) < 0 or (high or 0) < 0:
        raise Invalid("MinCapacity and MaxCapacity are 0 or more.")
    if low is not None and high is not None and low > high:
        raise Invalid(f"MinCapacity {low} is over MaxCapacity {high}.")
    if action.end_s is not None and action.end_s <= max(now_s, action.start_s or now_s):
        raise Invalid("EndTime is in the future, and after StartTime.")
    if next_after(action, now_s) is None:
        raise Invalid(f"Schedule {action.schedule} in time zone {action.timezone} is never due again.")


def next_after(action: ScheduledAction, after_s: float) -> float | None:
    """The first time after `after_s` at which it is due, from its start until its end; None: never again.

    A rate counts from its start, and without one from when the action was made (first due one interval later).
    Raises Invalid for a schedule or time zone that cannot be read.
    """
    form = _FORM.fullmatch(action.schedule.strip())
    if form is None:
        raise Invalid(f"Schedule {action.schedule!r} is not at(...), rate(...) or cron(...).")
    kind, inner = form.groups()
    zone = _zone(action.timezone)
    # One that is due at its very start is.
    from_s = after_s if action.start_s is None else max(after_s, action.start_s - 1e-3)
    if kind == "at":
        due_s = _at(inner, zone)
        found = due_s if due_s > from_s else None
    elif kind == "rate":
        found = _rate(inner, action, after_s)
    else:
        found = _cron(inner, zone, from_s)
    return None if found is None or (action.end_s is not None and found > action.end_s) else found


def _at(inner: str, zone: ZoneInfo) -> float:
    if not _AT.fullmatch(inner):
        raise Invalid(f"at({inner}) is not of the form at(yyyy-mm-ddThh:mm:ss).")
    try:
        return datetime.fromisoformat(inner).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError) as exc:
        raise Invalid(f"at({inner}) is no date: {exc}.") from exc


def _rate(inner: str, action: ScheduledAction, after_s: float) -> float:
    form = _RATE.fullmatch(inner.strip())
    if form is None:
        raise Invalid(f"rate({inner}) is not of the form rate(value unit), unit minute, hour or day.")
    each_s = int(form[1]) * _UNITS_S[form[2]]
    first_s = action.created_s + each_s if action.start_s is None else action.start_s
    if after_s < first_s:
        return first_s
    return first_s + (floor((after_s - first_s) / each_s) + 1) * each_s


def _cron(inner: str, zone: ZoneInfo, after_s: float) -> float | None:
    expression = cron.parse(inner)
    local = datetime.fromtimestamp(after_s, UTC).astimezone(zone).replace(tzinfo=None)
    for _ in range(_TRIES):
        following = cron.next_after(expression, local)
        if following is None:
            return None
        local = following
        due = local.replace(tzinfo=zone)
        if due.timestamp() > after_s and _exists(due):
            return due.timestamp()
    return None


def _exists(local: datetime) -> bool:
    """Whether clocks show that time at all."""
    again = local.astimezone(UTC).astimezone(local.tzinfo)
    return again.replace(tzinfo=None) - local.replace(tzinfo=None) == timedelta()


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:  # unknown, no name at all, a folder
        raise Invalid(f"There is no time zone {name!r}: see the IANA Time Zone Database.") from exc

"""When scheduled actions are due: AWS's expressions, time zones, clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.policies.scaling.schedule import check, next_after
from trimtab.resources.scaling import ScheduledAction

NEW_YORK = "America/New_York"


def action(schedule: str, timezone: str = "UTC", **more) -> ScheduledAction:
    more = {"min_capacity": 1, "created_s": 0.0} | more
    return ScheduledAction(name="a", arn="", endpoint="e", variant="v", schedule=schedule, timezone=timezone, **more)


def at(text: str, timezone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


def due(schedule: str, after: str = "2026-01-01T00:00", timezone: str = "UTC", count: int = 3, **more) -> list[str]:
    """The next times, as a clock there shows them."""
    of, now_s, found = action(schedule, timezone, **more), at(after, timezone), []
    for _ in range(count):
        following = next_after(of, now_s)
        if following is None:
            break
        now_s = following
        found.append(datetime.fromtimestamp(now_s, ZoneInfo(timezone)).strftime("%a %m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("cron(0 9 ? * MON-FRI *)", ["Thu 01-01 09:00", "Fri 01-02 09:00", "Mon 01-05 09:00"]),
        ("cron(0 9 ? * 2-6 2026-2027)", ["Thu 01-01 09:00", "Fri 01-02 09:00", "Mon 01-05 09:00"]),
        ("cron(0 18 ? * FRI-MON *)", ["Fri 01-02 18:00", "Sat 01-03 18:00", "Sun 01-04 18:00"]),
        ("cron(0 9 ? * 2/2 *)", ["Fri 01-02 09:00", "Mon 01-05 09:00", "Wed 01-07 09:00"]),
        ("cron(0/20 8-9 * * ? *)", ["Thu 01-01 08:00", "Thu 01-01 08:20", "Thu 01-01 08:40"]),
        ("cron(0 9 L * ? *)", ["Sat 01-31 09:00", "Sat 02-28 09:00", "Tue 03-31 09:00"]),
        ("cron(0 9 15W * ? *)", ["Thu 01-15 09:00", "Mon 02-16 09:00", "Mon 03-16 09:00"]),
        ("cron(0 9 ? * 6L *)", ["Fri 01-30 09:00", "Fri 02-27 09:00", "Fri 03-27 09:00"]),
        ("cron(0 9 ? * FRI#2 *)", ["Fri 01-09 09:00", "Fri 02-13 09:00", "Fri 03-13 09:00"]),
        ("cron(0 9 ? * L *)", ["Sat 01-03 09:00", "Sat 01-10 09:00", "Sat 01-17 09:00"]),
        ("cron(0 9 1 jan,JUL ? *)", ["Thu 01-01 09:00", "Wed 07-01 09:00", "Fri 01-01 09:00"]),
        ("cron(0 0 1 1 ? 2026-2027)", ["Fri 01-01 00:00"]),
        ("rate(5 minutes)", ["Thu 01-01 00:05", "Thu 01-01 00:10", "Thu 01-01 00:15"]),
        ("rate(1 hour)", ["Thu 01-01 01:00", "Thu 01-01 02:00", "Thu 01-01 03:00"]),
        ("rate(2 days)", ["Sat 01-03 00:00", "Mon 01-05 00:00", "Wed 01-07 00:00"]),
        ("at(2026-03-01T09:30:00)", ["Sun 03-01 09:30"]),
    ],
)
def test_what_is_due_when(schedule, times):
    assert due(schedule, created_s=at("2026-01-01T00:00")) == times


def test_a_time_zone_moves_with_its_summer_time():
    assert next_after(action("cron(0 9 * * ? *)", NEW_YORK), at("2026-01-10T00:00")) == at("2026-01-10T14:00")
    assert next_after(action("cron(0 9 * * ? *)", NEW_YORK), at("2026-07-10T00:00")) == at("2026-07-10T13:00")
    assert next_after(action("at(2026-07-10T09:00:00)", NEW_YORK), at("2026-01-10T00:00")) == at("2026-07-10T13:00")


def test_a_time_that_clocks_leave_out_is_left_out():
    assert due("cron(30 2 * * ? *)", "2026-03-07T00:00", NEW_YORK) == [
        "Sat 03-07 02:30",
        "Mon 03-09 02:30",
        "Tue 03-10 02:30",
    ]


def test_a_time_that_comes_twice_counts_once():
    assert due("cron(30 1 * * ? *)", "2026-10-31T12:00", NEW_YORK, 2) == ["Sun 11-01 01:30", "Mon 11-02 01:30"]


def test_in_the_hour_that_comes_twice_the_next_time_is_after_it():
    second = datetime(2026, 11, 1, 1, 10, fold=1, tzinfo=ZoneInfo(NEW_YORK)).timestamp()
    assert next_after(action("cron(* * * * ? *)", NEW_YORK), second) == at("2026-11-01T02:00", NEW_YORK)


def test_start_and_end_bound_it():
    bounded = {"start_s": at("2026-02-01T09:00"), "end_s": at("2026-02-02T09:00")}
    assert due("cron(0 9 * * ? *)", **bounded) == ["Sun 02-01 09:00", "Mon 02-02 09:00"]
    assert due("rate(12 hours)", **bounded, count=9) == ["Sun 02-01 09:00", "Sun 02-01 21:00", "Mon 02-02 09:00"]
    assert due("at(2026-01-15T00:00:00)", **bounded) == []


def test_a_rate_counts_from_when_the_action_was_made():
    assert due("rate(10 minutes)", created_s=at("2026-01-01T00:03")) == [
        "Thu 01-01 00:13",
        "Thu 01-01 00:23",
        "Thu 01-01 00:33",
    ]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("every day", "not at"),
        ("cron(0 9 * * *)", "5 fields"),
        ("cron(0 9 * * * *)", "one of day of month"),
        ("cron(0 9 ? * ? *)", "one of day of month"),
        ("cron(60 9 * * ? *)", "cannot be read"),
        ("cron(0 24 * * ? *)", "cannot be read"),
        ("cron(0 9 0 * ? *)", "cannot be read"),
        ("cron(0 9 * 13 ? *)", "cannot be read"),
        ("cron(*/0 9 * * ? *)", "'\\*/0'"),
        ("cron(0 9 ? * 8 *)", "day of week"),
        ("cron(0 9 ? * 2#6 *)", "day of week"),
        ("cron(0 9 R * ? *)", "day of month"),
        ("cron(H 9 * * ? *)", "minutes"),
        ("cron(0 9 * * ? 2150)", "2099"),
        ("rate(0 minutes)", "rate"),
        ("rate(5)", "rate"),
        ("rate(5 fortnights)", "rate"),
        ("at(2026-02-30T00:00:00)", "no date"),
        ("at(2026-03-01)", "form at"),
        ("at(0001-01-01T00:00:00)", "never due"),
    ],
)
def test_a_schedule_that_cannot_be_read_says_why(schedule, says):
    with pytest.raises(Invalid, match=says):
        check(action(schedule), at("2026-01-01T00:00"))


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "Europe", "../etc/passwd", "/etc/localtime", "UTC\0"])
def test_a_time_zone_that_there_is_not_is_refused(timezone):
    with pytest.raises(Invalid, match="time zone"):
        check(action("cron(0 9 * * ? *)", timezone), 0.0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"schedule": "at(2025-01-01T00:00:00)"}, "never due"),
        ({"schedule": "cron(0 9 31 2 ? *)"}, "never due"),
        ({"min_capacity": None}, "or both"),
        ({"min_capacity": 5, "max_capacity": 4}, "over MaxCapacity"),
        ({"min_capacity": -1}, "0 or more"),
        ({"end_s": 1.0}, "EndTime"),
        ({"start_s": at("2027-01-01T00:00"), "end_s": at("2026-06-01T00:00")}, "EndTime"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(more, says):
    with pytest.raises(Invalid, match=says):
        check(msgspec.structs.replace(action("cron(0 9 * * ? *)"), **more), at("2026-01-01T00:00"))


SCHEDULES = st.sampled_from(
    [
        "cron(0 9 ? * MON-FRI *)",
        "cron(*/7 * * * ? *)",
        "cron(30 1,2 * * ? *)",
        "cron(0 0 L * ? *)",
        "rate(17 minutes)",
        "rate(3 days)",
    ]
)
ZONES = st.sampled_from(["UTC", NEW_YORK, "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Europe/Berlin"])


@given(SCHEDULES, ZONES, st.floats(at("1990-01-01T00:00"), at("2090-01-01T00:00")))
def test_the_next_time_is_later_and_nothing_lies_between(schedule, timezone, after_s):
    of = action(schedule, timezone)
    following = next_after(of, after_s)
    assert following is not None
    assert following > after_s
    middle = (after_s + following) / 2
    assert next_after(of, middle) == following or middle >= following
    check(of, after_s)


@given(st.text(max_size=40), st.text(max_size=10))
def test_anything_else_is_refused_rather_than_failing(inner, timezone):
    for schedule in (inner, f"cron({inner})", f"rate({inner})", f"at({inner})"):
        try:
            check(action(schedule, timezone), datetime(2026, 1, 1, tzinfo=UTC).timestamp())
        except Invalid:
            continue

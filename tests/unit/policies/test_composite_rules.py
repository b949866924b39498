"""Rules of composite alarms."""

from __future__ import annotations

import pytest

from trimtab.errors import Invalid
from trimtab.policies.composite import parse_rule
from trimtab.resources.alarm import AlarmState

STATES = {"hot": AlarmState.ALARM, "calm": AlarmState.OK, "new": AlarmState.INSUFFICIENT_DATA, "a name": AlarmState.OK}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ALARM(hot)", True),
        ('ALARM("hot")', True),
        ("ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:hot)", True),
        ('OK("a name")', True),
        ("OK(hot)", False),
        ("INSUFFICIENT_DATA(new)", True),
        ("ALARM(hot) AND ALARM(calm)", False),
        ("ALARM(hot) AND NOT ALARM(calm)", True),
        ("ALARM(calm) OR ALARM(hot) AND OK(calm)", True),
        ("(ALARM(hot) OR ALARM(calm)) AND OK(hot)", False),
        ("NOT (ALARM(calm) OR OK(hot))", True),
        ("TRUE", True),
        ("FALSE OR NOT FALSE", True),
        ("ALARM(nobody) OR OK(nobody) OR INSUFFICIENT_DATA(nobody)", False),
        ("NOT " * 99 + "TRUE", False),
    ],
)
def test_rules_hold_by_the_states_of_other_alarms(rule: str, holds: bool) -> None:
    assert parse_rule(rule).holds(STATES) is holds


def test_the_alarms_that_a_rule_looks_at_are_known() -> None:
    assert parse_rule('ALARM(b) AND (OK(a) OR NOT ALARM("b"))').children == ("b", "a")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "at its end"),
        ("ALARM(hot) AND", "at"),
        ("ALARM hot", "at character 7"),
        ("PANIC(hot)", "at character 1"),
        ("ALARM()", "at character 7"),
        ("ALARM(hot", "at"),
        (" OR ".join(f"ALARM(a{n})" for n in range(101)), "100 alarms"),
        ("(" * 2000 + "TRUE" + ")" * 2000, "500 elements"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(rule: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse_rule(rule)

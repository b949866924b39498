"""When alarms ring: the tables of AWS's guide, and what holds for any points."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.alarm_words import AlarmPoint, java
from trimtab.policies.alarms import EXTRA_PERIODS, LATE_S, Verdict, judge, step_s, window_of
from trimtab.resources.alarm import AlarmState, Watched
from trimtab.resources.metric_query import MetricStat

NOW = 1_700_000_100.0 - 1_700_000_100.0 % 60 + 60 + LATE_S
STAT = MetricStat("test", "m", (), 60, "Average")
STATES = {"A": AlarmState.ALARM, "O": AlarmState.OK, "I": AlarmState.INSUFFICIENT_DATA, "=": None}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def watched(n: int, m: int | None = None, treat: str = "missing", **more) -> Watched:
    return Watched(
        **{
            "stat": STAT,
            "comparison": "GreaterThanThreshold",
            "threshold": 1.0,
            "evaluation_periods": n,
            "datapoints_to_alarm": m,
            "treat_missing": treat,
        }
        | more
    )


def points(words: str, of: Watched, now_s: float = NOW, samples: float = 1.0) -> list[AlarmPoint]:
    """`0` is good, `X` breaches, `-` is missing; oldest first, the last one the newest period."""
    _, end_s = window_of(of, now_s)
    signs = words.split()
    return [
        AlarmPoint(end_s - (len(signs) - index) * of.period_s, 2.0 if sign == "X" else 0.0, samples)
        for index, sign in enumerate(signs)
        if sign != "-"
    ]


def state(words: str, of: Watched) -> AlarmState | None:
    verdict = judge(of, points(words, of), NOW)
    return None if verdict is None else verdict.state


@pytest.mark.parametrize(
    ("words", "n", "m", "states"),  # states for missing, ignore, breaching, notBreaching
    [
        ("0 - X - X", 3, 3, "OOOO"),
        ("0 - - - -", 3, 3, "OOOO"),
        ("- - - - -", 3, 3, "I=AO"),
        ("0 X X - X", 3, 3, "AAAA"),
        ("- - X - -", 3, 3, "A=AO"),
        ("X - - - -", 3, 3, "A=AO"),
        ("- - - - X", 3, 3, "I=AO"),
        ("0 - X - X", 3, 2, "AAAA"),
        ("0 0 X 0 X", 3, 2, "AAAA"),
        ("0 - X - -", 3, 2, "OOAO"),
        ("- - - - 0", 3, 2, "OOAO"),
        ("- - - X -", 3, 2, "A=AO"),
    ],
)
def test_missing_data_as_in_the_tables_of_the_guide(words: str, n: int, m: int, states: str) -> None:
    for treat, expected in zip(TREATMENTS, states, strict=True):
        assert state(words, watched(n, m, treat)) == STATES[expected], treat


def test_no_data_is_not_zero() -> None:
    below = {"comparison": "LessThanThreshold"}
    assert state("- - -", watched(1, **below)) == AlarmState.INSUFFICIENT_DATA
    assert state("- - 0", watched(1, **below)) == AlarmState.ALARM


@pytest.mark.parametrize(
    ("comparison", "at_threshold"),
    [("GreaterThanThreshold", "O"), ("GreaterThanOrEqualToThreshold", "A"), ("LessThanThreshold", "O"),
     ("LessThanOrEqualToThreshold", "A")],
)  # fmt: skip
def test_a_value_at_the_threshold(comparison: str, at_threshold: str) -> None:
    assert state("0 0 0", watched(1, comparison=comparison, threshold=0.0)) == STATES[at_threshold]


def verdict(words: str, of: Watched, **more) -> Verdict:
    found = judge(of, points(words, of), NOW, **more)
    assert found is not None
    return found


def test_reasons_have_the_words_of_aws() -> None:
    at = "14/11/23 22:15:00"
    assert verdict("X", watched(1)).reason == (
        f"Threshold Crossed: 1 datapoint [2.0 ({at})] was greater than the threshold (1.0)."
    )
    assert verdict("0", watched(1, 1)).reason == (
        f"Threshold Crossed: 1 out of the last 1 datapoints [0.0 ({at})] was not greater than the threshold (1.0)"
        " (minimum 1 datapoint for ALARM -> OK transition)."
    )
    assert verdict("X 0 X", watched(3, 2)).reason == (
        f"Threshold Crossed: 2 out of the last 3 datapoints [2.0 ({at}), 2.0 (14/11/23 22:13:00)] were greater than the"
        " threshold (1.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )
    assert verdict("X X X X X", watched(5)).reason.startswith(
        "Threshold Crossed: 5 datapoints were greater than the threshold (1.0). The most recent datapoints which"
        f" crossed the threshold: [2.0 ({at}), 2.0 (14/11/23 22:14:00), "
    )
    assert verdict("-", watched(2, None, "breaching")).reason == (
        "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as"
        " [Breaching]."
    )
    assert verdict("-", watched(1, None, "notBreaching")).reason == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as"
        " [NonBreaching]."
    )
    assert verdict("X", watched(3, 2, "breaching")).reason == (
        "Threshold Crossed: 1 datapoint was received for 3 periods and 2 missing datapoints were treated as"
        " [Breaching]."
    )
    assert verdict("-", watched(5)).reason == "Insufficient Data: 5 datapoints were unknown."


def test_reason_data_lists_what_was_evaluated() -> None:
    data = json.loads(verdict("X 0", watched(2, 1)).reason_data)
    assert data["recentDatapoints"] == [2.0, 0.0]
    assert data["startDate"] == "2023-11-14T22:14:00.000+0000"
    assert data["statistic"] == "Average"
    assert (data["period"], data["threshold"], data["version"]) == (60, 1.0, "1.0")
    assert data["evaluatedDatapoints"][0] == {
        "timestamp": "2023-11-14T22:15:00.000+0000",
        "sampleCount": 1.0,
        "value": 0.0,
    }
    missing = json.loads(verdict("-", watched(2, None, "breaching")).reason_data)
    assert missing["recentDatapoints"] == []
    assert [list(point) for point in missing["evaluatedDatapoints"]] == [["timestamp"], ["timestamp"]]


def test_reasons_of_very_many_points_fit() -> None:
    of = watched(1440)
    found = verdict(" ".join("X" * 1440), of)
    assert found.state == AlarmState.ALARM
    assert len(found.reason) <= 1023
    assert len(found.reason_data) <= 4000
    assert json.loads(found.reason_data)["recentDatapoints"]


def test_percentiles_of_few_samples_can_be_ignored() -> None:
    of = watched(1, low_samples="ignore")
    few, many = points("X", of, samples=999.0), points("X", of, samples=1001.0)
    assert judge(of, few, NOW, percentile=0.99) is None
    assert judge(of, many, NOW, percentile=0.99) is not None
    assert judge(of, few, NOW, percentile=0.5) is not None
    assert judge(watched(1), few, NOW, percentile=0.99) is not None
    assert judge(of, points("-", of), NOW, percentile=0.99) is not None, "no samples at all are missing data"


def test_alarms_are_evaluated_as_often_as_their_periods_ask_for() -> None:
    steps = {1: 1, 10: 10, 20: 10, 30: 10, 60: 60, 300: 60, 3600: 60}
    for period_s, expected in steps.items():
        stat = MetricStat("test", "m", (), period_s, "Average")
        of = watched(3, stat=stat)
        assert step_s(of) == expected
        start_s, end_s = window_of(of, NOW + 7.3)
        assert end_s % expected == 0
        assert NOW + 7.3 - LATE_S - expected < end_s <= NOW + 7.3 - LATE_S
        assert end_s - start_s == (3 + EXTRA_PERIODS) * period_s


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (40000.0, "40000.0"), (1e-4, "1.0E-4"), (1e7, "1.0E7"), (-2.5e-7, "-2.5E-7"), (0.1, "0.1"),
     (123456789.125, "1.23456789125E8"), (1e300, "1.0E300"), (9999999.5, "9999999.5")],
)  # fmt: skip
def test_numbers_are_written_as_java_does(value: float, text: str) -> None:
    assert java(value) == text


WORDS = st.lists(st.sampled_from("0X-"), min_size=1, max_size=12).map(" ".join)


@st.composite
def alarms(draw) -> Watched:
    n = draw(st.integers(1, 6))
    m = draw(st.one_of(st.none(), st.integers(1, n)))
    return watched(n, m, draw(st.sampled_from(TREATMENTS)))


@given(WORDS, alarms(), st.randoms())
def test_the_order_of_points_does_not_matter(words: str, of: Watched, random) -> None:
    given_points = points(words, of)
    shuffled = list(given_points)
    random.shuffle(shuffled)
    assert judge(of, shuffled, NOW) == judge(of, given_points, NOW)


@given(WORDS, alarms())
def test_an_alarm_needs_m_points_that_breach_or_are_taken_to(words: str, of: Watched) -> None:
    if state(words, of) is not AlarmState.ALARM:
        return
    looked_at = words.split()[-(of.evaluation_periods + EXTRA_PERIODS) :]
    looked_at = ["-"] * (of.evaluation_periods + EXTRA_PERIODS - len(looked_at)) + looked_at
    real = [sign for sign in looked_at[::-1] if sign != "-"][: of.evaluation_periods]
    count = real.count("X")
    if of.treat_missing == "breaching":
        count += of.evaluation_periods - len(real)
    elif of.treat_missing == "missing" and count < of.needed:
        assert "0" not in real
        count = len(looked_at) - looked_at.index("X")  # it, and all that is newer
    assert count >= of.needed


@given(WORDS, alarms())
def test_ignore_leaves_the_state_unless_real_points_decide(words: str, of: Watched) -> None:
    found = state(words, watched(of.evaluation_periods, of.datapoints_to_alarm, "ignore"))
    recent = [sign for sign in words.split()[-(of.evaluation_periods + EXTRA_PERIODS) :] if sign != "-"]
    recent = recent[-of.evaluation_periods :]
    decided = recent.count("X") >= of.needed or "0" in recent
    assert (found is None) == (not decided)
    assert found is not AlarmState.INSUFFICIENT_DATA


@given(WORDS, alarms())
def test_only_missing_data_treated_as_missing_is_insufficient(words: str, of: Watched) -> None:
    if state(words, of) is AlarmState.INSUFFICIENT_DATA:
        assert of.treat_missing == "missing"
        assert "-" in words or len(words.split()) < of.evaluation_periods


@given(st.lists(st.sampled_from("0X"), min_size=12, max_size=12).map(" ".join), alarms())
def test_with_all_points_there_the_treatment_of_missing_ones_does_not_matter(words: str, of: Watched) -> None:
    found = {state(words, watched(of.evaluation_periods, of.datapoints_to_alarm, treat)) for treat in TREATMENTS}
    expected = words.split()[-of.evaluation_periods :].count("X") >= of.needed
    assert found == {AlarmState.ALARM if expected else AlarmState.OK}


@given(WORDS, alarms(), st.integers(1, 10**6))
def test_points_from_outside_of_the_window_do_not_count(words: str, of: Watched, far: int) -> None:
    start_s, end_s = window_of(of, NOW)
    more = [AlarmPoint(start_s - far * of.period_s, 2.0), AlarmPoint(end_s + far * of.period_s, 2.0)]
    assert judge(of, [*points(words, of), *more], NOW) == judge(of, points(words, of), NOW)

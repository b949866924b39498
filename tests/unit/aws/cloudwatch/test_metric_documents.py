"""What is written of an alarm as AWS's calls take it is read as the same alarm."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.cloudwatch.alarm_shapes import alarm_of, described
from trimtab.aws.cloudwatch.shapes import queries_of
from trimtab.resources.alarm import Watched
from trimtab.resources.metric_documents import query_document, watched_document
from trimtab.resources.metric_query import MetricQuery, MetricStat

NAMES = st.sampled_from(["Invocations", "CPU", "m"])
DIMENSIONS = st.dictionaries(NAMES, st.sampled_from(["a", "b"]), max_size=3).map(lambda all: tuple(sorted(all.items())))


def stats(period_s: int) -> st.SearchStrategy[MetricStat]:
    return st.builds(
        MetricStat,
        NAMES,
        NAMES,
        DIMENSIONS,
        st.just(period_s),
        st.sampled_from(["Sum", "Average", "SampleCount", "p99", "TM(10%:90%)"]),
        st.sampled_from(["", "Count", "Seconds"]),
    )


SINGLE = stats(60).map(lambda stat: {"stat": stat})
MATH = st.builds(
    lambda stat, label, period_s: {
        "queries": (
            MetricQuery("n", stat=stat, return_data=False),
            MetricQuery("twice", expression="n * 2", label=label, period_s=period_s),
        )
    },
    stats(300),
    st.sampled_from([None, "", "doubled"]),
    st.sampled_from([0, 300]),
)
RULES = st.fixed_dictionaries(
    {
        "comparison": st.sampled_from(["GreaterThanThreshold", "LessThanOrEqualToThreshold"]),
        "threshold": st.floats(-1e6, 1e6),
        "evaluation_periods": st.just(3),
        "datapoints_to_alarm": st.sampled_from([None, 1, 3]),
        "treat_missing": st.sampled_from(["breaching", "ignore", "missing"]),
    }
)


@given(metric=SINGLE | MATH, rules=RULES)
def test_an_alarm_is_read_back_from_its_document(metric: dict[str, Any], rules: dict[str, Any]) -> None:
    watched = Watched(**metric, **rules)
    document = watched_document(watched)
    alarm = alarm_of({"AlarmName": "a", **document}, {})
    assert alarm.watched == watched
    told = described(alarm, "arn", failing=False)
    assert {name: told[name] for name in document} == document


@given(metric=MATH)
def test_queries_are_read_back_from_theirs_which_a_policys_are_but_for_periods(metric: dict[str, Any]) -> None:
    queries: tuple[MetricQuery, ...] = metric["queries"]
    assert queries_of([query_document(one) for one in queries], "Metrics") == queries
    stat, _ = (query_document(one, periods=False) for one in queries)
    assert "Period" not in stat["MetricStat"]

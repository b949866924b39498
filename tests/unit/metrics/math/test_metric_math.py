"""Expressions, by the examples of AWS's guide and at the edges where it is silent. A dash is a missing point."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid, NotSupported, TrimtabError
from trimtab.metrics.math.syntax import MAX_CHARS
from trimtab.metrics.queries import Window, run
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.testing.metrics import MemoryMetricStore

START = 1_699_999_200  # a whole hour, a Tuesday evening in UTC
Points = Mapping[str, str]


def store_of(points: Points, period_s: int = 60) -> MemoryMetricStore:
    store = MemoryMetricStore()
    store.record(
        [
            Sample(MetricKey("test", id), START + index * period_s, Sketch.of([float(word)]), resolution_s=60)
            for id, words in points.items()
            for index, word in enumerate(words.split())
            if word != "-"
        ]
    )
    return store


def queries(points: Points, expressions: Mapping[str, str], period_s: int = 60) -> list[MetricQuery]:
    metrics = [MetricQuery(id, MetricStat("test", id, (), period_s, "Average")) for id in points]
    return metrics + [MetricQuery(id, expression=text) for id, text in expressions.items()]


def shown(series, length: int, period_s: int = 60) -> str:
    found = dict(zip(series.times.tolist(), series.values.tolist(), strict=True))
    words = []
    for index in range(length):
        value = found.pop(START + index * period_s, None)
        words.append("-" if value is None else f"{value:g}")
    assert not found, "points outside of the range"
    return " ".join(words)


def calculate(expression: str, minutes: int = 0, **points: str) -> str | list[str]:
    length = minutes or max((len(words.split()) for words in points.values()), default=3)
    window = Window(START, START + length * 60, START + length * 60)
    *_, last = run(queries(points, {"e": expression}), store_of(points), window)
    series = [shown(one, length) for one in last.series]
    return series if last.is_array else series[0]


def test_missing_values_count_as_zero_in_arithmetic() -> None:
    assert calculate("m1 + m2", m1="1 - 3 -", m2="10 20 - -") == "11 20 3 -"
    assert calculate("m1 - m2", m1="1 - 3", m2="10 20 -") == "-9 -20 3"
    assert calculate("m1 * 2 + 1", m1="1 - 3") == "3 - 7"


def test_a_point_that_divides_by_zero_is_dropped() -> None:
    assert calculate("m1 / m2", m1="1 2 3 4", m2="2 0 - 8") == "0.5 - - 0.5"
    assert calculate("LOG(m1)", m1="1 0 -1") == "0 - -"
    assert calculate("m1 ^ 400", m1="10 2 1") == "- 2.58225e+120 1"


def test_operators_bind_as_usual() -> None:
    assert calculate("2 + 3 * m1 ^ 2", m1="2 3") == "14 29"
    assert calculate("-m1 ^ 2", m1="2 3") == "-4 -9"
    assert calculate("10 - m1 - 1", m1="2 3") == "7 6"
    assert calculate("2 ^ m1 ^ 2", m1="2 3") == "16 512"
    assert calculate("(2 + m1) * 3", m1="2 3") == "12 15"


def test_comparisons_as_the_guide_shows_them() -> None:
    points = {"m1": "30 20 0 0", "m2": "20 - 20 -"}
    assert calculate("m1 < m2", **points) == "0 0 1 0"
    assert calculate("m1 >= 30", **points) == "1 0 0 0"
    assert calculate("m1 > 15 AND m2 > 15", **points) == "1 0 0 0"
    assert calculate("m1 > 15 || m2 > 15", **points) == "1 1 1 0"
    assert calculate("(m1 == 0) + (m1 != 0) * 2", **points) == "2 2 1 1"


def test_if_as_the_guide_shows_it() -> None:
    points = {"m1": "1 1 0 0 -", "m2": "30 - 0 0 30", "m3": "0 0 20 - 20"}
    assert calculate("IF(m1, m2, m3)", **points) == "30 0 20 - -"
    assert calculate("IF(m1, 5, m3)", **points) == "5 5 20 - -"
    assert calculate("IF(m1, m2, 5)", **points) == "30 0 5 5 -"
    assert calculate("IF(m1, m2)", **points) == "30 0 - - -"
    assert calculate("IF(1, m2, m3)", **points) == "30 - 0 0 30"
    assert calculate("IF(0, m2, m3)", **points) == "0 0 20 - 20"
    assert calculate("IF(0, m2)", **points) == "- - - - -"
    assert calculate("IF(m1 < 1, 10, 2)", **points) == "2 2 10 10 -"


def test_aggregates_of_one_series_are_scalars() -> None:
    assert calculate("m1 - AVG(m1)", m1="1 - 3") == "-1 - 1"
    assert calculate("m1 / STDDEV(m1)", m1="2 4") == "2 4"
    assert calculate("TIME_SERIES(MAX(m1) - MIN(m1))", m1="2 - 9") == "7 7 7"
    assert calculate("TIME_SERIES(SUM(m1) / DATAPOINT_COUNT(m1))", m1="2 - 4") == "3 3 3"


def test_aggregates_of_an_array_are_series() -> None:
    points = {"m1": "1 - 3 -", "m2": "3 4 - -"}
    assert calculate("SUM([m1, m2])", **points) == "4 4 3 -"
    assert calculate("AVG(METRICS())", **points) == "2 2 1.5 -"
    assert calculate("MIN([m1, m2])", **points) == "1 4 3 -"
    assert calculate("MAX([m1, m2])", **points) == "3 4 3 -"
    assert calculate("STDDEV([m1, m2])", **points) == "1 0 0 -"
    assert calculate("DATAPOINT_COUNT([m1, m2])", **points) == "2 1 1 -"


def test_an_aggregate_without_points_drops_what_is_computed_from_it() -> None:
    assert calculate("m1 - AVG(m2)", m1="1 2", m2="- -") == "- -"
    assert calculate("TIME_SERIES(MAX(m2))", m1="1 2", m2="- -") == "- -"
    assert calculate("m1 + SUM(m2)", m1="1 2", m2="- -") == "1 2"


def test_arrays_are_calculated_series_by_series() -> None:
    points = {"m1": "1 2", "m2": "10 20"}
    assert calculate("METRICS() * 100", **points) == ["100 200", "1000 2000"]
    assert calculate("100 / [m1, m2]", **points) == ["100 50", "10 5"]
    assert calculate("-[m1, m2]", **points) == ["-1 -2", "-10 -20"]
    assert calculate("CEIL(METRICS() / 3)", **points) == ["1 1", "4 7"]
    with pytest.raises(Invalid, match="does not work between two arrays"):
        calculate("METRICS() + METRICS()", **points)


def test_metrics_are_chosen_by_their_id() -> None:
    points = {"errors_a": "1 1", "errors_b": "2 2", "requests": "10 10"}
    assert calculate('SUM(METRICS("errors")) / SUM(METRICS("requests")) * 100', **points) == "30 30"
    assert calculate('SUM([METRICS("_a"), METRICS("_b")])', **points) == "3 3"
    assert calculate("m1 / METRIC_COUNT(METRICS())", m1="4 4", m2="1 1") == "2 2"


def test_fill() -> None:
    assert calculate("FILL(m1, 7)", m1="- 1 - - 4 -") == "7 1 7 7 4 7"
    assert calculate("FILL(m1, REPEAT)", m1="- 1 - - 4 -") == "- 1 1 1 4 4"
    assert calculate("FILL(m1, LINEAR)", m1="- 1 - - 4 -") == "- 1 2 3 4 -"
    assert calculate("FILL(m1, m2)", m1="1 - - 4", m2="9 8 - 9") == "1 8 - 4"
    assert calculate("FILL(METRICS(), 0)", m1="1 -", m2="- 2") == ["1 0", "0 2"]
    assert calculate("FILL(m1, MIN(m1))", m1="5 - 3") == "5 3 3"
    for how in ("0", "REPEAT", "LINEAR", "m1"):
        filled = calculate(f"FILL(m1, {how})", m1="- - -")
        assert filled == ("0 0 0" if how == "0" else "- - -")


def test_changes_over_time() -> None:
    assert calculate("DIFF(m1)", m1="1 4 - 2") == "- 3 - -2"
    assert calculate("DIFF_TIME(m1)", m1="1 4 - 2") == "- 60 - 120"
    assert calculate("RATE(m1)", m1="0 60 - 0") == "- 1 - -0.5"
    assert calculate("RUNNING_SUM(m1)", m1="1 - 2 3") == "1 - 3 6"
    assert calculate("DIFF(m1)", m1="- 4 -") == "- - -"


def test_arrays_are_sorted_and_cut() -> None:
    points = {"a": "1 1", "b": "3 3", "c": "- -", "d": "2 2"}
    assert calculate("SORT(METRICS(), AVG, DESC)", **points) == ["3 3", "2 2", "1 1", "- -"]
    assert calculate("SORT(METRICS(), SUM, ASC, 2)", **points) == ["1 1", "2 2"]
    assert calculate("SLICE(SORT(METRICS(), MAX, DESC), 1, 3)", **points) == ["2 2", "1 1"]
    assert calculate("SLICE(METRICS(), 2)", **points) == ["- -", "2 2"]
    assert calculate("FIRST(SORT(METRICS(), MIN, ASC))", **points) == "1 1"
    assert calculate("LAST(REMOVE_EMPTY(METRICS()))", **points) == "2 2"
    assert calculate("REMOVE_EMPTY([c])", **points) == []


def test_the_clock_in_utc() -> None:
    assert calculate("HOUR(m1)", m1="- - 1") == "22 22 22"
    assert calculate("MINUTE(m1)", m1="1 - -") == "0 1 2"
    assert calculate("DAY(m1)", m1="1") == "2"  # Tuesday
    assert calculate("DATE(m1) + MONTH(m1) * 100 + YEAR(m1) * 10000 - 20231100", m1="1") == "14"
    assert calculate("EPOCH(m1) - 1699999200", m1="1 -") == "0 60"
    assert calculate("IF(DAY(m1) < 6, m1)", m1="5 -") == "5 0"  # the guide: a missing value is 0 where it is true


def test_period_is_that_of_a_metric() -> None:
    assert calculate("m1 / PERIOD(m1)", m1="60 120") == "1 2"
    with pytest.raises(Invalid, match="takes a metric"):
        calculate("m1 / PERIOD(m1 + 1)", m1="60 120")


def test_expressions_refer_to_each_other_in_any_order() -> None:
    points = {"m": "1 2"}
    wanted = queries(points, {"a": "b * 2", "b": "c + 1", "c": "m * 10"})
    found = run(wanted, store_of(points), Window(START, START + 120, START + 120))
    assert [shown(one.series[0], 2) for one in found] == ["1 2", "22 42", "11 21", "10 20"]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("m1 + nobody", "No query has the id nobody"),
        ("e + 1", "refer to each other in a circle"),
        ("m1 +", "ends too early"),
        ("m1 m1", "Syntax error at character 4: 'm1'"),
        ("m1 $ 2", r"Syntax error at character 4: '\$'"),
        ("AVG(m1)", "must be a time series or an array of them, not a scalar"),
        ("5", "not a scalar"),
        ("NOSUCH(m1)", "Function 'NOSUCH' not found"),
        ("AVG()", "AVG takes 1 argument, not 0"),
        ("AVG(m1, m1)", "AVG takes 1 argument, not 2"),
        ("SUM(5)", "takes an array of time series, not a scalar"),
        ("SORT(m1, AVG, DESC)", "SORT takes an array of time series, not a time series"),
        ("SORT([m1], LOG, DESC)", "AVG, MIN, MAX or SUM"),
        ("SORT([m1], AVG, UP)", "ASC or DESC"),
        ("SLICE([m1], 0.5)", "whole numbers"),
        ("SLICE([m1], -1)", "whole numbers"),
        ("[m1, 5]", "TIME_SERIES"),
        ("IF([m1], m1)", "not an array"),
        ("m1 + 'text'", "string"),
        ("m1 + REPEAT", "REPEAT is a function, or a keyword"),
        ("TIME_SERIES(m1)", "takes a scalar"),
        ("METRICS(m1)", "string in quotes"),
        ("-" * 100 + "m1", "nested more than"),
        ("ABS(" * 100 + "m1" + ")" * 100, "nested more than"),
        ("1e999 * m1", "too large"),
        ("m1 + " * 500, "characters"),
        ("", "ends too early"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_expression(expression: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        calculate(expression, m1="1 2")
    assert "e" in str(caught.value)


def test_functions_of_awss_own_services_are_refused_by_name() -> None:
    for call in ("ANOMALY_DETECTION_BAND(m1, 2)", "SERVICE_QUOTA(m1)", "INSIGHT_RULE_METRIC('r', 'm')"):
        with pytest.raises(NotSupported, match=call.partition("(")[0]):
            calculate(call, m1="1")


def test_long_sums_are_no_deep_nesting() -> None:
    count = (MAX_CHARS - 2) // 3
    assert calculate("m1" + "+m1" * count, m1="1 2") == f"{count + 1} {2 * (count + 1)}"


def test_a_series_without_gaps_over_an_enormous_range_is_refused() -> None:
    points = {"m1": "1"}
    with pytest.raises(Invalid, match="shorter range or a longer period"):
        run(queries(points, {"e": "FILL(m1, 0)"}), store_of(points), Window(0, START * 2, START))
    found = run(queries(points, {"e": "m1 * 2"}), store_of(points), Window(0, START * 2, START))
    assert [len(one.series[0]) for one in found] == [1, 1]


def test_a_request_that_computes_without_measure_is_stopped() -> None:
    points = {f"m{n}": "1 1" for n in range(400)}
    wanted = queries(points, {f"e{n}": "SUM(METRICS() + METRICS()" + ")" for n in range(1)})
    with pytest.raises(Invalid):
        run(wanted, store_of(points), Window(START, START + 120, START + 120))
    wanted = queries(points, {f"e{n}": "+".join(["SUM(METRICS()*2)"] * 100) for n in range(99)})
    with pytest.raises(Invalid, match="computes more than"):
        run(wanted, store_of(points), Window(START, START + 120, START + 120))


def test_search_finds_by_schema_and_terms() -> None:
    store = MemoryMetricStore()
    for endpoint, name in (("fraud", "ModelLatency"), ("churn", "ModelLatency"), ("fraud", "Invocations")):
        for dimensions in ((("EndpointName", endpoint), ("VariantName", "blue")), (("EndpointName", endpoint),)):
            store.record([Sample(MetricKey("AWS/SageMaker", name, dimensions), START, Sketch.of([1.0]))])

    def labels(text: str) -> list[str]:
        wanted = [MetricQuery("e", expression=text, label="x")]
        [found] = run(wanted, store, Window(START, START + 300, START + 300))
        assert all(shown(one, 1) == "1" for one in found.series)
        return [one.label for one in found.series]

    schema = "{AWS/SageMaker,EndpointName,VariantName}"
    assert labels(f"SEARCH('{schema} MetricName=\"ModelLatency\"', 'Average', 60)") == [
        "ModelLatency churn blue",
        "ModelLatency fraud blue",
    ]
    assert labels(f"SEARCH('{schema} latency NOT churn', 'p99', 60)") == ["ModelLatency fraud blue"]
    assert labels(f"SEARCH('{schema} EndpointName=(\"fraud\" OR \"nobody\")', 'Sum')") == [
        "Invocations fraud blue",
        "ModelLatency fraud blue",
    ]
    assert labels("SEARCH('{AWS/SageMaker,EndpointName} invocations', 'Sum', 60)") == ["Invocations fraud"]
    assert labels("SEARCH('{Nowhere}', 'Sum', 60)") == []
    assert labels("SORT(SEARCH('ModelLatency churn', 'Average', 60), SUM, DESC, 1)") == ["ModelLatency churn"]


@pytest.mark.parametrize(
    "call",
    ["SEARCH('', 'Sum')", "SEARCH('{a', 'Sum')", "SEARCH('a', 'Median')", "SEARCH('a', 'Sum', 7)",
     "SEARCH('a', 'Sum', -60)", "SEARCH('a AND', 'Sum')", "SEARCH('" + "NOT " * 200 + "a', 'Sum')"],
)  # fmt: skip
def test_a_search_that_says_nothing_is_refused(call: str) -> None:
    with pytest.raises(Invalid, match="Error in expression 'e'"):
        calculate(call, m1="1")


_LEAVES = st.sampled_from(["m1", "m2", "5", "0", "METRICS()", "[m1, m2]"])
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "^", "<", "==", " AND "]), inner).map(
            lambda t: f"({t[0]}{t[1]}{t[2]})"
        ),
        st.tuples(st.sampled_from(["SUM", "AVG", "MIN", "MAX", "STDDEV", "ABS", "CEIL", "LOG", "RATE", "DIFF", "RUNNING_SUM", "FIRST", "HOUR", "EPOCH"]), inner)
        .map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"IF({t[0]}, {t[1]})"),
        st.tuples(inner, st.sampled_from(["0", "REPEAT", "LINEAR", "m1"])).map(lambda t: f"FILL({t[0]}, {t[1]})"),
        inner.map(lambda t: f"TIME_SERIES({t})"),
    ),
    max_leaves=8,
)  # fmt: skip


@given(_TREES)
def test_any_expression_gives_finite_points_in_order_or_a_named_error(text: str) -> None:
    points = {"m1": "1 - 3 0", "m2": "- - -2 5"}
    window = Window(START, START + 240, START + 240)
    try:
        *_, last = run(queries(points, {"e": text}), store_of(points), window)
    except TrimtabError:
        return
    for one in last.series:
        assert all(math.isfinite(value) for value in one.values)
        assert sorted(set(one.times.tolist())) == one.times.tolist()
        assert all(START <= time < START + 240 for time in one.times)


@given(st.text(alphabet="m12 +-*/^()[],.'\"ABSUMIF<>=&|{}ORNT\n\x00é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        calculate(text, m1="1 2", m2="3 4")
    except TrimtabError:
        pass

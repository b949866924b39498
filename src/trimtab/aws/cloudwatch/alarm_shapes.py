"""PutMetricAlarm's parameters to an Alarm, checked as AWS checks them; an Alarm to DescribeAlarms' MetricAlarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from trimtab.aws.cloudwatch.shapes import dimensions_of, queries_of
from trimtab.aws.cloudwatch.words import bad_combination, invalid, invalid_value, missing
from trimtab.control.alarm_actions import is_scaling_policy
from trimtab.errors import Invalid, NotSupported
from trimtab.metrics.math.syntax import calls, parse
from trimtab.metrics.statistics import parse_statistic
from trimtab.policies.alarm_words import COMPARISONS
from trimtab.policies.composite import parse_rule
from trimtab.resources.alarm import Alarm, Watched
from trimtab.resources.metric_documents import watched_document
from trimtab.resources.metric_query import MetricQuery, MetricStat

MAX_QUERIES: Final = 20  # AWS, of one alarm; at most 10 metrics among them
MAX_METRICS: Final = 10
TREATMENTS: Final = ("breaching", "notBreaching", "ignore", "missing")
LOW_SAMPLES: Final = ("evaluate", "ignore")
_ALARM_PERIODS: Final = (1, 10, 20, 30)  # and multiples of 60; 1 is trimtab's own
_REFUSED: Final = (
    "ThresholdMetricId",
    "EvaluationCriteria",
    "EvaluationInterval",
    "WarmUpConfiguration",
    "ActionConfiguration",
)
_AS_DECLARED: Final = ("TreatMissingData", "EvaluateLowSampleCountPercentile")  # absent unless the caller said it
_DAY_S: Final = 86_400


def alarm_of(params: Mapping[str, Any], tags: Mapping[str, str]) -> Alarm:
    """The alarm that PutMetricAlarm asks for. Raises AwsError, NotSupported."""
    for member in _REFUSED:
        if params.get(member):
            raise NotSupported(member, f"trimtab does not support {member} of PutMetricAlarm.")
    if "WallClockWindow" in params.get("EvaluationWindow", {}):
        raise NotSupported("WallClockWindow", "trimtab evaluates alarms over a SlidingWindow only.")
    queries = queries_of(params["Metrics"], "Metrics") if params.get("Metrics") else ()
    return replace(_common(params, tags), watched=_watched(params, queries))


def composite_of(params: Mapping[str, Any], tags: Mapping[str, str]) -> Alarm:
    """The alarm that PutCompositeAlarm asks for. Raises AwsError, NotSupported."""
    for member in ("ActionsSuppressor", "ActionConfiguration"):
        if params.get(member):
            raise NotSupported(member, f"trimtab does not support {member} of PutCompositeAlarm.")
    try:
        parse_rule(params["AlarmRule"])
    except Invalid as error:
        raise invalid(str(error)) from None
    alarm = _common(params, tags)
    for action in (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions):
        if is_scaling_policy(action):
            raise invalid(f"A composite alarm cannot have the action {action}: scaling policies need a metric alarm.")
    return replace(alarm, rule=params["AlarmRule"])


def _common(params: Mapping[str, Any], tags: Mapping[str, str]) -> Alarm:
    return Alarm(
        name=params["AlarmName"],
        description=params.get("AlarmDescription"),
        actions_enabled=params.get("ActionsEnabled", True),
        ok_actions=tuple(params.get("OKActions") or ()),
        alarm_actions=tuple(params.get("AlarmActions") or ()),
        insufficient_data_actions=tuple(params.get("InsufficientDataActions") or ()),
        tags=tags,
        document={key: value for key, value in params.items() if key != "Tags" and value is not None},
        configured_s=0.0,  # the times are given where it is recorded
        state_updated_s=0.0,
        state_changed_s=0.0,
    )


def _watched(params: Mapping[str, Any], queries: tuple[MetricQuery, ...]) -> Watched:
    comparison = params.get("ComparisonOperator")
    if comparison is None:
        raise missing("The parameter ComparisonOperator is required.")
    if comparison not in COMPARISONS:
        raise NotSupported(comparison, f"trimtab has no anomaly detection, which {comparison} is for.")
    if params.get("Threshold") is None:
        raise missing("The parameter Threshold is required.")
    periods = params.get("EvaluationPeriods")
    if periods is None:
        raise missing("The parameter EvaluationPeriods is required.")
    needed = params.get("DatapointsToAlarm")
    if needed is not None and needed > periods:
        raise invalid(f"DatapointsToAlarm ({needed}) must be less than or equal to EvaluationPeriods ({periods}).")
    found = Watched(
        stat=None if queries else _single(params),
        queries=queries,
        comparison=comparison,
        threshold=params["Threshold"],
        evaluation_periods=periods,
        datapoints_to_alarm=needed,
        treat_missing=_choice(params, "TreatMissingData", TREATMENTS, "missing"),
        low_samples=_choice(params, "EvaluateLowSampleCountPercentile", LOW_SAMPLES, "evaluate"),
    )
    if queries:
        _check_apart(params)
        check_queries(queries)
    _check_span(found)
    return found


def _choice(params: Mapping[str, Any], member: str, choices: tuple[str, ...], default: str) -> str:
    value: str = params.get(member, default)
    if value not in choices:
        raise invalid(f"The value {value[:100]} for parameter {member} must be one of {', '.join(choices)}.")
    return value


def _check_span(watched: Watched) -> None:
    period_s = watched.period_s
    if period_s not in _ALARM_PERIODS and period_s % 60:
        raise invalid(f"The period of an alarm must be 1, 10, 20, 30, or a multiple of 60; it is {period_s}.")
    span_s = period_s * watched.evaluation_periods
    if span_s > (7 * _DAY_S if period_s >= 3600 else _DAY_S):
        raise invalid(
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400), or across"
            f" seven days (604800) for periods of an hour and more; it is {span_s}."
        )


def _single(params: Mapping[str, Any]) -> MetricStat:
    for member in ("MetricName", "Namespace", "Period"):
        if not params.get(member):
            raise missing(f"The parameter {member} is required, unless Metrics is given.")
    simple, extended = params.get("Statistic"), params.get("ExtendedStatistic")
    if (simple is None) == (extended is None):
        raise bad_combination("Exactly one of the parameters Statistic and ExtendedStatistic must be specified.")
    if extended is not None:
        try:
            parse_statistic(extended)
        except Invalid as error:
            raise invalid_value(
                f"The value {extended[:100]} for parameter ExtendedStatistic is invalid. {error}"
            ) from None
    return MetricStat(
        namespace=params["Namespace"],
        name=params["MetricName"],
        dimensions=dimensions_of(params),
        period_s=params["Period"],
        stat=simple or extended or "",
        unit=params.get("Unit", ""),
    )


def _check_apart(params: Mapping[str, Any]) -> None:
    both = [m for m in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit")
            if params.get(m)]  # fmt: skip
    if both:
        raise bad_combination(f"The parameters Metrics and {both[0]} are mutually exclusive.")


def check_queries(queries: tuple[MetricQuery, ...]) -> None:
    """Raises AwsError unless these are what an alarm can watch: one series, made of metrics of one period."""
    metrics = [query.stat for query in queries if query.stat is not None]
    if len(queries) > MAX_QUERIES or len(metrics) > MAX_METRICS:
        raise invalid(f"Metrics may have {MAX_QUERIES} elements, of which {MAX_METRICS} are metrics.")
    if len([query for query in queries if query.return_data]) != 1:
        raise invalid("Exactly one element of the metrics list should return data.")
    if len({stat.period_s for stat in metrics}) != 1:
        raise invalid("An alarm needs at least one metric, and the same Period for all of its metrics.")
    try:
        if any(query.expression and "SEARCH" in calls(parse(query.expression)) for query in queries):
            raise invalid("SEARCH is not supported in the expressions of alarms.")
        from trimtab.metrics.queries import check  # here: with it comes numpy, 10 MB

        [outcome] = check(queries)
    except Invalid as error:
        raise invalid(str(error)) from None
    if outcome.is_array:
        raise invalid(f"The expression '{outcome.query.id}' must return a single time series, not an array of them.")


def described(alarm: Alarm, arn: str, *, failing: bool) -> dict[str, Any]:
    """A MetricAlarm as DescribeAlarms has it: what was not declared is not there, lists always are."""
    answer: dict[str, Any] = {
        "AlarmName": alarm.name,
        "AlarmArn": arn,
        "AlarmDescription": alarm.description,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured_s,
        "ActionsEnabled": alarm.actions_enabled,
        "OKActions": list(alarm.ok_actions),
        "AlarmActions": list(alarm.alarm_actions),
        "InsufficientDataActions": list(alarm.insufficient_data_actions),
        "StateValue": alarm.state.value,
        "StateReason": alarm.state_reason,
        "StateReasonData": alarm.state_reason_data or None,
        "StateUpdatedTimestamp": alarm.state_updated_s,
        "StateTransitionedTimestamp": alarm.state_changed_s,
    }
    if alarm.rule:
        answer["AlarmRule"] = alarm.rule
    if alarm.watched is not None:
        answer |= watched_document(alarm.watched)
        answer |= {member: alarm.document.get(member) for member in _AS_DECLARED}
        answer["EvaluationState"] = "EVALUATION_ERROR" if failing else None
    return {key: value for key, value in answer.items() if value is not None}

"""What several CloudWatch operations have in their messages: dimensions, names, metric queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.aws.cloudwatch.words import invalid, invalid_value
from trimtab.errors import Invalid, NotSupported
from trimtab.metrics.math.syntax import is_id
from trimtab.metrics.reading import check_period
from trimtab.metrics.statistics import parse_statistic
from trimtab.metrics.store import Dimensions
from trimtab.resources.metric_query import MetricQuery, MetricStat


def dimensions_of(params: Mapping[str, Any]) -> Dimensions:
    """The `Dimensions` member, sorted. Raises AwsError when a name is given twice."""
    found = {dimension["Name"]: dimension["Value"] for dimension in params.get("Dimensions") or ()}
    if len(found) != len(params.get("Dimensions") or ()):
        raise invalid_value("No Metric may specify the same dimension name twice.")
    return tuple(sorted(found.items()))


def queries_of(declared: Sequence[Mapping[str, Any]], member: str) -> tuple[MetricQuery, ...]:
    """MetricDataQuery structures. Raises AwsError that names the element of `member` which is wrong."""
    found = tuple(_query(query, f"{member}.member.{index}") for index, query in enumerate(declared, 1))
    seen: set[str] = set()
    for query in found:
        if query.id in seen:
            raise invalid(f"The values for parameter Id in {member} are not unique: {query.id} is given twice.")
        seen.add(query.id)
    return found


def _query(declared: Mapping[str, Any], where: str) -> MetricQuery:
    id: str = declared["Id"]
    if not is_id(id):
        raise invalid(
            f"The value {id[:100]} for parameter {where}.Id is not matching the expected pattern"
            " ^[a-z][a-zA-Z0-9_]*$: letters, digits and underscores after a lowercase letter."
        )
    stat, expression = declared.get("MetricStat"), declared.get("Expression")
    if (stat is None) == (expression is None):
        raise invalid(f"Exactly one of MetricStat and Expression must be given in {where}.")
    if expression is not None and expression.lstrip()[:7].upper() == "SELECT ":
        raise NotSupported("SELECT", "trimtab does not support Metrics Insights queries (SELECT ...); see SEARCH.")
    period_s = declared.get("Period", 0)
    if period_s:
        _checked(lambda: check_period(period_s, f"{where}.Period"))
    return MetricQuery(
        id=id,
        stat=_stat(stat, f"{where}.MetricStat") if stat is not None else None,
        expression=expression or "",
        label=declared.get("Label"),
        return_data=declared.get("ReturnData", True),
        period_s=period_s,
    )


def _stat(declared: Mapping[str, Any], where: str) -> MetricStat:
    metric = declared["Metric"]
    for name in ("Namespace", "MetricName"):
        if not metric.get(name):
            raise invalid(f"The parameter {where}.Metric.{name} is required.")
    text, period_s = declared["Stat"], declared["Period"]
    try:
        parse_statistic(text)
    except Invalid as error:
        raise invalid(f"The value {text[:100]} for parameter {where}.Stat is not a valid statistic. {error}") from None
    _checked(lambda: check_period(period_s, f"{where}.Period"))
    return MetricStat(
        namespace=metric["Namespace"],
        name=metric["MetricName"],
        dimensions=dimensions_of(metric),
        period_s=period_s,
        stat=text,
        unit=declared.get("Unit", ""),
    )


def _checked(check: Any) -> None:
    try:
        check()
    except Invalid as error:
        raise invalid(str(error)) from None

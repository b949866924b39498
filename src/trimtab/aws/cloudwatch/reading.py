"""GetMetricStatistics and ListMetrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from trimtab.aws.apart import Apart
from trimtab.aws.cloudwatch.shapes import dimensions_of
from trimtab.aws.cloudwatch.words import bad_combination, invalid_value, listing_of, paged
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.clock import Clock
from trimtab.errors import Invalid
from trimtab.metrics.reading import check_period, read, rounded_start
from trimtab.metrics.statistics import Statistic, parse_statistic
from trimtab.metrics.store import MetricKey, MetricStore, Point
from trimtab.resources.metric_documents import dimensions_document

MAX_POINTS: Final = 1440  # AWS: of GetMetricStatistics
_LISTED: Final = 500  # AWS: metrics a page
_LISTED_S: Final = 14 * 86_400  # AWS: metrics with data in the past two weeks
_RECENT_S: Final = 3 * 3600  # RecentlyActive: PT3H


class Reading:
    """The simple readings, on a MetricStore."""

    def __init__(self, store: MetricStore, clock: Clock, pager: Pager) -> None:
        self._store = store
        self._clock = clock
        self._pager = pager
        self._apart = Apart("metrics")

    @operation("cloudwatch", "GetMetricStatistics")
    async def get_metric_statistics(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Statistics of one metric; points of different units stand beside each other."""
        return await self._apart(self._read, params)

    def _read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        statistics = _statistics(params)
        period_s = params["Period"]
        try:
            check_period(period_s, "Period")
        except Invalid as error:
            raise invalid_value(str(error)) from None
        start_s, end_s = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        if start_s >= end_s:
            raise invalid_value("The parameter StartTime must be less than the parameter EndTime.")
        start = rounded_start(start_s, period_s, self._clock.now_s())
        if (wanted := math.ceil((end_s - start) / period_s)) > MAX_POINTS:
            raise bad_combination(
                f"You have requested up to {wanted:,} datapoints, which exceeds the limit of {MAX_POINTS:,}. You may"
                " reduce the datapoints requested by increasing Period, or decreasing the time range."
            )
        key = MetricKey(params["Namespace"], params["MetricName"], dimensions_of(params))
        points = read(self._store, key, start, end_s, period_s, unit=params.get("Unit", ""))
        extended = "ExtendedStatistics" in params
        answered = [_datapoint(point, statistics, extended) for point in points]
        return {"Label": params["MetricName"], "Datapoints": [point for point in answered if point is not None]}

    @operation(
        "cloudwatch",
        "ListMetrics",
        missing="There is one account: IncludeLinkedAccounts has no effect, OwningAccount other than it finds nothing",
    )
    async def list_metrics(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """A page of the metrics that had data in the past two weeks (or three hours)."""
        return await self._apart(self._listed, call, params)

    def _listed(self, call: Call, params: Mapping[str, Any]) -> dict[str, Any]:
        recent = params.get("RecentlyActive") == "PT3H"
        since_s = math.floor(self._clock.now_s() - (_RECENT_S if recent else _LISTED_S))
        namespace, name = params.get("Namespace", ""), params.get("MetricName", "")
        fits = _filter(params)
        ours = params.get("OwningAccount", call.account) == call.account
        found = filter(fits, self._store.keys(namespace, name, since_s=max(0, since_s))) if ours else ()
        page, token = paged(
            lambda: self._pager.page(
                found,
                listing=listing_of(call, params),
                place=_place,
                descending=False,
                limit=_LISTED,
                token=params.get("NextToken", ""),
            )
        )
        metrics = [
            {"Namespace": key.namespace, "MetricName": key.name, "Dimensions": dimensions_document(key.dimensions)}
            for key in page
        ]
        return {"Metrics": metrics, **({"NextToken": token} if token else {})}


def _statistics(params: Mapping[str, Any]) -> list[Statistic]:
    simple, extended = params.get("Statistics") or [], params.get("ExtendedStatistics") or []
    if simple and extended:
        raise bad_combination("Only one of the parameters Statistics and ExtendedStatistics may be specified.")
    if not simple and not extended:
        raise bad_combination("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
    found = []
    for text in dict.fromkeys(simple or extended):
        try:
            statistic = parse_statistic(text)
        except Invalid as error:
            raise invalid_value(
                f"The value {text[:100]} for parameter ExtendedStatistics is invalid. {error}"
            ) from None
        if extended and not statistic.needs_distribution:
            raise invalid_value(f"The value {text} for parameter ExtendedStatistics is invalid: ask by Statistics.")
        found.append(statistic)
    return found


def _datapoint(point: Point, statistics: list[Statistic], extended: bool) -> dict[str, Any] | None:
    values = {statistic.name: statistic.of(point.sketch) for statistic in statistics}
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    if not known:
        return None
    answer: dict[str, Any] = {"Timestamp": point.start_s, "Unit": point.unit}
    return answer | ({"ExtendedStatistics": known} if extended else known)


def _filter(params: Mapping[str, Any]) -> Callable[[MetricKey], bool]:
    wanted = [(one["Name"], one.get("Value")) for one in params.get("Dimensions") or ()]

    def fits(key: MetricKey) -> bool:
        held = dict(key.dimensions)
        return all(name in held and value in (None, held[name]) for name, value in wanted)

    return fits


def _place(key: MetricKey) -> tuple[str, ...]:
    return (key.namespace, key.name, *(text for dimension in key.dimensions for text in dimension))

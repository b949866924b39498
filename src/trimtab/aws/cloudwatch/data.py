"""GetMetricData: many metrics and math over them, in pages of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from trimtab.aws.apart import Apart
from trimtab.aws.cloudwatch.shapes import queries_of
from trimtab.aws.cloudwatch.words import invalid, listing_of, paged
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Answer, Call, operation
from trimtab.clock import Clock
from trimtab.errors import Invalid
from trimtab.metrics.store import MetricStore
from trimtab.resources.metric_query import MetricQuery

if TYPE_CHECKING:  # with these comes numpy, 10 MB: loaded when somebody asks for them
    from trimtab.metrics.math.series import Series
    from trimtab.metrics.queries import Outcome, Window

MAX_QUERIES: Final = 500  # AWS
MAX_POINTS: Final = 100_800  # AWS: of a page


class _Line(Struct, frozen=True):
    """One series of the answer: its place in the request, id and label."""

    place: int
    id: str
    label: str
    series: Series


class Data:
    """GetMetricData, on a MetricStore."""

    def __init__(self, store: MetricStore, clock: Clock, pager: Pager) -> None:
        self._store = store
        self._clock = clock
        self._pager = pager
        self._apart = Apart("metric-data")

    @operation(
        "cloudwatch",
        "GetMetricData",
        missing="Not in expressions: ANOMALY_DETECTION_BAND, INSIGHT_RULE_METRIC, SERVICE_QUOTA, DB_PERF_INSIGHTS, "
        "LAMBDA, Metrics Insights (SELECT ...). There is one account: AccountId other than it is refused",
    )
    async def get_metric_data(self, call: Call, params: dict[str, Any]) -> Answer:
        """A page of points of every query that returns data."""
        from trimtab.metrics.queries import Window

        declared = params["MetricDataQueries"]
        if not 1 <= len(declared) <= MAX_QUERIES:
            raise invalid(f"A request may have 1 to {MAX_QUERIES} MetricDataQueries, not {len(declared)}.")
        for query in declared:
            if query.get("AccountId", call.account) != call.account:
                raise invalid(f"There is no account {query['AccountId']} here; this one is {call.account}.")
        queries = queries_of(declared, "MetricDataQueries")
        if not any(query.return_data for query in queries):
            raise invalid("At least one of the MetricDataQueries must return data.")
        window = Window(params["StartTime"].timestamp(), params["EndTime"].timestamp(), self._clock.now_s())
        if window.start_s >= window.end_s:
            raise invalid("The parameter StartTime must be less than the parameter EndTime.")
        # A wide dashboard may take a second, and its answer have 100,000 points.
        return Answer(result=await self._apart(self._run, call, queries, window, params), large=True)

    def _run(
        self, call: Call, queries: Sequence[MetricQuery], window: Window, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        from trimtab.metrics.queries import run

        try:
            outcomes = run(queries, self._store, window)
        except Invalid as error:
            raise invalid(str(error)) from None
        return self._answer(call, _lines(outcomes, call, params, window.now_s), params)

    def _answer(self, call: Call, lines: Sequence[_Line], params: Mapping[str, Any]) -> dict[str, Any]:
        limit = params.get("MaxDatapoints", MAX_POINTS)
        if not 1 <= limit <= MAX_POINTS:
            raise invalid(f"The parameter MaxDatapoints must be from 1 to {MAX_POINTS:,}, not {limit}.")
        ascending = params.get("ScanBy") == "TimestampAscending"
        token = params.get("NextToken", "")
        if not token and sum(len(line.series) for line in lines) <= limit:
            return {"MetricDataResults": [_result(line, ascending) for line in lines], "Messages": []}
        listing, points = listing_of(call, params), _points(lines, ascending)
        if token:
            last = paged(lambda: self._pager.place(listing, token))
            points = (point for point in points if point[:2] > last)
        page = list(islice(points, limit))
        answer = {"MetricDataResults": _part_results(lines, page, ascending, first=not token), "Messages": []}
        more = next(points, None) is not None
        return answer | ({"NextToken": self._pager.token(listing, page[-1][:2])} if more else {})


def _lines(outcomes: Sequence[Outcome], call: Call, params: Mapping[str, Any], now_s: float) -> list[_Line]:
    from trimtab.aws.cloudwatch.labels import shown, zone_of

    zone = zone_of(params.get("LabelOptions", {}).get("Timezone", "+0000"))
    about = {"AccountId": call.account, "Region": call.region}
    lines: list[_Line] = []
    for outcome in outcomes:
        query = outcome.query
        for series in outcome.series:
            own = series.label
            if query.stat is not None:
                own, label = query.stat.name, query.stat.name if query.label is None else query.label
            elif outcome.is_array:  # AWS: "Expression-Label Metric-Label"; dynamic labels stand alone
                dynamic = "${" in (query.label or "")
                label = query.label or "" if dynamic else f"{query.id if query.label is None else query.label} {own}"
            else:
                own, label = query.id, query.id if query.label is None else query.label
            text = shown(label.strip(), series, zone=zone, about=about, own=own, now_s=now_s)
            lines.append(_Line(len(lines), query.id, text, series))
    return lines


def _result(line: _Line, ascending: bool) -> dict[str, Any]:
    order = slice(None, None, 1 if ascending else -1)
    return {
        "Id": line.id,
        "Label": line.label,
        "Timestamps": line.series.times[order].tolist(),
        "Values": line.series.values[order].tolist(),
        "StatusCode": "Complete",
    }


_PlacedPoint = tuple[float, float, float, float]  # line, order, time, value


def _points(lines: Sequence[_Line], ascending: bool) -> Iterator[_PlacedPoint]:
    """In the order of their first two members."""
    sign = 1 if ascending else -1
    for line in lines:
        times, values = line.series.times[::sign].tolist(), line.series.values[::sign].tolist()
        for at_s, value in zip(times, values, strict=True):
            yield line.place, sign * at_s, at_s, value


def _part_results(
    lines: Sequence[_Line], page: Sequence[_PlacedPoint], ascending: bool, *, first: bool
) -> list[dict[str, Any]]:
    """Results with the points of `page`. The first page names every line; one that goes on later is PartialData."""
    found: dict[int, dict[str, Any]] = {}
    for line in lines if first else [lines[place] for place in sorted({int(point[0]) for point in page})]:
        found[line.place] = {"Id": line.id, "Label": line.label, "Timestamps": [], "Values": []}
    for place, _, at_s, value in page:
        found[int(place)]["Timestamps"].append(at_s)
        found[int(place)]["Values"].append(value)
    for place, result in found.items():
        times = lines[place].series.times
        last = times[-1 if ascending else 0] if len(times) else None
        whole = last is None or result["Timestamps"][-1:] == [last]
        result["StatusCode"] = "Complete" if whole else "PartialData"
    return [found[place] for place in sorted(found)]

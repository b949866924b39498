"""A request of metric queries (metrics, and math over them) to series: what GetMetricData and alarms are made of."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.metrics.math import syntax
from trimtab.metrics.math.evaluate import checked, evaluate
from trimtab.metrics.math.search import parse_search
from trimtab.metrics.math.series import Grid, Series, Times
from trimtab.metrics.math.values import Value
from trimtab.metrics.reading import check_period, of_any_unit, read, rounded_start, values_of
from trimtab.metrics.statistics import parse_statistic
from trimtab.metrics.store import MetricKey, MetricStore, Point, Sample
from trimtab.resources.metric_query import MetricQuery, MetricStat

MAX_SEARCHED: Final = 500  # AWS: series that a SEARCH gives
_MAX_COMPUTED: Final = 5_000_000  # points of all intermediate results of a request: about a second
_POINTS_PER_SERIES: Final = 50  # what a series costs, however short
_POINTS_PER_READ: Final = 10  # what a point that is read from the store costs more than one that is computed
_LISTED_S: Final = 14 * 86_400  # AWS: SEARCH finds metrics with data in the past two weeks


class Window(Struct, frozen=True):
    """The range of a request, as asked for; and now."""

    start_s: float
    end_s: float
    now_s: float
    exact: bool = False  # the start is not rounded, as alarms want it

    def begin_s(self, period_s: int) -> int:
        """Where periods of this length begin."""
        return int(self.start_s) if self.exact else rounded_start(self.start_s, period_s, self.now_s)

    def size(self, period_s: int) -> int:
        """How many of them there are (see Grid)."""
        return max(0, math.ceil((self.end_s - self.begin_s(period_s)) / period_s))

    def times(self, period_s: int) -> Times:
        """Their starts (see Grid)."""
        return self.begin_s(period_s) + period_s * np.arange(self.size(period_s), dtype=np.int64)


class _Nothing:
    """A MetricStore that holds nothing."""

    def record(self, samples: Sequence[Sample], *, durable: bool = False) -> None:
        raise NotImplementedError

    def query(self, key: MetricKey, start_s: int, end_s: int, period_s: int, *, unit: str = "") -> list[Point]:
        return []

    def keys(self, namespace: str = "", name: str = "", *, since_s: int = 0) -> Iterable[MetricKey]:
        return ()


def check(queries: Sequence[MetricQuery]) -> list[Outcome]:
    """What `run` would give of no data at all: syntax, ids and types are checked all the same. Raises Invalid."""
    return run(queries, _Nothing(), Window(0, 600, 600, exact=True))


class Outcome(Struct, frozen=True):
    """What a query gave: one series, or an array of them."""

    query: MetricQuery
    series: tuple[Series, ...]
    is_array: bool


def run(queries: Sequence[MetricQuery], store: MetricStore, window: Window) -> list[Outcome]:
    """What each query that returns data gives, in their order.

    Raises Invalid (with the query's id) for expressions that cannot be read or computed, unknown ids and cycles.
    """
    work = _Run(queries, store, window)
    for query in _in_order(queries):
        work.do(query)
    return [work.outcome(query) for query in queries if query.return_data]


def _in_order(queries: Sequence[MetricQuery]) -> list[MetricQuery]:
    """Queries after those that they refer to."""
    by_id = {query.id: query for query in queries}
    if len(by_id) != len(queries):
        raise Invalid("The values of Id are not unique among the queries.")
    needs: dict[str, set[str]] = {}
    for query in queries:
        needs[query.id] = set(syntax.references(_tree(query))) if query.expression else set()
        if unknown := sorted(needs[query.id] - by_id.keys()):
            raise _in_expression(query, f"No query has the id {', '.join(unknown)}.")
    order: list[MetricQuery] = []
    ready = [query.id for query in queries if not needs[query.id]]
    users: dict[str, list[str]] = {}
    for id, wanted in needs.items():
        for other in wanted:
            users.setdefault(other, []).append(id)
    while ready:
        done = ready.pop()
        order.append(by_id[done])
        for user in users.get(done, ()):
            needs[user].discard(done)
            if not needs[user]:
                ready.append(user)
    if len(order) < len(queries):
        stuck = sorted(id for id, wanted in needs.items() if wanted)
        raise Invalid(f"The expressions {', '.join(stuck[:10])} refer to each other in a circle.")
    return order


def _tree(query: MetricQuery) -> syntax.Node:
    try:
        return syntax.parse(query.expression)
    except Invalid as error:
        raise _in_expression(query, str(error)) from None


def _in_expression(query: MetricQuery, what: str) -> Invalid:
    return Invalid(f"Error in expression '{query.id}': {what}")  # AWS's words


class _Run:
    """One request's results so far; the `Scope` of its expressions."""

    def __init__(self, queries: Sequence[MetricQuery], store: MetricStore, window: Window) -> None:
        self._queries = queries
        self._store = store
        self._window = window
        self._results: dict[str, Value] = {}
        self._computed = 0
        self._query = queries[0] if queries else MetricQuery("m")
        self.grid: Grid = window

    def do(self, query: MetricQuery) -> None:
        """Fetch or compute one query. What it refers to is done."""
        self._query = query
        if query.id in self._results:
            return  # METRICS() was faster
        if query.stat is not None:
            self._results[query.id] = self.charge(self._fetched(query.stat, query.label))
            return
        try:
            self._results[query.id] = checked(evaluate(_tree(query), self))
        except Invalid as error:
            raise _in_expression(query, str(error)) from None

    def outcome(self, query: MetricQuery) -> Outcome:
        """What is answered of a query that is done."""
        value = self._results[query.id]
        is_array = isinstance(value, tuple)
        return Outcome(query, value if isinstance(value, tuple) else (value,), is_array)  # type: ignore[arg-type] # checked

    # Scope

    @property
    def period_s(self) -> int:
        """See Scope."""
        if self._query.period_s:
            return self._query.period_s
        return min((query.stat.period_s for query in self._queries if query.stat is not None), default=60)

    def result(self, id: str) -> Value:
        """See Scope."""
        return self._results[id]

    def metrics(self, containing: str) -> tuple[Series, ...]:
        """See Scope."""
        found = []
        for query in self._queries:
            if query.stat is not None and containing in query.id:
                if query.id not in self._results:
                    self._results[query.id] = self.charge(self._fetched(query.stat, query.label))
                found.append(self._results[query.id])
        return tuple(one for one in found if isinstance(one, Series))

    def search(self, pattern: str, stat: str, period_s: int) -> tuple[Series, ...]:
        """See Scope."""
        namespace, fits = parse_search(pattern)
        parse_statistic(stat)
        period_s = period_s or self._query.period_s or 300
        check_period(period_s, "Period of SEARCH")
        since_s = int(min(self._window.start_s, self._window.now_s - _LISTED_S))
        known = filter(fits, self._store.keys(namespace, since_s=max(0, since_s)))
        found = []
        # Not sorted(): it would keep the interpreter to itself, for seconds where there are many.
        for key in heapq.nsmallest(MAX_SEARCHED, known, key=msgspec.structs.astuple):
            wanted = MetricStat(key.namespace, key.name, key.dimensions, period_s, stat)
            label = " ".join((key.name, *(value for _, value in key.dimensions)))
            found.append(self._fetched(wanted, label))
            self.charge(found[-1])
        return tuple(found)

    def charge(self, value: Value) -> Value:
        """See Scope."""
        if isinstance(value, Series):
            self._computed += len(value) + _POINTS_PER_SERIES
        elif isinstance(value, tuple):
            self._computed += sum(len(one) + _POINTS_PER_SERIES for one in value)
        if self._computed > _MAX_COMPUTED:
            raise Invalid(
                f"The request computes more than {_MAX_COMPUTED} points. Ask for fewer metrics, a shorter range or a"
                " longer period."
            )
        return value

    def _fetched(self, wanted: MetricStat, label: str | None) -> Series:
        key = MetricKey(wanted.namespace, wanted.name, wanted.dimensions)
        start_s = self._window.begin_s(wanted.period_s)
        points = read(self._store, key, start_s, self._window.end_s, wanted.period_s, unit=wanted.unit)
        self._computed += _POINTS_PER_READ * len(points)
        found = values_of(points if wanted.unit else of_any_unit(points), parse_statistic(wanted.stat))
        return Series(
            times=np.array([at for at, _, _ in found], dtype=np.int64),
            values=np.array([value for _, value, _ in found], dtype=np.float64),
            period_s=wanted.period_s,
            label=wanted.name if label is None else label,
            is_metric=True,
            properties=(
                ("MetricName", wanted.name),
                ("Namespace", wanted.namespace),
                ("Period", str(wanted.period_s)),
                ("Stat", wanted.stat),
                *((f"Dim.{name}", value) for name, value in wanted.dimensions),
            ),
        )

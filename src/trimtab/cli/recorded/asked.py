"""What gateways and the consumer have reported of single requests: which model was asked when, and which asynchronous
request took how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.cli.recorded.metrics import Metrics

MOST_REQUESTS: Final = 2_000_000  # that are told of one by one: beyond it counts of periods say enough
KEPT_S: Final = 86_400
LATER_S: Final = 900  # an asynchronous request is told of once it has ended: so long after the time it is looked for
_EARLIER_S: Final = 60  # a report begins up to a minute before what it tells of, where control had been away
_AT_ONCE_S: Final = 300  # of reports in one answer,
_MOST_REPORTS: Final = 3600  # which has no more of them than this, of all gateways
_LEAST_ALIKE: Final = 2  # what gateways tell and metrics may differ by so many requests,
_ALIKE: Final = 0.02  # or by this part: a gateway may have come or gone


class Asked(Struct, frozen=True, kw_only=True):
    """`count` requests came from `start_s` to `end_s`: where that is one moment, then. `model`: of a multi-model
    endpoint. `took_s`: of an asynchronous request, for how long it had its place among those in work."""

    start_s: float
    end_s: float
    model: str = ""
    count: int = 1
    took_s: float | None = None


def asked_of(client: Client, endpoint: str, variant: str, metrics: Metrics, *, later_s: int = 0) -> tuple[Asked, ...]:
    """What is known of the requests that came in that time, looked for so much longer. Nothing of more than a day, as
    no more is kept, nor of more than MOST_REQUESTS: a part would not do."""
    if metrics.end_s - metrics.start_s > KEPT_S + metrics.period_s:  # both ends are whole periods
        return ()
    path, found, requests = f"endpoints/{endpoint}/requests", list[Asked](), 0
    for report in _reports(client, path, variant, metrics.start_s - _EARLIER_S, metrics.end_s + later_s):
        for model, told in report["models"].items():
            each = _each(report["start_s"], report["span_s"], model, told)
            mine = [one for one in each if metrics.start_s <= one.start_s < metrics.end_s]
            found += mine
            requests += sum(one.count for one in mine)
        if requests > MOST_REQUESTS:
            return ()
    return tuple(found)


def _reports(client: Client, path: str, variant: str, start_s: int, end_s: int) -> Iterator[dict[str, Any]]:
    """Those that begin in that time, in its order."""
    for begin_s in range(start_s, end_s, _AT_ONCE_S):
        waiting = [(begin_s, min(begin_s + _AT_ONCE_S, end_s))]
        while waiting:
            first_s, last_s = waiting.pop()
            query = {"variant": variant, "start": str(first_s), "end": str(last_s)}
            reports = client.get(path, **query)["reports"]
            if len(reports) >= _MOST_REPORTS and last_s - first_s > 1:  # perhaps not all of them
                middle_s = (first_s + last_s) // 2
                waiting += [(middle_s, last_s), (first_s, middle_s)]
            else:
                yield from reports


def _each(start_s: int, span_s: int, model: str, told: dict[str, Any]) -> Iterator[Asked]:
    took_us = told.get("took_us") or [None] * len(told["at_ms"])
    for at_ms, took in zip(told["at_ms"], took_us, strict=True):
        at_s = start_s + at_ms / 1e3
        yield Asked(start_s=at_s, end_s=at_s, model=model, took_s=None if took is None else took / 1e6)
    if (rest := told["count"] - len(told["at_ms"])) > 0:
        yield Asked(start_s=start_s, end_s=start_s + span_s, model=model, count=rest)


def tasks_of(client: Client, endpoint: str, variant: str, metrics: Metrics) -> tuple[Asked, ...]:
    """Asynchronous requests that have ended, in the order in which they came, each with what it took; none where not
    all were told of one by one (see `asked_of`; and of very many that ended in a second not all are)."""
    found = sorted(asked_of(client, endpoint, variant, metrics, later_s=LATER_S), key=lambda one: one.start_s)
    return () if any(one.took_s is None for one in found) else tuple(found)


def are_alike(told: int, counted: float) -> bool:
    """Whether gateways, by reports or signals, tell of as many requests as metrics do."""
    return abs(told - counted) <= max(_LEAST_ALIKE, _ALIKE * counted)

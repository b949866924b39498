"""What gateways and the consumer have reported of single requests: which model was asked when, and which asynchronous
request took how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.cli.recorded.metrics import Metrics

KEPT_S: Final = 86_400
LATER_S: Final = 900  # an asynchronous request is told of once it has ended: so long after the time it is looked for
_AT_ONCE_S: Final = 300  # of reports in one answer: it has 3,600 of them at most, of all gateways
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


def asked_of(client: Client, endpoint: str, variant: str, metrics: Metrics, *, later_s: int = 0) -> Iterator[Asked]:
    """What is known of the time, and (of requests that came in it) of so much more. Nothing of more than a day: no more
    is kept, and a part would not do."""
    if metrics.end_s - metrics.start_s > KEPT_S:
        return
    for begin_s in range(metrics.start_s, metrics.end_s + later_s, _AT_ONCE_S):
        end_s = min(begin_s + _AT_ONCE_S, metrics.end_s + later_s)
        query = {"variant": variant, "start": str(begin_s), "end": str(end_s)}
        for report in client.get(f"endpoints/{endpoint}/requests", **query)["reports"]:
            for model, told in report["models"].items():
                for one in _each(report["start_s"], report["span_s"], model, told):
                    if metrics.start_s <= one.start_s <= metrics.end_s:
                        yield one


def _each(start_s: int, span_s: int, model: str, told: dict[str, Any]) -> Iterator[Asked]:
    took_us = told.get("took_us") or [None] * len(told["at_ms"])
    for at_ms, took in zip(told["at_ms"], took_us, strict=True):
        at_s = start_s + at_ms / 1e3
        yield Asked(start_s=at_s, end_s=at_s, model=model, took_s=None if took is None else took / 1e6)
    if (rest := told["count"] - len(told["at_ms"])) > 0:
        yield Asked(start_s=start_s, end_s=start_s + span_s, model=model, count=rest)


def tasks_of(client: Client, endpoint: str, variant: str, metrics: Metrics) -> tuple[Asked, ...]:
    """Asynchronous requests that have ended, in the order in which they came, each with what it took; none where so
    many ended in a second that not all were told of one by one."""
    found = sorted(asked_of(client, endpoint, variant, metrics, later_s=LATER_S), key=lambda one: one.start_s)
    return () if any(one.took_s is None for one in found) else tuple(found)


def are_alike(told: int, counted: float) -> bool:
    """Whether gateways, by reports or signals, tell of as many requests as metrics do."""
    return abs(told - counted) <= max(_LEAST_ALIKE, _ALIKE * counted)

"""The trace of a recorded endpoint: a row a request, or a row an interval where they are too many."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from trimtab.cli.recorded.arriving import Came, spread
from trimtab.cli.recorded.asked import MOST_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimtab.cli.recorded.asked import Asked
    from trimtab.cli.recorded.models import ModelsFound
    from trimtab.sim.load import Floats


class Trace(Struct, frozen=True):
    """A CSV file. `models`: those with a request in it. `step_s`: of counts; None: a row a request."""

    text: str
    models: frozenset[str] = frozenset()
    step_s: int | None = None


def trace_of(came: Came, *, models: ModelsFound | None = None, tasks: Sequence[Asked] = ()) -> Trace:
    """Of a multi-model endpoint with its `models`; of asynchronous requests, where each is known, with these."""
    if models is not None:
        return _of_models(models, came)
    if tasks:
        return Trace(_rows(("timestamp", "took_s"), ((stamp(one.start_s), f"{one.took_s:.6f}") for one in tasks)))
    if came.total > MOST_REQUESTS:
        counts = ((stamp(at_s), count) for at_s, count in zip(came.edges_s, came.counts, strict=False))
        return Trace(_rows(("timestamp", "count"), counts), step_s=came.period_s)
    moments = came.moments(np.random.default_rng(0)).tolist()
    return Trace(_rows(("timestamp",), ((stamp(moment),) for moment in moments)))


def _of_models(found: ModelsFound, came: Came) -> Trace:
    """When which model was asked: as gateways told; else drawn by shares."""
    chance = np.random.default_rng(0)
    if found.came:
        asked = _told(found.came, came, chance)
    else:
        shares = np.array([model.requests for model in found.models], dtype=np.float64)
        names = [model.name for model in found.models]
        if came.total > MOST_REQUESTS:
            return _counted(names, shares / shares.sum(), came, chance)
        at_s = came.moments(chance)
        chosen = chance.choice(len(names), size=len(at_s), p=shares / shares.sum())
        asked = [(moment, names[one]) for moment, one in zip(at_s.tolist(), chosen.tolist(), strict=True)]
    rows = ((stamp(moment), model) for moment, model in asked)
    return Trace(_rows(("timestamp", "model"), rows), frozenset(model for _, model in asked))


def _told(each: Sequence[Asked], came: Came, chance: np.random.Generator) -> list[tuple[float, str]]:
    asked: list[tuple[float, str]] = []
    for one in each:
        places = spread(chance, one.count, came.dispersion) * (one.end_s - one.start_s)
        asked += [(one.start_s + place, one.model) for place in places.tolist()]
    return sorted(asked)


def _counted(names: Sequence[str], shares: Floats, came: Came, chance: np.random.Generator) -> Trace:
    """Each model's part of each period's requests. Each is told of at both ends, so that all last as long."""
    drawn = np.array([chance.multinomial(count, shares) for count in came.counts])
    some = np.flatnonzero(drawn.any(axis=0)).tolist()
    last = len(came.counts) - 1
    rows = (
        (stamp(came.edges_s[step]), names[model], int(drawn[step, model]))
        for model in some
        for step in sorted({0, last, *np.flatnonzero(drawn[:, model]).tolist()})
    )
    text = _rows(("timestamp", "model", "count"), rows)
    return Trace(text, frozenset(names[model] for model in some), came.period_s)


def _rows(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()


def stamp(moment_s: float) -> str:
    """A moment as scenarios and their traces write it: UTC."""
    return datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")

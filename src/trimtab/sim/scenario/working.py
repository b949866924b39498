"""What requests take: a distribution as even quantiles, of the few numbers that a scenario tells."""

from __future__ import annotations

from math import isnan, log, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from trimtab.errors import Invalid
from trimtab.sim.load import Floats
from trimtab.sim.scenario.declared import SizesIn, WorkIn
from trimtab.sim.scenario.document import Document, Path_
from trimtab.sim.scenario.quantities import Seconds
from trimtab.sim.traces.reading import RequestTrace, Trace
from trimtab.sim.traces.table import header_of, read_table
from trimtab.sim.world import Work

POINTS: Final = 1001
_WAYS: Final = ("takes", "mean", "p50", "quantiles", "trace", "sizes")
_GOES_WITH: Final = {"cv": "mean", "p99": "p50"}
_FIELDS: Final = frozenset(WorkIn.__struct_fields__)
_Z99: Final = NormalDist().inv_cdf(0.99)


def work_of(document: Document, path: Path_, value: Any, trace: Trace) -> dict[str, Work]:
    """By instance type. `value`: a time, a WorkIn, or either by instance type. Raises Invalid."""
    if not isinstance(value, dict):
        return {"*": Work(quantiles_s=(_time(document, path, value),))}
    if not value:
        raise document.fault(path, "what a request takes must be said: `work: 20ms`.")
    if any(name in _FIELDS for name in value):
        return {"*": _one(document, path, document.take(path, WorkIn, value), trace)}
    found = {}
    for kind, inner in value.items():
        at = (*path, kind)
        if isinstance(inner, dict):
            found[kind] = _one(document, at, document.take(at, WorkIn, inner), trace)
        else:
            found[kind] = Work(quantiles_s=(_time(document, at, inner),))
    return found


def _time(document: Document, path: Path_, value: Any) -> float:
    time_s = float(document.take(path, Seconds, value))
    if time_s <= 0:
        raise document.fault(path, "a request takes more than 0.")
    return time_s


def _one(document: Document, path: Path_, declared: WorkIn, trace: Trace) -> Work:
    given = [way for way in _WAYS if getattr(declared, way) not in (None, False)]
    if len(given) != 1:
        what = f"there are {' and '.join(given)}" if given else "there is none of them"
        raise document.fault(path, f"exactly one of {', '.join(_WAYS)} says what a request takes; {what}.")
    for name, other in _GOES_WITH.items():
        if getattr(declared, name) is not None and getattr(declared, other) is None:
            raise document.fault((*path, name), f"it goes with `{other}`, and `{given[0]}` says what a request takes.")
    for name in ("slots", "batch"):
        if getattr(declared, name) < 1:
            raise document.fault((*path, name), "it must be 1 or more.")
    if declared.row and declared.batch == 1:
        raise document.fault(
            (*path, "row"), "it is of each further request of a batch: say how many one has, `batch: 8`."
        )
    if not 0 < declared.times < float("inf"):
        raise document.fault((*path, "times"), "it must be more than 0.")
    points = _points(document, path, declared, trace) * declared.times
    if not (np.isfinite(points).all() and (points >= 0).all() and points[-1] > 0):
        raise document.fault(path, "a request takes more than 0, and an end.")
    if declared.beside * declared.times > points.mean():
        raise document.fault((*path, "beside"), "it is a part of what a request takes, and not more than that.")
    short = (points[0],) if (points == points[0]).all() else points
    return Work(
        quantiles_s=tuple(float(point) for point in short), row_s=float(declared.row), batch=declared.batch,
        slots=declared.slots, beside_s=float(declared.beside) * declared.times,
        first_s=float(declared.first) * declared.times,
    )  # fmt: skip


def _points(document: Document, path: Path_, declared: WorkIn, trace: Trace) -> Floats:
    if declared.takes is not None:
        return np.array([float(declared.takes)])
    if declared.quantiles is not None:
        points = np.array(declared.quantiles, dtype=np.float64)
        if not len(points) or (np.diff(points) < 0).any():
            raise document.fault((*path, "quantiles"), "these are times in order, from the shortest to the longest.")
        return points
    if declared.sizes is not None:
        try:
            return quantiles_of(_sized(document, declared.sizes))
        except Invalid as error:
            raise document.fault((*path, "sizes"), str(error)) from None
    if declared.trace:
        took_s = trace.took_s if isinstance(trace, RequestTrace) else None
        if took_s is None:
            raise document.fault((*path, "trace"), "the workload's trace does not tell how long requests took.")
        return quantiles_of(took_s)
    return _lognormal(document, path, declared)


def _lognormal(document: Document, path: Path_, declared: WorkIn) -> Floats:
    if declared.mean is not None:
        cv = 1.0 if declared.cv is None else declared.cv
        if not (declared.mean > 0 and 0 <= cv <= 20):
            raise document.fault(path, "`mean` is more than 0, and `cv` from 0 to 20.")
        sigma = sqrt(log(1 + cv**2))
        middle = log(declared.mean) - sigma**2 / 2
    else:
        p50, p99 = declared.p50, declared.p99
        if p50 is None or p99 is None or not 0 < p50 <= p99:
            raise document.fault(path, "there are `p50` and `p99`, more than 0, and p99 is not the smaller one.")
        sigma = log(p99 / p50) / _Z99
        middle = log(p50)
    normal = NormalDist()
    inner = np.array([normal.inv_cdf(min(max(part, 0.0005), 0.9995)) for part in np.linspace(0, 1, POINTS)])
    points: Floats = np.exp(middle + sigma * inner)
    if declared.mean is not None:  # what the cut tails would have added
        points *= declared.mean / float((points[1:] + points[:-1]).mean() / 2)
    return points


def quantiles_of(times_s: Floats, most: int = POINTS) -> Floats:
    """Even quantiles of what was measured, NaN left out. Invalid where nothing was."""
    known = times_s[~np.isnan(times_s)]
    if not len(known):
        raise Invalid("No request tells how long it took.")
    if len(known) == 1:
        return known
    ordered = np.sort(known)
    # A request's draw is the middle of its share (`arriving._draws`): so points lie between the middles.
    middles = (np.arange(len(ordered)) + 0.5) / len(ordered)
    points: Floats = np.interp(np.linspace(0, 1, most), middles, ordered)
    return points


def _sized(document: Document, sizes: SizesIn) -> Floats:
    from datetime import UTC

    path = document.folder / sizes.file
    header = header_of(path)
    if {"field", "bin_mean", "probability"} <= set(header):
        return _of_histogram(document, sizes)
    if missing := [column for column in sizes.per if column not in header]:
        raise Invalid(f"{path.name} has no column {missing[0]!r}; it has {', '.join(header)}.")
    table = read_table(path, numbers=tuple(sizes.per), zone=UTC)
    if not len(table.lines):
        raise Invalid(f"{path.name} has a header and no rows.")
    times_s = np.full(len(table.lines), float(sizes.base))
    for column, each_s in sizes.per.items():
        times_s += table.numbers[column] * float(each_s)
    return times_s


def _of_histogram(document: Document, sizes: SizesIn) -> Floats:
    """Sizes as shares of bins, field by field; fields are taken as independent of each other."""
    from datetime import UTC

    path = document.folder / sizes.file
    words = ("model", "field") if "model" in header_of(path) else ("field",)
    table = read_table(path, numbers=("bin_mean", "probability"), words=words, zone=UTC)
    rows = np.ones(len(table.lines), dtype=bool)
    if "model" in words:
        models = table.words["model"]
        if sizes.only not in models.labels:
            raise Invalid(f"{path.name} is of several models: `only` is one of {', '.join(models.labels)}.")
        rows &= models.codes == models.labels.index(sizes.only)
    fields = table.words["field"]
    chance = np.random.default_rng(0)
    times_s = np.full(100_000, float(sizes.base))
    for field, each_s in sizes.per.items():
        mine = rows & (fields.codes == fields.labels.index(field)) if field in fields.labels else rows & False
        if not mine.any():
            raise Invalid(f"{path.name} has no field {field!r} there; it has {', '.join(fields.labels)}.")
        shares = table.numbers["probability"][mine]
        if isnan(float(shares.sum())) or shares.min() < 0 or shares.sum() <= 0:
            raise Invalid(f"{path.name}: the probabilities of {field} are no shares of a whole.")
        chosen = chance.choice(table.numbers["bin_mean"][mine], size=len(times_s), p=shares / shares.sum())
        times_s += chosen * float(each_s)
    return times_s

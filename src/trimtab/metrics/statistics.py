"""Statistics of a Sketch by CloudWatch's names: `Average`, `p99.9`, `tm90`, `TM(10%:90%)`, `PR(:300)`.

Source: CloudWatch user guide, "CloudWatch statistics definitions". Lower bounds are exclusive, upper ones inclusive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.metrics.sketch import Sketch, bucket_of, value_of

SIMPLE: Final[Mapping[str, Callable[[Sketch], float]]] = {
    "SampleCount": lambda sketch: sketch.count,
    "Average": lambda sketch: sketch.sum / sketch.count,
    "Sum": lambda sketch: sketch.sum,
    "Minimum": lambda sketch: sketch.min,
    "Maximum": lambda sketch: sketch.max,
}

_NUMBER = r"\d{1,18}(?:\.\d{1,10})?"
_PERCENTILE = re.compile(rf"p({_NUMBER})")
_SHORT = re.compile(rf"(tm|wm|tc|ts)({_NUMBER})", re.IGNORECASE)
_BOUND = rf"(-?{_NUMBER}%?)?"
_RANGE = re.compile(rf"(TM|WM|TC|TS|PR)\(\s*{_BOUND}\s*:\s*{_BOUND}\s*\)", re.IGNORECASE)


class Bound(Struct, frozen=True):
    """An end of a range: a value, or a part of the samples (0 to 1) when `is_share`."""

    at: float
    is_share: bool


class Statistic(Struct, frozen=True):
    """A parsed statistic. `kind`: a name of `SIMPLE`, or p, TM, WM, TC, TS, PR."""

    name: str  # as the caller wrote it
    kind: str
    low: Bound | None = None
    high: Bound | None = None

    @property
    def is_percentile(self) -> bool:
        """Whether it is `pNN`; `high.at` is its quantile then."""
        return self.kind == "p"

    @property
    def needs_distribution(self) -> bool:
        """Whether statistic sets (count, sum, minimum, maximum alone) cannot give it."""
        return self.kind not in SIMPLE

    def of(self, sketch: Sketch) -> float | None:
        """Its value; None when the sketch is empty, has no distribution where one is needed, or nothing is in range."""
        if not sketch.count:
            return None
        if simple := SIMPLE.get(self.kind):
            return simple(sketch)
        if not sketch.has_distribution:
            return None
        if self.kind == "p":
            assert self.high is not None
            return sketch.quantile(self.high.at)
        return _ranged(self, sketch)


@lru_cache(maxsize=1024)
def parse_statistic(text: str) -> Statistic:
    """`text` as a Statistic. Raises Invalid when CloudWatch has no such statistic."""
    if text in SIMPLE:
        return Statistic(text, text)
    if text.upper() == "IQM":
        return Statistic(text, "TM", Bound(0.25, True), Bound(0.75, True))
    if match := _PERCENTILE.fullmatch(text):
        return Statistic(text, "p", None, _share(match[1], text))
    if match := _SHORT.fullmatch(text):
        return Statistic(text, match[1].upper(), None, _share(match[2], text))
    match = _RANGE.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise _unknown(text)
    low, high = _bound(match[2], text), _bound(match[3], text)
    kind = match[1].upper()
    if kind == "PR" and any(bound is not None and bound.is_share for bound in (low, high)):
        raise _unknown(text)
    if low is not None and high is not None and low.is_share == high.is_share and low.at >= high.at:
        raise Invalid(f"The lower bound of the statistic {text[:100]!r} must be below its upper bound.")
    return Statistic(text, kind, low, high)


def _unknown(text: str) -> Invalid:
    return Invalid(
        f"{text[:100]!r} is not a valid statistic. Use SampleCount, Average, Sum, Minimum, Maximum, a percentile"
        " (p99.9), tm, wm, tc or ts with a percentage (tm90), TM, WM, TC, TS with a range (TM(10%:90%)), PR(100:2000)"
        " or IQM."
    )


def _share(number: str, text: str) -> Bound:
    percent = float(number)
    if percent > 100:
        raise _unknown(text)
    return Bound(percent / 100, True)


def _bound(written: str | None, text: str) -> Bound | None:
    if not written:
        return None
    if written.endswith("%"):
        if written.startswith("-"):
            raise _unknown(text)
        return _share(written[:-1], text)
    return Bound(float(written), False)


def _ranged(statistic: Statistic, sketch: Sketch) -> float | None:
    if statistic.kind == "WM":
        return _winsorized(statistic, sketch)
    count, total = 0.0, 0.0
    for bucket, value, weight, before in _samples(sketch):
        inside = _inside(statistic, bucket, weight, before, sketch.count)
        if inside > 0:
            count += inside
            total += value * inside
    if count >= sketch.count * (1 - 1e-12):
        total = sketch.sum  # exact, where nothing is cut off
    if statistic.kind == "PR":
        return 100.0 * count / sketch.count
    if statistic.kind == "TC":
        return count
    if statistic.kind == "TS":
        return total
    return total / count if count else None


def _winsorized(statistic: Statistic, sketch: Sketch) -> float:
    """The mean of all values, those beyond a bound taken to be at it."""
    low, high = _edge(statistic.low, sketch, sketch.min), _edge(statistic.high, sketch, sketch.max)
    total = sum(min(max(value, low), high) * weight for _, value, weight, _ in _samples(sketch))
    return total / sketch.count


def _edge(bound: Bound | None, sketch: Sketch, otherwise: float) -> float:
    if bound is None:
        return otherwise
    return sketch.quantile(bound.at) if bound.is_share else bound.at


def _samples(sketch: Sketch) -> Iterator[tuple[int, float, float, float]]:
    """Bucket, value, how many, and how many are smaller; smallest first."""
    before = 0.0
    for bucket in sorted(sketch.buckets):
        weight = sketch.buckets[bucket]
        yield bucket, min(max(value_of(bucket), sketch.min), sketch.max), weight, before
        before += weight


def _inside(statistic: Statistic, bucket: int, weight: float, before: float, every: float) -> float:
    """How many of the `weight` samples of one bucket, `before` of all smaller, are within the bounds.

    What is in a bound's own bucket counts as if it were that bound: inside of an upper one, outside of a lower one.
    """
    start, end = before, before + weight
    for bound, is_low in ((statistic.low, True), (statistic.high, False)):
        if bound is None:
            continue
        if bound.is_share:
            start, end = (max(start, bound.at * every), end) if is_low else (start, min(end, bound.at * every))
        elif bucket <= bucket_of(bound.at) if is_low else bucket > bucket_of(bound.at):
            return 0.0
    return end - start

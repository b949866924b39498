"""How long requests took, from what came in and what was served: exact waits in the fluid, and queueing within a step.

A request waits until all that came before it are served (first come, first served; also while no replica is there).
Where the fluid has no queue, requests that come at random still meet each other: their waiting is that of a queue with
`c` servers and fixed service times, as Erlang's C formula and Cosmetatos' halving of its tail give it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.sim.load import Floats

SLOW_S: Final = 0.2
_PARTS: Final = 12  # points that a tail is told by
BINS_PER_DECADE: Final = 200
LEAST_S: Final = 1e-5
DECADES: Final = 10
BINS: Final = DECADES * BINS_PER_DECADE
_SMOOTH: Final = 11  # steps over which a rate is taken: a step's own count is chance


class Latencies(Struct, frozen=True, kw_only=True):
    """Of all requests, in seconds. `unanswered`: those that were still waiting at the end."""

    requests: float
    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float
    slow: float  # requests that took longer than SLOW_S
    unanswered: float


class Told(Struct, frozen=True):
    """Points that stand for requests: how long they took, and how many each stands for. Row i is of step i."""

    seconds: Floats
    weights: Floats


def told(arrivals: Floats, served: Floats, servers: Floats, work_s: float, step_s: float) -> Told:
    """What requests of each step took. `servers`: requests that can be worked on at once, in each step."""
    waits = _fluid_waits(arrivals, served, servers * (step_s / work_s), step_s)
    delayed, pace = _queueing(_smoothed(arrivals) / step_s, servers, work_s, step_s)
    delayed = np.where((waits > 0) | (servers == 0), 0.0, delayed)
    parts = (np.arange(_PARTS) + 0.5) / _PARTS
    parts = np.concatenate([parts[:-1], 1 - (1 - parts[-1]) * np.array([1.5, 0.5])])
    tails = -np.log1p(-parts)[None, :] / pace[:, None]
    shares = np.full(len(parts), 1 / _PARTS)
    shares[-2:] /= 2
    seconds = np.concatenate([waits[:, None], waits[:, None] + np.where(delayed[:, None] > 0, tails, 0.0)], axis=1)
    weights = np.concatenate([(1 - delayed)[:, None], delayed[:, None] * shares[None, :]], axis=1)
    return Told(seconds + work_s, weights * arrivals[:, None])


def _fluid_waits(arrivals: Floats, served: Floats, able: Floats, step_s: float) -> Floats:
    """Of the request in the middle of each step; infinite for one that nobody served. `able`: most in each step."""
    came, gone = np.cumsum(arrivals), np.cumsum(served)
    middle = came - arrivals / 2
    slack = 1e-9 * float(came[-1]) if len(came) else 0.0
    at = np.searchsorted(gone, middle - slack)  # the step that serves it
    inside = np.minimum(at, len(gone) - 1)
    before = gone[inside] - served[inside]
    moments = (inside + (middle - before) / np.maximum(able[inside], 1e-300)) * step_s
    waits = np.maximum(moments - (np.arange(len(arrivals)) + 0.5) * step_s, 0.0)
    result: Floats = np.where((at >= len(gone)) & (arrivals > 0), np.inf, np.where(waits < 1e-6, 0.0, waits))
    return result


def _smoothed(arrivals: Floats) -> Floats:
    if len(arrivals) <= _SMOOTH:
        return np.full(len(arrivals), arrivals.mean() if len(arrivals) else 0.0)
    sums = np.convolve(arrivals, np.ones(_SMOOTH), mode="same")
    counts = np.convolve(np.ones(len(arrivals)), np.ones(_SMOOTH), mode="same")
    result: Floats = sums / counts
    return result


def _queueing(rate: Floats, servers: Floats, work_s: float, step_s: float) -> tuple[Floats, Floats]:
    """The part of requests that wait, and how fast the tail of their waits falls (per second).

    Near saturation the tail ends where chance within a step does: what lasts longer is in the fluid's own queue.
    """
    offered = np.minimum(rate * work_s, servers * 0.999)
    blocked: Floats = np.ones(len(rate))
    chosen: Floats = np.where(servers > 0, 1.0, 0.0)
    for count in range(1, int(servers.max(initial=0)) + 1):
        blocked = offered * blocked / (count + offered * blocked)
        chosen = np.where(servers == count, blocked, chosen)
    used = offered / np.maximum(servers, 1)
    delayed = chosen / np.maximum(1 - used * (1 - chosen), 1e-12)
    pace = 2 * (servers - offered) / work_s
    chance_s = np.sqrt(np.maximum(rate * step_s, 1.0)) * work_s / np.maximum(servers, 1)
    return np.clip(delayed, 0.0, 1.0), np.maximum(pace, 1 / chance_s)


def summed(points: Told) -> Latencies:
    """Over all steps."""
    finite = np.isfinite(points.seconds)
    weights: Floats = np.where(finite, points.weights, 0.0)
    total = float(weights.sum())
    unanswered = float(points.weights.sum()) - total
    if total <= 0:
        none = {"mean_s": 0.0, "p50_s": 0.0, "p99_s": 0.0, "max_s": 0.0}
        return Latencies(requests=unanswered, slow=unanswered, unanswered=unanswered, **none)
    seconds = np.where(finite, points.seconds, 0.0)
    histogram = histogram_of(Told(seconds, weights))
    there = seconds[weights > total * 1e-12]
    return Latencies(
        requests=total + unanswered,
        mean_s=float((seconds * weights).sum() / total),
        p50_s=quantile(histogram, 0.5),
        p99_s=quantile(histogram, 0.99),
        max_s=float(there.max(initial=0.0)),
        slow=float(weights[seconds > SLOW_S].sum()) + unanswered,
        unanswered=unanswered,
    )


def histogram_of(points: Told) -> Floats:
    """Weights by latency, in bins that are 1.2 % wide."""
    bins = np.log10(np.maximum(points.seconds, LEAST_S) / LEAST_S) * BINS_PER_DECADE
    index = np.clip(bins.astype(np.int64), 0, BINS - 1)
    made: Any = np.bincount(index.ravel(), weights=points.weights.ravel(), minlength=BINS)
    return np.asarray(made, dtype=np.float64)


def part_within(histogram: Floats, seconds: float) -> float:
    """The part of the requests that surely took no longer: those of bins that end by then. 1 where there are none."""
    total = float(histogram.sum())
    ends = LEAST_S * 10 ** (np.arange(1, len(histogram) + 1) / BINS_PER_DECADE)
    return float(histogram[ends <= seconds].sum()) / total if total > 0 else 1.0


def quantile(histogram: Floats, part: float) -> float:
    """The latency that this part of the requests does not exceed; 0 where there are none."""
    sums = np.cumsum(histogram)
    if not len(sums) or sums[-1] <= 0:
        return 0.0
    index: Any = np.searchsorted(sums, sums[-1] * part)
    return float(LEAST_S * 10 ** ((int(index) + 0.5) / BINS_PER_DECADE))

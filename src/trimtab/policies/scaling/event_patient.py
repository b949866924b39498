"""For callers who may wait: replicas follow what waits rather than what comes.

A start is paid for, and an idle replica is; a busy one is worth its money, whatever waits behind it. So more replicas
are ordered only where what waits could not be begun in the time that callers are patient for, and as long as anything
waits for it no replica that is ready goes. What is idle may go at once.

What is ordered now is of use only when it has started. Until then more comes than usual, now and then: room is left for
so much beside what waits. So bursts are met by replicas that are there, and where requests come evenly callers wait for
nearly all of the time that they are patient for. docs/decisions/018-oracle.md has what both save.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from msgspec import Struct

from trimtab.policies.scaling import event_words
from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.windows import Mark

_ROUNDING: Final = 1e-9
_MOST_MARKS: Final = 120  # of a window, that are looked at
_LEAST_SPANS: Final = 12


class Need(Struct, frozen=True):
    """Replicas, now: `queue` for what waits to be begun in time, `busy` that have something to do."""

    queue: int
    busy: int


def need(load: Load, work_s: float, together: int, patience_s: float, swell: float = 0.0) -> Need:
    """What a variant needs now whose requests cost `work_s` replica-seconds each, and may wait for `patience_s`.

    `together`: requests that a replica was seen to have at a time. `swell`: so many more may come before what is
    ordered now has started (see `usual_swell`).
    """
    begun = max(load.now - load.waiting, 0)
    busy = min(ceil(begun / max(together, 1) - _ROUNDING), load.capacity)
    return Need(ceil((load.waiting + swell) * work_s / patience_s - _ROUNDING), busy)


def usual_swell(steps: Sequence[Mark], start_s: float, quantile: float) -> float:
    """By how many requests more than on average came in stretches as long as a start takes: what this part of those in
    the window did not exceed (0: no room is left). 0 where the window is too short to say."""
    marks = steps[:: ceil(len(steps) / _MOST_MARKS)]
    times_s = [mark.at_s for mark in marks]  # once a second: made to be quick
    arrived = [mark.arrived for mark in marks]
    whole_s = times_s[-1] - times_s[0]
    if not quantile or whole_s <= start_s:
        return 0.0
    rate = (arrived[-1] - arrived[0]) / whole_s
    least_s = start_s - _ROUNDING
    more: list[float] = []
    begin, last = 0, len(marks) - 1
    for at_s, until in zip(times_s, arrived, strict=True):
        while begin < last and times_s[begin + 1] <= at_s - start_s + _ROUNDING:
            begin += 1
        span_s = at_s - times_s[begin]
        if span_s >= least_s and span_s > 0:
            came = until - arrived[begin] - rate * span_s
            more.append(came * (start_s / span_s) if span_s > start_s else came)  # steps may be longer than a start
    if len(more) < _LEAST_SPANS:
        return 0.0
    more.sort()
    return max(more[min(int(quantile * len(more)), len(more) - 1)], 0.0)


def more_words(load: Load, work_s: float, patience_s: float, swell: float, wanted: int) -> event_words.Said:
    """Why there are to be more."""
    return event_words.queue(load.waiting, work_s, patience_s, swell, load.start_s, wanted)


def less_words(found: Need, kept: int, swell: float, kept_s: float, wanted: int) -> event_words.Said:
    """Why fewer will do: `kept` were busy at a time in the last `kept_s`."""
    return event_words.idle(found.busy, kept, found.queue, swell, kept_s, wanted)

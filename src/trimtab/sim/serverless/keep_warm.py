"""One serverless variant under a virtual clock: calls, the live count of environments, cold starts and idle memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import nextafter

from msgspec import Struct

from trimtab.policies.serverless.environments import Environments

Call = tuple[float, float]
"""When it comes, and how long it takes; in seconds."""


class Tally(Struct):
    """What came of it. `idle_s`: environment-seconds without a request."""

    calls: int = 0
    cold: int = 0  # calls that found no environment
    idle_s: float = 0.0
    made: int = 0  # environments made before they were asked for

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.calls + other.calls, self.cold + other.cold, self.idle_s + other.idle_s, self.made + other.made
        )


def replay(calls: Sequence[Call], environments: Environments, until_s: float) -> Tally:
    """Replay calls, in order of time. An environment is there at once when it is wanted: how long a start takes is
    not told of here. What is idle when the calls are over counts until `until_s`."""
    tally = Tally()
    ends: list[float] = []
    now_s = 0.0
    for at_s, took_s in calls:
        now_s = _drain(environments, ends, now_s, at_s, tally)
        tally.calls += 1
        tally.cold += environments.wanted(at_s).count <= len(ends)
        heapq.heappush(ends, at_s + took_s)
        environments.saw(len(ends), at_s)
    _drain(environments, ends, now_s, until_s, tally)
    return tally


def _drain(environments: Environments, ends: list[float], now_s: float, until_s: float, tally: Tally) -> float:
    """Let calls end, and count what is idle, until then."""
    while ends and ends[0] <= until_s:
        end_s = heapq.heappop(ends)
        _idle(environments, now_s, end_s, tally)
        now_s = end_s
        environments.saw(len(ends), now_s)
    _idle(environments, now_s, until_s, tally)
    return until_s


def _idle(environments: Environments, now_s: float, until_s: float, tally: Tally) -> None:
    before = None
    while now_s < until_s:
        wanted = environments.wanted(now_s)
        if before is not None and wanted.count > before:
            tally.made += wanted.count - before
        before = wanted.count
        next_s = min(until_s, max(wanted.until_s, nextafter(now_s, until_s)))
        tally.idle_s += (wanted.count - environments.in_hand) * (next_s - now_s)
        now_s = next_s

"""What other queues than `kernels.queue` count with: time that passes, answers, requests that are over."""

from __future__ import annotations

from math import log10

from trimtab.sim.kernels.books import (
    ANSWERED,
    BUSY,
    BUSY_S,
    DRAINING,
    DRAINING_S,
    ENDED,
    HAND,
    HAND_S,
    IDLE_S,
    KEPT,
    LEAST_HAND,
    MAX_S,
    NOW,
    QUEUED,
    QUEUED_S,
    QUIET_AFTER,
    QUIET_FROM,
    READY,
    READY_S,
    STARTING,
    STARTING_S,
    SUM_S,
    WORKED_S,
    WORKING,
    Counted,
)
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.latency import BINS, BINS_PER_DECADE, LEAST_S


@compiled
def advance(b: Counted, to_s: float) -> None:
    """Let time pass until then, in which nothing happens."""
    i, f = b.i, b.f
    span_s = to_s - f[NOW]
    if span_s <= 0:
        return
    f[HAND_S] += i[HAND] * span_s
    f[QUEUED_S] += i[QUEUED] * span_s
    f[BUSY_S] += i[BUSY] * span_s
    f[READY_S] += i[READY] * span_s
    f[STARTING_S] += i[STARTING] * span_s
    f[DRAINING_S] += i[DRAINING] * span_s
    f[WORKED_S] += i[WORKING] * span_s
    if i[HAND] == 0 and to_s > f[QUIET_FROM]:
        f[IDLE_S] += (i[READY] + i[DRAINING] - i[BUSY]) * (to_s - max(f[NOW], f[QUIET_FROM]))
    f[NOW] = to_s


@compiled
def answer(b: Counted, workload: int, took_s: float) -> None:
    """A request of a workload is answered, after so long."""
    counts = b.counts[workload]
    counts[ANSWERED] += 1
    if took_s <= b.within_s[workload]:
        counts[KEPT] += 1
    b.sums[workload, SUM_S] += took_s
    if took_s > b.sums[workload, MAX_S]:
        b.sums[workload, MAX_S] = took_s
    place = 0
    if took_s > LEAST_S:
        place = min(int(log10(took_s / LEAST_S) * BINS_PER_DECADE), BINS - 1)
    b.histogram[workload, place] += 1.0
    b.lately[place] += 1.0


@compiled
def out_of_hand(b: Counted, count: int) -> None:
    """So many requests are answered, or have failed."""
    i = b.i
    i[ENDED] += count
    i[HAND] -= count
    if i[HAND] < i[LEAST_HAND]:
        i[LEAST_HAND] = i[HAND]
    if i[HAND] == 0:
        b.f[QUIET_FROM] = b.f[NOW] + b.f[QUIET_AFTER]

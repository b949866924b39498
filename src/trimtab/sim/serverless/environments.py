"""Environments of a serverless variant, request by request, in machine code.

The rules are those of `policies.serverless.environments`: one environment for each request in hand, and those that a
window of idle times holds; what idle times teach is `idle_windows`.
"""

from __future__ import annotations

from math import ceil, inf, log10
from typing import Final, NamedTuple

import numpy as np

from trimtab.policies.serverless.keep_warm import SHORT_S
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.kernels.heap import drop, push
from trimtab.sim.latency import BINS, BINS_PER_DECADE, LEAST_S
from trimtab.sim.load import Floats
from trimtab.sim.serverless.idle_windows import SPANS, Learned, add, learned, window
from trimtab.sim.world import Ints

# Whole numbers, in `Account.i`.
POSITION: Final = 0  # of the next request in the chunk
HAND: Final = 1  # requests in hand, those that wait included
QUEUED: Final = 2
HEAD: Final = 3  # of the ring of waiting ones
BUSY: Final = 4  # environments
FREE: Final = 5  # environments that are ready and idle
STARTING: Final = 6
START_HEAD: Final = 7
IDLES: Final = 8  # in the policy's account: environments not in use
HELD: Final = 9  # the highest number that a window holds
MOST: Final = 10  # MaxConcurrency
PROVISIONED: Final = 11
REQUESTS: Final = 12
ANSWERED: Final = 13
REFUSED: Final = 14
FAILED: Final = 15
COLD: Final = 16
KEPT: Final = 17
LEARNS: Final = 18  # whether idle times are learned at all
MADE: Final = 19  # environments that were started
_INTS: Final = 20

# Seconds, in `Account.f`.
NOW: Final = 0
START: Final = 1  # how long a start takes
TIMEOUT: Final = 2
WITHIN: Final = 3  # the objective
CHECK: Final = 4  # when a window changes its mind next
FACTOR: Final = 5  # of slow work
BLOCKED: Final = 6  # until then no start begins
COLD_S: Final = 7  # what a cold start is worth: seconds of idle memory
SUM_S: Final = 8
MAX_S: Final = 9
BILLED_S: Final = 10
WASTED_S: Final = 11  # of these, of failed ones
THERE_S: Final = 12  # environment-seconds
READY_S: Final = 13
_FLOATS: Final = 14

TINY_S: Final = 1e-6  # beside an epoch time: more than its rounding

# Why a run has stopped.
DONE: Final = 0
MORE: Final = 1


class Account(NamedTuple):
    """All state of one variant."""

    i: Ints
    f: Floats
    ends: Floats  # a heap: when requests in work are over
    ends_of: Ints
    wait_at: Floats  # a ring: when waiting requests came,
    wait_takes: Floats  # and what they take
    starts: Floats  # a ring: when starting environments are ready
    since: Floats  # a stack: since when environments are idle, the next to be used last
    teaches: Ints
    window_from: Floats  # by place: spans in which an idle environment is held
    window_until: Floats
    windows: Ints  # by place: how many spans
    histogram: Floats
    lately: Floats
    learned: Learned


def account(
    *, most: int, provisioned: int, start_s: float, timeout_s: float, within_s: float, places: int, cold_s: float
) -> Account:
    """An empty one."""
    whole = np.zeros(_INTS, dtype=np.int64)
    whole[MOST], whole[PROVISIONED] = most, provisioned
    seconds = np.zeros(_FLOATS)
    seconds[START], seconds[TIMEOUT], seconds[WITHIN] = start_s, timeout_s, within_s
    seconds[COLD_S] = cold_s
    seconds[FACTOR], seconds[CHECK], seconds[BLOCKED] = 1.0, inf, -inf
    room = most + provisioned + 2
    return Account(
        i=whole, f=seconds, ends=np.zeros(room), ends_of=np.zeros(room, dtype=np.int64), wait_at=np.zeros(room),
        wait_takes=np.zeros(room), starts=np.zeros(room), since=np.zeros(room), teaches=np.zeros(room, dtype=np.int64),
        window_from=np.zeros((places, SPANS)), window_until=np.zeros((places, SPANS)),
        windows=np.zeros(places, dtype=np.int64), histogram=np.zeros(BINS), lately=np.zeros(BINS),
        learned=learned(places),
    )  # fmt: skip


@compiled
def _advance(a: Account, to_s: float) -> None:
    i, f = a.i, a.f
    span_s = to_s - f[NOW]
    if span_s > 0:
        f[THERE_S] += (i[BUSY] + i[FREE] + i[STARTING]) * span_s
        f[READY_S] += (i[BUSY] + i[FREE]) * span_s
        f[NOW] = to_s


@compiled
def _changes(a: Account, place: int, idle_s: float) -> tuple[bool, float]:
    """Whether one that has been idle for so long is held, and at which idle time that changes."""
    for span in range(a.windows[place]):
        if idle_s < a.window_from[place, span]:
            return False, a.window_from[place, span]
        if idle_s < a.window_until[place, span]:
            return True, a.window_until[place, span]
    return False, inf


@compiled
def look(a: Account) -> None:
    """All windows, now: the highest number that is held, and when to look again."""
    i, f = a.i, a.f
    now_s = f[NOW]
    i[HELD], f[CHECK] = 0, inf
    places = len(a.windows)
    for number in range(i[HAND] + 1, min(i[HAND] + i[IDLES], i[MOST]) + 1):
        since_s = a.since[i[IDLES] - (number - i[HAND])]
        idle_s = max(0.0, now_s - since_s)
        held, changes_s = _changes(a, min(number, places) - 1, idle_s)
        if held:
            i[HELD] = number
        if changes_s < inf:
            f[CHECK] = min(f[CHECK], max(since_s + changes_s, now_s + TINY_S))
    settle(a)


@compiled
def settle(a: Account) -> None:
    """As many environments as are wanted: the youngest start is given up first."""
    i, f = a.i, a.f
    wanted = max(i[HAND], i[PROVISIONED], i[HELD])
    there = i[BUSY] + i[FREE] + i[STARTING]
    size = len(a.starts)
    while there < wanted:
        a.starts[(i[START_HEAD] + i[STARTING]) % size] = max(f[NOW], f[BLOCKED]) + f[START]
        i[STARTING] += 1
        i[MADE] += 1
        there += 1
    while there > wanted and (i[STARTING] > 0 or i[FREE] > 0):
        if i[STARTING] > 0:
            i[STARTING] -= 1
        else:
            i[FREE] -= 1
        there -= 1


@compiled
def _begin(a: Account, came_s: float, takes_s: float) -> None:
    """A free environment takes a request."""
    i, f = a.i, a.f
    now_s = f[NOW]
    takes_s = takes_s * f[FACTOR]
    waited_s = now_s - came_s
    took_s = waited_s + takes_s
    is_late = took_s > f[TIMEOUT]
    if is_late:
        takes_s = max(0.0, f[TIMEOUT] - waited_s)
    billed_s = ceil(takes_s * 1000 - 1e-6) / 1000
    f[BILLED_S] += billed_s
    i[FREE] -= 1
    i[BUSY] = push(a.ends, a.ends_of, i[BUSY], now_s + takes_s, 0)
    if is_late:
        i[FAILED] += 1
        f[WASTED_S] += billed_s
        return
    i[ANSWERED] += 1
    if took_s <= f[WITHIN]:
        i[KEPT] += 1
    f[SUM_S] += took_s
    f[MAX_S] = max(f[MAX_S], took_s)
    place = min(max(int(log10(max(took_s, LEAST_S) / LEAST_S) * BINS_PER_DECADE), 0), BINS - 1)
    a.histogram[place] += 1
    a.lately[place] += 1


@compiled
def _dispatch(a: Account) -> None:
    i = a.i
    size = len(a.wait_at)
    while i[QUEUED] > 0 and i[FREE] > 0:
        head = i[HEAD]
        i[HEAD] = (head + 1) % size
        i[QUEUED] -= 1
        _begin(a, a.wait_at[head], a.wait_takes[head])


@compiled
def _over(a: Account) -> None:
    """A request is over: its environment is the policy's next idle one."""
    i, f = a.i, a.f
    i[BUSY] = drop(a.ends, a.ends_of, i[BUSY])
    i[FREE] += 1
    a.since[i[IDLES]], a.teaches[i[IDLES]] = f[NOW], 1
    i[IDLES] += 1
    i[HAND] -= 1
    _dispatch(a)
    number = i[HAND] + 1
    held, changes_s = _changes(a, min(number, len(a.windows)) - 1, 0.0)
    if held and number <= i[MOST]:
        i[HELD] = max(i[HELD], number)
        f[CHECK] = min(f[CHECK], f[NOW] + changes_s)
        settle(a)
    else:
        look(a)


@compiled
def _arrive(a: Account, came_s: float, takes_s: float) -> bool:
    """Returns whether an idle time has been learned from: then all windows are to be looked at."""
    i, f = a.i, a.f
    i[REQUESTS] += 1
    if i[HAND] >= i[MOST]:
        i[REFUSED] += 1
        return False
    if i[FREE] == 0:
        i[COLD] += 1
    i[HAND] += 1
    learns = False
    if i[IDLES] > 0:
        i[IDLES] -= 1
        idle_s = max(0.0, f[NOW] - a.since[i[IDLES]])
        if a.teaches[i[IDLES]] and i[LEARNS] and idle_s >= SHORT_S:
            which, learns = min(i[HAND], len(a.windows)) - 1, True
            add(a.learned, which, idle_s)
            a.windows[which] = window(a.learned, which, f[COLD_S], a.window_from[which], a.window_until[which])
    place = (i[HEAD] + i[QUEUED]) % len(a.wait_at)
    a.wait_at[place], a.wait_takes[place] = came_s, takes_s
    i[QUEUED] += 1
    settle(a)
    _dispatch(a)
    return learns


@compiled
def run(a: Account, at_s: Floats, takes_s: Floats, until_s: float, is_last: bool) -> int:
    """Until then, or another reason above."""
    i, f = a.i, a.f
    while True:
        if i[POSITION] >= len(at_s) and not is_last:
            return MORE
        came_s = at_s[i[POSITION]] if i[POSITION] < len(at_s) else inf
        over_s = a.ends[0] if i[BUSY] > 0 else inf
        ready_s = a.starts[i[START_HEAD]] if i[STARTING] > 0 else inf
        next_s = min(came_s, over_s, ready_s, f[CHECK])
        if next_s >= until_s:
            _advance(a, until_s)
            return DONE
        _advance(a, next_s)
        if over_s == next_s:
            _over(a)
        elif ready_s == next_s:
            i[START_HEAD] = (i[START_HEAD] + 1) % len(a.starts)
            i[STARTING] -= 1
            i[FREE] += 1
            _dispatch(a)
        elif came_s == next_s:
            position = i[POSITION]
            i[POSITION] += 1
            if _arrive(a, came_s, takes_s[position]):
                look(a)
        else:
            look(a)

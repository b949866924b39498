"""Requests in front of replicas, one by one: first come, first served, by the least loaded replica. Machine code.

A request waits until a slot of a replica is free. A free slot takes the oldest one, and with it as many of the same
workload behind it as make a batch. Nothing is worked on before it has come, and nothing is begun ahead of time: the run
stops at `until_s`, and replicas that are made ready then take what still waits.
"""

from __future__ import annotations

from math import inf, log10
from typing import Final

from trimtab.sim.books import (
    ANSWER_LIMIT,
    ANSWERED,
    ARRIVED,
    BEFORE,
    BUSY,
    BUSY_S,
    COLD,
    DRAINING,
    DRAINING_S,
    EARLIEST,
    ENDED,
    FACTOR,
    FAILED,
    FREE,
    FREE_REPLICAS,
    GONE,
    HAND,
    HAND_S,
    IDLE_S,
    IS_DRAINING,
    IS_READY,
    KEPT,
    LEAST_HAND,
    LOAD,
    MAX_S,
    MOST_HAND,
    MOST_QUEUED,
    NEXT,
    NOBODY,
    NOW,
    POSITION,
    QUEUE_HEAD,
    QUEUE_MOST,
    QUEUED,
    QUEUED_S,
    QUIET_AFTER,
    QUIET_FROM,
    READY,
    READY_S,
    REFUSED,
    REPEATS,
    REQUESTS,
    SLOTS,
    STARTING,
    STARTING_S,
    STATE,
    SUM_S,
    TRIP,
    WAIT_LIMIT,
    WASTED_S,
    WORK_LIMIT,
    WORKED_S,
    WORKING,
    Books,
    Counted,
)
from trimtab.sim.compiled import compiled
from trimtab.sim.latency import BINS, BINS_PER_DECADE, LEAST_S
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints

# Why a run has stopped.
DONE: Final = 0  # it is `until_s`
MORE: Final = 1  # the chunk is at its end
TRIPPED: Final = 2  # more in hand than Books.i[TRIP]
SETTLED: Final = 3  # the last draining replica has gone
FULL: Final = 4  # the queue's arrays have no room


@compiled
def taken(uniform: Floats, which: Ints, points: Floats, sizes: Ints) -> Floats:
    """How long each request takes: `points` has the quantiles of each workload in a row, `sizes` how many they are."""
    made = uniform.copy()
    for index in range(len(uniform)):
        row = which[index]
        place = uniform[index] * (sizes[row] - 1)
        low = min(int(place), sizes[row] - 1)
        high = min(low + 1, sizes[row] - 1)
        made[index] = points[row, low] + (place - low) * (points[row, high] - points[row, low])
    return made


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
def _link(b: Books, replica: int, load: int) -> None:
    first = b.heads[load]
    b.replica[replica, NEXT] = first
    b.replica[replica, BEFORE] = NOBODY
    if first != NOBODY:
        b.replica[first, BEFORE] = replica
    b.heads[load] = replica


@compiled
def _unlink(b: Books, replica: int, load: int) -> None:
    after, before = b.replica[replica, NEXT], b.replica[replica, BEFORE]
    if before == NOBODY:
        b.heads[load] = after
    else:
        b.replica[before, NEXT] = after
    if after != NOBODY:
        b.replica[after, BEFORE] = before


@compiled
def _push(b: Books, end_s: float, slot: int) -> None:
    place = b.i[WORKING]
    b.i[WORKING] += 1
    while place > 0:
        above = (place - 1) >> 1
        if b.ends[above] <= end_s:
            break
        b.ends[place] = b.ends[above]
        b.ends_slot[place] = b.ends_slot[above]
        place = above
    b.ends[place] = end_s
    b.ends_slot[place] = slot


@compiled
def _pop(b: Books) -> int:
    slot: int = b.ends_slot[0]
    b.i[WORKING] -= 1
    size = b.i[WORKING]
    end_s, last = b.ends[size], b.ends_slot[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and b.ends[below + 1] < b.ends[below]:
            below += 1
        if b.ends[below] >= end_s:
            break
        b.ends[place] = b.ends[below]
        b.ends_slot[place] = b.ends_slot[below]
        place = below
    b.ends[place] = end_s
    b.ends_slot[place] = last
    return slot


@compiled
def _least_loaded(b: Books) -> int:
    for load in range(b.i[SLOTS]):
        replica: int = b.heads[load]
        if replica != NOBODY:
            return replica
    return NOBODY


@compiled
def work(b: Books) -> None:
    """Let free slots take what waits."""
    i = b.i
    while i[QUEUED] > 0:
        replica = _least_loaded(b)
        if replica == NOBODY:
            return
        _begin(b, replica)


@compiled
def _begin(b: Books, replica: int) -> None:
    i, f = b.i, b.f
    ring = len(b.queue_at)
    head = i[QUEUE_HEAD]
    workload = b.queue_work[head]
    i[FREE] -= 1
    slot = b.free[i[FREE]]
    count, longest = 0, 0.0
    while count < b.batch[workload] and count < i[QUEUED] and b.queue_work[head] == workload:
        takes = b.queue_takes[head]
        b.members[slot, count] = b.queue_at[head]
        b.takes[slot, count] = takes
        longest = max(longest, takes)
        count += 1
        head += 1
        if head == ring:
            head = 0
    i[QUEUED] -= count
    i[QUEUE_HEAD] = head
    b.slot[slot, 0], b.slot[slot, 1], b.slot[slot, 2] = replica, count, workload
    b.begun[slot] = f[NOW]
    length = (longest + (count - 1) * b.row_s[workload]) * f[FACTOR]
    _push(b, f[NOW] + min(length, f[WORK_LIMIT]), slot)
    load = b.replica[replica, LOAD]
    _unlink(b, replica, load)
    if load == 0:
        i[BUSY] += 1
    b.replica[replica, LOAD] = load + 1
    if load + 1 < i[SLOTS]:
        _link(b, replica, load + 1)


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


@compiled
def _finish(b: Books) -> bool:
    """The slot that is done first is done. Whether the last draining replica has gone with it."""
    i, f = b.i, b.f
    slot = _pop(b)
    replica, count, workload = b.slot[slot, 0], b.slot[slot, 1], b.slot[slot, 2]
    b.free[i[FREE]] = slot
    i[FREE] += 1
    failed = 0
    work_s = f[NOW] - b.begun[slot]
    for member in range(count):
        took_s = f[NOW] - b.members[slot, member]
        if took_s > f[ANSWER_LIMIT] or work_s >= f[WORK_LIMIT]:
            failed += 1
        else:
            answer(b, workload, took_s)
    if failed > 0:
        b.counts[workload, FAILED] += failed
        f[WASTED_S] += work_s * failed / count
    out_of_hand(b, count)
    load = b.replica[replica, LOAD] - 1
    b.replica[replica, LOAD] = load
    if load == 0:
        i[BUSY] -= 1
    if b.replica[replica, STATE] == IS_DRAINING:
        return load == 0 and f[NOW] >= b.may_go[replica] and _go(b, replica)
    if load + 1 < i[SLOTS]:
        _unlink(b, replica, load + 1)
    _link(b, replica, load)
    if i[QUEUED] > 0:
        _begin(b, _least_loaded(b))
    return False


@compiled
def _go(b: Books, replica: int) -> bool:
    """A draining replica is gone. Whether it was the last."""
    i = b.i
    b.replica[replica, STATE] = GONE
    b.free_replicas[i[FREE_REPLICAS]] = replica
    i[FREE_REPLICAS] += 1
    i[DRAINING] -= 1
    return bool(i[DRAINING] == 0)


@compiled
def _drop(b: Books) -> None:
    """The oldest that waits has waited too long."""
    i = b.i
    head = i[QUEUE_HEAD]
    b.counts[b.queue_work[head], FAILED] += 1
    i[QUEUE_HEAD] = head + 1 if head + 1 < len(b.queue_at) else 0
    i[QUEUED] -= 1
    out_of_hand(b, 1)


@compiled
def _arrive(b: Books, at_s: float, takes: float, workload: int) -> None:
    i = b.i
    i[ARRIVED] += 1
    counts = b.counts[workload]
    counts[REQUESTS] += 1
    if i[READY] == 0:
        counts[COLD] += 1
    replica = _least_loaded(b)
    if replica == NOBODY and i[QUEUED] >= i[QUEUE_MOST]:
        counts[REFUSED] += 1
        i[ENDED] += 1
        return
    ring = len(b.queue_at)
    place = i[QUEUE_HEAD] + i[QUEUED]
    if place >= ring:
        place -= ring
    b.queue_at[place] = at_s
    b.queue_takes[place] = takes
    b.queue_work[place] = workload
    i[QUEUED] += 1
    i[HAND] += 1
    if i[HAND] > i[MOST_HAND]:
        i[MOST_HAND] = i[HAND]
    if replica != NOBODY:
        _begin(b, replica)
    elif i[QUEUED] > i[MOST_QUEUED]:
        i[MOST_QUEUED] = i[QUEUED]


@compiled
def run(b: Books, at_s: Floats, takes: Floats, which: Ints, until_s: float, is_last: bool) -> int:
    """Let requests of the chunk come, and be worked on, until `until_s` (included) or what DONE and others name.

    `is_last`: nothing comes behind the chunk.
    """
    i, f = b.i, b.f
    size, ring = len(at_s), len(b.queue_at)
    while True:
        place = i[POSITION]
        if place < size:
            came_s = at_s[place]
        elif is_last:
            came_s = inf
        else:
            return MORE
        stop_s = until_s if i[HAND] <= i[TRIP] else min(until_s, max(f[EARLIEST], f[NOW]))
        end_s = b.ends[0] if i[WORKING] > 0 else inf
        late_s = b.queue_at[i[QUEUE_HEAD]] + f[WAIT_LIMIT] if i[QUEUED] > 0 else inf
        next_s = min(came_s, end_s, late_s)
        if next_s > stop_s:
            advance(b, stop_s)
            return DONE if stop_s == until_s else TRIPPED
        advance(b, next_s)
        if next_s == end_s:
            if _finish(b):
                return SETTLED
        elif next_s == late_s:
            _drop(b)
        elif i[QUEUED] == ring:
            return FULL
        else:
            _arrive(b, came_s, takes[place], which[place])
            i[POSITION] += 1


@compiled
def join(b: Books, count: int) -> None:
    """Replicas are ready. There must be room for them."""
    i = b.i
    for _ in range(count):
        i[FREE_REPLICAS] -= 1
        replica = b.free_replicas[i[FREE_REPLICAS]]
        b.replica[replica, STATE] = IS_READY
        b.replica[replica, LOAD] = 0
        i[READY] += 1
        _link(b, replica, 0)
    work(b)


@compiled
def leave(b: Books, count: int, may_go_s: float) -> None:
    """Ready replicas drain, the least loaded first: they take nothing more, and go when they have answered what they
    have, but not before `may_go_s`."""
    i = b.i
    for load in range(i[SLOTS] + 1):
        replica = len(b.replica) - 1
        while count > 0 and replica >= 0:
            if b.replica[replica, STATE] == IS_READY and b.replica[replica, LOAD] == load:
                _drain(b, replica, may_go_s)
                count -= 1
            replica -= 1


@compiled
def _drain(b: Books, replica: int, may_go_s: float) -> None:
    i = b.i
    load = b.replica[replica, LOAD]
    if load < i[SLOTS]:
        _unlink(b, replica, load)
    b.replica[replica, STATE] = IS_DRAINING
    b.may_go[replica] = may_go_s
    i[READY] -= 1
    i[DRAINING] += 1
    if load == 0 and may_go_s <= b.f[NOW]:
        _go(b, replica)


@compiled
def dismiss(b: Books, replica: int) -> None:
    """A ready replica drains, and goes when it has answered what it has."""
    _drain(b, replica, b.f[NOW])


@compiled
def release(b: Books) -> float:
    """Draining replicas that have nothing in hand and may go do so; when the next one may, as far as is known."""
    next_s = inf
    for replica in range(len(b.replica)):
        if b.replica[replica, STATE] == IS_DRAINING and b.replica[replica, LOAD] == 0:
            if b.may_go[replica] <= b.f[NOW]:
                _go(b, replica)
            else:
                next_s = min(next_s, b.may_go[replica])
    return next_s


@compiled
def kill(b: Books, replica: int) -> int:
    """A replica is dead at once; how many requests were lost with it: queued again in front, or failed."""
    i, f = b.i, b.f
    if b.replica[replica, STATE] == IS_READY:
        _drain(b, replica, inf)
    size, kept, lost = i[WORKING], 0, 0
    i[WORKING] = 0
    for place in range(size):
        slot = b.ends_slot[place]
        end_s = b.ends[place]
        if b.slot[slot, 0] != replica:
            _push(b, end_s, slot)
            kept += 1
            continue
        count, workload = b.slot[slot, 1], b.slot[slot, 2]
        lost += count
        f[WASTED_S] += f[NOW] - b.begun[slot]
        b.free[i[FREE]] = slot
        i[FREE] += 1
        if i[REPEATS] > 0:
            _again(b, slot, count, workload)
        else:
            b.counts[workload, FAILED] += count
            out_of_hand(b, count)
    if b.replica[replica, LOAD] > 0:
        b.replica[replica, LOAD] = 0
        i[BUSY] -= 1
    _go(b, replica)
    work(b)
    return lost


@compiled
def _again(b: Books, slot: int, count: int, workload: int) -> None:
    """Queued again, in front; as many as there is room for."""
    i, ring = b.i, len(b.queue_at)
    for member in range(count - 1, -1, -1):
        if i[QUEUED] == ring:
            b.counts[workload, FAILED] += 1
            out_of_hand(b, 1)
            continue
        head = i[QUEUE_HEAD] - 1 if i[QUEUE_HEAD] > 0 else ring - 1
        b.queue_at[head] = b.members[slot, member]
        b.queue_takes[head] = b.takes[slot, member]
        b.queue_work[head] = workload
        i[QUEUE_HEAD] = head
        i[QUEUED] += 1

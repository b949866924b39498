"""Requests in front of replicas, one by one: first come, first served, by the least loaded replica. Machine code.

A request waits until a slot of a replica is free. A free slot takes the oldest one, and with it as many of the same
workload behind it as make a batch. Nothing is begun ahead of time: the run stops at `until_s`, and replicas that are
made ready then take what still waits.

The loop is one function with its figures in local variables: calls that hand over many arrays cost more than what is
done in them (a third of a microsecond each).
"""

from __future__ import annotations

from math import inf, log10
from typing import Final

from trimtab.sim.kernels.books import (
    ANSWER_LIMIT,
    ANSWERED,
    ARRIVED,
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
    HAND,
    HAND_S,
    IDLE_AFTER,
    IDLE_S,
    IS_READY,
    KEPT,
    LAST_S,
    LEAST_HAND,
    LOAD,
    MAX_S,
    MOST_HAND,
    NOBODY,
    NOW,
    POSITION,
    QUEUE_HEAD,
    QUEUE_MOST,
    QUEUED,
    QUEUED_S,
    READY,
    READY_S,
    REFUSED,
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
)
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.kernels.fleet import gone, link, unlink
from trimtab.sim.kernels.heap import drop, push
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
def run(b: Books, at_s: Floats, takes: Floats, which: Ints, until_s: float, is_last: bool) -> int:
    """Let requests of the chunk come, and be worked on, until `until_s` (included) or what DONE and others name.

    `is_last`: nothing comes behind the chunk.
    """
    i, f = b.i, b.f
    replicas, heads, free, slots_of, begun, members = b.replica, b.heads, b.free, b.slot, b.begun, b.members
    ends, ends_slot, member_takes = b.ends, b.ends_slot, b.takes
    queue_at, queue_takes, queue_work, batch, row_s = b.queue_at, b.queue_takes, b.queue_work, b.batch, b.row_s
    idle_from = b.idle_from
    counts, sums, histogram, lately, within_s = b.counts, b.sums, b.histogram, b.lately, b.within_s
    size, ring, slots = len(at_s), len(queue_at), i[SLOTS]
    place, hand, queued, head, working, busy = i[POSITION], i[HAND], i[QUEUED], i[QUEUE_HEAD], i[WORKING], i[BUSY]
    least, most, trip, queue_most = i[LEAST_HAND], i[MOST_HAND], i[TRIP], i[QUEUE_MOST]
    now_s, hand_s, queued_s, busy_s = f[NOW], f[HAND_S], f[QUEUED_S], f[BUSY_S]
    began_s, draining = now_s, i[DRAINING]
    wait_limit, answer_limit, work_limit = f[WAIT_LIMIT], f[ANSWER_LIMIT], f[WORK_LIMIT]
    why = DONE
    while True:
        # A free slot takes what waits.
        while queued > 0:
            replica = NOBODY
            load = 0
            while load < slots:
                replica = heads[load]
                if replica != NOBODY:
                    break
                load += 1
            if replica == NOBODY:
                break
            workload = queue_work[head]
            i[FREE] -= 1
            slot = free[i[FREE]]
            count, longest_s = 0, 0.0
            while count < batch[workload] and count < queued and queue_work[head] == workload:
                one_s = queue_takes[head]
                members[slot, count] = queue_at[head]
                member_takes[slot, count] = one_s
                longest_s = max(longest_s, one_s)
                count += 1
                head += 1
                if head == ring:
                    head = 0
            queued -= count
            slots_of[slot, 0] = replica
            slots_of[slot, 1] = count
            slots_of[slot, 2] = workload
            begun[slot] = now_s
            length_s = (longest_s + (count - 1) * row_s[workload]) * f[FACTOR]
            working = push(ends, ends_slot, working, now_s + min(length_s, work_limit), slot)
            unlink(replicas, heads, replica, load)
            if load == 0:
                busy += 1
                f[IDLE_S] += max(0.0, now_s - idle_from[replica])
            replicas[replica, LOAD] = load + 1
            if load + 1 < slots:
                link(replicas, heads, replica, load + 1)
        # What is next, and the time until then.
        if place < size:
            came_s = at_s[place]
        elif is_last:
            came_s = inf
        else:
            why = MORE
            break
        stop_s = until_s if hand <= trip else min(until_s, max(f[EARLIEST], now_s))
        end_s = ends[0] if working > 0 else inf
        late_s = queue_at[head] + wait_limit if queued > 0 else inf
        next_s = min(came_s, min(end_s, late_s))
        if next_s <= stop_s and queued == ring and next_s == came_s:
            why = FULL
            break
        to_s = min(next_s, stop_s)
        span_s = to_s - now_s
        if span_s > 0:
            hand_s += hand * span_s
            queued_s += queued * span_s
            busy_s += busy * span_s
            now_s = to_s
        if next_s > stop_s:
            why = DONE if stop_s == until_s else TRIPPED
            break
        if next_s == end_s:  # a slot is done
            slot = ends_slot[0]
            working = drop(ends, ends_slot, working)
            free[i[FREE]] = slot
            i[FREE] += 1
            replica, count, workload = slots_of[slot, 0], slots_of[slot, 1], slots_of[slot, 2]
            work_s = now_s - begun[slot]
            f[WORKED_S] += work_s
            f[LAST_S] = now_s
            for member in range(count):
                took_s = now_s - members[slot, member]
                if took_s > answer_limit or work_s >= work_limit:
                    counts[workload, FAILED] += 1
                    f[WASTED_S] += work_s / count
                    continue
                counts[workload, ANSWERED] += 1
                if took_s <= within_s[workload]:
                    counts[workload, KEPT] += 1
                sums[workload, SUM_S] += took_s
                sums[workload, MAX_S] = max(sums[workload, MAX_S], took_s)
                row = 0
                if took_s > LEAST_S:
                    row = min(int(log10(took_s / LEAST_S) * BINS_PER_DECADE), BINS - 1)
                histogram[workload, row] += 1.0
                lately[row] += 1.0
            i[ENDED] += count
            hand -= count
            load = replicas[replica, LOAD] - 1
            replicas[replica, LOAD] = load
            if load == 0:
                busy -= 1
                idle_from[replica] = now_s + f[IDLE_AFTER]
            if replicas[replica, STATE] == IS_READY:
                if load + 1 < slots:
                    unlink(replicas, heads, replica, load + 1)
                link(replicas, heads, replica, load)
            elif load == 0 and now_s >= b.may_go[replica]:
                f[DRAINING_S] += draining * (now_s - began_s)  # as many as that until now
                began_s, draining = _parted(f, i, began_s, now_s), draining - 1
                f[NOW] = now_s
                gone(b, replica)
                if draining == 0:
                    why = SETTLED
        elif next_s == late_s:  # the oldest that waits has waited too long
            counts[queue_work[head], FAILED] += 1
            head = head + 1 if head + 1 < ring else 0
            queued -= 1
            hand -= 1
            i[ENDED] += 1
        else:  # a request comes
            workload = which[place]
            i[ARRIVED] += 1
            counts[workload, REQUESTS] += 1
            if i[READY] == 0:
                counts[workload, COLD] += 1
            if queued >= queue_most and working >= slots * i[READY]:
                counts[workload, REFUSED] += 1
                i[ENDED] += 1
            else:
                last = head + queued
                if last >= ring:
                    last -= ring
                queue_at[last] = came_s
                queue_takes[last] = takes[place]
                queue_work[last] = workload
                queued += 1
                hand += 1
                most = max(most, hand)
            place += 1
        if hand < least:
            least = hand
        if why == SETTLED:
            break
    i[POSITION], i[HAND], i[QUEUED], i[QUEUE_HEAD], i[WORKING], i[BUSY] = place, hand, queued, head, working, busy
    i[LEAST_HAND], i[MOST_HAND] = least, most
    f[NOW], f[HAND_S], f[QUEUED_S], f[BUSY_S] = now_s, hand_s, queued_s, busy_s
    f[DRAINING_S] += draining * (now_s - began_s)
    _parted(f, i, began_s, now_s)
    return why


@compiled
def _parted(f: Floats, i: Ints, began_s: float, now_s: float) -> float:
    """Replica-seconds of what did not change since `began_s`; the new beginning."""
    f[READY_S] += i[READY] * (now_s - began_s)
    f[STARTING_S] += i[STARTING] * (now_s - began_s)
    return now_s

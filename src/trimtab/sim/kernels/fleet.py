"""Replicas of an endpoint: those that are ready, in lists by load; how they join, drain, and die. Machine code."""

from __future__ import annotations

from math import inf

from trimtab.sim.kernels.books import (
    BEFORE,
    BUSY,
    DRAINING,
    ENDED,
    FAILED,
    FREE,
    FREE_REPLICAS,
    GONE,
    HAND,
    IDLE_AFTER,
    IDLE_S,
    IS_DRAINING,
    IS_READY,
    LEAST_HAND,
    LOAD,
    NEXT,
    NOBODY,
    NOW,
    QUEUE_HEAD,
    QUEUED,
    READY,
    REPEATS,
    SLOTS,
    STATE,
    WASTED_S,
    WORKED_S,
    WORKING,
    Books,
)
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.kernels.heap import push
from trimtab.sim.world import Ints


@compiled
def link(replicas: Ints, heads: Ints, replica: int, load: int) -> None:
    """Last in its list: replicas take turns, as they do by lot live. The second half of `heads` has the lists' ends."""
    tails = len(heads) >> 1
    last = heads[tails + load]
    replicas[replica, BEFORE] = last
    replicas[replica, NEXT] = NOBODY
    if last != NOBODY:
        replicas[last, NEXT] = replica
    else:
        heads[load] = replica
    heads[tails + load] = replica


@compiled
def unlink(replicas: Ints, heads: Ints, replica: int, load: int) -> None:
    """Out of its list."""
    after, before = replicas[replica, NEXT], replicas[replica, BEFORE]
    if before == NOBODY:
        heads[load] = after
    else:
        replicas[before, NEXT] = after
    if after != NOBODY:
        replicas[after, BEFORE] = before
    else:
        heads[(len(heads) >> 1) + load] = before


@compiled
def gone(b: Books, replica: int) -> None:
    """A draining replica is gone."""
    i = b.i
    if b.replica[replica, LOAD] == 0:
        b.f[IDLE_S] += max(0.0, b.f[NOW] - b.idle_from[replica])
    b.replica[replica, STATE] = GONE
    b.free_replicas[i[FREE_REPLICAS]] = replica
    i[FREE_REPLICAS] += 1
    i[DRAINING] -= 1


@compiled
def join(b: Books, count: int) -> None:
    """Replicas are ready. There must be room for them."""
    i = b.i
    for _ in range(count):
        i[FREE_REPLICAS] -= 1
        replica = b.free_replicas[i[FREE_REPLICAS]]
        b.replica[replica, STATE] = IS_READY
        b.replica[replica, LOAD] = 0
        b.idle_from[replica] = b.f[NOW] + b.f[IDLE_AFTER]
        i[READY] += 1
        link(b.replica, b.heads, replica, 0)


@compiled
def idle(b: Books) -> float:
    """Replica-seconds up to now of replicas that had been without a request for long."""
    for replica in range(len(b.replica)):
        if b.replica[replica, STATE] != GONE and b.replica[replica, LOAD] == 0:
            b.f[IDLE_S] += max(0.0, b.f[NOW] - b.idle_from[replica])
            b.idle_from[replica] = max(b.f[NOW], b.idle_from[replica])
    idle_s: float = b.f[IDLE_S]
    return idle_s


@compiled
def leave(b: Books, count: int, may_go_s: float) -> None:
    """Ready replicas drain, the least loaded first: they take nothing more, and go when they have answered what they
    have, but not before `may_go_s`."""
    for load in range(b.i[SLOTS] + 1):
        replica = len(b.replica) - 1
        while count > 0 and replica >= 0:
            if b.replica[replica, STATE] == IS_READY and b.replica[replica, LOAD] == load:
                dismiss(b, replica, may_go_s)
                count -= 1
            replica -= 1


@compiled
def dismiss(b: Books, replica: int, may_go_s: float) -> None:
    """This ready replica drains."""
    i = b.i
    load = b.replica[replica, LOAD]
    if load < i[SLOTS]:
        unlink(b.replica, b.heads, replica, load)
    b.replica[replica, STATE] = IS_DRAINING
    b.may_go[replica] = may_go_s
    i[READY] -= 1
    i[DRAINING] += 1
    if load == 0 and may_go_s <= b.f[NOW]:
        gone(b, replica)


@compiled
def release(b: Books) -> float:
    """Draining replicas that have nothing in hand and may go do so; when the next one may, as far as is known."""
    next_s = inf
    for replica in range(len(b.replica)):
        if b.replica[replica, STATE] == IS_DRAINING:
            if b.may_go[replica] > b.f[NOW]:
                next_s = min(next_s, b.may_go[replica])
            elif b.replica[replica, LOAD] == 0:
                gone(b, replica)
    return next_s


@compiled
def kill(b: Books, replica: int) -> int:
    """A replica is dead at once; how many requests were lost with it: queued again in front, or failed."""
    i, f = b.i, b.f
    if b.replica[replica, STATE] == IS_READY:
        dismiss(b, replica, inf)
    size, kept, lost = i[WORKING], 0, 0
    for place in range(size):
        slot = b.ends_slot[place]
        if b.slot[slot, 0] != replica:
            kept = push(b.ends, b.ends_slot, kept, b.ends[place], slot)
            continue
        count, workload = b.slot[slot, 1], b.slot[slot, 2]
        lost += count
        f[WORKED_S] += f[NOW] - b.begun[slot]
        f[WASTED_S] += f[NOW] - b.begun[slot]
        b.free[i[FREE]] = slot
        i[FREE] += 1
        _lost(b, slot, count, workload)
    i[WORKING] = kept
    if b.replica[replica, LOAD] > 0:
        b.replica[replica, LOAD] = 0
        b.idle_from[replica] = inf
        i[BUSY] -= 1
    gone(b, replica)
    return lost


@compiled
def _lost(b: Books, slot: int, count: int, workload: int) -> None:
    """Requests of a slot whose replica has died: queued again in front where that is usual, and there is room."""
    i, ring = b.i, len(b.queue_at)
    for member in range(count - 1, -1, -1):
        if i[REPEATS] == 0 or i[QUEUED] == ring:
            b.counts[workload, FAILED] += 1
            i[ENDED] += 1
            i[HAND] -= 1
            continue
        head = i[QUEUE_HEAD] - 1 if i[QUEUE_HEAD] > 0 else ring - 1
        b.queue_at[head] = b.members[slot, member]
        b.queue_takes[head] = b.takes[slot, member]
        b.queue_work[head] = workload
        i[QUEUE_HEAD] = head
        i[QUEUED] += 1
    i[LEAST_HAND] = min(i[LEAST_HAND], i[HAND])

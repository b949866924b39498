"""What the queue's machine code works on: arrays, and the places of single figures in them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from trimtab.sim.latency import BINS
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints

# Whole numbers, in `Books.i`.
POSITION: Final = 0  # of the next request in the chunk
HAND: Final = 1  # requests queued and in work
QUEUED: Final = 2
QUEUE_HEAD: Final = 3
WORKING: Final = 4  # slots that work: the heap's length
FREE: Final = 5  # slots that nobody has: the stack's length
FREE_REPLICAS: Final = 6
READY: Final = 7  # replicas that take requests
STARTING: Final = 8
DRAINING: Final = 9
BUSY: Final = 10  # replicas with a request in hand, draining ones too
MOST_HAND: Final = 11  # since they were reset
LEAST_HAND: Final = 12
TRIP: Final = 13  # with more in hand than that the run stops, to be looked at
SLOTS: Final = 14
QUEUE_MOST: Final = 15
ARRIVED: Final = 16  # counters over all workloads
ENDED: Final = 17
REPEATS: Final = 18  # whether lost work is queued again
_INTS: Final = 19

# Seconds, in `Books.f`.
NOW: Final = 0
EARLIEST: Final = 1  # TRIP does not stop before
WAIT_LIMIT: Final = 2  # in the queue; then it fails
ANSWER_LIMIT: Final = 3  # queue and work; one that is answered later has failed
WORK_LIMIT: Final = 4  # work is stopped after so long, and has failed
FACTOR: Final = 5  # by which work is slower than usual
IDLE_AFTER: Final = 6  # a replica that has had nothing in hand for so long is idle
HAND_S: Final = 7  # request-seconds in hand
QUEUED_S: Final = 8
BUSY_S: Final = 9  # replica-seconds, from here on
READY_S: Final = 10
STARTING_S: Final = 11
DRAINING_S: Final = 12
IDLE_S: Final = 13  # up to when each began anew, or `fleet.idle` was called
WORKED_S: Final = 14  # slot-seconds, of what is done
WASTED_S: Final = 15  # of these, on what nobody was answered
QUIET_AFTER: Final = 16  # multi-model endpoints: nothing in hand for so long, and all replicas are idle,
QUIET_FROM: Final = 17  # from then on
LAST_S: Final = 18  # when a slot was done last
_FLOATS: Final = 19

# A row for each workload, in `Books.counts`.
REQUESTS: Final = 0
ANSWERED: Final = 1
REFUSED: Final = 2
FAILED: Final = 3
COLD: Final = 4
KEPT: Final = 5  # within the objective
_COUNTS: Final = 6

# Columns of `Books.sums`, by workload.
SUM_S: Final = 0
MAX_S: Final = 1

# Of `Books.replica`, columns.
STATE: Final = 0
LOAD: Final = 1  # slots that work
NEXT: Final = 2  # in the list of ready replicas with the same load
BEFORE: Final = 3

GONE: Final = 0
IS_READY: Final = 1
IS_DRAINING: Final = 2

NOBODY: Final = -1


class Counted(Protocol):
    """What all books have: figures, counts and latencies."""

    @property
    def i(self) -> Ints: ...
    @property
    def f(self) -> Floats: ...
    @property
    def counts(self) -> Ints: ...
    @property
    def sums(self) -> Floats: ...
    @property
    def histogram(self) -> Floats: ...
    @property
    def lately(self) -> Floats: ...
    @property
    def within_s(self) -> Floats: ...


class Books(NamedTuple):
    """All state of one endpoint's queue and replicas."""

    i: Ints
    f: Floats
    replica: Ints  # by number
    may_go: Floats  # by number of the replica, draining: not before
    idle_from: Floats  # by number: when it is idle, if nothing comes until then
    heads: Ints  # by load: the first ready replica that has it; behind these, by load, the last one
    free_replicas: Ints  # a stack
    ends: Floats  # a heap: when slots are done
    ends_slot: Ints
    free: Ints  # a stack of slots
    slot: Ints  # by slot: replica, requests, workload
    begun: Floats  # by slot
    members: Floats  # by slot: when its requests came
    takes: Floats  # by slot: what they take, to begin anew
    queue_at: Floats  # a ring
    queue_takes: Floats
    queue_work: Ints
    counts: Ints
    sums: Floats
    histogram: Floats  # by workload and bin: answered
    lately: Floats  # by bin: answered, since it was reset
    batch: Ints  # by workload
    row_s: Floats
    within_s: Floats


def books(*, slots: int, batch: Ints, row_s: Floats, within_s: Floats, replicas: int = 8, queue: int = 1024) -> Books:
    """Empty ones. `replicas` and `queue` are what there is room for at first."""
    count, width = len(batch), int(batch.max())
    whole = np.zeros(_INTS, dtype=np.int64)
    whole[SLOTS] = slots
    whole[TRIP] = whole[QUEUE_MOST] = np.iinfo(np.int64).max
    seconds = np.zeros(_FLOATS)
    seconds[FACTOR] = 1.0
    seconds[[WAIT_LIMIT, ANSWER_LIMIT, WORK_LIMIT, IDLE_AFTER]] = np.inf
    nobody, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    made = Books(
        i=whole, f=seconds, replica=np.zeros((0, 4), dtype=np.int64), may_go=nothing, idle_from=nothing,
        heads=np.full(2 * slots, NOBODY, dtype=np.int64), free_replicas=nobody, ends=nothing, ends_slot=nobody,
        free=nobody, slot=np.zeros((0, 3), dtype=np.int64), begun=nothing, members=np.zeros((0, width)),
        takes=np.zeros((0, width)), queue_at=np.zeros(queue), queue_takes=np.zeros(queue),
        queue_work=np.zeros(queue, dtype=np.int64), counts=np.zeros((count, _COUNTS), dtype=np.int64),
        sums=np.zeros((count, 2)), histogram=np.zeros((count, BINS)), lately=np.zeros(BINS), batch=batch, row_s=row_s,
        within_s=within_s,
    )  # fmt: skip
    return with_replicas(made, replicas)


def with_replicas(old: Books, most: int) -> Books:
    """The same with room for `most` replicas."""
    had, slots = len(old.replica), int(old.i[SLOTS])
    more = most - had
    old.i[FREE_REPLICAS] += more
    old.i[FREE] += more * slots
    spare = np.arange(most - 1, had - 1, -1)
    spare_slots = np.arange(most * slots - 1, had * slots - 1, -1)
    return old._replace(
        replica=_longer(old.replica, most),
        may_go=_longer(old.may_go, most),
        idle_from=_longer(old.idle_from, most),
        free_replicas=_stack(old.free_replicas[: old.i[FREE_REPLICAS] - more], spare, most),
        ends=_longer(old.ends, most * slots),
        ends_slot=_longer(old.ends_slot, most * slots),
        free=_stack(old.free[: old.i[FREE] - more * slots], spare_slots, most * slots),
        slot=_longer(old.slot, most * slots),
        begun=_longer(old.begun, most * slots),
        members=_longer(old.members, most * slots),
        takes=_longer(old.takes, most * slots),
    )


def with_queue(old: Books, most: int) -> Books:
    """The same with room for `most` requests in the queue."""
    head = old.i[QUEUE_HEAD]
    old.i[QUEUE_HEAD] = 0
    rings = {name: np.roll(getattr(old, name), -head) for name in ("queue_at", "queue_takes", "queue_work")}
    return old._replace(**{name: _longer(ring, most) for name, ring in rings.items()})


def _longer(array: Any, length: int) -> Any:
    made = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    made[: len(array)] = array
    return made


def _stack(held: Ints, more: Ints, length: int) -> Ints:
    made: Ints = np.zeros(length, dtype=np.int64)
    made[: len(held) + len(more)] = np.concatenate([more, held])
    return made

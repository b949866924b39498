"""Asynchronous tasks: what is to be done with one that was leased, when to try again, how many to take. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from trimtab.resources.asynchronous import DECIDED, DEFAULT_CONCURRENCY, AsyncSettings, AsyncTask, QueueMark
from trimtab.resources.replica import Wire
from trimtab.resources.routing import EndpointRoute, Lane

MAX_LEASES = 8  # a task in whose hands so many replicas (or consumers) have died is given up
PUBLISH_FOR_S = 6 * 3600.0  # how long S3 may be away before an outcome that is known is given up
AWAY_PAUSE_S = 2.0  # before S3, or an endpoint without capacity, is tried again
_FIRST_PAUSE_S = 0.5
_LAST_PAUSE_S = 10.0
_DELETED_AT_ONCE = 64  # tasks of a deleted endpoint that are ended at the same time


class Reason(enum.StrEnum):
    """Why a task has failed: one stable word each."""

    MODEL_FAILED = "ModelFailed"
    TIMED_OUT = "TimedOut"
    EXPIRED = "Expired"
    INPUT_MISSING = "InputMissing"
    INPUT_REFUSED = "InputRefused"
    INPUT_TOO_LARGE = "InputTooLarge"
    OUTPUT_REFUSED = "OutputRefused"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    ENDPOINT_DELETED = "EndpointDeleted"
    REPLICAS_LOST = "ReplicasLost"


ENDS_QUIETLY = (Reason.EXPIRED, Reason.ENDPOINT_DELETED)  # to try again makes no sense: no dead letter is kept


class Step(enum.Enum):
    """What is next for a task."""

    WORK = enum.auto()
    PUBLISH = enum.auto()  # its outcome was decided by whoever had it before
    EXPIRED = enum.auto()
    DELETED = enum.auto()
    WORN = enum.auto()  # leased too often


def next_step(task: AsyncTask, mark: QueueMark, *, leases: int, expired: bool) -> Step:
    """What whoever leases a task is to do. `leases` counts this one.

    Whoever decides holds a lease that counts: a task that was decided and is leased for the first time has been
    taken out of the dead letters, to be tried anew.
    """
    if task.stage == DECIDED and leases > 1:
        return Step.PUBLISH
    if mark.deleted or (mark.uid and task.endpoint_uid != mark.uid):
        return Step.DELETED
    if expired:
        return Step.EXPIRED
    if leases > MAX_LEASES:
        return Step.WORN
    return Step.WORK


def pause_s(leases: int) -> float:
    """How long a task waits whose replica died: not at all the first time, then twice as long each time."""
    if leases <= 1:
        return 0.0
    return float(min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(leases - 2, 16)))


def capacity(route: EndpointRoute | None, mark: QueueMark) -> int:
    """How many tasks of an endpoint may be in work at once: MaxConcurrentInvocationsPerInstance for each replica.

    0 while there is no replica, or no route: then the tasks wait in the queue.
    """
    if mark.deleted:
        return _DELETED_AT_ONCE
    if route is None or route.asynchronous is None or (mark.uid and route.uid != mark.uid):
        return 0
    lanes = [lane for variant in route.variants if variant.weight > 0 for lane in variant.lanes]
    return _in_work(route.asynchronous, lanes)


def _in_work(settings: AsyncSettings, lanes: Iterable[Lane]) -> int:
    if settings.max_concurrency:
        return settings.max_concurrency * len({lane.replica_id for lane in lanes})
    return sum(_slots(lane) for lane in lanes)


def _slots(lane: Lane) -> int:
    if lane.wire is Wire.HTTP and lane.concurrency <= 1:
        return DEFAULT_CONCURRENCY
    return max(lane.concurrency, lane.batch_size, 1)


def to_lease(room: int, in_hand: int, *, busy: int, most: int) -> int:
    """How many more tasks to take of one queue, of which `in_hand` are taken and `room` may be.

    All queues together may have `most` in hand: each of the `busy` ones an equal part, so that none waits for others.
    """
    return max(0, min(room, max(1, most // max(1, busy))) - in_hand)

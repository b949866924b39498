"""A part of a journal as something to try policies on: its load, its replicas, and what was decided from outside."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.control.scaling.entries import Began, Entry, time_of
from trimtab.errors import Invalid
from trimtab.gateway.signalled import PART
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Load, Scheduled
from trimtab.policies.scaling.windows import SILENT_S, TOLD_WITHIN_S
from trimtab.sim.arrivals import Counted
from trimtab.sim.replay.trial import Machine, Trial, under_orders

START_S: Final = 0.05  # of a replica, where none was measured
_LEAST_S: Final = 1.0


class Recording(Struct, frozen=True, kw_only=True):
    """What was recorded of one variant, from its first entry in the time that was asked for.

    `orders`: capacity as it changed, and when. `is_whole`: an event policy was there all the time, so `loads` are all
    of its load; else gateways told theirs at times, or never.
    """

    rules: Rules
    replicas: int
    orders: tuple[tuple[float, int], ...]
    scheduled: tuple[Scheduled, ...]
    loads: tuple[Load, ...]
    is_whole: bool
    start_s: float
    end_s: float

    def arrivals(self) -> Counted:
        """As gateways told it; where they said nothing, nothing came. Invalid for less than a second of it."""
        if not self.loads:
            raise Invalid("No load was recorded in that time.")
        return arrivals_of(self.loads, self.start_s, self.end_s)

    @property
    def work_s(self) -> float | None:
        """What a request took a replica; None when that was not recorded."""
        return work_of(self.loads)

    @property
    def birth_s(self) -> float | None:
        """How long a start took; None when that was not recorded."""
        return next((load.start_s for load in reversed(self.loads) if load.start_s > 0), None)

    def happened(self, arrivals: Counted, machine: Machine) -> Trial:
        """The simulator's account of what was decided live: to compare with others of its own."""
        return under_orders(arrivals, machine, replicas=self.replicas, orders=self.orders)


def arrivals_of(loads: Sequence[Load], start_s: float, end_s: float) -> Counted:
    """What counters grew by, at random between one `Load` and the next, or in a part of that where gateways would have
    told of anything before. Before the first and after the last: nothing.

    A counter that falls (a gateway came or went) says nothing of that time: no requests are assumed. Invalid when there
    is less than a second of it.
    """
    edges_s, counts = counted(loads)
    edges_s = [min(start_s, edges_s[0]), *edges_s, max(end_s, edges_s[-1])]
    if edges_s[-1] - edges_s[0] < _LEAST_S:
        raise Invalid("The record has less than a second of load, so there is nothing to try policies on.")
    return Counted(edges_s=np.array(edges_s), counts=np.array([0, *counts, 0], dtype=np.int64))


def counted(loads: Sequence[Load]) -> tuple[list[float], list[int]]:
    """Edges of time from the first `Load` to the last, and how many requests came between them.

    Where all of which the first one tells are in hand still, they came just then, too: gateways had told of any before.
    """
    first = loads[0]
    edges_s, counts = [first.at_s], []
    if first.arrived and first.arrived == first.now and not first.ended:
        edges_s, counts = [first.at_s - TOLD_WITHIN_S, first.at_s], [first.arrived]
    for before, after in itertools.pairwise(loads):
        at_s = max(after.at_s, edges_s[-1])  # the wall clock may have been set back
        came = max(0, after.arrived - before.arrived)
        begin_s = at_s - TOLD_WITHIN_S
        if came and begin_s > edges_s[-1] and _came_just_now(before, after):
            edges_s.append(begin_s)
            counts.append(0)
        edges_s.append(at_s)
        counts.append(came)
    return edges_s, counts


def _came_just_now(before: Load, after: Load) -> bool:
    """Whether what came between them was not there when gateways looked the time before: they would have told."""
    would_tell = before.now < PART and after.ended == before.ended
    return would_tell or after.at_s - before.at_s > SILENT_S


def whole_loads(entries: Sequence[Entry]) -> tuple[Load, ...]:
    """The newest stretch of what gateways told in which an event policy was there all the time: all of the load."""
    found: list[Load] = []
    is_watched = False
    for entry in entries:
        if isinstance(entry, Began | Rules):
            is_watched = _has_event(entry.rules if isinstance(entry, Began) else entry)
            if not is_watched:
                found.clear()
        elif isinstance(entry, Load) and is_watched:
            found.append(entry)
    return tuple(found)


def work_of(loads: Sequence[Load]) -> float | None:
    """Replica-seconds that a request took, over all that is recorded; None when nothing was answered."""
    work_s = ended = 0.0
    for before, after in itertools.pairwise(loads):
        if after.work_s >= before.work_s and after.ended >= before.ended:
            work_s += after.work_s - before.work_s
            ended += after.ended - before.ended
    return work_s / ended if ended and work_s > 0 else None


def recorded(entries: Sequence[Entry], start_s: float, end_s: float) -> Recording:
    """The part from `start_s` to `end_s`. Rules are those in force at its end. Invalid when there is nothing in it."""
    rules: Rules | None = None
    replicas: int | None = None
    orders: list[tuple[float, int]] = []
    capacity = -1
    scheduled: list[Scheduled] = []
    loads: list[Load] = []
    first_s: float | None = None
    is_whole = True
    for entry in entries:
        if isinstance(entry, Began | Rules):
            rules = entry.rules if isinstance(entry, Began) else entry
            is_whole = is_whole and _has_event(rules)
            continue
        if first_s is None and entry.at_s >= start_s:
            first_s = entry.at_s
        if isinstance(entry, Load) and entry.at_s >= start_s:
            loads.append(entry)
        if isinstance(entry, Scheduled) and entry.at_s >= start_s:
            scheduled.append(entry)
        now = entry.wanted if isinstance(entry, Decision) and entry.made else _capacity(entry)
        if now is None or now == capacity:
            continue
        capacity = now
        if entry.at_s <= start_s or replicas is None:
            replicas = now
        else:
            orders.append((entry.at_s, now))
    if rules is None or replicas is None:
        raise Invalid("Nothing was recorded of autoscaling in that time.")
    return Recording(
        rules=rules, replicas=replicas, orders=tuple(orders), scheduled=tuple(scheduled), loads=tuple(loads),
        is_whole=is_whole, start_s=_start(entries, start_s, first_s), end_s=end_s,
    )  # fmt: skip


def _has_event(rules: Rules) -> bool:
    return any(policy.tracking is not None and policy.tracking.is_event for policy in rules.policies)


def _start(entries: Sequence[Entry], start_s: float, first_s: float | None) -> float:
    """The time asked for; or, where the record begins after it, the first entry's."""
    known = next((at_s for entry in entries if (at_s := time_of(entry)) is not None), start_s)
    return start_s if known <= start_s or first_s is None else first_s


def _capacity(entry: Entry) -> int | None:
    """What there was before the entry's own decision, if it tells."""
    if isinstance(entry, Decision | Rules | Began):
        return None
    return entry.capacity

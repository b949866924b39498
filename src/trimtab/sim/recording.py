"""A part of a journal as something to try policies on: its load, its replicas, and what was decided from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.control.scaling.entries import Began, Entry, time_of
from trimtab.errors import Invalid
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Load, Scheduled
from trimtab.sim.load import LoadShape, of_loads, work_of
from trimtab.sim.plant import Machine
from trimtab.sim.run import Run, follow

_FINE_S: Final = 7200.0  # a record no longer than this is simulated in finer steps
FINE_STEP_S: Final = 0.1
START_S: Final = 0.05  # of a replica, where none was measured


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

    def load(self) -> LoadShape:
        """As gateways told it; where they said nothing, nothing came. Invalid for less than a second of it."""
        if not self.loads:
            raise Invalid("No load was recorded in that time.")
        first, last = self.loads[0], self.loads[-1]
        ends = [replace(first, at_s=min(first.at_s, self.start_s)), replace(last, at_s=max(last.at_s, self.end_s))]
        return of_loads([ends[0], *self.loads, ends[1]], step_s=step_of(self.end_s - self.start_s))

    @property
    def work_s(self) -> float | None:
        """What a request took a replica; None when that was not recorded."""
        return work_of(self.loads)

    @property
    def birth_s(self) -> float | None:
        """How long a start took; None when that was not recorded."""
        return next((load.start_s for load in reversed(self.loads) if load.start_s > 0), None)

    def happened(self, load: LoadShape, machine: Machine) -> Run:
        """The model's account of what was decided live: to compare with other runs of the same model."""
        return follow(load, self.rules, machine, replicas=self.replicas, orders=self.orders)


def step_of(span_s: float) -> float:
    """How fine a record of such a length is simulated."""
    return FINE_STEP_S if span_s <= _FINE_S else 1.0


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

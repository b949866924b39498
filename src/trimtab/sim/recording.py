"""A part of a journal as something to try policies on: its load, its replicas, and what was decided from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from trimtab.control.scaling.entries import Began, Entry
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
    """What was recorded of one variant. `orders`: capacity as it changed, and when."""

    rules: Rules
    replicas: int
    orders: tuple[tuple[float, int], ...]
    scheduled: tuple[Scheduled, ...]
    loads: tuple[Load, ...]
    start_s: float
    end_s: float

    def load(self) -> LoadShape:
        """As gateways told it. Invalid where they have not: of a variant without event policies nobody asks them."""
        return of_loads(self.loads, step_s=step_of(self.end_s - self.start_s))

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
    for entry in entries:
        if isinstance(entry, Began | Rules):
            rules = entry.rules if isinstance(entry, Began) else entry
            continue
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
        start_s=start_s, end_s=end_s,
    )  # fmt: skip


def _capacity(entry: Entry) -> int | None:
    """What there was before the entry's own decision, if it tells."""
    if isinstance(entry, Decision | Rules | Began):
        return None
    return entry.capacity

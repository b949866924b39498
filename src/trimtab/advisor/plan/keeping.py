"""What an endpoint keeps of those in whose place it comes: all that is not searched and that its mode has.

`FIELDS` says of each field of `Serving` which of these it is, so that nothing that somebody has set gets lost without
a word: `settings.py` tells what stayed, what changed, and what a mode does not have.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import fields, replace

from trimtab.advisor.plan.limits import ASYNC_S, REAL_TIME_S, SERVERLESS_START_S, START_S, Limits
from trimtab.advisor.plan.signals import Where
from trimtab.sim.scenario.usual import queue_of, timeout_s_of
from trimtab.sim.world import Architecture, Mode, Scenario, Serving, Workload

_ANSWERED_AT_ONCE: Final = frozenset({Mode.REAL_TIME, Mode.MULTI_MODEL})
_WAITED_FOR: Final = _ANSWERED_AT_ONCE | {Mode.SERVERLESS}
SCALED: Final = _ANSWERED_AT_ONCE | {Mode.ASYNC}
"""Modes of replicas that come and go."""
ON_INSTANCES: Final = SCALED | {Mode.BATCH}
_ALL: Final = frozenset(Mode)
OF_A_KIND: Final = frozenset({"queue", "timeout_s", "drain_s"})
"""Fields that are carried over between modes of one kind alone (`kind_of`)."""


class Origin(enum.Enum):
    """Where a candidate's field comes from."""

    OWN = enum.auto()  # of the candidate: who it is
    SEARCHED = enum.auto()
    KEPT = enum.auto()  # of what is there


class Field(Struct, frozen=True):
    """One field of `Serving`: the modes that have it, and how it is called."""

    origin: Origin
    modes: frozenset[Mode]
    words: str = ""


FIELDS: Final[Mapping[str, Field]] = {
    "name": Field(Origin.OWN, _ALL),
    "mode": Field(Origin.OWN, _ALL),
    "workloads": Field(Origin.OWN, _ALL),
    "instance_type": Field(Origin.SEARCHED, ON_INSTANCES, "instance type"),
    "min_replicas": Field(Origin.SEARCHED, ON_INSTANCES, "least replicas"),
    "max_replicas": Field(Origin.SEARCHED, ON_INSTANCES, "most replicas"),
    "initial_replicas": Field(Origin.SEARCHED, ON_INSTANCES, "replicas to begin with"),
    "start_s": Field(Origin.KEPT, _ALL, "start"),
    "drain_s": Field(Origin.KEPT, SCALED, "drain"),
    "policies": Field(Origin.SEARCHED, SCALED, "scaling policies"),
    "alarms": Field(Origin.SEARCHED, SCALED, "alarms of step policies"),
    "schedule": Field(Origin.SEARCHED, SCALED, "scheduled scaling"),
    "queue": Field(Origin.KEPT, ON_INSTANCES, "queue"),
    "timeout_s": Field(Origin.KEPT, _ALL, "timeout"),
    "is_spot": Field(Origin.KEPT, ON_INSTANCES, "spot"),
    "models_bytes": Field(Origin.SEARCHED, frozenset({Mode.MULTI_MODEL}), "memory for models"),
    "pinned": Field(Origin.KEPT, frozenset({Mode.MULTI_MODEL}), "pins"),
    "slots": Field(Origin.KEPT, frozenset({Mode.MULTI_MODEL}), "slots of all models"),
    "unload_s": Field(Origin.KEPT, frozenset({Mode.MULTI_MODEL}), "unload"),
    "memory_mb": Field(Origin.KEPT, frozenset({Mode.SERVERLESS}), "memory"),
    "max_concurrency": Field(Origin.SEARCHED, frozenset({Mode.SERVERLESS}), "concurrency"),
    "provisioned": Field(Origin.SEARCHED, frozenset({Mode.SERVERLESS}), "provisioned concurrency"),
    "keep_warm": Field(Origin.KEPT, frozenset({Mode.SERVERLESS}), "keep_warm"),
    "runs_at": Field(Origin.SEARCHED, frozenset({Mode.BATCH}), "times of its runs"),
    "work_times": Field(Origin.KEPT, _ALL, "times"),
}
"""Of every field of `Serving` (a test compares them)."""


def kept(mode: Mode, present: Sequence[Serving], workloads: Sequence[Workload], limits: Limits) -> dict[str, Any]:
    """The fields that an endpoint of this mode has of those that are there (which serve its workloads now), or for
    want of them as usual. Pins are `pins_of`'s, and `work_times` is part of the workloads while a plan is made.

    Of several: the longest of their starts, timeouts, drains and unloads, the most of their slots, all of their queues
    together, and spot where all are.
    """
    alike = [one for one in present if kind_of(one.mode) == kind_of(mode)]
    found: dict[str, Any] = {
        "start_s": start_s_of(mode, present, workloads, limits),
        "timeout_s": max((one.timeout_s for one in alike), default=_TIMEOUTS_S[kind_of(mode)]),
        "queue": _queue(mode, alike),
        "is_spot": _is_spot(mode, present),
        "drain_s": _drain_s(mode, alike),
    }
    mine = [one for one in present if one.mode is mode]
    if mode is Mode.MULTI_MODEL and mine:
        found["slots"] = max(one.slots for one in mine)
        found["unload_s"] = max(one.unload_s for one in mine)
    if mode is Mode.SERVERLESS:
        found["memory_mb"] = max((one.memory_mb for one in mine), default=0)
        usual = "learned" if limits.where is Where.TRIMTAB else "600"
        found["keep_warm"] = mine[0].keep_warm if mine else usual
    return found


def kind_of(mode: Mode) -> str:
    """Modes whose requests are waited for alike have the same: limits are carried over between these alone."""
    return "waited for" if mode in _WAITED_FOR else str(mode)


_TIMEOUTS_S: Final = {"waited for": REAL_TIME_S, str(Mode.ASYNC): ASYNC_S, str(Mode.BATCH): ASYNC_S}


def _queue(mode: Mode, alike: Sequence[Serving]) -> int:
    usual = queue_of(mode)
    lengths = [one.queue for one in alike if one.mode in ON_INSTANCES]
    if mode is Mode.SERVERLESS or not lengths or all(length == usual for length in lengths):
        return usual
    return sum(lengths)


def _is_spot(mode: Mode, present: Sequence[Serving]) -> bool:
    there = [one for one in present if one.mode in ON_INSTANCES]
    return mode in ON_INSTANCES and bool(there) and all(one.is_spot for one in there)


def _drain_s(mode: Mode, alike: Sequence[Serving]) -> float | None:
    given = [one.drain_s for one in alike if one.mode in SCALED]
    if mode not in SCALED or not given or any(one is None for one in given):
        return None
    return max(one for one in given if one is not None)


def start_s_of(mode: Mode, present: Sequence[Serving], workloads: Sequence[Workload], limits: Limits) -> float:
    """What a start takes. Endpoints that have no time of it (0) do not know it: then what is assumed."""
    load_s = max((one.load_s for one in workloads), default=0.0)
    if mode is Mode.SERVERLESS:
        told = max((one.start_s for one in present if one.mode is mode), default=0.0)
        return told or SERVERLESS_START_S[limits.where] + load_s
    told = max((one.start_s for one in present if one.mode in ON_INSTANCES), default=0.0)
    return told or limits.start_s or START_S[limits.where] + load_s


def pins_of(present: Sequence[Serving], workloads: Sequence[Workload], room_bytes: int) -> tuple[str, ...]:
    """Pins of the endpoints that are there, by name, as far as the largest of the other models still fits beside."""
    wanted = {name for one in present for name in one.pinned}
    sizes = {one.name: one.memory_bytes for one in workloads}
    pins: list[str] = []
    for name in sorted(wanted & set(sizes)):
        largest = max((size for other, size in sizes.items() if other not in (*pins, name)), default=0)
        if sum(sizes[one] for one in (*pins, name)) + largest <= room_bytes:
            pins.append(name)
    return tuple(pins)


def folded(scenario: Scenario) -> Scenario:
    """The scenario with `times` of the endpoints that there are as part of what their workloads' requests take: faster
    models stay as fast wherever they are served. `unfolded` undoes it."""
    if not scenario.architectures:
        return scenario
    before = scenario.architectures[0]
    by_workload = {name: one for one in before.endpoints for name in one.workloads}
    workloads = tuple(
        by_workload[one.name].served(one) if one.name in by_workload else one for one in scenario.workloads
    )
    plain = replace(before, endpoints=tuple(replace(one, work_times=1.0) for one in before.endpoints))
    return replace(scenario, workloads=workloads, architectures=(plain, *scenario.architectures[1:]))


def unfolded(serving: Serving, before: Architecture | None) -> Serving:
    """An endpoint of a folded scenario, with the `times` of its workloads. Those of different ones stay 1: an endpoint
    has one for all, and `settings` says so."""
    endpoints = before.endpoints if before is not None else ()
    found = {one.work_times for one in endpoints for name in one.workloads if name in serving.workloads}
    return replace(serving, work_times=found.pop()) if len(found) == 1 else serving


def is_usual(serving: Serving, field: str) -> bool:
    """Whether nobody has set this field of an endpoint that is there to anything but what such endpoints have."""
    value = getattr(serving, field)
    if field == "queue":
        return bool(value == queue_of(serving.mode))
    if field == "timeout_s":
        return bool(value == timeout_s_of(serving.mode))
    return bool(value == _USUAL[field])


_USUAL: Final = {of.name: of.default for of in fields(Serving)}

"""Whether what an audit has written down can be so: such files are changed by hand, too."""

from __future__ import annotations

from math import isfinite
from typing import Final

import numpy as np

from trimtab.advisor.observed import Observed
from trimtab.errors import Invalid
from trimtab.jobs.loadtest.traces import LATEST_S
from trimtab.policies.scaling.tracking import PREDEFINED
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction
from trimtab.sim.load import MOST_REPLICAS, MOST_REQUESTS
from trimtab.sim.world import Mode

_REPLICAS: Final = ("replicas", "min_replicas", "max_replicas", "max_concurrency", "provisioned")
_COUNTS: Final = (
    "replicas", "min_replicas", "max_replicas", "memory_mb", "max_concurrency", "provisioned", "request_bytes",
    "answer_bytes", "memory_bytes", "load_s", "slots", "gaps", "models_bytes",
)  # fmt: skip


def must_make_sense(one: Observed) -> None:
    """Invalid, with the workload and the field, for what no audit writes down."""
    if not one.name.strip() or not one.endpoint.strip():
        raise Invalid("What was observed has a name and an endpoint; one of them is empty.")
    _check_requests(one)
    for field in _COUNTS:
        if (value := getattr(one, field)) is not None and value < 0:
            raise Invalid(f"{one.name}: {field} is {value:g}; it is 0 or more.")
    for field in _REPLICAS:
        if (value := getattr(one, field)) is not None and value > MOST_REPLICAS:
            raise Invalid(f"{one.name}: {field} is {value:,}; at most {MOST_REPLICAS:,} are simulated.")
    least, most = one.min_replicas, one.max_replicas
    if least is not None and most is not None and least > most:
        raise Invalid(f"{one.name}: min_replicas {least} is more than max_replicas {most}.")
    if one.mode is Mode.SERVERLESS and not (one.max_concurrency and one.memory_mb):
        raise Invalid(f"{one.name}: a serverless endpoint has max_concurrency and memory_mb.")
    for policy in one.policies:
        _check_policy(one.name, policy)
    for action in one.schedule:
        _check_action(one.name, action)


def _check_requests(one: Observed) -> None:
    counts = np.asarray(one.counts, dtype=np.float64)
    if one.step_s <= 0 or not np.isfinite(counts).all() or (counts < 0).any():
        raise Invalid(f"The requests of {one.name} are not counts of 0 or more in steps of some seconds.")
    if (total := float(counts.sum())) > MOST_REQUESTS:
        raise Invalid(f"{one.name}: these are {total:.3g} requests; at most {MOST_REQUESTS:.0e} are simulated.")
    if not 0 <= one.start_s <= one.start_s + one.step_s * len(counts) <= LATEST_S:
        raise Invalid(f"{one.name}: start_s {one.start_s:g} and steps of {one.step_s:g} s are no time since 1970.")


def _check_policy(name: str, policy: ScalingPolicy) -> None:
    tracking = policy.tracking
    if tracking is None:
        return
    if not (tracking.target_value > 0 and isfinite(tracking.target_value)):
        raise Invalid(f"{name}: the target of its policy {policy.name} is {tracking.target_value:g}; it is above 0.")
    if tracking.predefined and tracking.predefined not in PREDEFINED:
        there = ", ".join(PREDEFINED)
        raise Invalid(f"{name}: its policy {policy.name} tracks {tracking.predefined!r}, which is none of {there}.")


def _check_action(name: str, action: ScheduledAction) -> None:
    low, high = action.min_capacity, action.max_capacity
    if min(low or 0, high or 0) < 0 or (low is not None and high is not None and low > high):
        raise Invalid(f"{name}: its scheduled action {action.name} has bounds from {low} to {high}.")

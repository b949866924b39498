"""Targets, policies and inputs for the tests of scaling."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.policies.scaling import reducer
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.event import EventState
from trimtab.policies.scaling.inputs import AlarmFired, Finished, Input, Load, Tick
from trimtab.policies.scaling.state import State
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import (
    SIGNAL_1S,
    SIGNAL_EVENT,
    Predictive,
    ScalableTarget,
    ScalingPolicy,
    StepAdjustment,
    StepScaling,
    Suspended,
    TargetTracking,
)

DIMENSIONS = (("EndpointName", "e"), ("VariantName", "v"))


def target(low: int = 1, high: int = 10, **more) -> ScalableTarget:
    return ScalableTarget(endpoint="e", variant="v", min_capacity=low, max_capacity=high, created_s=0.0, **more)


def policy(name: str, **kind) -> ScalingPolicy:
    return ScalingPolicy(name=name, arn=f"arn:{name}", endpoint="e", variant="v", created_s=0.0, **kind)


def tracks(name: str = "track", target_value: float = 10.0, **more) -> ScalingPolicy:
    """By invocations a minute."""
    more = {"predefined": "SageMakerVariantInvocationsPerInstance"} | more
    return policy(name, tracking=TargetTracking(target_value=target_value, **more))


def tracks_1s(name: str = "fast", target_value: float = 1.0, **more) -> ScalingPolicy:
    stat = MetricStat("trimtab/Endpoints", SIGNAL_1S, DIMENSIONS, 1, "Average")
    return policy(name, tracking=TargetTracking(target_value=target_value, stat=stat, **more))


def event(name: str = "event", target_value: float = 1.0, **more) -> ScalingPolicy:
    stat = MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average")
    return policy(name, tracking=TargetTracking(target_value=target_value, stat=stat, **more))


def steps(
    name: str = "steps", *of: tuple[float | None, float | None, int], kind="ChangeInCapacity", **more
) -> ScalingPolicy:
    return policy(name, step=StepScaling(adjustment_type=kind, steps=tuple(StepAdjustment(*one) for one in of), **more))


def foresees(name: str = "foresees", mode: str = "ForecastAndScale", **more) -> ScalingPolicy:
    return policy(name, predictive=Predictive(target_value=10.0, mode=mode, **more))


def rules(*policies: ScalingPolicy, low: int = 1, high: int = 10, suspended: Suspended | None = None) -> Rules:
    return Rules(target=target(low, high, suspended=suspended or Suspended()), policies=policies)


def fired(
    at_s: float, capacity: int, value: float, *, name="track", high=True, threshold: float | None = None
) -> AlarmFired:
    return AlarmFired(
        at_s=at_s,
        capacity=capacity,
        policy=f"arn:{name}",
        alarm=f"alarm of {name}",
        is_high=high,
        value=value,
        threshold=threshold if threshold is not None else 10.0 if high else 9.0,
    )


def finished(at_s: float, capacity: int, *, ok: bool = True) -> Finished:
    return Finished(at_s=at_s, capacity=capacity, ok=ok)


def load(at_s: float, capacity: int, in_hand: float = 0.0, *, waiting: int = 0, ready: int | None = None) -> Load:
    return Load(
        at_s=at_s,
        capacity=capacity,
        ready=capacity if ready is None else ready,
        in_hand=in_hand,
        now=int(in_hand),
        waiting=waiting,
        arrived=0,
        ended=0,
        work_s=0.0,
        start_s=0.1,
    )


def by_load(
    tracking: TargetTracking, target: ScalableTarget, state: EventState, given: Load | Tick, *, policy: str = ""
):
    """An observer that wishes a replica for `target_value` requests in hand, and knows nothing between loads."""
    if not isinstance(given, Load):
        return state, None
    wanted = -(-int(given.in_hand) // int(tracking.target_value))
    return state, Wish(policy=policy, capacity=wanted, reason="load", arithmetic=f"{wanted}")


class World:
    """A target in the hands of the reducer: capacity is what was decided, changes finish when told."""

    def __init__(self, rules: Rules, capacity: int = 1, observe=by_load) -> None:
        self.rules, self.state, self.capacity, self.observe = rules, State(), capacity, observe
        self.decisions: list[Decision] = []

    def give(self, given: Input) -> Sequence[Decision]:
        self.state, decided = reducer.step(self.rules, self.state, given, observe=self.observe)
        for decision in decided:
            if decision.made:
                self.capacity = decision.wanted
        self.decisions += decided
        return decided

    def alarm(self, at_s: float, value: float, **more) -> Decision | None:
        decided = self.give(fired(at_s, self.capacity, value, **more))
        return decided[0] if decided else None

    def load(self, at_s: float, in_hand: float = 0.0, **more) -> Decision | None:
        decided = self.give(load(at_s, self.capacity, in_hand, **more))
        return decided[0] if decided else None

    def finish(self, at_s: float, *, ok: bool = True) -> None:
        assert not self.give(finished(at_s, self.capacity, ok=ok))

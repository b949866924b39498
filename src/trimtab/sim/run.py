"""The simulation: a load, the rules of a target, a machine; and what the reducer makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.policies.scaling import tracking
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Forecast, Input, Load, Scheduled
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.state import State
from trimtab.resources.scaling import PolicyAlarm, ScalingPolicy
from trimtab.sim.latency import Latencies, Told, summed, told
from trimtab.sim.load import Floats, LoadShape
from trimtab.sim.metrics import Sample, SimAlarm
from trimtab.sim.plant import Machine, Plant, Seen
from trimtab.sim.world import OwnAlarm

_LONGEST_STEP_S: Final = 10.0
_ROUNDING_S: Final = 1e-9


Note = Callable[[Rules, State, Input, tuple[Decision, ...], State], None]


class Run(Struct, frozen=True, kw_only=True):
    """What became of it. Series have an entry for each step of the load."""

    load: LoadShape
    machine: Machine
    rules: Rules
    ready: Floats
    wanted: Floats
    alive: Floats  # replicas that cost: ready, starting, draining
    in_hand: Floats
    waiting: Floats
    served: Floats
    decisions: tuple[Decision, ...]

    @property
    def replica_s(self) -> float:
        """Seconds of replicas that were paid for."""
        return float(self.alive.sum()) * self.load.step_s

    @property
    def changes(self) -> tuple[Decision, ...]:
        """The decisions that changed capacity."""
        return tuple(decision for decision in self.decisions if decision.made)

    def told(self) -> Told:
        """Latencies, step by step."""
        servers = self.ready * self.machine.slots
        return told(self.load.arrivals, self.served, servers, self.machine.work_s, self.load.step_s)

    def latencies(self) -> Latencies:
        """Latencies of all requests."""
        return summed(self.told())


def run(
    load: LoadShape,
    rules: Rules,
    machine: Machine,
    *,
    replicas: int | None = None,
    own_alarms: Sequence[OwnAlarm] = (),
    given: Sequence[Scheduled | Forecast] = (),
    note: Note | None = None,
) -> Run:
    """Let `load` come to `replicas` (without: the target's minimum) scaled by `rules`.

    `given`: what comes from outside, at its own times. `note` is told each step of the reducer, as a journal is.
    Invalid for a load whose steps are too long for the policies' signals, and for a metric that the model has not.
    """
    return _Runner(load, rules, machine, replicas, own_alarms, given, note).run()


def follow(
    load: LoadShape, rules: Rules, machine: Machine, *, replicas: int, orders: Sequence[tuple[float, int]]
) -> Run:
    """The same, where capacity is what somebody ordered: moments and replicas, in order. `rules` decide nothing."""
    plant, waiting = Plant(machine, ready=replicas), list(orders)
    wanted = replicas
    series = np.zeros((6, len(load.arrivals)))
    for number, arrivals in enumerate(load.arrivals.tolist()):
        now_s = load.start_s + number * load.step_s + _ROUNDING_S
        while waiting and waiting[0][0] <= now_s:
            at_s, wanted = waiting.pop(0)
            plant.scale(wanted, at_s)
        plant.turn(now_s)
        seen = plant.step(arrivals, load.step_s)
        series[:, number] = (plant.ready, wanted, plant.alive, seen.in_hand, seen.waiting, seen.served)
    return _run_of(load, machine, rules, series, ())


def _run_of(load: LoadShape, machine: Machine, rules: Rules, series: Floats, decisions: Sequence[Decision]) -> Run:
    ready, wanted, alive, in_hand, waiting, served = series
    return Run(
        load=load, machine=machine, rules=rules, ready=ready, wanted=wanted, alive=alive, in_hand=in_hand,
        waiting=waiting, served=served, decisions=tuple(decisions),
    )  # fmt: skip


class _Runner:
    def __init__(
        self,
        load: LoadShape,
        rules: Rules,
        machine: Machine,
        replicas: int | None,
        own_alarms: Sequence[OwnAlarm],
        given: Sequence[Scheduled | Forecast],
        note: Note | None,
    ) -> None:
        self.load = load
        self.machine = machine
        self.rules, self.alarms = _with_alarms(rules, own_alarms)
        self.state = State()
        self.note = note
        self.wanted = rules.target.min_capacity if replicas is None else replicas
        self.plant = Plant(machine, ready=self.wanted)
        self.decisions: list[Decision] = []
        self.changing = False
        self.failed = False
        self.given = sorted(given, key=lambda one: one.at_s)
        self.by_event = any(policy.tracking is not None and policy.tracking.is_event for policy in rules.policies)
        self.arrived = self.ended = self.work_s = 0.0
        longest_s = min([_LONGEST_STEP_S, *(1.0 for a in self.alarms if a[1].watched.period_s < 10)])
        if load.step_s > longest_s:
            raise Invalid(f"Steps of {load.step_s:g} s are too long for these policies: {longest_s:g} s at most.")

    def run(self) -> Run:
        load, plant = self.load, self.plant
        count = len(load.arrivals)
        series = np.zeros((6, count))
        self.give(Bounds(at_s=load.start_s, capacity=self.wanted))
        for number, arrivals in enumerate(load.arrivals.tolist()):
            start_s = load.start_s + number * load.step_s
            plant.turn(start_s + _ROUNDING_S)
            seen = plant.step(arrivals, load.step_s)
            series[:, number] = (plant.ready, self.wanted, plant.alive, seen.in_hand, seen.waiting, seen.served)
            self.after(start_s, start_s + load.step_s, arrivals, seen)
        return _run_of(load, self.machine, self.rules, series, self.decisions)

    def after(self, start_s: float, now_s: float, arrivals: float, seen: Seen) -> None:
        """What is told at the end of a step, in the order in which live control would hear of it."""
        if self.changing and self.plant.is_settled:
            self.changing = False
            self.give(Finished(at_s=now_s, capacity=self.wanted, ok=not self.failed))
        while self.given and self.given[0].at_s <= now_s:
            self.give(replace(self.given.pop(0), at_s=now_s, capacity=self.wanted))
        self.arrived += arrivals
        self.ended += seen.served
        self.work_s += seen.busy_s
        if self.by_event or (self.wanted == 0 and seen.waiting > 0):
            self.give(self.load_input(now_s, seen))
        if not self.alarms:
            return
        sample = Sample(
            arrivals, seen.in_hand, seen.waiting, seen.busy_s, self.plant.ready, self.wanted, self.load.step_s
        )
        for policy, alarm, is_high in self.alarms:
            alarm.see(start_s, sample)
            if alarm.fires(now_s):
                self.give(
                    AlarmFired(
                        at_s=now_s, capacity=self.wanted, policy=policy, alarm=alarm.name, is_high=is_high,
                        value=alarm.value, threshold=alarm.watched.threshold,
                    )
                )  # fmt: skip

    def load_input(self, now_s: float, seen: Seen) -> Load:
        at_work = min(float(self.plant.ready * self.machine.slots), seen.in_hand)
        return Load(
            at_s=now_s,
            capacity=self.wanted,
            ready=self.plant.ready,
            in_hand=seen.in_hand,
            now=round(seen.waiting + at_work),
            waiting=int(seen.waiting) if self.wanted else int(np.ceil(seen.waiting)),
            arrived=int(self.arrived),
            ended=int(self.ended),
            work_s=self.work_s,
            start_s=self.machine.start_s,
        )

    def give(self, given: Input) -> None:
        before = self.state
        self.state, decisions = step(self.rules, before, given)
        if self.note is not None:
            self.note(self.rules, before, given, decisions, self.state)
        for decision in decisions:
            self.decisions.append(decision)
            if decision.bounds is not None:
                least, most = decision.bounds
                target = replace(self.rules.target, min_capacity=least, max_capacity=most)
                self.rules = replace(self.rules, target=target)
            if decision.made:
                self.failed = not self.plant.scale(decision.wanted, given.at_s)
                self.wanted = self.plant.capacity
                self.changing = True


def _with_alarms(rules: Rules, own: Sequence[OwnAlarm]) -> tuple[Rules, list[tuple[str, SimAlarm, bool]]]:
    """The rules, each tracking policy with alarms of its own; and these: the policy's ARN, the alarm, whether high."""
    policies: list[ScalingPolicy] = []
    alarms: list[tuple[str, SimAlarm, bool]] = []
    for policy in rules.policies:
        made = tracking.alarms_of(policy, "high", "low")
        alarms += [(policy.arn, SimAlarm(alarm.watched, alarm.name), alarm.is_high) for alarm in made]
        policies.append(replace(policy, alarms=tuple(PolicyAlarm(alarm.name, alarm.name) for alarm in made)))
        alarms += [
            (policy.arn, SimAlarm(alarm.watched, f"{policy.name}-{number}"), alarm.is_high)
            for number, alarm in enumerate(own)
            if alarm.policy == policy.name
        ]
    return replace(rules, policies=tuple(policies)), alarms

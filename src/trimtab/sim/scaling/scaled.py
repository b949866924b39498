"""One endpoint under its policies, on a virtual clock: what live control would be told, and what it would order.

The reducer is the live one. It hears of load once a second (a sixth of a shorter panic window); where starts are quick,
ten times a second while there is any, and at the moment when more is in hand than its policies want; of alarms when
CloudWatch would evaluate them; of changes when they are over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, inf
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.control.scaling.signal_metrics import CLOSES_S
from trimtab.errors import Invalid
from trimtab.gateway.signalled import EVERY_S, PART
from trimtab.policies.scaling import tracking
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.headroom import POINT_S
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Forecast, Input, Load, Scheduled
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.schedule import next_after
from trimtab.policies.scaling.state import State
from trimtab.policies.scaling.vain import asks_in_vain
from trimtab.policies.scaling.windows import TOLD_WITHIN_S, Windows, windows_of
from trimtab.resources.scaling import PolicyAlarm, ScalableTarget, ScalingPolicy, ScheduledAction
from trimtab.sim.kernels import books as b
from trimtab.sim.kernels import queue
from trimtab.sim.replicas.faults import Faults
from trimtab.sim.replicas.sampling import Curves, Sampler, Watch
from trimtab.sim.replicas.standing import Standing
from trimtab.sim.scaling import skipping
from trimtab.sim.scaling.foresight import LOOK_EVERY_S, Foresight
from trimtab.sim.scaling.metrics import SimAlarm
from trimtab.sim.world import Fault, Mode, Serving

_NEVER: Final = np.iinfo(np.int64).max
_SECOND_S: Final = 1.0  # while nothing is in hand, live control lets time pass once a second, just after it has begun
_MOST_LOOKS: Final = 2_000_000  # of a run: a longer one (three weeks, by the second) is looked at more rarely
_MUCH: Final = 24  # two minutes of points
_LONGEST_LOOK_S: Final = 4.0  # windows.UNSEEN_S: after 5 s the policy believes that nobody looked

Note = Callable[[Rules, State, Input, tuple[Decision, ...], State], None]


def coarse_s(start_s: float) -> float | None:
    """How seldom a policy whose replicas start in so long may look at load, with nearly the same outcome; None: as
    often as live. Half a point of its history (headroom.POINT_S), so that this is what it is."""
    return POINT_S / 2 if start_s >= _MUCH * POINT_S else None


def rules_of(serving: Serving, created_s: float) -> Rules:
    """Its target and policies."""
    target = ScalableTarget(
        endpoint=serving.name, variant="AllTraffic", min_capacity=serving.min_replicas,
        max_capacity=serving.max_replicas, created_s=created_s,
    )  # fmt: skip
    return Rules(target=target, policies=serving.policies)


class Scaled:
    """`run` once."""

    def __init__(
        self,
        serving: Serving,
        station: Standing,
        end_s: float,
        *,
        rules: Rules | None = None,
        given: Sequence[Scheduled | Forecast] = (),
        faults: Sequence[Fault] = (),
        chance: np.random.Generator,
        look_s: float | None = None,
        skips: bool = True,
        note: Note | None = None,
        told: Callable[[float], None] | None = None,
    ) -> None:
        """`rules`: decide by these, not by what `serving` tells. `given`: what comes from outside, at its own times.
        `look_s`: how finely the run looks at what is in hand; without: as live gateways do, unless the run is long.
        `skips`: long times without requests are passed over, with the same outcome.
        `note` is told each step of the reducer, as a journal is (what is passed over looks like a new beginning to it).
        `told` hears how far the run is, now and then."""
        self.station = station
        self.end_s = end_s
        self.rules, watches = _with_alarms(rules or rules_of(serving, station.now_s), serving)
        self.wanted = serving.min_replicas if serving.initial_replicas is None else serving.initial_replicas
        self.decisions: list[Decision] = []
        self.curves = Curves(station, station.now_s, end_s)
        self._state = State()
        self._note, self._progress = note, told
        self._foresees = [
            Foresight(policy, station.now_s) for policy in self.rules.policies if policy.predictive is not None
        ]
        self._sampler = Sampler(station, watches, self._foresees)
        self._faults = Faults(faults, station, chance)
        self._changing = self._failed = False
        self._events = [p for p in self.rules.policies if p.tracking is not None and p.tracking.is_event]
        self._tick_s, self._fine_s = self._paces(end_s - station.now_s, look_s)
        is_patient = look_s is None and all(_windows(policy).patience_s for policy in self._events)
        self._trip_s = EVERY_S if is_patient else self._fine_s  # there such looks are rare
        self._schedule = [(self._due(action, station.now_s), action) for action in serving.schedule]
        self._given = sorted(given, key=lambda one: one.at_s)
        self._is_queue, self._is_waking = serving.mode is Mode.ASYNC, False
        self._looked_s = -inf  # when it was looked last whether more is in hand
        self._told_s = -inf  # when load was told last,
        self._told_hand = self._told_arrived = 0  # what was in hand then, what had come,
        self._told_hand_s = 0.0  # and the request-seconds until then
        self._tick_at_s = station.now_s
        stable_s = max((_windows(policy).stable_s for policy in self._events), default=0.0)
        self._quiet_for_s = skipping.quiet_for_s(stable_s, self._idle_s) if skips else inf
        self._quiet_s, self._quiet_arrived, self._leaps_s = station.now_s, -1, 0.0

    def _paces(self, span_s: float, look_s: float | None) -> tuple[float, float]:
        """How often an event policy is told of load at least; and at most."""
        steps = [_windows(policy).step_s for policy in self._events]
        tick_s = min(max(min([1.0, *steps]), span_s / _MOST_LOOKS), _LONGEST_LOOK_S)
        if look_s is not None:
            return max(tick_s, min(look_s, _LONGEST_LOOK_S)), look_s
        fine_s = max(TOLD_WITHIN_S, self.station.start_s / 4, span_s / _MOST_LOOKS)
        return tick_s, min(fine_s, tick_s)

    @property
    def _idle_s(self) -> float:
        """How often time passes while nothing is in hand."""
        return max(self._tick_s, _SECOND_S)

    @staticmethod
    def _due(action: ScheduledAction, after_s: float) -> float:
        due_s = next_after(action, after_s)
        return inf if due_s is None else due_s

    @property
    def _due_s(self) -> float:
        """When something comes from outside."""
        due_s = min((at_s for at_s, _ in self._schedule), default=inf)
        return min(due_s, self._given[0].at_s) if self._given else due_s

    # --- time

    def run(self) -> None:
        """Until the end."""
        station = self.station
        station.add(self.wanted)
        self.curves.wants(self.wanted)
        self.give(Bounds(at_s=station.now_s, capacity=self.wanted))
        while station.now_s < self.end_s:
            self._arm()
            if self._sampler.is_quick and self.wanted and not (self._changing or self._events):
                self._run_watched()
            else:
                self._after(station.run(min(self._next_s(), self.end_s)))
        self._sampler.cut(self.wanted)

    def _run_watched(self) -> None:
        """Until something happens beside alarms that are looked at and have nothing to tell."""
        why, fired = self._sampler.run(min(self._known_s(), self.end_s), self._in_vain())
        for watch in fired:
            self._fired(*watch)
        if not fired:
            self._after(why)

    def _in_vain(self) -> list[bool]:
        """Of each alarm, whether its policy need not be told of it: only where nobody notes each step."""
        if self._note is not None:
            return [False] * len(self._sampler.watches)
        now_s = self.station.now_s
        high, low = (asks_in_vain(self.rules, self._state, self.wanted, now_s, is_high=side) for side in (True, False))
        return [high if is_high else low for _, _, is_high in self._sampler.watches]

    def _known_s(self) -> float:
        """When something happens that alarms have nothing to do with."""
        return min(self.station.next_s, self._due_s, self._faults.next_s, self.curves.next_s)

    def _next_s(self) -> float:
        tick_s = self._tick_at_s if self._events else inf
        return min(self._known_s(), tick_s, self._sampler.next_s(self.station.now_s))

    def _arm(self) -> None:
        """With how much in hand the run is to stop at once."""
        whole, seconds = self.station.books.i, self.station.books.f
        whole[b.TRIP] = _NEVER
        if self.wanted == 0 and self._is_waking:
            return
        if self.wanted == 0:
            whole[b.TRIP], seconds[b.EARLIEST] = 0, self._looked_s + EVERY_S
        elif self._events and self._trip_s < self._tick_s:
            whole[b.TRIP] = min(self._content(policy) for policy in self._events)
            seconds[b.EARLIEST] = self._looked_s + self._trip_s

    def _content(self, policy: ScalingPolicy) -> int:
        """With so much in hand an event policy wants no more than there is (see policies.scaling.event)."""
        seen = self._state.events.get(policy.arn)
        if policy.tracking is None or seen is None:
            return 0
        target, levels = policy.tracking.target_value, seen.levels
        patience_s = _windows(policy).patience_s
        if patience_s and levels.work_s > 0 and self.wanted:
            if self.wanted >= self.rules.target.max_capacity:
                return _NEVER
            waiting = int(self.wanted * patience_s / levels.work_s - levels.swell)
            return max(self.station.ready + waiting, int(self.wanted * target - levels.swell))
        there = min(self.wanted, max(ceil(levels.stand - 1e-9), 1))
        return int(target * there)

    def _after(self, why: int) -> None:
        """What is told at this moment, in the order in which live control would hear of it."""
        station = self.station
        now_s = station.now_s
        if station.next_s <= now_s:
            self._sampler.cut(self.wanted)
            station.turn()
        if self._faults.next_s <= now_s:
            self._sampler.cut(self.wanted)
            self._faults.strike()
        if now_s >= self.curves.next_s:
            self.curves.cut()
            if self._progress is not None:
                self._progress(now_s)
        if self._changing and station.is_settled:
            self._changing = False
            self.give(Finished(at_s=now_s, capacity=self.wanted, ok=not self._failed))
        self._scheduled(now_s)
        self._load(now_s, is_trip=why == queue.TRIPPED)
        if self._foresees:
            self._forecasts(now_s)
        if self._sampler.watches:
            self._alarms(now_s)

    def _scheduled(self, now_s: float) -> None:
        for number, (due_s, action) in enumerate(self._schedule):
            if due_s <= now_s:
                self._schedule[number] = (self._due(action, now_s), action)
                self.give(
                    Scheduled(
                        at_s=now_s, capacity=self.wanted, action=action.name, min_capacity=action.min_capacity,
                        max_capacity=action.max_capacity,
                    )
                )  # fmt: skip

        while self._given and self._given[0].at_s <= now_s:
            self.give(replace(self._given.pop(0), at_s=now_s, capacity=self.wanted))

    def _load(self, now_s: float, *, is_trip: bool) -> None:
        is_tick = bool(self._events) and now_s >= self._tick_at_s
        if not is_tick and not is_trip:
            return
        if not is_tick and self._is_queue and self.wanted == 0 and self._events:
            self._is_waking = True  # a queue's signal is there a moment after it has written the request
            self._tick_at_s = min(self._tick_at_s, now_s + TOLD_WITHIN_S)
            return
        self._is_waking = False
        self._looked_s = now_s
        if is_tick:
            self._land()
            self._tick_at_s = self._next_tick_s(now_s)
        elif now_s < self._told_s + EVERY_S:
            change = abs(int(self.station.books.i[b.HAND]) - self._told_hand)
            if change == 0 or change * PART < self._told_hand:
                return
        self._tell(now_s)
        if is_tick:
            self._leap(now_s)

    def _next_tick_s(self, now_s: float) -> float:
        """When load is told next at the latest. Looks between ticks must not find much of which nobody has told: an
        event policy takes what came since it was told last for a burst of just now (windows.tell)."""
        whole = self.station.books.i
        if whole[b.HAND] or whole[b.ARRIVED] != self._told_arrived or self._tick_s > _SECOND_S:
            return now_s + min(max(EVERY_S, self._fine_s), self._tick_s)
        look_s = TOLD_WITHIN_S if self._fine_s < self._tick_s else self._tick_s
        return min(_passes_s(now_s), self.station.next_arrival_s + look_s)

    def _leap(self, now_s: float) -> None:
        """Where nothing has come for as long as anybody remembers, look again when something does."""
        whole = self.station.books.i
        if whole[b.HAND] or whole[b.ARRIVED] != self._quiet_arrived or not self.station.is_settled or self._changing:
            self._quiet_arrived, self._quiet_s = int(whole[b.ARRIVED]), now_s
        if now_s - self._quiet_s < self._quiet_for_s or self._sampler.watches or self._foresees:
            return
        until_s = min(self.station.next_arrival_s, self._due_s, self._faults.next_s, self.station.next_s, self.end_s)
        self._leaps_s = skipping.leap_s(now_s, until_s, self._idle_s)
        self._tick_at_s += self._leaps_s

    def _land(self) -> None:
        """After a leap."""
        if self._leaps_s:
            self._state = skipping.later(self._state, self._leaps_s)
            self._told_s += self._leaps_s
            self._leaps_s = 0.0

    def _tell(self, now_s: float) -> None:
        whole, seconds = self.station.books.i, self.station.books.f
        hand_s, span_s = float(seconds[b.HAND_S]), now_s - self._told_s
        mean = (hand_s - self._told_hand_s) / span_s if 0 < span_s < inf else float(whole[b.HAND])
        self._told_s, self._told_hand, self._told_hand_s = now_s, int(whole[b.HAND]), hand_s
        self._told_arrived = int(whole[b.ARRIVED])
        self.give(
            Load(
                at_s=now_s, capacity=self.wanted, ready=self.station.ready, in_hand=mean, now=int(whole[b.HAND]),
                waiting=int(whole[b.QUEUED]), arrived=int(whole[b.ARRIVED]), ended=int(whole[b.ENDED]),
                work_s=self.station.busy_s, start_s=self.station.start_s,
            )
        )  # fmt: skip

    def _forecasts(self, now_s: float) -> None:
        if now_s % LOOK_EVERY_S:
            return
        self._sampler.cut(self.wanted)
        for one in self._foresees:
            wanted = one.look(now_s, self.rules.target.max_capacity)
            if wanted is not None:
                self.give(Forecast(at_s=now_s, capacity=self.wanted, policy=one.policy.arn, wanted=wanted))

    def _alarms(self, now_s: float) -> None:
        if now_s.is_integer():
            self._sampler.cut(self.wanted)
        for policy, alarm, is_high in self._sampler.watches:
            if alarm.fires(now_s):
                self._fired(policy, alarm, is_high)

    def _fired(self, policy: str, alarm: SimAlarm, is_high: bool) -> None:
        self.give(
            AlarmFired(
                at_s=self.station.now_s, capacity=self.wanted, policy=policy, alarm=alarm.name, is_high=is_high,
                value=alarm.value, threshold=alarm.watched.threshold,
            )
        )  # fmt: skip

    # --- decisions

    def give(self, given: Input) -> None:
        """Let the reducer decide, and carry it out."""
        before = self._state
        self._state, decisions = step(self.rules, before, given)
        if self._note is not None:
            self._note(self.rules, before, given, decisions, self._state)
        for decision in decisions:
            if decision.bounds is not None:
                least, most = decision.bounds
                target = replace(self.rules.target, min_capacity=least, max_capacity=most)
                self.rules = replace(self.rules, target=target)
            if decision.made:
                self._quiet_s = given.at_s
                self.decisions.append(decision)
                self._carry_out(decision.wanted)

    def _carry_out(self, wanted: int) -> None:
        self._sampler.cut(self.wanted)
        self._failed = wanted > self.station.capacity and self._faults.is_outage
        if not self._failed:
            self.station.scale(wanted)
            self.wanted = wanted
        self.curves.wants(self.wanted)
        self._changing = True


def _windows(policy: ScalingPolicy) -> Windows:
    """Of an event policy. Invalid for lengths that it may not have."""
    assert policy.tracking is not None
    try:
        return windows_of(policy.tracking)
    except ValueError as error:
        raise Invalid(f"Policy {policy.name}: {error}.") from error


def _with_alarms(rules: Rules, serving: Serving) -> tuple[Rules, list[Watch]]:
    """The rules, each tracking policy with alarms of its own; and what these watch."""
    policies: list[ScalingPolicy] = []
    watches: list[Watch] = []
    for policy in rules.policies:
        made = tracking.alarms_of(policy, "high", "low")
        watches += [(policy.arn, SimAlarm(alarm.watched, alarm.name), alarm.is_high) for alarm in made]
        policies.append(replace(policy, alarms=tuple(PolicyAlarm(alarm.name, alarm.name) for alarm in made)))
        watches += [
            (policy.arn, SimAlarm(alarm.watched, f"{policy.name}-{number}"), alarm.is_high)
            for number, alarm in enumerate(serving.alarms)
            if alarm.policy == policy.name
        ]
    return replace(rules, policies=tuple(policies)), watches


def _passes_s(now_s: float) -> float:
    """When live control lets time pass next. Later than now: the sum of a whole second and a part is rounded."""
    passes_s = floor(now_s - CLOSES_S) + _SECOND_S + CLOSES_S
    return passes_s if passes_s > now_s else passes_s + _SECOND_S

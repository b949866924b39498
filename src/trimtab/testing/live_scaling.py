"""LiveScalingWorld: a World whose endpoints are scaled: real store, policies, alarms and scalers; time moves when told.

What scalers do later is kept in `writes` until the next turn, so that a control that crashes before has not done it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from trimtab.control.alarms import Alarms
from trimtab.control.scaling.arns import Arns
from trimtab.control.scaling.live import LiveScaling
from trimtab.control.scaling.writer import Writer
from trimtab.control.signal_server import Total
from trimtab.metrics.names import ENDPOINT, TRIMTAB, VARIANT
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input
from trimtab.policies.scaling.state import State
from trimtab.resources.alarm import Alarm, AlarmState
from trimtab.resources.endpoint import Event
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import (
    SIGNAL_1S,
    VARIANT_COUNT,
    ActivityStatus,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)
from trimtab.testing.metrics import MemoryMetricStore
from trimtab.testing.world import World


class Noted(Struct, frozen=True):
    """What went to the journal."""

    rules: Rules
    given: Input
    decisions: tuple[Decision, ...]


class LiveScalingWorld(World):
    """One endpoint `ep` with the variant `main`, scaled."""

    def __init__(self, folder: Path, *, count: int = 1, managed: tuple[int, int] | None = None) -> None:
        self.metrics = MemoryMetricStore()
        self.noted: list[Noted] = []
        self.connected = True
        self.journal_fails = False
        super().__init__(folder)
        self.config("c1", counts={"main": count}, **({"managed": managed} if managed else {}))
        self.create("ep", "c1")
        self.settle()

    def restart(self) -> None:
        """See World. What waited to be written is lost with the old control."""
        self.writes = _Writes()
        self.due: list[Callable[[], None]] = []
        super().restart()
        self.alarms = Alarms(self.store.alarms, self.clock, lambda alarm, action: self.live.act(alarm, action))
        self.live = LiveScaling(
            store=self.store,
            plane=self.control,
            alarms=self.alarms,
            metrics=self.metrics,
            clock=self.clock,
            note=self._note,
            arns=Arns("us-east-1", "111122223333"),
            ready=self.book.ready,
            signals=_Signals(self),  # type: ignore[arg-type]
            gateways=1,
            writer=self.writes,
            soon=self.due.append,
        )
        self.live.start()

    def hooks(self) -> dict[str, Any]:
        """See World."""

        def told(endpoint: str, events: Sequence[Event]) -> None:
            self.told.extend((endpoint, event) for event in events)
            self.live.told(endpoint, events)

        return {
            "told": told,
            "signals": lambda endpoint, variant: self.api.wants_signals(endpoint, variant),
            "floor": lambda endpoint, variant: self.api.floor(endpoint, variant),
            "scalable": lambda endpoint, variant: self.api.is_scalable(endpoint, variant),
        }

    def _note(
        self,
        endpoint: str,
        variant: str,
        rules: Rules,
        before: State,
        given: Input,
        decisions: Sequence[Decision],
        after: State,
    ) -> None:
        self.noted.append(Noted(rules, given, tuple(decisions)))

    @property
    def api(self) -> Any:
        """What callers reach."""
        return self.live.api

    def turn(self) -> float | None:
        """See World. What was to be done soon, or written later, is."""
        due_s = super().turn()
        moved = bool(self.due)
        self.follow()
        return 0.0 if moved else due_s

    def follow(self) -> None:
        """Do what was to be done soon, or written later."""
        while self.due:
            self.due.pop(0)()
        self.writes.flush()

    # shorthands

    def register(self, least: int, most: int, **more: Any) -> ScalableTarget:
        """Register the variant, and let it settle."""
        options = {"role_arn": "", "suspended": None, "tags": {}, **more}
        made: ScalableTarget = self.api.register(
            "ep", "main", VARIANT_COUNT, min_capacity=least, max_capacity=most, **options
        )
        return made

    def track(self, name: str = "track", signal: str = SIGNAL_1S, target: float = 1.0, **more: Any) -> ScalingPolicy:
        """Put a policy that tracks one of trimtab's signals."""
        period_s = {SIGNAL_1S: 1, "ConcurrencyPerReplica10s": 10}.get(signal, 0)
        stat = MetricStat(TRIMTAB, signal, ((ENDPOINT, "ep"), (VARIANT, "main")), period_s, "Average")
        tracking = TargetTracking(target_value=target, stat=stat, **more)
        made: ScalingPolicy = self.api.put_policy(self._policy(name, tracking=tracking))
        return made

    def steps(self, name: str = "steps", adjustment: int = 1, **more: Any) -> ScalingPolicy:
        """Put a step policy that adds replicas above an alarm's threshold."""
        step = StepScaling(adjustment_type="ChangeInCapacity", steps=(StepAdjustment(0.0, None, adjustment),), **more)
        made: ScalingPolicy = self.api.put_policy(self._policy(name, step=step))
        return made

    def _policy(self, name: str, **kind: Any) -> ScalingPolicy:
        return ScalingPolicy(name=name, arn="", endpoint="ep", variant="main", created_s=0.0, **kind)

    def schedule(self, schedule: str, least: int | None, most: int | None, name: str = "morning") -> None:
        """Put a scheduled action."""
        self.api.put_action(
            ScheduledAction(
                name=name, arn="", endpoint="ep", variant="main", schedule=schedule, created_s=0.0,
                min_capacity=least, max_capacity=most,
            )
        )  # fmt: skip

    def high(self, policy: ScalingPolicy) -> Alarm:
        """A policy's AlarmHigh."""
        return next(self.alarms.get(alarm.name) for alarm in policy.alarms if "-AlarmHigh-" in alarm.name)

    def low(self, policy: ScalingPolicy) -> Alarm:
        """A policy's AlarmLow."""
        return next(self.alarms.get(alarm.name) for alarm in policy.alarms if "-AlarmLow-" in alarm.name)

    def metric(self, value: float, signal: str = SIGNAL_1S, seconds: int = 5) -> None:
        """The signal was `value` in each of the last seconds."""
        key = MetricKey(TRIMTAB, signal, ((ENDPOINT, "ep"), (VARIANT, "main")))
        now_s = int(self.clock.now_s())
        self.metrics.record(
            [Sample(key, second, Sketch.of([value]), "Count") for second in range(now_s - seconds, now_s)]
        )

    def fire(self, alarm: Alarm) -> None:
        """Bring an alarm into ALARM (again), and wait for what it does."""

        async def act() -> None:
            self.alarms.set_state(alarm.name, AlarmState.OK, "test")
            self.alarms.set_state(alarm.name, AlarmState.ALARM, "test")
            await self.alarms.runner.settled()

        asyncio.run(act())

    def act_again(self, seconds: float = 1.0) -> None:
        """Let a second's work be done, alarms' actions included."""

        async def act() -> None:
            self.clock.advance(seconds)
            self.live.seconds.step()
            await self.alarms.runner.settled()

        asyncio.run(act())
        self.follow()

    def load(self, now: int, *, waiting: int = 0, arrived: int = 0, ended: int = 0, busy_s: float = 0.0) -> None:
        """Gateways tell that so many requests are in hand."""
        total = Total(
            in_hand=float(now), now=now, waiting=waiting, arrived=arrived, ended=ended, busy_s=busy_s, oldest_s=0.0,
            sent_monotonic_s=self.clock.monotonic_s(),
        )  # fmt: skip
        self.live.loads("ep", "main", total)

    @property
    def count(self) -> int:
        """The replicas that are wanted."""
        return self.endpoint("ep").variants[0].desired_count

    def activities(self, *statuses: ActivityStatus) -> list[ScalingActivity]:
        """Newest first: those that were made; with statuses, only these."""
        found = [activity for activity in self.api.activities() if not activity.not_scaled]
        return [activity for activity in found if not statuses or activity.status in statuses]

    def left(self) -> list[ScalingActivity]:
        """Newest first: what was wanted and not made."""
        return [activity for activity in self.api.activities() if activity.not_scaled]


class _Writes(Writer):
    """Without an event loop."""

    def later(self, write: Callable[[], None]) -> None:
        """See Writer."""
        self._waiting.append(write)


class _Signals:
    """A signal server without a socket."""

    def __init__(self, world: LiveScalingWorld) -> None:
        self.connections = _Connections(world)
        self.totals: dict[tuple[str, str], Total] = {}


class _Connections:
    def __init__(self, world: LiveScalingWorld) -> None:
        self._world = world

    @property
    def count(self) -> int:
        return 1 if self._world.connected else 0

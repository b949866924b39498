"""Evaluates the alarms: each minute, every 10 s, or every second, as their periods ask for."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import floor
from typing import Final

from trimtab.clock import Clock
from trimtab.control.alarm_points import points_of
from trimtab.control.alarms import Alarms
from trimtab.logs import fields
from trimtab.metrics.statistics import parse_statistic
from trimtab.metrics.store import MetricStore
from trimtab.policies.alarm_words import iso
from trimtab.policies.alarms import LATE_S, Verdict, judge, step_s, window_of
from trimtab.policies.composite import Rule, in_order, parse_rule
from trimtab.resources.alarm import Alarm, AlarmState, Watched

logger = logging.getLogger(__name__)

_REPEAT_S: Final = 60  # AWS: how often a scaling policy is told that its alarm still is in its state
_LONGEST_SLEEP_S: Final = 10.0  # so that a jump of the wall clock is seen soon


class AlarmLoop:
    """Brings every alarm into the state that its metrics mean. One that cannot be evaluated keeps its state, and no
    other waits for it."""

    def __init__(self, alarms: Alarms, metrics: MetricStore, clock: Clock) -> None:
        self._alarms = alarms
        self._metrics = metrics
        self._clock = clock
        self._evaluated: dict[str, tuple[int, float]] = {}  # alarm -> step and configuration of its last evaluation
        self._repeated: dict[str, int] = {}  # alarm -> minute in which its scaling policies were last told
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._alarms.on_change = self._changed.set
        try:
            while True:
                self._changed.clear()
                await self.tick()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._sleep_s()):
                        await self._changed.wait()
        finally:
            await self._alarms.runner.close()

    async def tick(self) -> None:
        """Evaluate what is due: a step of the clock has passed since the last time, whichever way it went."""
        now_s = self._clock.now_s()
        names = [alarm.name for alarm in self._alarms.list()]
        for name in names:
            alarm = self._alarms.find(name)  # as it is now: calls are answered in between
            if alarm is None or alarm.watched is None:
                continue
            due = (floor((now_s - LATE_S) / step_s(alarm.watched)), alarm.configured_s)
            if self._evaluated.get(alarm.name) != due:
                self._evaluated[alarm.name] = due
                await self._evaluate(alarm, alarm.watched, now_s)
        self._look_at_composites()
        self._repeat(now_s)
        for gone in self._evaluated.keys() - set(names):
            del self._evaluated[gone]
            self._repeated.pop(gone, None)

    def _look_at_composites(self) -> None:
        """Bring composite alarms into the state of their rules."""
        every = {alarm.name: alarm for alarm in self._alarms.list()}
        rules = {name: parse_rule(alarm.rule) for name, alarm in every.items() if alarm.rule}
        states = {name: alarm.state for name, alarm in every.items()}
        for name in in_order(rules):
            state = AlarmState.ALARM if rules[name].holds(states) else AlarmState.OK
            if state is states[name]:
                continue
            with self._guarded(name):
                self._alarms.set_state(name, state, *self._why(rules[name]))
                states[name] = state

    def _why(self, rule: Rule) -> tuple[str, str]:
        """The child that changed last, as AWS tells it."""
        children = [child for child in map(self._alarms.find, rule.children) if child is not None]
        if not children:
            return "Its rule looks at no alarm.", ""
        last = max(children, key=lambda child: child.state_changed_s)
        at = datetime.fromtimestamp(last.state_changed_s, UTC)
        changed = {"name": last.name, "state": {"value": last.state.value, "timestamp": iso(last.state_changed_s)}}
        reason = f"{last.name} transitioned to {last.state} at {at:%A %d %B, %Y %H:%M:%S} UTC"
        return reason, json.dumps({"triggeringAlarms": [changed]})

    async def _evaluate(self, alarm: Alarm, watched: Watched, now_s: float) -> None:
        with self._guarded(alarm.name):
            # In a thread: an alarm may look at a day of seconds. Calls are answered meanwhile, and may change it.
            verdict = await asyncio.to_thread(self._verdict, watched, now_s)
            now = self._alarms.find(alarm.name)
            if now is None or (now.configured_s, now.state_updated_s) != (alarm.configured_s, alarm.state_updated_s):
                return  # another configuration is evaluated in the next turn; a state that was set stays for now
            if verdict is not None and verdict.state is not alarm.state:
                self._repeated[alarm.name] = floor(now_s / _REPEAT_S)
                self._alarms.set_state(alarm.name, verdict.state, verdict.reason, verdict.reason_data)

    def _verdict(self, watched: Watched, now_s: float) -> Verdict | None:
        percentile = None
        if watched.stat is not None and (statistic := parse_statistic(watched.stat.stat)).is_percentile:
            percentile = statistic.high.at if statistic.high is not None else None
        start_s, end_s = window_of(watched, now_s)
        points = points_of(watched, self._metrics, start_s, end_s, now_s)
        return judge(watched, points, now_s, percentile=percentile)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """An alarm that cannot be evaluated keeps its state; the log says so once, Describe as long as it lasts."""
        try:
            yield
        except Exception:
            if name not in self._alarms.failing:
                logger.exception("an alarm could not be evaluated; it keeps its state %s", fields(alarm=name))
            self._alarms.failing.add(name)
        else:
            self._alarms.failing.discard(name)

    def _repeat(self, now_s: float) -> None:
        """AWS: scaling policies are told again each minute while the alarm stays in its state."""
        minute = floor(now_s / _REPEAT_S)
        for alarm in self._alarms.list():
            if alarm.actions and self._repeated.setdefault(alarm.name, minute) != minute:
                self._repeated[alarm.name] = minute
                self._alarms.runner.repeat(alarm)

    def _sleep_s(self) -> float:
        """Until the next step of the alarm with the shortest."""
        now_s = self._clock.now_s()
        steps = {step_s(alarm.watched) for alarm in self._alarms.list() if alarm.watched is not None}
        if not steps:
            return _LONGEST_SLEEP_S
        step = min(steps)
        return min(_LONGEST_SLEEP_S, step - (now_s - LATE_S) % step + 0.001)

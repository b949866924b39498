"""How many environments a serverless variant is to have: one for each request in hand, and those that stay warm. Pure.

The k-th environment is needed while k or more requests are in hand. When they fall below k it is idle, and what
`keep_warm` says of the k-th's idle times so far decides until when it stays, and when it is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from msgspec import Struct, field

from trimtab.policies.serverless.keep_warm import IdleTimes, Window, window_of
from trimtab.policies.serverless.settings import KeepWarm
from trimtab.resources.serverless import Serverless

LEARNED_APART: Final = 8  # the idle times of the first so many are learned one by one, those of the others together


class Wanted(Struct, frozen=True):
    """So many environments, why, and the time at which that may be another number without any request (inf: never)."""

    count: int
    why: str = ""
    until_s: float = inf


class Idle(Struct, frozen=True):
    """`learns`: it became idle then because a request ended: how long it stays so tells when the next one comes."""

    since_s: float
    learns: bool = True


class Environments(Struct, kw_only=True):
    """What is known of one variant. Times are seconds of one clock that does not jump."""

    rules: Serverless
    keep_warm: KeepWarm = KeepWarm()
    in_hand: int = 0
    idle: list[Idle] = field(default_factory=list)  # those not in use: the next of them to be used is last
    learned: list[IdleTimes] = field(default_factory=list)
    learner: Callable[[], IdleTimes] = IdleTimes  # a simulation puts another policy here
    _windows: dict[int, Window] = field(default_factory=dict)  # by place in `learned`: made when they are asked for

    def saw(self, in_hand: int, now_s: float) -> None:
        """So many requests are in hand now. More than MaxConcurrency are not: they are refused."""
        in_hand = min(in_hand, self.rules.max_concurrency)
        while self.in_hand < in_hand:
            self.in_hand += 1
            if self.idle and (last := self.idle.pop()).learns:
                self._learn(self.in_hand, max(0.0, now_s - last.since_s))
        while self.in_hand > in_hand:
            self.idle.append(Idle(now_s))
            self.in_hand -= 1

    def made(self, count: int, now_s: float) -> None:
        """So many are there without having been asked for (a deployment, an earlier control): those that are not in use
        are idle since now."""
        idle = min(count, self.rules.max_concurrency) - self.in_hand
        if idle > 0:
            self.idle[-idle:] = [Idle(now_s, learns=False)] * idle

    def follow(self, rules: Serverless, keep_warm: KeepWarm) -> None:
        """The variant is declared so now."""
        if keep_warm != self.keep_warm:
            self._windows.clear()
        self.rules, self.keep_warm = rules, keep_warm

    def wanted(self, now_s: float) -> Wanted:
        """How many there are to be now."""
        rules = self.rules
        count, why, until_s = self.in_hand, f"{self.in_hand} requests at once" if self.in_hand else "idle", inf
        if rules.provisioned > count:
            count, why = rules.provisioned, f"{rules.provisioned} provisioned"
        for number, idle in enumerate(reversed(self.idle), start=self.in_hand + 1):
            if number > rules.max_concurrency:
                break
            window = self._window(number)
            idle_s = max(0.0, now_s - idle.since_s)
            until_s = min(until_s, idle.since_s + window.changes_s(idle_s))
            if number > count and window.holds(idle_s):
                count, why = number, f"kept warm: {window.why}"
        return Wanted(count, why, until_s)

    def _learn(self, number: int, idle_s: float) -> None:
        place = min(number, LEARNED_APART) - 1
        while len(self.learned) <= place:
            self.learned.append(self.learner())
        if self.learned[place].add(idle_s):
            self._windows.pop(place, None)

    def _window(self, number: int) -> Window:
        place = min(number, LEARNED_APART) - 1
        window = self._windows.get(place)
        if window is None:
            learned = self.learned[place] if place < len(self.learned) else self.learner()
            window = self._windows[place] = window_of(self.keep_warm, learned)
        return window

"""Replicas and the requests in front of them, step by step: a fluid first-come, first-served queue."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct


class Machine(Struct, frozen=True, kw_only=True):
    """What a variant's replicas are like."""

    work_s: float  # that a request takes a replica
    start_s: float = 0.05  # from a decision until the replica takes requests
    slots: int = 1  # requests that a replica works on at the same time, none of them slower for it
    drain_s: float | None = None  # from a decision until a replica has gone; None: what one request takes
    most: int | None = None  # replicas that there is room for


class Seen(Struct, frozen=True):
    """One step, as it was."""

    in_hand: float  # in progress and queued: the mean
    waiting: float  # queued at the end
    served: float
    busy_s: float  # replica-seconds with a request in hand


@dataclass
class Plant:
    """`ready` replicas take requests; those in `starting` will, at their times; those in `draining` still cost."""

    machine: Machine
    ready: int
    starting: list[float] = field(default_factory=list)  # when each is ready
    draining: list[float] = field(default_factory=list)  # when each has gone
    waiting: float = 0.0

    @property
    def capacity(self) -> int:
        """Replicas that there are or will be."""
        return self.ready + len(self.starting)

    @property
    def alive(self) -> int:
        """Replicas that cost: ready, starting and draining."""
        return self.capacity + len(self.draining)

    @property
    def is_settled(self) -> bool:
        """Whether no change is under way."""
        return not self.starting and not self.draining

    def turn(self, now_s: float) -> None:
        """Starts and drains that are over by now."""
        if self.starting and self.starting[0] <= now_s:
            over = sum(at_s <= now_s for at_s in self.starting)
            self.ready += over
            del self.starting[:over]
        if self.draining and self.draining[0] <= now_s:
            self.draining = [at_s for at_s in self.draining if at_s > now_s]

    def scale(self, wanted: int, now_s: float) -> bool:
        """Go for `wanted` replicas. False when there is no room for so many: then all that fit are started."""
        room = wanted if self.machine.most is None else min(wanted, self.machine.most)
        while self.capacity > room and self.starting:
            self.starting.pop()  # the youngest first: it serves nobody yet
        gone = max(0, self.ready - room)
        drain_s = self.machine.work_s if self.machine.drain_s is None else self.machine.drain_s
        self.ready -= gone
        self.draining += [now_s + drain_s] * gone
        self.starting += [now_s + self.machine.start_s] * max(0, room - self.capacity)
        return room == wanted

    def step(self, arrivals: float, step_s: float) -> Seen:
        """Let `arrivals` come, evenly, and be worked on."""
        machine = self.machine
        before = self.waiting
        there = before + arrivals
        able = self.ready * machine.slots * step_s / machine.work_s
        served = there if there < able else able
        self.waiting = there - served
        at_work = served * machine.work_s / step_s
        busy = at_work if at_work < self.ready else float(self.ready)
        return Seen((before + self.waiting) / 2 + at_work, self.waiting, served, busy * step_s)

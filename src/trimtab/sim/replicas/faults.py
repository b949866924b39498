"""What goes wrong with replicas, at its time: deaths, interruptions, slowness, starts that do not succeed."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import numpy as np

from trimtab.errors import Invalid
from trimtab.sim.kernels import books as b
from trimtab.sim.replicas.standing import Standing
from trimtab.sim.world import Fault

NOTICE_S: Final = 120.0  # AWS: so long before a spot instance is taken away it is told of that
KINDS: Final = ("kill", "spot", "slow", "outage")


class Faults:
    """Call `strike` when it is `next_s`. Control replaces a replica that has died as soon as it can.

    Invalid for a kind that is not known.
    """

    def __init__(self, faults: Sequence[Fault], station: Standing, chance: np.random.Generator) -> None:
        for fault in faults:
            if fault.kind not in KINDS:
                raise Invalid(f"A fault is one of {', '.join(KINDS)}, not {fault.kind!r}.")
        self._station = station
        self._chance = chance
        self._owed = 0  # replacements that could not be started
        self._outages = 0
        self._doomed: list[int] = []
        self._due: list[tuple[float, int, Fault, bool]] = []  # when, which, and whether it is its end
        for number, fault in enumerate(faults):
            self._due.append((fault.at_s, number, fault, False))
            if fault.kind in ("slow", "outage"):
                self._due.append((fault.at_s + fault.lasting_s, number, fault, True))
            elif fault.kind == "spot":
                self._due.append((fault.at_s + NOTICE_S, number, fault, True))
        self._due.sort(key=lambda one: one[:2])

    @property
    def next_s(self) -> float:
        """When something goes wrong next, or right again."""
        return self._due[0][0] if self._due else inf

    @property
    def is_outage(self) -> bool:
        """Whether no start succeeds now."""
        return self._outages > 0

    def strike(self) -> None:
        """All that is due."""
        while self._due and self._due[0][0] <= self._station.now_s:
            _, _, fault, is_end = self._due.pop(0)
            if fault.kind == "slow":
                self._station.books.f[b.FACTOR] = 1.0 if is_end else fault.factor
            elif fault.kind == "outage":
                self._outages += -1 if is_end else 1
                if not self.is_outage and self._owed:
                    self._station.start(self._owed)
                    self._owed = 0
            elif fault.kind == "kill":
                for replica in self._station.chosen(fault.count, self._chance):
                    self._station.kill(replica)
                    self._replace()
            elif not is_end:
                self._notice(fault.count)
            else:
                self._reclaim()

    def _replace(self) -> None:
        if self.is_outage:
            self._owed += 1
        else:
            self._station.start(1)

    def _notice(self, count: int) -> None:
        """They take nothing more, and others are ordered; what they have in hand they may answer."""
        for replica in self._station.chosen(count, self._chance):
            if self._station.dismiss(replica):
                self._doomed.append(replica)
            self._replace()

    def _reclaim(self) -> None:
        doomed, self._doomed = self._doomed, []
        for replica in doomed:
            if self._station.is_draining(replica):
                self._station.kill(replica)

"""What a plan says while it works: what it does, how many endpoints were simulated, and how long it still takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trimtab.advisor.plan.pace import Pace, kind_of, words
from trimtab.advisor.plan.search import is_event
from trimtab.sim.world import Serving


class Progress(Protocol):
    """Whoever waits."""

    def step(self, text: str) -> None:
        """What is being done now."""
        ...

    def update(self, text: str) -> None:
        """How far that is."""
        ...


class Telling:
    """To nobody, where nobody waits."""

    def __init__(self, progress: Progress | None, pace: Pace) -> None:
        self._progress = progress
        self._pace = pace
        self._step = ""

    def step(self, text: str) -> None:
        """What is being done now."""
        self._step = text
        if self._progress is not None:
            self._progress.step(text)

    def trials(self, whole_is: float = 1.0, *, is_whole: bool) -> Callable[[Serving, float], None]:
        """Hears of each endpoint that was simulated. `whole_is`: see `Pace.left`."""

        def told(serving: Serving, took_s: float) -> None:
            self._pace.took(kind_of(is_event=is_event(serving), is_whole=is_whole), took_s)
            left = words(self._pace.left(whole_is))
            if self._progress is not None:
                more = f", {left}" if left else ""
                self._progress.update(f"{self._step}; endpoints simulated: {self._pace.simulated:,}{more}")

        return told

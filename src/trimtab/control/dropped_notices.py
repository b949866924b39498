"""DroppedNotices: an endpoint's history says that notices of its tasks were dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from trimtab.clock import Clock
from trimtab.resources.endpoint import Event

WHAT: Final = "notices dropped"
_EVERY_S: Final = 600.0  # for one endpoint: a history is short, and NotificationFailures counts each

AddEvents = Callable[[str, Sequence[Event]], None]


class DroppedNotices:
    """`note` an endpoint each time; `add_events` writes into its history."""

    def __init__(self, add_events: AddEvents, clock: Clock) -> None:
        self._add_events = add_events
        self._clock = clock
        self._told_s: dict[str, float] = {}

    def note(self, endpoint: str) -> None:
        """Notices of tasks of `endpoint` were dropped a moment ago."""
        now_s = self._clock.monotonic_s()
        self._told_s = {name: at_s for name, at_s in self._told_s.items() if now_s - at_s < _EVERY_S}
        if endpoint in self._told_s:
            return
        self._told_s[endpoint] = now_s
        reason = (
            "there is no such topic as its config names; results are not affected. Create the topic, or update the "
            "endpoint with another NotificationConfig"
        )
        self._add_events(endpoint, [Event(at_s=self._clock.now_s(), what=WHAT, reason=reason)])

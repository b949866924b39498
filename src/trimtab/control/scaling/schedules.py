"""Scheduled actions, carried out when they are due."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from trimtab.clock import Clock
from trimtab.control.scaling.book import Book, place_of
from trimtab.control.scaling.scalers import Scalers
from trimtab.errors import Invalid
from trimtab.logs import fields
from trimtab.policies.scaling.inputs import Scheduled
from trimtab.policies.scaling.schedule import next_after
from trimtab.resources.scaling import ScheduledAction

logger = logging.getLogger(__name__)

LATE_S: Final = 60.0  # AWS: an action runs within the minute; what control missed for longer is not made up for
_AGAIN_S: Final = 5.0
_LONGEST_SLEEP_S: Final = 10.0  # so that a jump of the wall clock is seen soon


class Schedules:
    """`run` until cancelled: sleeps until the next action is due, or until `changed` is called.

    An action that was due while nobody ran is carried out if its minute is not over. So it may be carried out twice,
    when control died after it: that changes nothing, as the bounds are those already.
    """

    def __init__(self, book: Book, scalers: Scalers, clock: Clock) -> None:
        self._book = book
        self._scalers = scalers
        self._clock = clock
        self._done_s: float = clock.now_s() - LATE_S  # what was due until then is carried out, or too old
        self._since_s: dict[str, float] = {}  # action's ARN -> when it was last made or changed, if since the start
        self._known: dict[str, ScheduledAction] = {action.arn: action for action in book.actions()}
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """An action was made, changed or deleted."""
        now_s = self._clock.now_s()
        actions = {action.arn: action for action in self._book.actions()}
        for arn, action in actions.items():
            if self._known.get(arn) != action:
                self._since_s[arn] = now_s  # what was due before it was as it is now is not its concern
        for gone in self._since_s.keys() - actions.keys():
            del self._since_s[gone]
        self._known = actions
        self._changed.set()

    async def run(self) -> None:
        """See the class."""
        while True:
            self._changed.clear()
            try:
                sleep_s = self.step()
            except Exception:  # the store does not answer, say; what is due now is tried again
                logger.exception("scheduled actions could not be looked at")
                sleep_s = _AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(sleep_s):
                    await self._changed.wait()

    def step(self) -> float:
        """Carry out what is due, in its order; the seconds until it is worth looking again."""
        now_s = self._clock.now_s()
        from_s = min(max(self._done_s, now_s - LATE_S), now_s)  # the wall clock may have been set back
        due: list[tuple[float, str, ScheduledAction]] = []
        next_s = now_s + _LONGEST_SLEEP_S
        for action in self._book.actions():
            after_s = max(from_s, self._since_s.get(action.arn, from_s))
            try:
                while (at_s := next_after(action, after_s)) is not None and at_s <= now_s:
                    due.append((at_s, action.name, action))
                    after_s = at_s
            except Invalid as error:  # a time zone that this machine knows no more, say
                logger.error("a scheduled action cannot be read %s", fields(action=action.arn, error=error))
                continue
            if at_s is not None:
                next_s = min(next_s, at_s)
        for _, _, action in sorted(due, key=lambda one: one[:2]):
            self._carry_out(action)
        self._done_s = now_s  # not when one could not be carried out: then all are, again
        return max(0.0, next_s - now_s)

    def _carry_out(self, action: ScheduledAction) -> None:
        scaler = self._scalers.fresh(place_of(action.endpoint, action.variant))
        if scaler is None:
            return
        place = {"endpoint": action.endpoint, "variant": action.variant}
        logger.info("scheduled action %s", fields(**place, action=action.name))
        scaler.feed(
            Scheduled(
                at_s=self._clock.now_s(),
                capacity=scaler.capacity,
                action=action.name,
                min_capacity=action.min_capacity,
                max_capacity=action.max_capacity,
            )
        )

"""What an alarm does when it changes state: by whatever was plugged in, without keeping anybody waiting."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from trimtab.clock import Clock
from trimtab.errors import NotSupported, TrimtabError
from trimtab.logs import fields
from trimtab.resources.alarm import Alarm, HistoryItem, HistoryKind
from trimtab.store.alarms import AlarmStore

logger = logging.getLogger(__name__)

Actions = Callable[[Alarm, str], Awaitable[None]]
"""Carry out an action (an ARN) of an alarm in its new state. A TrimtabError says why it could not be."""

_SUMMARY_CHARS: Final = 255  # AWS
_DATA_CHARS: Final = 4095  # AWS
_ERROR_CHARS: Final = 1000


def is_scaling_policy(action: str) -> bool:
    """Whether an action is a scaling policy: AWS repeats those while the alarm stays in its state."""
    return action.startswith("arn:") and action.split(":", 5)[2:3] == ["autoscaling"] and ":scalingPolicy:" in action


async def not_there(alarm: Alarm, action: str) -> None:
    """Actions as long as nothing is plugged in: refused by name."""
    raise NotSupported(action, f"trimtab cannot carry out {action}: there is nothing here that it could reach.")


class ActionRunner:
    """Runs actions in tasks of their own, and records in the alarm's history what became of them."""

    def __init__(self, store: AlarmStore, clock: Clock, actions: Actions) -> None:
        self._store = store
        self._clock = clock
        self._actions = actions
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._last: dict[tuple[str, str], str] = {}  # (alarm, action) -> how it ended

    def fire(self, alarm: Alarm) -> None:
        """Carry out the actions of the state that `alarm` has just come to."""
        if alarm.actions_enabled and alarm.actions:
            self._start(alarm, alarm.actions, repeated=False)

    def repeat(self, alarm: Alarm) -> None:
        """Carry out the scaling policies of its state again, unless they are still at it."""
        policies = tuple(action for action in alarm.actions if is_scaling_policy(action))
        if alarm.actions_enabled and policies and alarm.name not in self._tasks.values():
            self._start(alarm, policies, repeated=True)

    def forget(self, name: str) -> None:
        """An alarm is gone."""
        self._last = {place: error for place, error in self._last.items() if place[0] != name}

    async def settled(self) -> None:
        """Until what was started has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel what is still at work."""
        for task in self._tasks:
            task.cancel()
        await self.settled()

    def _start(self, alarm: Alarm, actions: tuple[str, ...], *, repeated: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._act(alarm, actions, repeated=repeated))
        self._tasks[task] = alarm.name
        task.add_done_callback(self._tasks.pop)

    async def _act(self, alarm: Alarm, actions: tuple[str, ...], *, repeated: bool) -> None:
        for action in actions:
            error = ""
            try:
                await self._actions(alarm, action)
            except TrimtabError as refused:
                error = str(refused) or refused.reason
            except Exception:
                logger.exception("an alarm's action failed inside trimtab %s", fields(alarm=alarm.name, action=action))
                error = "The action failed inside trimtab; its log says more."
            # A repeated action is worth a line of history only when it ends otherwise than the last time.
            place = (alarm.name, action)
            if not repeated or self._last.get(place) != error:
                self._record(alarm, action, error)
            self._last[place] = error

    def _record(self, alarm: Alarm, action: str, error: str) -> None:
        said = f'Failed to execute action {action}. Received error: "{error}"' if error else ""
        data = {
            "actionState": "Failed" if error else "Succeeded",
            "stateUpdateTimestamp": round(alarm.state_updated_s * 1000),
            "notificationResource": action,
            **({"error": error[:_ERROR_CHARS]} if error else {}),
        }
        item = HistoryItem(
            alarm=alarm.name,
            alarm_kind=alarm.kind,
            at_s=self._clock.now_s(),
            kind=HistoryKind.ACTION,
            summary=(said or f"Successfully executed action {action}")[:_SUMMARY_CHARS],
            data=json.dumps(data)[:_DATA_CHARS],
        )
        try:
            self._store.add_history([item])
        except TrimtabError:
            logger.exception("an action could not be recorded %s", fields(alarm=alarm.name, action=action))

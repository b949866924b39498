"""The alarms: what callers do to them, the state that each is in, and what is recorded of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.alarm_actions import ActionRunner, Actions
from trimtab.errors import LimitExceeded, NotFound
from trimtab.policies.alarm_words import iso
from trimtab.resources.alarm import Alarm, AlarmState, HistoryItem, HistoryKind
from trimtab.store.alarms import AlarmStore

MAX_ALARMS: Final = 5000  # AWS: per account and region
_DATA_CHARS: Final = 4095  # AWS: HistoryData


class Alarms:
    """All alarms in memory, every change on disk before it is answered. Used from one event loop.

    `on_change` is called after an alarm was made, changed or deleted.
    """

    def __init__(self, store: AlarmStore, clock: Clock, actions: Actions) -> None:
        self._store = store
        self._clock = clock
        self._alarms: dict[str, Alarm] = {alarm.name: alarm for alarm in store.load()}
        self.runner = ActionRunner(store, clock, actions)
        self.failing: set[str] = set()  # alarms whose last evaluation ended in an error
        self.on_change: Callable[[], None] = lambda: None

    def get(self, name: str) -> Alarm:
        """NotFound("alarm")."""
        if name not in self._alarms:
            raise NotFound("alarm", name)
        return self._alarms[name]

    def find(self, name: str) -> Alarm | None:
        """The alarm, or None."""
        return self._alarms.get(name)

    def list(self) -> Sequence[Alarm]:
        """All, by name."""
        return [self._alarms[name] for name in sorted(self._alarms)]

    def put(self, wanted: Alarm) -> None:
        """Make the alarm, or configure it anew: its state and tags stay then. LimitExceeded."""
        now_s = self._clock.now_s()
        known = self._alarms.get(wanted.name)
        if known is None:
            if len(self._alarms) >= MAX_ALARMS:
                raise LimitExceeded(f"There are {MAX_ALARMS} alarms already; delete some first.")
            alarm = replace(wanted, configured_s=now_s, state_updated_s=now_s, state_changed_s=now_s)
            self._save(alarm, _configured(alarm, now_s, "Create", "created"))
            return
        alarm = replace(
            wanted,
            configured_s=now_s,
            tags=known.tags,
            state=known.state,
            state_reason=known.state_reason,
            state_reason_data=known.state_reason_data,
            state_updated_s=known.state_updated_s,
            state_changed_s=known.state_changed_s,
        )
        self._save(alarm, _configured(alarm, now_s, "Update", "updated"))

    def delete(self, names: Sequence[str]) -> None:
        """All of them or none. NotFound."""
        now_s = self._clock.now_s()
        gone = [self.get(name) for name in dict.fromkeys(names)]
        self._store.delete([_configured(alarm, now_s, "Delete", "deleted") for alarm in gone])
        for alarm in gone:
            del self._alarms[alarm.name]
            self.failing.discard(alarm.name)
            self.runner.forget(alarm.name)
        self.on_change()

    def set_state(self, name: str, state: AlarmState, reason: str, reason_data: str = "") -> None:
        """Bring an alarm into a state; its actions run when it was in another. NotFound.

        The next evaluation may bring it back.
        """
        now_s = self._clock.now_s()
        old = self.get(name)
        alarm = replace(
            old,
            state=state,
            state_reason=reason,
            state_reason_data=reason_data,
            state_updated_s=now_s,
            state_changed_s=old.state_changed_s if state is old.state else now_s,
        )
        if state is old.state:
            self._save(alarm)
            return
        self._save(alarm, _changed(old, alarm, now_s))
        self.runner.fire(alarm)

    def enable_actions(self, names: Sequence[str], *, enabled: bool) -> None:
        """Names of alarms that are not there have no effect (AWS)."""
        now_s = self._clock.now_s()
        for name in dict.fromkeys(names):
            alarm = self._alarms.get(name)
            if alarm is not None and alarm.actions_enabled is not enabled:
                alarm = replace(alarm, actions_enabled=enabled, configured_s=now_s)
                self._save(alarm, _configured(alarm, now_s, "Update", "updated"))

    def set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Replace all tags. NotFound."""
        self._save(replace(self.get(name), tags=dict(tags)))

    def history(
        self, name: str = "", *, beyond: int = 0, descending: bool = True, limit: int = 1000
    ) -> Sequence[HistoryItem]:
        """A part of the history of an alarm ("": of all), of deleted ones, too. See AlarmStore."""
        return self._store.history(name, beyond=beyond, descending=descending, limit=limit)

    def _save(self, alarm: Alarm, *history: HistoryItem) -> None:
        self._store.save(alarm, history)
        self._alarms[alarm.name] = alarm
        self.on_change()


def _configured(alarm: Alarm, now_s: float, how: str, word: str) -> HistoryItem:
    data = {"version": "1.0", "type": how, f"{word}Alarm": _configuration(alarm)}
    text = json.dumps(data)
    if len(text) > _DATA_CHARS:
        text = json.dumps({"version": "1.0", "type": how, f"{word}Alarm": {"alarmName": alarm.name}})
    return _item(alarm, now_s, HistoryKind.CONFIGURATION, f'Alarm "{alarm.name}" {word}', text)


def _configuration(alarm: Alarm) -> dict[str, Any]:
    """An alarm as AWS writes it into its history: what was declared, in lower camel case, and the state."""
    return {
        **_camel(alarm.document),
        "alarmName": alarm.name,
        "actionsEnabled": alarm.actions_enabled,
        "okactions": list(alarm.ok_actions),
        "alarmActions": list(alarm.alarm_actions),
        "insufficientDataActions": list(alarm.insufficient_data_actions),
        "stateValue": alarm.state.value,
        "alarmConfigurationUpdatedTimestamp": iso(alarm.configured_s),
        "stateUpdatedTimestamp": iso(alarm.state_updated_s),
    }


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key[:1].lower() + key[1:]: _camel(inner) for key, inner in value.items()}
    return [_camel(inner) for inner in value] if isinstance(value, list | tuple) else value


def _changed(old: Alarm, new: Alarm, now_s: float) -> HistoryItem:
    data = {"version": "1.0", "oldState": _state(old), "newState": _state(new)}
    text = json.dumps(data)
    for state in ("oldState", "newState"):  # too long together: what can be read elsewhere goes first
        if len(text) > _DATA_CHARS:
            data[state] = {**data[state], "stateReasonData": {}}  # type: ignore[dict-item]
            text = json.dumps(data)
    summary = f"Alarm updated from {old.state} to {new.state}"
    return _item(new, now_s, HistoryKind.STATE, summary, text)


def _state(alarm: Alarm) -> dict[str, Any]:
    state: dict[str, Any] = {"stateValue": alarm.state.value, "stateReason": alarm.state_reason}
    if alarm.state_reason_data:
        state["stateReasonData"] = _json(alarm.state_reason_data)
    return state


def _json(text: str) -> Any:
    """What a JSON text says; the text itself when it is none (SetAlarmState takes any)."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _item(alarm: Alarm, now_s: float, kind: HistoryKind, summary: str, data: str) -> HistoryItem:
    return HistoryItem(alarm=alarm.name, alarm_kind=alarm.kind, at_s=now_s, kind=kind, summary=summary[:255], data=data)

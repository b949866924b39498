"""Alarms: what is watched, which state that has led to, and what has happened to them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from trimtab.resources.metric_query import MetricQuery, MetricStat

HISTORY_KEPT_S = 14 * 86_400  # AWS: two weeks


class AlarmState(enum.StrEnum):
    """As AWS names them."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Watched(Struct, frozen=True, kw_only=True):
    """When a metric alarm is in ALARM: M of N points beyond the threshold.

    `stat` is a single metric; without it `queries` holds metrics and math, of which exactly one returns data.
    """

    stat: MetricStat | None = None
    queries: tuple[MetricQuery, ...] = ()
    comparison: str  # AWS's ComparisonOperator
    threshold: float
    evaluation_periods: int  # N
    datapoints_to_alarm: int | None = None  # M; None: N
    treat_missing: str = "missing"  # breaching, notBreaching, ignore, missing
    low_samples: str = "evaluate"  # of percentiles: evaluate, ignore

    @property
    def needed(self) -> int:
        """M."""
        return self.datapoints_to_alarm or self.evaluation_periods

    @property
    def period_s(self) -> int:
        """Of each point."""
        if self.stat is not None:
            return self.stat.period_s
        return max((query.stat.period_s for query in self.queries if query.stat is not None), default=60)


class Alarm(Struct, frozen=True, kw_only=True):
    """An alarm as configured, and its state. A composite one has `rule`, all others `watched`."""

    name: str
    description: str | None = None
    watched: Watched | None = None
    rule: str = ""
    actions_enabled: bool = True
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_data_actions: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)  # what the caller declared, for Describe to say again
    configured_s: float
    state: AlarmState = AlarmState.INSUFFICIENT_DATA
    state_reason: str = "Unchecked: Initial alarm creation"  # AWS's words
    state_reason_data: str = ""  # JSON
    state_updated_s: float
    state_changed_s: float

    @property
    def kind(self) -> str:
        """AWS's AlarmType."""
        return "CompositeAlarm" if self.rule else "MetricAlarm"

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions of the state it is in."""
        return {
            AlarmState.OK: self.ok_actions,
            AlarmState.ALARM: self.alarm_actions,
            AlarmState.INSUFFICIENT_DATA: self.insufficient_data_actions,
        }[self.state]


class HistoryKind(enum.StrEnum):
    """AWS's HistoryItemType."""

    CONFIGURATION = "ConfigurationUpdate"
    STATE = "StateUpdate"
    ACTION = "Action"


class HistoryItem(Struct, frozen=True, kw_only=True):
    """One thing that happened to an alarm. It outlives the alarm."""

    id: int = 0  # the order in which things were recorded; given by the store
    alarm: str
    alarm_kind: str
    at_s: float
    kind: HistoryKind
    summary: str
    data: str  # JSON

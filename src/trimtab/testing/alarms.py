"""Alarms for tests, and what every store must do with them, as a suite: subclass it and give it a `store` fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.errors import NotFound
from trimtab.resources.alarm import HISTORY_KEPT_S, Alarm, AlarmState, HistoryItem, HistoryKind, Watched
from trimtab.resources.metric_query import MetricStat
from trimtab.store.alarms import HISTORY_KEPT
from trimtab.store.store import Store


def an_alarm(name: str = "High", **more: Any) -> Alarm:
    """An alarm on one metric, as it is when it has just been made."""
    stat = MetricStat("AWS/SageMaker", "Invocations", (("EndpointName", "fraud"),), 60, "Sum")
    watched = Watched(stat=stat, comparison="GreaterThanThreshold", threshold=10.0, evaluation_periods=1)
    made = Alarm(name=name, watched=watched, configured_s=1.5, state_updated_s=1.5, state_changed_s=1.5)
    return replace(made, **more)


def an_item(alarm: str = "High", at_s: float = 1.5, summary: str = 'Alarm "High" created') -> HistoryItem:
    """A line of an alarm's history."""
    return HistoryItem(
        alarm=alarm, alarm_kind="MetricAlarm", at_s=at_s, kind=HistoryKind.CONFIGURATION, summary=summary, data="{}"
    )


class AlarmStoreSuite:
    """The promises of `store.alarms.AlarmStore`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty store."""
        raise NotImplementedError("a subclass gives the store")

    def test_an_alarm_comes_back_whole(self, store: Store) -> None:
        store.alarms.save(an_alarm(tags={"a": "1"}, document={"Deep": [{"x": 1}]}))
        store.alarms.save(an_alarm("high"))
        assert {alarm.name for alarm in store.alarms.load()} == {"High", "high"}, "names keep their case"
        assert an_alarm(tags={"a": "1"}, document={"Deep": [{"x": 1}]}) in store.alarms.load()

    def test_saving_again_replaces(self, store: Store) -> None:
        store.alarms.save(an_alarm())
        store.alarms.save(an_alarm(state=AlarmState.ALARM))
        assert list(store.alarms.load()) == [an_alarm(state=AlarmState.ALARM)]

    def test_history_outlives_its_alarm(self, store: Store) -> None:
        store.alarms.save(an_alarm(), [an_item()])
        store.alarms.delete([an_item(summary="deleted")])
        assert list(store.alarms.load()) == []
        assert [item.summary for item in store.alarms.history("High", limit=5000)] == [
            'Alarm "High" created',
            "deleted",
        ]

    def test_deleting_several_deletes_all_or_none(self, store: Store) -> None:
        store.alarms.save(an_alarm())
        with pytest.raises(NotFound):
            store.alarms.delete([an_item(), an_item("nobody")])
        assert list(store.alarms.load()) == [an_alarm()]
        assert list(store.alarms.history()) == []

    def test_history_is_in_order_and_of_one_alarm_or_of_all(self, store: Store) -> None:
        store.alarms.add_history([an_item("a", 5.0, "1"), an_item("b", 4.0, "2"), an_item("a", 3.0, "3")])
        assert [item.summary for item in store.alarms.history("a")] == ["1", "3"]
        assert [item.summary for item in store.alarms.history()] == ["1", "2", "3"]
        assert list(store.alarms.history("nobody")) == []
        ids = [item.id for item in store.alarms.history()]
        assert ids == sorted(set(ids))

    def test_history_is_read_in_parts_from_either_end(self, store: Store) -> None:
        store.alarms.add_history([an_item("ab"[n % 2], summary=str(n)) for n in range(6)])
        first = store.alarms.history(limit=2)
        assert [item.summary for item in first] == ["0", "1"]
        assert [item.summary for item in store.alarms.history(beyond=first[-1].id, limit=2)] == ["2", "3"]
        newest = store.alarms.history("a", descending=True, limit=2)
        assert [item.summary for item in newest] == ["4", "2"]
        rest = store.alarms.history("a", beyond=newest[-1].id, descending=True)
        assert [item.summary for item in rest] == ["0"]

    def test_history_older_than_two_weeks_is_forgotten(self, store: Store) -> None:
        store.alarms.add_history([an_item(at_s=1000.0, summary="old"), an_item("other", 1000.0, "old")])
        store.alarms.add_history([an_item(at_s=1000.0 + HISTORY_KEPT_S, summary="just in time")])
        assert len(list(store.alarms.history())) == 3
        store.alarms.add_history([an_item(at_s=1001.0 + HISTORY_KEPT_S, summary="new")])
        assert [item.summary for item in store.alarms.history()] == ["just in time", "new"]

    def test_history_of_one_alarm_is_bounded(self, store: Store) -> None:
        store.alarms.add_history([an_item("other")])
        total = HISTORY_KEPT + 10
        for start in range(0, total, 500):
            items = [an_item(summary=str(n)) for n in range(start, min(start + 500, total))]
            store.alarms.add_history(items)
        found = [item.summary for item in store.alarms.history("High", limit=5000)]
        assert found == [str(n) for n in range(10, total)]
        assert len(list(store.alarms.history("other"))) == 1

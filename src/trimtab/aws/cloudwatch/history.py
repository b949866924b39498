"""DescribeAlarmHistory: what happened to alarms, of those that were deleted, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from trimtab.aws.cloudwatch.words import listing_of, paged
from trimtab.aws.paging import Pager, scan
from trimtab.aws.registry import Call, operation
from trimtab.clock import Clock
from trimtab.control.alarms import Alarms
from trimtab.resources.alarm import HISTORY_KEPT_S, HistoryItem

_PAGE: Final = 100  # AWS: without MaxRecords
_CHUNK: Final = 500  # items read at once


class History:
    """The history of control's Alarms."""

    def __init__(self, alarms: Alarms, clock: Clock, pager: Pager) -> None:
        self._alarms = alarms
        self._clock = clock
        self._pager = pager

    @operation("cloudwatch", "DescribeAlarmHistory")
    def describe_alarm_history(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page, newest first unless asked otherwise."""
        listing = listing_of(call, params)
        beyond = 0
        if token := params.get("NextToken"):
            beyond = int(paged(lambda: self._pager.place(listing, token))[0])
        since_s = self._clock.now_s() - HISTORY_KEPT_S
        found, last = scan(
            self._items(params, beyond),
            lambda item: _is_wanted(item, params, since_s),
            limit=params.get("MaxRecords", _PAGE),
        )
        answer: dict[str, Any] = {"AlarmHistoryItems": [_described(item) for item in found]}
        return answer | ({"NextToken": self._pager.token(listing, (float(last.id),))} if last is not None else {})

    def _items(self, params: Mapping[str, Any], beyond: int) -> Iterator[HistoryItem]:
        descending = params.get("ScanBy") != "TimestampAscending"
        name = params.get("AlarmName", "")
        while found := self._alarms.history(name, beyond=beyond, descending=descending, limit=_CHUNK):
            yield from found
            beyond = found[-1].id


def _is_wanted(item: HistoryItem, params: Mapping[str, Any], since_s: float) -> bool:
    if item.at_s < since_s or item.alarm_kind not in (params.get("AlarmTypes") or ("MetricAlarm",)):
        return False
    if params.get("HistoryItemType", item.kind.value) != item.kind.value:
        return False
    start, end = params.get("StartDate"), params.get("EndDate")
    return (start is None or item.at_s >= start.timestamp()) and (end is None or item.at_s <= end.timestamp())


def _described(item: HistoryItem) -> dict[str, Any]:
    return {
        "AlarmName": item.alarm,
        "AlarmType": item.alarm_kind,
        "Timestamp": item.at_s,
        "HistoryItemType": item.kind.value,
        "HistorySummary": item.summary,
        "HistoryData": item.data,
    }

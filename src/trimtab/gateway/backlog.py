"""Reports that could not be sent yet: kept in order, merged by the minute when there are many, bounded. Pure."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from trimtab import logs
from trimtab.wire.merging import merge_reports
from trimtab.wire.reports import Report

logger = logging.getLogger(__name__)

SECONDS_KEPT_S: Final = 120  # older reports of a second become minutes
MINUTES_KEPT: Final = 180
MOST: Final = 20_000  # variants in all of them, of about 1 to 2 KB each


class Backlog:
    """Oldest first. `add` at the new end, `take` from the old one."""

    def __init__(self) -> None:
        self._minutes: deque[Report] = deque()  # older than all of the next
        self._seconds: deque[Report] = deque()
        self._size = 0  # variants in them

    def __len__(self) -> int:
        return len(self._minutes) + len(self._seconds)

    def add(self, report: Report) -> None:
        """A second's report."""
        self._seconds.append(report)
        self._size += len(report.variants)
        while self._is_long():
            self._merge(self._seconds.popleft())
        while len(self._minutes) > MINUTES_KEPT or (self._size > MOST and self._minutes):
            lost = self._minutes.popleft()
            self._size -= len(lost.variants)
            logger.warning("metrics lost: control is away too long %s", logs.fields(start_s=lost.start_s))

    def _is_long(self) -> bool:
        seconds = self._seconds
        if not seconds:
            return False
        return self._size > MOST or seconds[-1].start_s - seconds[0].start_s >= SECONDS_KEPT_S

    def put_back(self, report: Report) -> None:
        """A report that was taken, and not received; of several the newest first."""
        (self._minutes or self._seconds).appendleft(report)
        self._size += len(report.variants)

    def take(self) -> Report | None:
        """The oldest; None when there is none."""
        kept = self._minutes or self._seconds
        if not kept:
            return None
        report = kept.popleft()
        self._size -= len(report.variants)
        return report

    def _merge(self, report: Report) -> None:
        last = self._minutes[-1] if self._minutes else None
        if last is not None and last.start_s // 60 == report.start_s // 60:
            before = len(last.variants)
            merge_reports(last, report)
            self._size += len(last.variants) - before - len(report.variants)
        else:
            self._minutes.append(report)

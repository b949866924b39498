"""Reports that could not be sent yet: kept in order, merged by variant and time when there are many, bounded. Pure."""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from typing import Final

from msgspec import Struct

from trimtab import logs
from trimtab.wire.merging import merge_variants
from trimtab.wire.reports import Report, VariantReport

logger = logging.getLogger(__name__)

SECONDS_KEPT_S: Final = 120  # older reports of a second are merged
MINUTES_KEPT: Final = 180
SECONDS_MOST: Final = 10_000  # variants in reports of a second, of about 1 to 2 KB each
MERGED_MOST: Final = 20_000  # variants in minutes; no new minute begins when it would fill more than half of that
IN_A_REPORT: Final = 25  # variants that are taken together: control works on one report for 2 ms
_STRETCH_S: Final = 3 * 3600


class _Held(Struct):
    """What one variant did from `start_s` to `end_s`."""

    start_s: int
    end_s: int
    variant: VariantReport


class Backlog:
    """Oldest first. `add` at the new end, `take` from the old one.

    What is too old or too much to be kept by the second is merged by the minute. When there is no room for one more
    minute, the newest one goes on instead: while control is slow or away time becomes coarser, and no request is
    forgotten. Only what is older than three hours, or of more than `MERGED_MOST` variants, is.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, dict[tuple[str, str], _Held]] = {}  # by start; older than what follows
        self._seconds: deque[Report] = deque()
        self._merged = 0  # variants in `_minutes`
        self._single = 0  # variants in `_seconds`

    def __len__(self) -> int:
        """Variants in all that waits."""
        return self._merged + self._single

    def add(self, report: Report) -> None:
        """A second's report."""
        self._seconds.append(report)
        self._single += len(report.variants)
        while self._is_long():
            oldest = self._seconds.popleft()
            self._single -= len(oldest.variants)
            self._merge(oldest)
        while self._merged > MERGED_MOST or len(self._minutes) > MINUTES_KEPT:
            self._lose(min(self._minutes))

    def _is_long(self) -> bool:
        seconds = self._seconds
        if not seconds:
            return False
        return self._single > SECONDS_MOST or seconds[-1].start_s - seconds[0].start_s >= SECONDS_KEPT_S

    def put_back(self, report: Report) -> None:
        """A report that was taken, and not received; of several the newest first."""
        if self._minutes or report.span_s > 1:
            self._merge(report)
        else:
            self._seconds.appendleft(report)
            self._single += len(report.variants)

    def take(self) -> Report | None:
        """The oldest; None when there is none."""
        if self._minutes:
            return self._take_merged(min(self._minutes))
        if not self._seconds:
            return None
        report = self._seconds.popleft()
        self._single -= len(report.variants)
        return report

    def _take_merged(self, start_s: int) -> Report:
        held = self._minutes[start_s]
        taken = [held.pop(place) for place in list(islice(held, IN_A_REPORT))]
        self._merged -= len(taken)
        if not held:
            del self._minutes[start_s]
        first_s, end_s = min(one.start_s for one in taken), max(one.end_s for one in taken)
        return Report(number=0, start_s=first_s, span_s=end_s - first_s, variants=[one.variant for one in taken])

    def _merge(self, report: Report) -> None:
        held = self._minute_for(report.start_s)
        end_s = report.start_s + report.span_s
        for variant in report.variants:
            place = (variant.endpoint, variant.variant)
            one = held.get(place)
            if one is None:
                held[place] = _Held(report.start_s, end_s, variant)
                self._merged += 1
            else:
                merge_variants(one.variant, variant)
                one.start_s, one.end_s = min(one.start_s, report.start_s), max(one.end_s, end_s)

    def _minute_for(self, start_s: int) -> dict[tuple[str, str], _Held]:
        minute_s = start_s // 60 * 60
        if self._minutes and minute_s not in self._minutes:
            newest_s = max(self._minutes)
            newest = self._minutes[newest_s]
            if self._merged + len(newest) > MERGED_MOST // 2 and abs(minute_s - newest_s) < _STRETCH_S:
                return newest
        return self._minutes.setdefault(minute_s, {})

    def _lose(self, start_s: int) -> None:
        lost = self._minutes.pop(start_s)
        self._merged -= len(lost)
        logger.warning("metrics lost: control is away too long %s", logs.fields(start_s=start_s, variants=len(lost)))

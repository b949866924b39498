"""Tallies: how tasks have ended, beside what the consumer's gateway counts of their calls; reported as gateways do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.consumer.runner import Ended
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.meters import Values
from trimtab.policies.asynchronous import ENDS_QUIETLY, Reason
from trimtab.wire.reports import TasksReport, VariantReport

_DOWNLOAD = (Reason.INPUT_MISSING, Reason.INPUT_REFUSED, Reason.INPUT_TOO_LARGE)
_UPLOAD = (Reason.OUTPUT_REFUSED,)
_EACH: Final = 1000  # tasks that a report tells of one by one

Place = tuple[str, str]
"""Endpoint and variant."""


class _Tally:
    """One variant's, since the last report."""

    def __init__(self) -> None:
        self.counts = TasksReport()
        self.download, self.upload, self.in_backlog, self.whole = Values(), Values(), Values(), Values()
        self.in_work = Values()

    def add(self, ended: Ended) -> None:
        counts = self.counts
        if ended.ok:
            counts.ok += 1
        elif ended.reason == Reason.EXPIRED:
            counts.expired += 1
        elif ended.reason == Reason.ENDPOINT_DELETED:
            counts.dropped += 1
        else:
            counts.failed += 1
        counts.download_failures += ended.reason in _DOWNLOAD
        counts.upload_failures += ended.reason in _UPLOAD
        counts.notice_failures += ended.notice_failed
        if ended.download_s:
            self.download.add((ended.download_s * 1e6,))
        if ended.upload_s:
            self.upload.add((ended.upload_s * 1e6,))
        if ended.in_work_s and ended.reason not in ENDS_QUIETLY:
            self.in_work.add((ended.in_work_s * 1e6,))
            if len(counts.each) < _EACH:
                counts.each.append((round(ended.accepted_s * 1e3), round(ended.in_work_s * 1e6)))
        if ended.accepted_s and ended.first_leased_s:
            self.in_backlog.add((max(0.0, ended.first_leased_s - ended.accepted_s) * 1e3,))
        if ended.accepted_s:
            self.whole.add((max(0.0, ended.ended_s - ended.accepted_s) * 1e3,))

    def report(self) -> TasksReport:
        counts = self.counts
        counts.download, counts.upload = self.download.take(), self.upload.take()
        counts.in_backlog, counts.whole = self.in_backlog.take(), self.whole.take()
        counts.in_work = self.in_work.take()
        return counts


class Tallies:
    """`told` hears of each end; `reports` is what a Reporter asks for."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tallies: dict[Place, _Tally] = {}

    def told(self, ended: Ended) -> None:
        """A task has ended. One that no variant has worked on counts as its endpoint's first one's."""
        variant = ended.variant or self._first(ended.endpoint)
        if variant:
            self._tallies.setdefault((ended.endpoint, variant), _Tally()).add(ended)

    def _first(self, endpoint: str) -> str:
        entry = self._gateway.endpoints.get(endpoint)
        return entry.variants[0].route.name if entry is not None and entry.variants else ""

    def reports(self) -> Iterator[VariantReport]:
        """What happened at each variant since this was last asked."""
        for report in self._gateway.reports():
            tally = self._tallies.pop((report.endpoint, report.variant), None)
            report.tasks = tally.report() if tally is not None else TasksReport()
            yield report
        while self._tallies:
            (endpoint, variant), tally = self._tallies.popitem()
            yield VariantReport(endpoint=endpoint, variant=variant, tasks=tally.report())

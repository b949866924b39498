"""How tasks have ended, counted for AWS's metrics of asynchronous endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.consumer.runner import Ended
from trimtab.consumer.tallies import Tallies
from trimtab.control.samples import SampleMaker
from trimtab.gateway.gateway import Gateway
from trimtab.policies.asynchronous import Reason
from trimtab.resources.asynchronous import AsyncSettings
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute
from trimtab.wire.merging import merge_variants
from trimtab.wire.reports import VariantReport


async def a_gateway() -> Gateway:
    gateway = Gateway()
    variant = VariantRoute(name="v", weight=1.0, lanes=(), version="c")
    route = EndpointRoute(name="e", variants=(variant,), asynchronous=AsyncSettings())
    await gateway.apply(RouteTable(version=1, endpoints=(route,)))
    return gateway


def ended(**more: Any) -> Ended:
    times = {"accepted_s": 100.0, "first_leased_s": 102.0, "ended_s": 105.0}
    return Ended(**{"endpoint": "e", "variant": "v", "ok": True} | times | more)


def values(report: VariantReport) -> dict[str, tuple[float, float]]:
    """Count and sum by metric."""
    made = SampleMaker().active(report, 0, 1, None)
    return {sample.key.name: (sample.sketch.count, sample.sketch.sum) for sample in made}


async def test_each_end_counts_once_where_it_belongs() -> None:
    tallies = Tallies(await a_gateway())
    tallies.told(ended(download_s=0.5, upload_s=0.25, in_work_s=1.5))
    tallies.told(ended(ok=False, reason=Reason.MODEL_FAILED, in_work_s=0.5))
    tallies.told(ended(ok=False, reason=Reason.INPUT_MISSING, variant=""))
    tallies.told(ended(ok=False, reason=Reason.OUTPUT_REFUSED, notice_failed=True))
    tallies.told(ended(ok=False, reason=Reason.EXPIRED, variant="", first_leased_s=0.0))
    tallies.told(ended(ok=False, reason=Reason.ENDPOINT_DELETED, variant="", in_work_s=0.1))
    (report,) = tallies.reports()
    assert report.tasks is not None
    assert report.tasks.each == [(100_000, 1_500_000), (100_000, 500_000)]
    found = values(report)
    assert found["InvocationsProcessed"] == (4, 4)
    assert found["InvocationFailures"] == (4, 3)
    assert found["RequestDownloadFailures"] == (1, 1)
    assert found["ResponseUploadFailures"] == (1, 1)
    assert found["NotificationFailures"] == (1, 1)
    assert found["ExpiredRequests"] == (1, 1)
    assert found["RequestDownloadLatency"] == (1, 500_000)
    assert found["ResponseUploadLatency"] == (1, 250_000)
    assert found["TimeInBacklog"] == (5, 10_000)
    assert found["TimeInWork"] == (2, 2_000_000)
    assert found["TotalProcessingTime"] == (6, 30_000)
    assert not found.keys() & {"Invocations", "InvocationsPerInstance", "OverheadLatency"}
    assert list(tallies.reports()) == []


async def test_tasks_of_an_endpoint_that_is_gone_are_nobodys() -> None:
    tallies = Tallies(Gateway())
    tallies.told(ended(ok=False, reason=Reason.ENDPOINT_DELETED, variant=""))
    assert list(tallies.reports()) == []


async def test_reports_of_several_seconds_add_up() -> None:
    tallies = Tallies(await a_gateway())
    tallies.told(ended(in_work_s=1.0))
    (first,) = tallies.reports()
    tallies.told(ended(ok=False, reason=Reason.MODEL_FAILED, in_work_s=2.0))
    (second,) = tallies.reports()
    merge_variants(first, second)
    assert first.tasks is not None
    assert first.tasks.each == [(100_000, 1_000_000), (100_000, 2_000_000)]
    assert values(first)["InvocationFailures"] == (2, 1)
    assert values(first)["TotalProcessingTime"] == (2, 10_000)


async def test_of_very_many_tasks_a_report_tells_of_the_first_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.consumer.tallies._EACH", 2)
    tallies = Tallies(await a_gateway())
    for number in range(5):
        tallies.told(ended(in_work_s=1.0 + number))
    (report,) = tallies.reports()
    assert report.tasks is not None
    assert (len(report.tasks.each), report.tasks.in_work.count) == (2, 5)

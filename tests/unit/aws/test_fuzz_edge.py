"""The edge stands damaged requests: no 500, no hang, no stack trace. benchmarks/fuzz_edge.py sends 100,000."""

from __future__ import annotations

import logging
from random import Random

import pytest
from edge_fuzzer import fuzz, seeds, stub_handlers

from trimtab.aws.auth import Verified
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import HttpRequest


async def anybody(request: HttpRequest, service: str) -> Verified:
    return Verified(None, request.body)


async def test_thousands_of_damaged_requests_get_an_answer_and_never_a_500(caplog: pytest.LogCaptureFixture) -> None:
    edge = Dispatcher(stub_handlers(), anybody, region="us-east-1", account="000000000000")
    with caplog.at_level(logging.WARNING):
        report = await fuzz(edge, seeds(Random(3)), count=4_000, seed=3)
    assert report.failures == []
    assert sum(report.statuses.values()) == 4_000
    assert report.statuses[200] > 100, "the damage is so bad that no request reaches a handler"
    assert caplog.records == []


async def test_requests_that_are_not_damaged_succeed() -> None:
    edge = Dispatcher(stub_handlers(), anybody, region="us-east-1", account="000000000000")
    for request in seeds(Random(4), ["sts"]):
        response = await edge(request)
        assert response.status in (200, 400), response.body  # random text breaks patterns

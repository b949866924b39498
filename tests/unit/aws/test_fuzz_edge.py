"""The edge stands damaged requests: no 500, no hang, no stack trace. benchmarks/fuzz_edge.py sends 100,000."""

from __future__ import annotations

import asyncio
import logging
from random import Random

import pytest
from edge_fuzzer import fuzz, seeds, stub_handlers

from trimtab.aws.auth import Verified
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import HttpRequest, HttpResponse


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


async def test_the_fuzzer_finds_what_it_looks_for() -> None:
    async def raises(request: HttpRequest) -> HttpResponse:
        raise RuntimeError

    async def answers_500(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=500, headers=[("x-amzn-RequestId", "1")])

    async def shows_its_inside(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=400, headers=[("x-amzn-RequestId", "1")], body=b"Traceback (most recent")

    async def is_anonymous(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    async def hangs(request: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    pool = seeds(Random(5), ["sts"])
    for edge in (raises, answers_500, shows_its_inside, is_anonymous, hangs):
        report = await fuzz(edge, pool, count=2, seed=5, limit_s=0.01)
        assert len(report.failures) == 2, edge.__name__

"""Advice on modes: cheap where it should be, never what callers or AWS forbid, and tried in the simulator where it is close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.advisor.modes import Terms, advise, habits_of, simulated
from trimtab.advisor.prices.book import Book, book
from trimtab.sim.arrivals import Rates, Times
from trimtab.sim.world import Mode, Slo, Work, Workload

TERMS = Terms(instance_type="ml.m5.xlarge", start_s=20.0, memory_mb=2048)


@pytest.fixture(scope="module")
def prices() -> Book:
    return book()


def workload(per_s: float, service_s: float = 0.2, hours: float = 1.0, **more: Any) -> Workload:
    arrivals = Rates(rate=np.full(round(hours * 60), per_s), step_s=60.0)
    more = {"slo": Slo(within_s=60.0, kept=0.99), "memory_bytes": 10**9} | more
    return Workload(
        name="w", arrivals=arrivals, work={"*": Work(quantiles_s=(service_s,), slots=more.pop("slots", 1))}, **more
    )


def test_a_few_requests_an_hour_are_cheapest_without_replicas(prices: Book) -> None:
    found = advise(workload(0.01), TERMS, prices)
    assert found.mode is Mode.SERVERLESS
    assert (found.of(Mode.REAL_TIME).micro_usd or 0) > 10 * (found.of(Mode.SERVERLESS).micro_usd or 0)


def test_much_work_on_replicas_with_many_slots_is_cheapest_on_replicas(prices: Book) -> None:
    assert advise(workload(20.0, slots=4), TERMS, prices).mode is Mode.REAL_TIME


def test_callers_who_wait_get_no_queue_and_large_requests_no_serverless(prices: Book) -> None:
    found = advise(workload(0.01, request_bytes=6_000_000), TERMS, prices, simulated=False)
    assert found.mode is Mode.REAL_TIME
    assert "6.0 MB" in found.of(Mode.SERVERLESS).why_not
    assert "callers wait" in found.of(Mode.ASYNC).why_not


def test_what_may_wait_and_is_large_goes_to_a_queue_that_sleeps(prices: Book) -> None:
    slo = Slo(within_s=1800.0, kept=0.99)
    found = advise(workload(0.002, hours=6.0, request_bytes=6_000_000, may_wait=True, slo=slo), TERMS, prices)
    assert found.mode is Mode.ASYNC


def test_a_start_that_breaks_the_slo_rules_out_what_is_cold_after_each_pause(prices: Book) -> None:
    times = Times(at_s=np.arange(1, 7) * 3000.0, start_s=0.0, end_s=21_600.0)
    rare = Workload(
        name="w",
        arrivals=times,
        work={"*": Work(quantiles_s=(0.2,))},
        slo=Slo(within_s=1.0, kept=0.99),
        memory_bytes=10**9,
    )
    found = advise(rare, TERMS, prices)
    assert found.mode is Mode.REAL_TIME
    assert "6 of 6 requests come after a pause" in found.of(Mode.SERVERLESS).why_not


def test_what_is_cheap_by_formula_and_misses_its_slo_in_the_simulator_is_not_advised(prices: Book) -> None:
    crowd = np.repeat(np.arange(1, 31) * 100.0, 40)  # 40 at once: each needs an environment of its own, or to wait
    times = Times(at_s=crowd, start_s=0.0, end_s=3600.0)
    slo = Slo(within_s=10.0, kept=0.99)
    many = Workload(
        name="w", arrivals=times, work={"*": Work(quantiles_s=(0.2,), slots=4)}, slo=slo, memory_bytes=10**9
    )
    found = advise(many, TERMS, prices)
    for one in found.estimates:
        if one.mode is found.mode:
            assert simulated(one.mode, many, TERMS, prices, 0).micro_usd == one.micro_usd


def test_a_model_that_does_not_fit_is_not_served_without_replicas(prices: Book) -> None:
    found = advise(workload(0.01, memory_bytes=3 * 2**30), TERMS, prices, simulated=False)
    assert "3072 MiB does not fit into 2048 MB" in found.of(Mode.SERVERLESS).why_not


def test_habits_tell_work_and_pauses() -> None:
    times = Times(at_s=np.array([5.0, 6.0, 106.0]), start_s=0.0, end_s=200.0)
    found = habits_of(Workload(name="w", arrivals=times, work={"*": Work(quantiles_s=(2.0,), slots=2)}), "ml.any", 0)
    assert (found.requests, found.work_s, found.pauses(60.0)) == (3, 6.0, 1)
    assert found.busy[0] == pytest.approx(0.2)


def test_nothing_is_advised_where_nothing_keeps_the_slo(prices: Book) -> None:
    found = advise(workload(0.1, service_s=2.0, slo=Slo(within_s=1.0, kept=0.99)), TERMS, prices)
    assert found.mode is None
    assert found.why == "no mode keeps the SLO"

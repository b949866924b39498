"""Cold starts and idle memory of one serverless variant under a virtual clock."""

from trimtab.policies.serverless.environments import Environments
from trimtab.policies.serverless.settings import KeepWarm, KeepWarmMode
from trimtab.resources.serverless import Serverless
from trimtab.sim.serverless.keep_warm import Tally, replay
from trimtab.sim.serverless.rivals import HybridHistogram

RULES = Serverless(memory_mib=1024, max_concurrency=10)


def kept_for(seconds: float) -> Environments:
    mode = KeepWarmMode.FIXED if seconds else KeepWarmMode.OFF
    return Environments(rules=RULES, keep_warm=KeepWarm(mode, seconds))


def test_each_call_without_an_environment_is_a_cold_start() -> None:
    calls = [(0.0, 1.0), (5.0, 1.0), (5.5, 1.0), (30.0, 1.0)]
    assert replay(calls, kept_for(0.0), 100.0) == Tally(calls=4, cold=4)
    found = replay(calls, kept_for(10.0), 100.0)
    assert found.cold == 3  # the first, the one beside another, and the one after a pause
    assert found.idle_s == 4.0 + 0.5 + (10.0 - 0.5) + 10.0 + 10.0


def test_what_is_idle_counts_no_longer_than_the_trace() -> None:
    assert replay([(0.0, 1.0)], kept_for(600.0), 51.0).idle_s == 50.0


def test_a_timer_costs_its_environment_only_around_its_calls() -> None:
    timer = [(number * 300.0, 1.0) for number in range(40)]
    until_s = timer[-1][0] + 1
    live = replay(timer, Environments(rules=RULES), until_s)
    assert live.cold == 1
    assert live.idle_s < 0.2 * replay(timer, kept_for(600.0), until_s).idle_s


def test_the_hybrid_histogram_is_there_from_the_earliest_to_the_latest_minute() -> None:
    learned = HybridHistogram()
    assert learned.window(0.0).spans == ((0.0, 14_400.0),)
    for _ in range(5):
        learned.add(299.0)
    [(from_s, until_s)] = learned.window(0.0).spans
    assert (round(from_s), round(until_s)) == (216, 330)

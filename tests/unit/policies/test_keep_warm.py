"""How many environments a serverless variant has, and for how long an idle one stays."""

from itertools import pairwise
from math import inf, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.policies.serverless.environments import Environments
from trimtab.policies.serverless.keep_warm import REMEMBERED, IdleTimes, Window, window_of
from trimtab.policies.serverless.settings import KeepWarm, KeepWarmMode, keep_warm_of
from trimtab.resources.serverless import Serverless

OFF = KeepWarm(KeepWarmMode.OFF)
TEN_S = KeepWarm(KeepWarmMode.FIXED, 10.0)


def variant(most: int = 5, *, provisioned: int = 0, keep_warm: KeepWarm = TEN_S) -> Environments:
    rules = Serverless(memory_mib=1024, max_concurrency=most, provisioned=provisioned)
    return Environments(rules=rules, keep_warm=keep_warm)


def seen(*idle_s: float) -> IdleTimes:
    times = IdleTimes()
    for each_s in idle_s:
        times.add(each_s)
    return times


def test_each_request_has_an_environment_and_idle_ones_stay_for_their_time() -> None:
    environments = variant()
    environments.saw(3, 0.0)
    assert environments.wanted(0.0).count == 3
    environments.saw(1, 2.0)
    environments.saw(0, 5.0)
    assert [environments.wanted(at_s).count for at_s in (5.0, 11.9, 12.0, 14.9, 15.0)] == [3, 3, 1, 1, 0]
    assert environments.wanted(5.0).until_s == 12.0
    assert environments.wanted(13.0).until_s == 15.0
    assert environments.wanted(15.0).until_s == inf


def test_without_keep_warm_an_environment_ends_with_its_request() -> None:
    environments = variant(keep_warm=OFF)
    environments.saw(2, 0.0)
    environments.saw(1, 1.0)
    assert environments.wanted(1.0).count == 1
    environments.saw(0, 1.0)
    assert environments.wanted(1.0).count == 0


def test_what_is_provisioned_is_there_and_what_is_refused_is_not_counted() -> None:
    environments = variant(2, provisioned=1, keep_warm=OFF)
    assert environments.wanted(0.0).count == 1
    environments.saw(7, 1.0)
    assert environments.wanted(1.0).count == 2
    environments.saw(0, 2.0)
    assert environments.wanted(2.0).count == 1


def test_what_a_deployment_made_is_idle_from_then_on() -> None:
    environments = variant()
    environments.made(1, 4.0)
    assert [environments.wanted(at_s).count for at_s in (4.0, 13.9, 14.0)] == [1, 1, 0]
    environments.made(1, 20.0)
    assert environments.wanted(25.0).count == 1


def test_a_variant_that_is_called_every_half_hour_is_warm_when_the_call_comes_and_away_in_between() -> None:
    environments = variant(keep_warm=KeepWarm())
    at_s = 0.0
    for _ in range(12):
        environments.saw(1, at_s)
        environments.saw(0, at_s + 1)
        at_s += 1800.0
    idle_since_s = at_s - 1800.0 + 1
    assert environments.wanted(idle_since_s + 60).count == 0
    assert environments.wanted(idle_since_s + 1799).count == 1
    assert environments.wanted(idle_since_s + 4000).count == 0


def test_of_an_unknown_variant_an_environment_stays_for_about_ten_minutes() -> None:
    [(from_s, until_s)] = window_of(KeepWarm(), IdleTimes()).spans
    assert from_s == 0
    assert until_s == pytest.approx(612.0)


def test_calls_close_together_keep_an_environment_and_a_pause_ends_it() -> None:
    window = window_of(KeepWarm(), seen(*[5.0, 6.0, 4.0, 7.0] * 10))
    assert all(window.holds(idle_s) for idle_s in (0.0, 2.0, 5.0, 8.0))
    assert not window.holds(1000.0)


def test_a_timer_is_learned_from_two_calls() -> None:
    window = window_of(KeepWarm(), seen(300.0, 300.0))
    assert window.holds(299.0)
    assert not window.holds(200.0)


def test_habits_of_long_ago_are_forgotten() -> None:
    window = window_of(KeepWarm(), seen(*[7200.0] * 70, *[300.0] * 70))
    assert window.holds(300.0)
    assert not window.holds(7200.0)


def test_what_followed_the_present_pace_counts_most() -> None:
    slow_then_fast = [3000.0] * 20 + [20.0] * 12
    fast_then_slow = [20.0] * 12 + [3000.0] * 20
    at_20_s = [window_of(KeepWarm(), seen(*times)).spans for times in (slow_then_fast, fast_then_slow)]
    assert at_20_s[0] != at_20_s[1]


def test_the_more_a_cold_start_is_worth_the_longer_an_environment_stays() -> None:
    def kept_s(cold_s: float) -> float:
        return sum(until_s - from_s for from_s, until_s in window_of(KeepWarm(cold_s=cold_s), seen(*known)).spans)

    known = [30.0, 200.0, 45.0, 1000.0, 60.0, 2500.0]
    assert [kept_s(0.0), *sorted(map(kept_s, (100.0, 840.0, 5000.0)))] == [
        1.0, kept_s(100.0), kept_s(840.0), kept_s(5000.0)
    ]  # fmt: skip


@given(st.lists(st.floats(0, 1e7), max_size=150), st.floats(0, 1e6))
def test_the_spans_of_any_habits_are_in_order_and_apart(idle_times: list[float], cold_s: float) -> None:
    times = seen(*idle_times)
    assert len(times.recent) == len(times.ordered) <= REMEMBERED
    spans = window_of(KeepWarm(cold_s=cold_s), times).spans
    assert spans[0][0] == 0
    assert all(from_s < until_s for from_s, until_s in spans)
    assert all(until_s < from_s for (_, until_s), (from_s, _) in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", KeepWarm()),
        ("pattern", KeepWarm()),
        (" OFF ", OFF),
        ("0", OFF),
        ("10", TEN_S),
        ("pattern:5000", KeepWarm(cold_s=5000.0)),
    ],
)
def test_the_variable_says_what_keeps_an_environment(text: str, means: KeepWarm) -> None:
    assert keep_warm_of({"TRIMTAB_KEEP_WARM": text}) == means
    assert keep_warm_of({}) == KeepWarm()


@pytest.mark.parametrize("text", ["on", "-1", "nan", "inf", "1e300", "pattern:", "pattern:-1", "off:3", ":3"])
def test_a_variable_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="TRIMTAB_KEEP_WARM"):
        keep_warm_of({"TRIMTAB_KEEP_WARM": text})


def windows_of(edges: list[float]) -> Window:
    return Window(tuple(zip(edges[::2], edges[1::2], strict=False)))


windows = st.lists(st.floats(0, 1e5), unique=True, max_size=8).map(sorted).map(windows_of)


@given(windows, st.floats(0, 2e5))
def test_a_window_changes_when_it_says_and_not_before(window: Window, idle_s: float) -> None:
    changes_s = window.changes_s(idle_s)
    assert changes_s > idle_s
    held = window.holds(idle_s)
    if isfinite(changes_s):
        assert window.holds((idle_s + changes_s) / 2) is held or changes_s - idle_s < 1e-9
        assert window.holds(changes_s) is not held
    else:
        assert not held
        assert not window.holds(idle_s + 1e6)


@given(
    most=st.integers(1, 6),
    provisioned=st.integers(0, 6),
    keep_warm=st.sampled_from([OFF, TEN_S, KeepWarm()]),
    steps=st.lists(st.tuples(st.floats(0.001, 5000.0), st.integers(0, 9)), max_size=60),
)
def test_whatever_comes_requests_have_their_environments_and_there_are_never_too_many(
    most: int, provisioned: int, keep_warm: KeepWarm, steps: list[tuple[float, int]]
) -> None:
    provisioned = min(provisioned, most)
    environments = variant(most, provisioned=provisioned, keep_warm=keep_warm)
    now_s = 0.0
    for after_s, in_hand in steps:
        wanted = environments.wanted(now_s)
        assert wanted.until_s > now_s
        if now_s + after_s < wanted.until_s:
            assert environments.wanted(now_s + after_s).count == wanted.count  # nothing changes without a reason
        now_s += after_s
        environments.saw(in_hand, now_s)
        count = environments.wanted(now_s).count
        assert max(min(in_hand, most), provisioned) <= count <= most
        if keep_warm is OFF:
            assert count == max(min(in_hand, most), provisioned)

"""Back-off between restarts, and when a deployment is hopeless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.restart import RestartPolicy, restart_in_s, rounds
from trimtab.policies.rollout import FATAL, MAX_ROUNDS, has_failed
from trimtab.resources.deployment import Crash


def crashes(*at_s: float, quick: bool = True, reason: str = "Exited") -> list[Crash]:
    return [
        Crash(replica_id=str(n), generation=1, variant="v", at_s=t, quick=quick, reason=reason)
        for n, t in enumerate(at_s)
    ]


def test_the_first_restart_is_immediate() -> None:
    assert restart_in_s([], count=1, now_s=10.0) == 0
    assert restart_in_s(crashes(10.0), count=1, now_s=10.0) == 0


def test_each_wait_is_twice_the_one_before_up_to_a_minute() -> None:
    waits = [restart_in_s(crashes(*[10.0] * n), count=1, now_s=10.0) for n in range(2, 14)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60])


def test_time_that_has_passed_counts() -> None:
    assert restart_in_s(crashes(10.0, 10.0), count=1, now_s=10.04) == pytest.approx(0.06)
    assert restart_in_s(crashes(10.0, 10.0), count=1, now_s=11.0) == 0


def test_replicas_that_die_together_are_one_round() -> None:
    assert rounds(crashes(1, 1, 1, 1), count=4) == 1
    assert restart_in_s(crashes(1, 1, 1, 1), count=4, now_s=1.0) == 0
    assert rounds(crashes(1, 1, 1, 1, 2), count=4) == 2


def test_one_that_had_worked_for_a_while_forgives_those_before() -> None:
    history = crashes(1, 2, 3) + crashes(4, quick=False)
    assert restart_in_s(history, count=1, now_s=4.0) == 0


def test_a_long_quiet_time_forgives_those_before() -> None:
    assert rounds(crashes(1, 2, 3, 2000), count=1) == 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=40), st.integers(1, 10), st.floats(-1e6, 2e6))
def test_a_wait_is_never_negative_nor_longer_than_the_longest(
    history: list[tuple[float, bool]], count: int, now_s: float
) -> None:
    found = [Crash(replica_id="r", generation=1, variant="v", at_s=t, quick=q) for t, q in sorted(history)]
    assert 0 <= restart_in_s(found, count=count, now_s=now_s) <= RestartPolicy().max_s


@pytest.mark.parametrize("reason", sorted(FATAL))
def test_what_would_fail_again_fails_a_deployment_at_once(reason: str) -> None:
    assert has_failed(crashes(1, reason=reason), count=5)


@given(st.integers(1, 8))
def test_crashes_fail_a_deployment_after_three_rounds(count: int) -> None:
    assert not has_failed(crashes(*[1.0] * ((MAX_ROUNDS - 1) * count)), count=count)
    assert has_failed(crashes(*[1.0] * ((MAX_ROUNDS - 1) * count + 1)), count=count)

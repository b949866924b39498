"""Alarms that machine code looks at are those that Python looks at, and a run with coarse looks is nearly the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from worlds import EVERY_MINUTE, T0, TEN_SECONDS, policies, simulated, surge

from trimtab.resources.scaling import TargetTracking
from trimtab.sim.scaling import scaled
from trimtab.sim.scaling.metrics import SimAlarm
from trimtab.sim.scaling.scaled import coarse_s
from trimtab.sim.world import Fault, Outcome

KILL = (Fault(at_s=T0 + 400.0, endpoint="e", kind="kill"),)


def seen(outcome: Outcome) -> list[object]:
    """All that is told, with arrays as lists."""
    [served], [used] = outcome.served, outcome.used
    assert used.series is not None
    curves = [used.series.ready.tolist(), used.series.wanted.tolist(), used.series.requests.tolist()]
    return [replace(served, histogram=None), served.histogram.tolist(), replace(used, series=None), curves]


@pytest.mark.parametrize("tracking", [(EVERY_MINUTE,), (TEN_SECONDS,), (TEN_SECONDS, EVERY_MINUTE)], ids=len)
@pytest.mark.parametrize("start_s", [0.0, 33.3])
@pytest.mark.parametrize("least", [0, 1])
def test_machine_code_finds_the_alarms_that_python_finds(
    tracking: tuple[TargetTracking, ...], start_s: float, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"min_replicas": least, "max_replicas": 9, "start_s": start_s, "policies": policies(*tracking)}
    quick = simulated(surge(), 0.1, faults=KILL, **more)
    assert any(decision.made for decision in quick.used[0].decisions)
    monkeypatch.setattr(SimAlarm, "is_plain", property(lambda self: False))
    assert seen(simulated(surge(), 0.1, faults=KILL, **more)) == seen(quick)


@pytest.mark.parametrize("tracking", [EVERY_MINUTE, TEN_SECONDS], ids=["60s", "10s"])
@pytest.mark.parametrize("bounds", [(1, 9), (1, 2), (2, 2)])
def test_a_run_that_does_not_stop_for_alarms_that_ask_in_vain_is_the_same_bit_for_bit(
    tracking: TargetTracking, bounds: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"min_replicas": bounds[0], "max_replicas": bounds[1], "start_s": 33.3, "policies": policies(tracking)}
    left_out = simulated(surge(), 0.1, faults=KILL, **more)
    stops: list[bool] = []

    def never(*given: object, is_high: bool) -> bool:
        stops.append(is_high)
        return False

    monkeypatch.setattr(scaled, "asks_in_vain", never)
    assert seen(simulated(surge(), 0.1, faults=KILL, **more)) == seen(left_out)
    assert stops


def test_only_policies_whose_replicas_take_minutes_look_coarsely() -> None:
    assert coarse_s(119.0) is None
    assert coarse_s(120.0) == 2.5

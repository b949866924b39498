"""How long a plan still takes: reckoned from what was measured; and what it leaves when Ctrl-C ends it."""

from __future__ import annotations

import itertools

import pytest
from plan_world import Prices, a_scenario, a_workload, an_endpoint, simulate

from trimtab.advisor.plan.limits import Limits
from trimtab.advisor.plan.pace import EVENT, OTHER, WHOLE, WHOLE_EVENT, Left, Pace, words
from trimtab.advisor.plan.planning import plan
from trimtab.advisor.plan.result import document
from trimtab.sim.world import Mode

MANY = ("fraud", "risk", "search")
LIMITS = Limits(modes=(Mode.REAL_TIME,))


def a_world(days: int = 1):
    workloads = tuple(a_workload(name, counts=(3600,) * 24 * days) for name in MANY)
    return a_scenario(*workloads, before=tuple(an_endpoint(name) for name in MANY))


class Interrupted:
    """The closed-form simulator; Ctrl-C comes while it simulates for the `at`th time."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0

    def __call__(self, scenario, architecture):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return simulate(scenario, architecture)


def planned(scenario, simulate=simulate, **more):
    return plan(scenario, Prices(), simulate, LIMITS, workers=1, **more)


# --- how long it takes


def test_nothing_is_said_of_what_was_not_measured() -> None:
    pace = Pace(2)
    pace.waiting[OTHER] = 4
    assert pace.left() is None
    assert words(None) == ""
    pace.took(OTHER, 3.0)
    assert pace.left() is None  # a way has several simulations: how many, nobody knows yet
    pace.took(OTHER, 3.0)
    pace.ended(OTHER)
    assert pace.left() == Left(4 * 6.0 / 2, is_least=False)
    pace.later[EVENT] = 3
    assert pace.left() == Left(12.0, is_least=True)  # of those nothing has been measured


def test_what_bounds_rule_out_makes_the_rest_quicker() -> None:
    pace = Pace(1)
    pace.waiting[OTHER] = 10
    pace.took(OTHER, 8.0)
    for _ in range(4):
        pace.ended(OTHER)
    assert pace.left() == Left(20.0, is_least=False)


def test_simulations_on_all_requests_take_as_long_as_those_before_them_or_as_their_part_tells() -> None:
    pace = Pace(1)
    pace.coming[WHOLE] = 3
    pace.took(WHOLE, 5.0)
    assert pace.left() == Left(10.0, is_least=False)
    pace.coming[WHOLE_EVENT] = 2
    assert pace.left() == Left(10.0, is_least=True)
    pace.took(EVENT, 1.5)
    assert pace.left(whole_is=14.0) == Left(10.0 + 2 * 21.0, is_least=False)


def test_it_is_said_in_round_figures() -> None:
    assert words(Left(7.4, is_least=False)) == "about 5 s left"
    assert words(Left(41.0, is_least=False)) == "about 40 s left"
    assert words(Left(200.0, is_least=True)) == "more than 3 min left"


class Waiting:
    """Whoever waits for a plan."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.updates: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def update(self, text: str) -> None:
        self.updates.append(text)


def test_a_plan_tells_how_many_were_simulated_and_how_long_it_still_takes_until_nothing_is_left() -> None:
    waiting = Waiting()
    found = planned(a_world(days=2), progress=waiting)
    last = "trying what was chosen on all requests"
    assert waiting.steps[-1] == last
    assert len(waiting.updates) == found.simulated
    assert waiting.updates[-1] == f"{last}; endpoints simulated: {found.simulated:,}"
    assert any(text.endswith(" left") for text in waiting.updates)


# --- Ctrl-C


@pytest.mark.parametrize("days", [1, 2])
def test_wherever_ctrl_c_comes_the_best_until_then_is_left_or_it_ends_where_there_is_nothing(days: int) -> None:
    whole = planned(a_world(days))
    stopped = [0, 0]
    for at in itertools.count(1):
        simulator = Interrupted(at)
        try:
            found = planned(a_world(days), simulator)
        except KeyboardInterrupt:
            assert not stopped[1]  # only before there was anything
            stopped[0] += 1
            continue
        if simulator.calls < at:
            assert document(found) == document(whole)
            break
        stopped[1] += 1
        assert found.is_stopped
        assert document(found)["is_stopped"]
        assert any(note.startswith("stopped before the end") for note in found.notes)
        assert any("busiest day alone" in note for note in found.notes) == (days > 1)
        assert {name for one in found.after.architecture.endpoints for name in one.workloads} == set(MANY)
        assert not found.misses
        assert found.after.cost <= found.before.cost
        assert found.after.span_s == found.before.span_s
        assert simulator.calls == at  # nothing was begun after it
    assert stopped[0] == 3 * (1 if days == 1 else 2)  # while what there is was simulated
    assert stopped[1] > 3


def test_a_plan_that_is_not_stopped_says_nothing_of_it() -> None:
    found = planned(a_world())
    assert not found.is_stopped
    assert not any("stopped" in note for note in found.notes)

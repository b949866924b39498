"""What holds of scaling whatever comes: bounds, cooldowns, no flapping, monotony, determinism."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policies.scaling_targets import (
    World,
    by_load,
    event,
    finished,
    fired,
    foresees,
    load,
    rules,
    steps,
    tracks,
    tracks_1s,
)
from trimtab.policies.scaling import event as event_policy
from trimtab.policies.scaling import reducer
from trimtab.policies.scaling.inputs import Bounds, Finished, Forecast, Scheduled, Tick
from trimtab.policies.scaling.state import State, pack, unpack
from trimtab.resources.scaling import Suspended

COOLDOWNS = st.sampled_from([0.0, 5.0, 60.0, 300.0])
VALUES = st.floats(0, 1e6) | st.sampled_from([0.0, 9.0, 10.0, 11.0, float("inf"), float("nan")])

KINDS = {
    "track": lambda out, in_: tracks("track", scale_out_cooldown_s=out, scale_in_cooldown_s=in_),
    "fast": lambda out, in_: tracks_1s("fast", scale_out_cooldown_s=out, scale_in_cooldown_s=in_),
    "steps": lambda out, in_: steps(
        "steps", (None, -5, -3), (-5, 0, -1), (0, 10, 1), (10, None, 3), cooldown_s=max(out, in_)
    ),
    "percent": lambda out, in_: steps(
        "percent", (None, 0, -50), (0, None, 50), kind="PercentChangeInCapacity", cooldown_s=out
    ),
    "exact": lambda out, in_: steps("exact", (None, 0, 2), (0, None, 6), kind="ExactCapacity", cooldown_s=out),
    "event": lambda out, in_: event("event", scale_out_cooldown_s=out, scale_in_cooldown_s=in_),
    "foresees": lambda out, in_: foresees("foresees"),
}


@st.composite
def worlds(draw, kinds=tuple(KINDS), suspended=True):
    chosen = draw(st.lists(st.sampled_from(kinds), unique=True, max_size=len(kinds)))
    policies = [KINDS[kind](draw(COOLDOWNS), draw(COOLDOWNS)) for kind in chosen]
    low = draw(st.integers(0, 4))
    high = low + draw(st.integers(0, 12))
    off = draw(st.builds(Suspended, scale_in=st.booleans(), scale_out=st.booleans())) if suspended else Suspended()
    return rules(*policies, low=low, high=high, suspended=off), draw(st.integers(low, high))


INPUTS = st.lists(
    st.tuples(
        st.sampled_from([0.02, 1.0, 10.0, 60.0, 400.0]),  # seconds since the last
        st.sampled_from(["high", "low", "load", "tick", "finish", "fail", "forecast", "bounds", "schedule"]),
        st.sampled_from(list(KINDS)),
        VALUES,
        st.integers(0, 30),
    ),
    max_size=60,
)


def made_of(at_s: float, kind: str, name: str, value: float, count: int, capacity: int):
    match kind:
        case "high" | "low":
            return fired(at_s, capacity, value, name=name, high=kind == "high")
        case "load":
            return load(at_s, capacity, in_hand=count, waiting=count // 2)
        case "tick":
            return Tick(at_s=at_s, capacity=capacity)
        case "finish" | "fail":
            return finished(at_s, capacity, ok=kind == "finish")
        case "forecast":
            return Forecast(at_s=at_s, capacity=capacity, policy="arn:foresees", wanted=value if value < 100 else 3.5)
        case "bounds":
            return Bounds(at_s=at_s, capacity=capacity)
        case _:
            return Scheduled(at_s=at_s, capacity=capacity, action="a", min_capacity=None, max_capacity=None)


def play(rules, capacity: int, inputs, state: State | None = None, observe=by_load):
    """Every input and what was decided upon it."""
    world, at_s = World(rules, capacity, observe), 1_700_000_000.0
    world.state = state or State()
    for after_s, kind, name, value, count in inputs:
        at_s += after_s
        what = made_of(at_s, kind, name, value, count, world.capacity)
        yield what, world.give(what), world


@given(worlds(), INPUTS, st.sampled_from([by_load, event_policy.observe]))
def test_capacity_is_always_within_bounds_and_one_change_is_made_at_a_time(world, inputs, observe):
    rules, capacity = world
    for _, decided, now in play(rules, capacity, inputs, observe=observe):
        assert rules.target.min_capacity <= now.capacity <= rules.target.max_capacity
        assert sum(decision.made for decision in decided) <= 1
        assert all(decision.made == (decision.wanted != decision.before) for decision in decided if decision.made)
        assert all(decision.wanted >= 0 for decision in decided)


@given(worlds(), INPUTS)
def test_what_is_suspended_is_never_done_by_policies(world, inputs):
    rules, capacity = world
    for _, decided, _now in play(rules, capacity, inputs):
        for decision in decided:
            if decision.made and decision.wanted > decision.before:
                assert not rules.target.suspended.scale_out
            if decision.made and decision.wanted < decision.before:
                assert not rules.target.suspended.scale_in


def cooldown_of(policy) -> float:
    return policy.step.cooldown_s if policy.step else policy.tracking.scale_in_cooldown_s if policy.tracking else 0.0


@given(worlds(suspended=False), INPUTS)
def test_no_scale_in_while_a_change_is_under_way_or_in_a_scale_in_cooldown(world, inputs):
    rules, capacity = world
    cooldowns = {policy.name: cooldown_of(policy) for policy in rules.policies}
    quiet_until_s, under_way = 0.0, None
    for what, decided, _now in play(rules, capacity, inputs):
        for decision in decided:
            if decision.made and decision.wanted < decision.before:
                assert under_way is None
                assert decision.at_s >= quiet_until_s - 1e-3
            if decision.made:
                under_way = decision
        if isinstance(what, Finished) and under_way is not None:
            if under_way.wanted < under_way.before and what.ok:
                quiet_until_s = what.at_s + cooldowns[under_way.policy]
            elif under_way.wanted > under_way.before:
                quiet_until_s = 0.0
            under_way = None


STEPS = st.lists(st.tuples(st.sampled_from([0.05, 1.0, 3.0, 20.0]), st.integers(0, 12)), min_size=1, max_size=80)


def driven(policy_name: str, cooldown_s: float, takes_s: float, shape):
    """Decisions that were made while load takes `shape`, where each change takes `takes_s`."""
    world, at_s, ends_s = World(rules(KINDS[policy_name](cooldown_s, cooldown_s)), 1), 1_700_000_000.0, None
    for after_s, in_hand in shape:
        at_s += after_s
        if ends_s is not None and at_s >= ends_s:
            world.finish(ends_s)
            ends_s = None
        per_replica = in_hand / max(1, world.capacity)
        if policy_name == "event":
            decision = world.load(at_s, in_hand=in_hand)
        elif 0.9 <= per_replica <= 1.0:
            continue
        else:
            decision = world.alarm(at_s, per_replica, name=policy_name, high=per_replica > 1, threshold=1.0)
        if decision is not None and decision.made:
            ends_s = at_s + takes_s
    return [decision for decision in world.decisions if decision.made]


@given(st.sampled_from(["event", "fast"]), st.sampled_from([5.0, 60.0]), st.sampled_from([0.0, 0.1, 4.0]), STEPS)
def test_capacity_does_not_go_up_and_down_again_within_a_cooldown(name, cooldown_s, takes_s, shape):
    """A scale-out waits for nothing. So it takes a cooldown from any change to the next scale-in, however load jumps."""
    for before, after in pairwise(driven(name, cooldown_s, takes_s, shape)):
        if after.wanted < after.before:
            assert after.at_s - before.at_s >= cooldown_s + takes_s - 1e-3  # seconds since 1970 have no more digits


@given(st.sampled_from([5.0, 60.0]), st.sampled_from([0.1, 4.0]), STEPS)
def test_an_event_policy_always_has_the_capacity_that_load_wants(cooldown_s, takes_s, shape):
    """Cooldowns hold up less, never more."""
    decisions = driven("event", cooldown_s, takes_s, shape)
    at_s, capacity = 1_700_000_000.0, 1
    for after_s, in_hand in shape:
        at_s += after_s
        capacity = next((one.wanted for one in reversed(decisions) if one.at_s <= at_s), 1)
        assert capacity >= min(in_hand, 10)


@given(worlds(), INPUTS)
def test_no_data_never_scales(world, inputs):
    """Ticks, finished changes and values that are no numbers: nothing is known, so nothing is done."""
    rules, capacity = world
    blind = [(*one[:3], float("nan"), one[4]) for one in inputs if one[1] not in ("load", "forecast")]
    for _, decided, _now in play(rules, capacity, blind):
        assert not any(decision.made for decision in decided)


@given(
    worlds(kinds=("track", "fast", "event", "percent", "steps"), suspended=False),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_more_load_never_gets_fewer_replicas(world, one, two, few, many):
    rules, capacity = world
    less, more = sorted((one, two))
    few, many = sorted((few, many))
    for policy in rules.policies:
        results = []
        for value, count in ((less, few), (more, many)):
            now = World(rules, capacity)
            if policy.name == "event":
                now.load(1000.0, in_hand=count, waiting=count // 2)
            else:
                high = value > 10
                if high or value < 9:
                    now.alarm(
                        1000.0, value, name=policy.name, high=high, threshold=10.0 if high or policy.step else 9.0
                    )
            results.append(now.capacity)
        assert results[0] <= results[1]


@given(worlds(), INPUTS, st.sampled_from([by_load, event_policy.observe]))
def test_equal_inputs_give_equal_answers_and_leave_what_was_as_it_was(world, inputs, observe):
    rules, capacity = world
    state, at_s = State(), 1_700_000_000.0
    for after_s, kind, name, value, count in inputs:
        at_s += after_s
        what = made_of(at_s, kind, name, value, count, capacity)
        copy = repr(state)
        first = reducer.step(rules, state, what, observe=observe)
        assert repr(state) == copy
        assert first == reducer.step(rules, state, what, observe=observe)
        state = first[0]
        capacity = next((decision.wanted for decision in first[1] if decision.made), capacity)


@given(worlds(), INPUTS, INPUTS)
def test_what_is_kept_comes_back_as_it_was(world, inputs, later):
    rules, capacity = world
    state = State()
    for _, _, now in play(rules, capacity, inputs):
        state, capacity = now.state, now.capacity
    kept = unpack(pack(state))
    assert pack(kept) == pack(state)
    assert (kept.change, kept.out_until_s, kept.in_until_s, kept.floors) == (
        state.change,
        state.out_until_s,
        state.in_until_s,
        state.floors,
    )
    # What follows is within bounds, too.
    for _, _, now in play(rules, capacity, later, kept):
        assert rules.target.min_capacity <= now.capacity <= rules.target.max_capacity

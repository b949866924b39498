"""Event scaling on single inputs: what is known, what is not, and how it is said."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.policies.queue_world import EPOCH_S, target, tracking
from trimtab.policies.scaling.event import EventState, observe
from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.queueing import in_hand_of, replicas_for
from trimtab.policies.scaling.windows import windows_of


def load(
    at_s, now=0, *, capacity=1, arrived=0, ended=None, work_s=0.0, waiting=0, ready=None, in_hand=None, start_s=0.05
):
    return Load(
        at_s=EPOCH_S + at_s, capacity=capacity, ready=capacity if ready is None else ready,
        in_hand=float(now) if in_hand is None else in_hand, now=now, waiting=waiting, arrived=arrived,
        ended=arrived - now if ended is None else ended, work_s=work_s, start_s=start_s,
    )  # fmt: skip


def tick(at_s, capacity=1):
    return Tick(at_s=EPOCH_S + at_s, capacity=capacity)


def feed(inputs, *, aim=1.0, bounds=(0, 10), state=None, **dimensions):
    """The state and the wishes of each input."""
    policy, state, wishes = tracking(aim, **dimensions), state or EventState(), []
    for one in inputs:
        state, wish = observe(policy, target(*bounds), state, one, policy="p")
        wishes.append(wish)
    return state, wishes


def test_time_that_passes_tells_nothing_of_a_variant_nobody_told_about():
    state, wishes = feed([tick(second) for second in range(100)])
    assert set(wishes) == {None}
    assert state == EventState()


def test_an_idle_variant_goes_to_zero_after_a_whole_stable_window_and_not_before():
    _, wishes = feed([load(0), *(tick(second) for second in range(1, 70))])
    assert [wish.capacity for wish in wishes[:60]] == [1] * 60
    assert wishes[60].capacity == 0
    assert wishes[60].reason == "nothing was in hand for 60 s"


@pytest.mark.parametrize("late_s", [0.009, 0.0, -0.009])
def test_seconds_that_are_told_some_milliseconds_sooner_cost_no_second_of_a_replica(late_s):
    _, wishes = feed([load(0.01), *(tick(second + 0.01 + late_s) for second in range(1, 70))])
    assert [wish.capacity for wish in wishes].index(0) == 60
    _, wishes = feed([load(0.01), *(tick(second + 0.01 - 0.03) for second in range(1, 70))])
    assert [wish.capacity for wish in wishes].index(0) == 61


def test_it_does_not_go_below_its_lower_bound():
    _, wishes = feed([load(0, capacity=3), *(tick(second, 3) for second in range(1, 70))], bounds=(2, 10))
    assert wishes[-1].capacity == 2


def test_the_stable_window_is_the_callers():
    _, wishes = feed([load(0), *(tick(second) for second in range(1, 30))], StableWindowSeconds=20)
    assert [wish.capacity for wish in wishes].index(0) == 20


def test_a_request_in_hand_for_long_is_no_empty_window():
    _, wishes = feed([load(0), load(0.1, 1, arrived=1), *(tick(second) for second in range(1, 200))])
    assert {wish.capacity for wish in wishes} == {1}


def test_requests_wake_a_variant_from_zero_at_once():
    _, wishes = feed([load(0, capacity=0), load(5, 2, capacity=0, arrived=2, waiting=2)])
    assert wishes[-1].capacity == 1
    assert wishes[-1].reason == "2 requests in hand and no replica"


def test_a_time_in_which_nobody_looked_begins_the_windows_anew():
    inputs = [load(0), *(tick(second) for second in range(1, 59)), *(tick(second) for second in range(100, 170))]
    _, wishes = feed(inputs)
    first = next(one.at_s for one, wish in zip(inputs, wishes, strict=True) if wish.capacity == 0)
    assert first == EPOCH_S + 160


def test_a_clock_set_back_begins_the_windows_anew():
    inputs = [load(1000), *(tick(1000 + second) for second in range(1, 59)), *(tick(second) for second in range(70))]
    _, wishes = feed(inputs)
    assert [wish.capacity for wish in wishes].index(0) == 59 + 60


def busy_minute(rate=20, work_s=0.05, until_s=66.0, capacity=1):
    """Requests at equal distances, each over before the next one comes."""
    inputs, count, at_s = [], 0, 0.0
    while at_s < until_s:
        inputs.append(
            load(at_s, 1, arrived=count + 1, ended=count, work_s=count * work_s, capacity=capacity, in_hand=0)
        )
        count += 1
        inputs.append(
            load(
                at_s + work_s * 0.99, 0, arrived=count, ended=count, work_s=count * work_s, capacity=capacity, in_hand=1
            )
        )
        at_s += 1 / rate
    return inputs, count, at_s


@pytest.mark.parametrize(("arrived", "ended", "work_s"), [(0, 0, 0.0), (-50, -50, -3.0), (10**6, 10**6, 5e4)])
def test_counters_that_fall_or_jump_are_gateways_that_come_and_go(arrived, ended, work_s):
    inputs, count, at_s = busy_minute(rate=4)
    other = [
        load(
            at_s + 0.25 * n, 0, arrived=count + arrived + n, ended=count + ended + n, work_s=(count + n) * 0.05 + work_s
        )
        for n in range(40)
    ]
    state, wishes = feed(inputs + other)
    assert {wish.capacity for wish in wishes} == {1}
    assert state.levels.work_s == pytest.approx(0.05, rel=0.1)


def test_a_load_that_is_told_twice_counts_once():
    inputs, _, _ = busy_minute(rate=10)
    once, _ = feed(inputs)
    twice, _ = feed([one for pair in zip(inputs, inputs, strict=True) for one in pair])
    assert twice.seen.at.arrived == once.seen.at.arrived
    assert twice.seen.at.held_s == pytest.approx(once.seen.at.held_s)
    assert twice.levels.work_s == pytest.approx(once.levels.work_s)


def surged(gap_s=0.03, count=12, capacity=1, aim=1.0):
    """One request each 0.7 s for a minute, then one each `gap_s`, of which none ends yet."""
    inputs, told, at_s = busy_minute(rate=1.4)
    for n in range(1, count + 1):
        inputs.append(load(at_s + n * gap_s, n, arrived=told + n, waiting=n - 1, work_s=told * 0.05 + n * gap_s))
    return feed([replace(one, capacity=capacity, ready=capacity) for one in inputs], aim=aim), len(inputs) - count


def test_a_surge_is_seen_by_its_sixth_request():
    (_, wishes), before = surged()
    assert {wish.capacity for wish in wishes[:before]} == {1}
    assert wishes[before + 5].capacity >= 2


def test_a_surge_is_told_in_numbers():
    (_, wishes), _ = surged()
    wish = next(wish for wish in wishes if wish.capacity > 1)
    assert "too many for chance. Each keeps a replica for 50 ms" in wish.reason
    assert wish.arithmetic.endswith(f"= {wish.capacity}")
    assert wish.policy == "p"
    assert wish.inputs["evidence"] > 7


def test_two_requests_at_once_are_chance():
    (_, wishes), _ = surged(count=2, gap_s=0.001)
    assert {wish.capacity for wish in wishes} == {1}


def test_many_requests_of_one_moment_are_a_burst_and_no_rate():
    inputs, count, at_s = busy_minute(rate=1.4)
    burst = load(at_s, 20, arrived=count + 20, ended=count, work_s=count * 0.05, waiting=19, in_hand=0)
    _, wishes = feed([*inputs, burst])
    assert wishes[-1].capacity == 1


def test_replicas_that_start_count_as_there():
    (_, wishes), _ = surged(capacity=4)
    assert {wish.capacity for wish in wishes} <= {4, 3, 2, 1}


def test_without_a_known_cost_of_requests_what_is_in_hand_decides():
    inputs = [load(0.1 * n, 6, arrived=6) for n in range(1, 30)]
    _, wishes = feed(inputs, aim=2.0)
    assert wishes[-1].capacity == 3
    assert "what one costs is not known yet" in wishes[-1].reason


def test_a_policy_without_scale_in_says_so():
    policy = replace(tracking(), disable_scale_in=True)
    _, wish = observe(policy, target(), EventState(), load(0))
    assert wish is not None
    assert not wish.may_scale_in


@pytest.mark.parametrize(("name", "value"), [("StableWindowSeconds", "0.5"), ("PanicWindowSeconds", "61"),
                                             ("StableWindowSeconds", "nan"), ("StableWindowSeconds", "a minute"),
                                             ("HeadroomQuantile", "1.1"), ("HeadroomQuantile", "some")])  # fmt: skip
def test_windows_out_of_bounds_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number .*from .* to .*, not '{value}'"):
        windows_of(tracking(**{name: value}))


def test_windows_by_default_are_a_minute_and_six_seconds():
    windows = windows_of(tracking())
    assert (windows.stable_s, windows.panic_s, windows.step_s) == (60.0, 6.0, 1.0)


@given(busy=st.floats(0.001, 50), aim=st.floats(0.2, 20))
def test_so_many_replicas_keep_the_target_and_one_less_does_not(busy, aim):
    replicas = replicas_for(busy, aim, 500)
    if replicas < 500:
        assert in_hand_of(busy, replicas) <= aim * replicas
    assert replicas == 1 or in_hand_of(busy, replicas - 1) > aim * (replicas - 1)


@given(busy=st.floats(0, 50), more=st.floats(0, 20), aim=st.floats(0.2, 20))
def test_more_work_never_needs_fewer_replicas(busy, more, aim):
    assert replicas_for(busy + more, aim, 200) >= replicas_for(busy, aim, 200)


LOADS = st.lists(
    st.tuples(
        st.sampled_from([-100.0, -0.5, 0.0, 0.001, 0.02, 0.1, 1.0, 4.0, 7.0, 4000.0]),  # time since the one before
        st.booleans(),  # a tick
        st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**9),
        st.floats(0, 1e7), st.floats(0, 1e6), st.integers(0, 12), st.integers(0, 12), st.floats(0, 600),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=150)
@given(rows=LOADS, aim=st.floats(0.01, 100))
def test_whatever_is_told_the_answer_is_a_number_of_replicas_and_the_state_is_bounded(rows, aim):
    at_s, inputs = 0.0, []
    for step_s, is_tick, now, waiting, arrived, ended, work_s, in_hand, capacity, ready, start_s in rows:
        at_s += step_s
        inputs.append(
            tick(at_s, capacity) if is_tick
            else load(at_s, now, waiting=min(waiting, now), arrived=arrived, ended=ended, work_s=work_s, in_hand=in_hand,
                      capacity=capacity, ready=ready, start_s=start_s)
        )  # fmt: skip
    state, wishes = feed(inputs, aim=aim, bounds=(1, 8))
    assert all(wish is None or wish.capacity >= 0 for wish in wishes)
    assert all(wish is None or isinstance(wish.capacity, int) for wish in wishes)
    again, same = feed(inputs, aim=aim, bounds=(1, 8))
    assert (again, same) == (state, wishes)
    if state.seen is not None:
        assert len(state.seen.fine) <= 80
        assert len(state.seen.steps) <= 62
    assert len(state.levels.stands) <= 60
    assert len(msgspec.msgpack.encode(state)) < 40_000

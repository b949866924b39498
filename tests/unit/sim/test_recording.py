"""What a journal's part is made into, for policies to be tried on."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from trimtab.control.scaling.entries import Began, Entry
from trimtab.errors import Invalid
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import AlarmFired, Load, Tick
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, ScalingPolicy, TargetTracking
from trimtab.sim.replay.recording import arrivals_of, counted, recorded, whole_loads, work_of
from trimtab.sim.replay.trial import Machine
from trimtab.sim.replay.verify import verify

T0 = 1_700_000_000.0
TARGET = ScalableTarget(endpoint="e", variant="v", min_capacity=1, max_capacity=4, created_s=T0)
EVENT = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, (), 0, "Average"))
BY_EVENT = Rules(
    target=TARGET,
    policies=(ScalingPolicy(name="p", arn="a", endpoint="e", variant="v", created_s=T0, tracking=EVENT),),
)
BY_ALARM = Rules(target=TARGET)


def began(at_s: float, rules: Rules) -> Began:
    return Began(at_s=at_s, rules=rules, state=b"\x80")


def load(at_s: float, arrived: int, capacity: int = 1) -> Load:
    return Load(
        at_s=at_s, capacity=capacity, ready=capacity, in_hand=0.0, now=0, waiting=0, arrived=arrived, ended=arrived,
        work_s=arrived * 0.05, start_s=0.02,
    )  # fmt: skip


def change(at_s: float, before: int, wanted: int) -> Decision:
    return Decision(at_s=at_s, before=before, wanted=wanted, made=True)


def test_capacity_is_followed_through_decisions_and_what_inputs_tell() -> None:
    entries: list[Entry] = [
        began(T0, BY_EVENT), load(T0, 0), load(T0 + 10, 10), change(T0 + 10, 1, 3), Tick(at_s=T0 + 11, capacity=3),
        Tick(at_s=T0 + 20, capacity=2),  # somebody else has changed it
    ]  # fmt: skip
    found = recorded(entries, T0, T0 + 30)
    assert found.replicas == 1
    assert found.orders == ((T0 + 10, 3), (T0 + 20, 2))
    assert found.work_s == pytest.approx(0.05)
    assert found.birth_s == 0.02
    was = found.happened(found.arrivals(), Machine(work_s=0.05, start_s=0.02))
    assert (was.least, was.most) == (1, 3)
    assert was.series.ready[-1] == pytest.approx(2, abs=1e-4)
    assert was.served.answered == 10


def test_what_is_before_the_time_asked_for_sets_the_scene_only() -> None:
    entries: list[Entry] = [
        began(T0, BY_EVENT),
        load(T0, 0),
        change(T0, 1, 4),
        load(T0 + 100, 50, 4),
        load(T0 + 110, 60, 4),
    ]
    found = recorded(entries, T0 + 90, T0 + 120)
    assert found.replicas == 4
    assert found.orders == ()
    assert found.start_s == T0 + 90
    assert found.arrivals().total == 10


def test_silence_is_no_load() -> None:
    entries: list[Entry] = [began(T0, BY_EVENT), Tick(at_s=T0, capacity=1), load(T0 + 50, 7), load(T0 + 52, 11)]
    found = recorded(entries, T0 - 3600, T0 + 100)
    assert found.is_whole
    assert found.start_s == T0
    arrivals = found.arrivals()
    assert (arrivals.start_s, arrivals.end_s, arrivals.total) == (T0, T0 + 100, 4)
    came = np.concatenate([chunk.at_s for chunk in arrivals.chunks(1)])
    assert T0 + 50 <= came.min() <= came.max() <= T0 + 52


def test_the_load_is_whole_only_where_an_event_policy_was_there_all_the_time() -> None:
    entries: list[Entry] = [began(T0, BY_ALARM), load(T0, 0), BY_EVENT, load(T0 + 10, 5)]
    assert not recorded(entries, T0, T0 + 20).is_whole


def test_nothing_recorded_is_refused() -> None:
    with pytest.raises(Invalid, match="Nothing"):
        recorded([], T0, T0 + 1)
    fired = AlarmFired(at_s=T0, capacity=1, policy="a", alarm="high", is_high=True, value=1.0, threshold=0.5)
    with pytest.raises(Invalid, match="No load"):
        recorded([began(T0, BY_EVENT), fired], T0, T0 + 1).arrivals()


def test_a_recorded_load_is_what_counters_grew_by() -> None:
    found = arrivals_of([load(T0, 100), load(T0 + 0.1, 104), load(T0 + 0.2, 105)], T0 - 1, T0 + 5)
    assert found.counts.tolist() == [0, 4, 1, 0]
    assert (found.edges_s - T0) == pytest.approx([-1, 0, 0.1, 0.2, 5], abs=1e-6)


@pytest.mark.parametrize(
    ("gap_s", "now", "ended", "within_s"),
    [
        (7.0, 0, 0, 0.02),  # a gateway that was silent tells at its next look
        (0.09, 2, 0, 0.02),  # one more in hand than a few would have been told before
        (0.09, 2, 1, 0.09),  # one came and one went: not seen until something was due
        (0.09, 40, 0, 0.09),  # one more than many is not told at once
    ],
)
def test_requests_came_when_gateways_had_not_told_of_them(gap_s: float, now: int, ended: int, within_s: float) -> None:
    before = replace(load(T0, 10), now=now)
    after = replace(load(T0 + gap_s, 11), now=now + 1 - ended, ended=before.ended + ended)
    edges_s, counts = counted([before, after])
    came = [(edge_s, end_s) for edge_s, end_s, count in zip(edges_s, edges_s[1:], counts, strict=False) if count]
    assert [end_s - edge_s for edge_s, end_s in came] == pytest.approx([within_s], abs=1e-6)
    assert came[0][1] == T0 + gap_s


def test_what_is_in_hand_when_gateways_tell_for_the_first_time_came_just_then() -> None:
    first = replace(load(T0, 2), now=2, ended=0)
    assert counted([first, load(T0 + 5, 3)])[1][0] == 2
    edges_s, counts = counted([first, replace(load(T0 + 0.05, 3), now=3, ended=0)])
    assert sum(counts) == 3
    assert T0 - 0.2 < edges_s[0] < edges_s[1] == T0
    assert (
        sum(counted([replace(first, ended=1, now=1), load(T0 + 5, 3)])[1]) == 1
    )  # some were before: nobody knows when


def test_the_whole_load_is_that_since_an_event_policy_is_there() -> None:
    entries: list[Entry] = [
        began(T0, BY_EVENT), load(T0, 0), BY_ALARM, load(T0 + 1, 5), BY_EVENT, load(T0 + 2, 9), load(T0 + 3, 12)
    ]  # fmt: skip
    assert [one.arrived for one in whole_loads(entries)] == [9, 12]


def test_a_gateway_that_went_takes_no_requests_along() -> None:
    assert arrivals_of([load(T0, 100), load(T0 + 1, 104), load(T0 + 2, 7), load(T0 + 3, 9)], T0, T0 + 3).total == 6


def test_less_than_a_second_is_refused() -> None:
    with pytest.raises(Invalid, match="less than a second"):
        arrivals_of([load(T0, 1), load(T0 + 0.5, 9)], T0, T0 + 0.5)


def test_work_is_what_replicas_were_busy_for_by_request() -> None:
    assert work_of([load(T0, 0), load(T0 + 1, 10), load(T0 + 2, 20)]) == pytest.approx(0.05)
    assert work_of([load(T0, 0), load(T0 + 1, 0)]) is None


def test_rules_hold_from_where_they_stand_and_a_new_beginning_is_counted() -> None:
    entries: list[Entry] = [
        began(T0, BY_ALARM), Tick(at_s=T0, capacity=1), replace(BY_ALARM, target=replace(TARGET, min_capacity=2)),
        Tick(at_s=T0 + 1, capacity=1), began(T0 + 2, BY_ALARM), Tick(at_s=T0 + 2, capacity=1),
    ]  # fmt: skip
    found = verify(entries)
    assert (found.inputs, found.decisions, found.restarts, found.difference) == (3, 0, 1, None)
    missing = verify([*entries, change(T0 + 2, 1, 2)])
    assert missing.difference is not None
    assert missing.difference.replayed == ()

"""`trimtab explain` and `trimtab replay`, on a journal that the simulator has written."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_server import World
from msgspec.structs import replace

from trimtab.cli.render import CliError
from trimtab.cli.times import span
from trimtab.control.scaling.entries import Began
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input, Load
from trimtab.policies.scaling.state import State
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import ReplicaState, ReplicaStatus, StartBudget, StartCause
from trimtab.resources.scaling import (
    SIGNAL_EVENT,
    ActivityStatus,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    TargetTracking,
)
from trimtab.sim.arrivals import Rates
from trimtab.sim.replay.trial import Machine, under_rules
from trimtab.sim.replay.verify import state_of, verify

DIMENSIONS = (("EndpointName", "fraud"), ("VariantName", "blue"))
EVENT = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average"))
MINUTES = {
    "TargetValue": 600.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleInCooldown": 60,
}
TARGET = ScalableTarget(endpoint="fraud", variant="blue", min_capacity=1, max_capacity=4, created_s=1.0)
POLICY = ScalingPolicy(name="keep-busy", arn="arn:p", endpoint="fraud", variant="blue", created_s=1.0, tracking=EVENT)


@pytest.fixture
def began_s(world: World) -> float:
    """Half an hour of a surge, up to now, in the journal."""
    start_s = float(int(time.time()) - 1800)
    rate = np.concatenate([np.full(300, 2.0), np.full(300, 40.0), np.full(1200, 2.0)])

    def note(rules: Rules, before: State, given: Input, decisions: tuple[Decision, ...], after: State) -> None:
        world.journal.note("fraud", "blue", rules, before, given, decisions, after)
        for decision in decisions:
            if decision.made:
                world.scaling.held_activities.insert(0, an_activity(decision))

    load = Rates(rate=rate, step_s=1.0, start_s=start_s)
    under_rules(load, Rules(target=TARGET, policies=(POLICY,)), Machine(work_s=0.05, start_s=0.05), note=note)
    world.scaling.known[("fraud", "blue", "")] = TARGET
    world.scaling.held_policies[("fraud", "blue", "")] = POLICY
    control = world.control
    control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
    variants = (VariantSpec(name="blue", model_name="m"),)
    control.create_endpoint_config(EndpointConfig(name="c", created_s=1.0, variants=variants), {})
    control.create_endpoint("fraud", "c", {}, {})
    world.control.settle("fraud")
    return start_s


def an_activity(decision: Decision) -> ScalingActivity:
    return ScalingActivity(
        id=f"a{decision.at_s}", endpoint="fraud", variant="blue", start_s=decision.at_s, end_s=decision.at_s + 0.041,
        description=f"Setting desired instance count to {decision.wanted}.", cause=decision.cause,
        status=ActivityStatus.SUCCESSFUL, status_message="Successfully set.",
    )  # fmt: skip


def explained(trimtab: Any, *more: str) -> dict[str, Any]:
    result = trimtab("explain", "fraud", "--json", *more)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


# --- explain ---------------------------------------------------------------------------------------------------------


def test_every_decision_is_told_with_what_it_was_made_of_and_what_came_of_it(trimtab: Any, began_s: float) -> None:
    told = explained(trimtab)["decisions"]
    out = next(one for one in told if one["made"] and one["wanted"] > one["before"])
    assert began_s + 300 <= out["at_s"] <= began_s + 305
    assert out["policy"] == "keep-busy"
    assert out["reason"]
    assert out["arithmetic"]
    assert out["inputs"]
    assert out["given"]["kind"] == "load"
    assert out["activity"]["status"] == "Successful"
    assert out["activity"]["took_s"] == pytest.approx(0.041, abs=1e-5)
    assert [one["at_s"] for one in told] == sorted(one["at_s"] for one in told)


def test_a_start_is_told_under_the_decision_that_it_came_of(trimtab: Any, world: World, began_s: float) -> None:
    out = next(one for one in explained(trimtab)["decisions"] if one["made"] and one["wanted"] > one["before"])
    budget = StartBudget(
        detect_s=0.0021,
        decide_s=0.0003,
        place_s=0.0008,
        fork_s=0.011,
        load_s=0.014,
        warm_s=0.004,
        first_answer_s=0.0031,
    )
    replica = ReplicaStatus(
        id="0123abcd-1-000000007", endpoint="fraud", variant="blue", version="c", state=ReplicaState.READY,
        cause=StartCause.SCALE_OUT, started_s=out["at_s"] + 0.001, budget=budget,
    )  # fmt: skip
    world.control.replicas["fraud"] = (replica,)
    gone = Event(
        at_s=out["at_s"] + 0.05,
        what="replica started",
        variant="blue",
        replica_id="gone",
        cause="ScaleOut",
        load_time_s=0.045,
    )
    world.control.events["fraud"] = (gone,)
    [first, second] = next(one for one in explained(trimtab)["decisions"] if one["at_s"] == out["at_s"])["starts"]
    assert first["replica_id"] == "0123abcd-1-000000007"
    assert first["budget"]["load"] == 0.014
    assert second == {"replica_id": "gone", "state": "", "budget": {}, "total_s": 0.045, "failure": ""}
    text = trimtab("explain", "fraud").stdout
    for word in ("detect", "decide", "place", "fork", "load", "warm", "first", "14.0", "0123abcd-1-000000007"):
        assert word in text


def test_people_read_why(trimtab: Any, began_s: float) -> None:
    text = trimtab("explain", "fraud").stdout
    assert "fraud / blue  1 to 4 replicas" in text
    assert "keep-busy: trimtab/Endpoints ConcurrencyPerReplicaEvent at 0.7" in text
    for label in ("  why ", "  sum ", "  inputs ", "  cause "):
        assert label in text
    assert "Successful after 41 ms" in text


def test_decisions_that_were_not_made_are_told_once_for_all_that_are_alike(
    trimtab: Any, world: World, began_s: float
) -> None:
    told = explained(trimtab)["decisions"]
    made = explained(trimtab, "--made")["decisions"]
    assert made == [one for one in told if one["made"]]
    for before, after in itertools.pairwise(told):
        alike = (before["policy"], before["before"], before["wanted"], before["cause"], before["not_scaled"])
        assert before["made"] or after["made"] or alike != (
            after["policy"], after["before"], after["wanted"], after["cause"], after["not_scaled"]
        )  # fmt: skip


def test_nothing_decided_is_said(trimtab: Any, began_s: float) -> None:
    result = trimtab("explain", "fraud", "--from", "2020-01-01", "--to", "2020-01-02")
    assert result.exit_code == 0
    assert "No decisions from 2020-01-01" in result.stdout


def test_an_endpoint_that_never_was_is_an_error_with_a_hint(trimtab: Any) -> None:
    result = trimtab("explain", "nobody")
    assert result.exit_code == 1
    assert "nobody" in result.stderr
    assert "trimtab endpoints" in result.stderr


# --- replay ----------------------------------------------------------------------------------------------------------


def test_live_and_replay_agree_bit_for_bit(trimtab: Any, began_s: float) -> None:
    result = trimtab("replay", "fraud", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["agrees"]
    assert found["inputs"] > 1800
    assert found["made"] >= 2
    assert found["restarts"] == 0


def test_a_replay_without_a_picture_does_not_wait_for_what_draws_it() -> None:
    code = """
import sys
import trimtab.cli.replay, trimtab.cli.replaying.fetch, trimtab.cli.replaying.report, trimtab.sim.replay.verify
print(*sorted({name.split(".")[0] for name in sys.modules} & {"numpy", "plotext", "matplotlib"}))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_a_check_needs_no_simulator_and_trying_a_policy_says_what_to_install(
    trimtab: Any, began_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert trimtab("replay", "fraud").exit_code == 0
    policy = tmp_path / "minutes.json"
    policy.write_text(json.dumps(MINUTES))
    result = trimtab("replay", "fraud", "--policy", str(policy))
    assert result.exit_code == 1
    assert "pip install 'trimtab[sim]'" in result.stderr
    assert "defect" not in result.stderr


@pytest.mark.parametrize("given", [("--work", "5ms"), ("--start-time", "4s"), ("--slots", "2")])
def test_what_a_policy_is_tried_on_needs_a_policy(bare: Any, given: tuple[str, str]) -> None:
    result = bare("replay", "fraud", *given)
    assert result.exit_code == 1
    assert f"{given[0]} is of what a policy is tried on: it needs --policy" in result.stderr


def test_a_replay_can_begin_in_the_middle(trimtab: Any, world: World, began_s: float) -> None:
    entries = world.journal.read("fraud", "blue", began_s, 1e12)
    assert isinstance(entries[0], Began)
    assert verify(entries).difference is None
    assert state_of(entries[0].state) == State()


def test_the_first_difference_is_told_and_ends_in_1(trimtab: Any, world: World, began_s: float) -> None:
    entries = list(world.journal.read("fraud", "blue", began_s, 1e12))
    at = next(n for n, entry in enumerate(entries) if isinstance(entry, Decision) and entry.made)
    entries[at] = replace(entries[at], wanted=entries[at].wanted + 1)  # type: ignore[type-var]
    found = verify(entries)
    assert found.difference is not None
    assert found.difference.live[0].wanted == found.difference.replayed[0].wanted + 1

    state = State(failures=7)
    world.journal.note("fraud", "green", Rules(target=TARGET), state, entries[1], [entries[at]], state)  # type: ignore[arg-type,list-item]
    result = trimtab("replay", "fraud", "--variant", "green")
    assert result.exit_code == 1
    assert "differ at" in result.stdout


def test_another_policy_is_tried_on_the_recorded_load(trimtab: Any, began_s: float, tmp_path: Path) -> None:
    slow = tmp_path / "minutes.json"
    slow.write_text(json.dumps(MINUTES))
    result = trimtab("replay", "fraud", "--policy", str(slow), "--work", "50ms", "--json")
    assert result.exit_code == 0, result.output
    was, would = json.loads(result.stdout)["tried"]
    assert (was["name"], would["name"]) == ("as it was", "minutes")
    assert would["latency_s"]["p99"] > 4 * was["latency_s"]["p99"]
    assert would["requests_over_200_ms"] > was["requests_over_200_ms"]
    assert would["decisions"][0]["wanted"] == 4
    assert was["replicas_most"] == 4


def test_people_see_a_table_and_the_changes(trimtab: Any, began_s: float, tmp_path: Path) -> None:
    slow = tmp_path / "minutes.json"
    slow.write_text(
        json.dumps({"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": MINUTES})
    )
    result = trimtab("replay", "fraud", "--policy", str(slow))
    assert result.exit_code == 0, result.output
    assert "REPLICA-HOURS" in result.stdout
    assert "as it was" in result.stdout
    assert "minutes: " in result.stdout
    assert "1 -> 4" in result.stdout


@pytest.mark.parametrize("name", ["plot.png", "plot.html"])
def test_it_is_drawn(trimtab: Any, began_s: float, tmp_path: Path, name: str) -> None:
    policy = tmp_path / "minutes.json"
    policy.write_text(json.dumps(MINUTES))
    result = trimtab("replay", "fraud", "--policy", str(policy), "--plot", str(tmp_path / name))
    assert result.exit_code == 0, result.output
    assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("{}", "TargetTrackingScalingPolicyConfiguration"),
        ('{"TargetValue": "x"}', "policy"),
        ('{"TargetValue": 1.0}', "Exactly one of"),
        (json.dumps({**MINUTES, "TargetValue": 0}), "policy"),
        (
            '{"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]}',
            "no target tracking",
        ),
    ],
)
def test_a_policy_that_is_none_is_an_error_that_says_so(
    trimtab: Any, began_s: float, tmp_path: Path, document: str, says: str
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(document)
    result = trimtab("replay", "fraud", "--policy", str(path))
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert "defect" not in result.stderr


def test_nothing_recorded_is_an_error_that_says_why(trimtab: Any, began_s: float) -> None:
    result = trimtab("replay", "fraud", "--variant", "other")
    assert result.exit_code == 1
    assert "Nothing was recorded" in result.stderr


@pytest.fixture
def by_alarms(world: World) -> float:
    """Half an hour of the same surge, scaled by AWS's default policy: its journal knows of no load, CloudWatch does."""
    start_s = float(int(time.time()) // 60 * 60 - 1800)
    rate = np.concatenate([np.full(300, 2.0), np.full(300, 40.0), np.full(1200, 2.0)])
    policy = replace(
        POLICY, tracking=TargetTracking(target_value=840.0, predefined="SageMakerVariantInvocationsPerInstance")
    )

    def note(rules: Rules, before: State, given: Input, decisions: tuple[Decision, ...], after: State) -> None:
        world.journal.note("fraud", "blue", rules, before, given, decisions, after)

    load = Rates(rate=rate, step_s=1.0, start_s=start_s)
    under_rules(load, Rules(target=TARGET, policies=(policy,)), Machine(work_s=0.05), note=note)
    samples = []
    came_s = np.concatenate([chunk.at_s for chunk in load.chunks(1)])
    counts, _ = np.histogram(came_s, bins=len(rate), range=(start_s, load.end_s))
    for second, count in enumerate(counts.tolist()):
        for name, value in (("Invocations", 1.0), ("ModelLatency", 50_000.0)):
            sketch = Sketch()
            if count:
                sketch.add(value, count)
            samples.append(Sample(MetricKey("AWS/SageMaker", name, DIMENSIONS), int(start_s) + second, sketch, "None"))
    world.metrics.record(samples)
    return start_s


def test_the_load_of_a_variant_that_alarms_scale_comes_from_cloudwatch(
    trimtab: Any, by_alarms: float, tmp_path: Path
) -> None:
    event = tmp_path / "event.json"
    dimensions = [{"Name": name, "Value": value} for name, value in DIMENSIONS]
    metric = {
        "Namespace": "trimtab/Endpoints",
        "MetricName": SIGNAL_EVENT,
        "Dimensions": dimensions,
        "Statistic": "Average",
    }
    event.write_text(json.dumps({"TargetValue": 0.7, "CustomizedMetricSpecification": metric}))
    result = trimtab("replay", "fraud", "--from", str(int(by_alarms)), "--policy", str(event), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    was, would = found["tried"]
    assert found["machine"]["work_s"] == pytest.approx(0.05, rel=0.02)
    assert found["load"]["requests"] == pytest.approx(300 * 2 + 300 * 40 + 1200 * 2, rel=0.03)
    assert was["replicas_most"] == 3
    assert would["requests_over_200_ms"] < was["requests_over_200_ms"] / 4


def test_what_a_request_takes_must_be_told_where_nothing_says_so(
    trimtab: Any, world: World, by_alarms: float, tmp_path: Path
) -> None:
    world.metrics.samples = [sample for sample in world.metrics.samples if sample.key.name == "Invocations"]
    path = tmp_path / "minutes.json"
    path.write_text(json.dumps(MINUTES))
    arguments = ("replay", "fraud", "--from", str(int(by_alarms)), "--policy", str(path))
    result = trimtab(*arguments)
    assert result.exit_code == 1
    assert "--work 50ms" in result.stderr
    assert trimtab(*arguments, "--work", "50ms").exit_code == 0


# --- the API ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["?what=1", "?start=yesterday", "?end=nan"])
def test_a_bad_query_is_refused(trimtab: Any, server: Any, began_s: float, query: str) -> None:
    from trimtab.aws.client import CallFailed, Client, Server

    client = Client(Server(url=server.url, region="eu-west-1", access_key="AKIDTEST", secret_key="secret"))
    name, _, value = query[1:].partition("=")
    with pytest.raises(CallFailed):
        list(client.lines("endpoints/fraud/scaling", **{name: value}))
    with pytest.raises(CallFailed, match="limit"):
        client.get("endpoints/fraud/scaling/activities", limit="0")


# --- times -----------------------------------------------------------------------------------------------------------


def test_the_past_is_told_in_several_ways() -> None:
    now_s = 1_700_000_000.0
    assert span("", "", "", now_s) == (now_s - 3600, now_s)
    assert span("1h30m", "", "", now_s) == (now_s - 5400, now_s)
    assert span("", "2h", "1h", now_s) == (now_s - 7200, now_s - 3600)
    assert span("", "2023-11-14T00:00:00+00:00", "", now_s) == (1_699_920_000.0, now_s)
    assert span("", "1699990000", "", now_s) == (1_699_990_000.0, now_s)
    for last, start, end in (("x", "", ""), ("0s", "", ""), ("1h", "1h", ""), ("", "1h", "2h"), ("", "soon", "")):
        with pytest.raises(CliError):
            span(last, start, end, now_s)


def test_a_follower_is_told_what_is_decided_from_then_on(
    trimtab: Any, world: World, began_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = itertools.count()
    now_s = time.time()
    fired = Load(
        at_s=now_s, capacity=0, ready=0, in_hand=2.0, now=2, waiting=2, arrived=2, ended=0, work_s=0.0, start_s=0.0
    )
    woken = Decision(at_s=now_s, before=0, wanted=1, made=True, reason="2 requests wait, and there is no replica")

    def sleep(seconds: float) -> None:
        if next(turns) == 1:
            raise KeyboardInterrupt
        world.scaling.held_activities.insert(0, an_activity(woken))
        world.journal.note("fraud", "blue", Rules(target=TARGET), State(), fired, [woken], State())

    monkeypatch.setattr("trimtab.cli.explain.time.sleep", sleep)
    result = trimtab("explain", "fraud", "--made", "--follow", "--last", "1m")
    assert result.exit_code == 130
    assert result.stdout.count("2 requests wait") == 1
    assert "0 -> 1" in result.stdout

"""Nothing that is set of the endpoints that there are gets lost in a plan without a word."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace
from plan_world import Prices, a_scenario, a_workload, an_endpoint, simulate

from trimtab.advisor.plan import keeping
from trimtab.advisor.plan.demand import demands_of
from trimtab.advisor.plan.documents import tracking_document
from trimtab.advisor.plan.keeping import FIELDS, Origin, is_usual, pins_of
from trimtab.advisor.plan.ladders import ways
from trimtab.advisor.plan.limits import START_S, Limits
from trimtab.advisor.plan.planning import plan
from trimtab.advisor.plan.polishing import polish
from trimtab.advisor.plan.program import program
from trimtab.advisor.plan.result import document
from trimtab.advisor.plan.search import Searcher
from trimtab.advisor.plan.settings import SHARED, lines, settings_of
from trimtab.advisor.plan.signals import Signal, Where, tracked
from trimtab.advisor.plan.trials import Trials
from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction, StepAdjustment, StepScaling
from trimtab.sim.arrivals import Times
from trimtab.sim.scenario.usual import queue_of, timeout_s_of
from trimtab.sim.world import Architecture, Fault, Mode, OwnAlarm, Serving, Slo, Work

GIB = 2**30
ROOM = {"ml.small": 4 * GIB, "ml.large": 8 * GIB}
NIGHT = ScheduledAction(
    name="night", arn="", endpoint="fraud", variant="AllTraffic", schedule="cron(0 20 * * ? *)", created_s=0.0,
    timezone="Europe/Berlin", min_capacity=0, max_capacity=1,
)  # fmt: skip
DAY = replace(NIGHT, name="day", schedule="cron(0 6 * * ? *)", min_capacity=2, max_capacity=8)
STEPS = ScalingPolicy(
    name="steps", arn="policy:steps", endpoint="fraud", variant="AllTraffic", created_s=0.0,
    step=StepScaling(adjustment_type="ChangeInCapacity", steps=(StepAdjustment(0.0, None, 2),), cooldown_s=60.0),
)  # fmt: skip
BUSY = OwnAlarm(
    "steps",
    Watched(
        stat=MetricStat("AWS/SageMaker", "Invocations", (), 60, "Sum"), comparison="GreaterThanThreshold",
        threshold=600.0, evaluation_periods=1,
    ),
)  # fmt: skip


class Recorder:
    """The closed-form simulator, and every endpoint that it was asked of."""

    def __init__(self) -> None:
        self.seen: list[Serving] = []
        self._lock = threading.Lock()

    def __call__(self, scenario, architecture):
        with self._lock:
            self.seen += architecture.endpoints
        return simulate(scenario, architecture)


def planned(scenario, limits, recorder=simulate, **more):
    return plan(scenario, Prices(), recorder, limits, workers=1, **more)


# --- endpoints as anybody may have set them

instances = st.fixed_dictionaries(
    {
        "instance_type": st.sampled_from(["ml.small", "ml.large"]),
        "min_replicas": st.integers(1, 3),
        "max_replicas": st.integers(3, 6),
        "start_s": st.sampled_from([0.0, 30.0, 240.0]),
        "drain_s": st.none() | st.sampled_from([5.0, 60.0]),
        "queue": st.none() | st.integers(10, 500),
        "timeout_s": st.none() | st.sampled_from([10.0, 45.0]),
        "is_spot": st.booleans(),
        "schedule": st.sampled_from([(), (NIGHT, DAY)]),
        "work_times": st.sampled_from([1.0, 0.5]),
        "policies": st.sampled_from([(), (tracked("fraud", Signal.TEN, 0.5),), (STEPS,)]),
    }
)
environments = st.fixed_dictionaries(
    {
        "memory_mb": st.sampled_from([1024, 3072]),
        "max_concurrency": st.integers(1, 50),
        "provisioned": st.integers(0, 1),
        "keep_warm": st.sampled_from(["learned", "off", "300"]),
        "start_s": st.sampled_from([0.0, 3.0]),
        "timeout_s": st.none() | st.sampled_from([10.0, 45.0]),
        "work_times": st.sampled_from([1.0, 0.5]),
    }
)


@st.composite
def endpoints(draw, names: tuple[str, ...]) -> Serving:
    modes = [Mode.MULTI_MODEL] if len(names) > 1 else list(Mode)
    mode = draw(st.sampled_from(modes))
    if mode is Mode.SERVERLESS:
        fields_of = draw(environments) | {"instance_type": "", "min_replicas": 0}
    else:
        fields_of = draw(instances)
        if mode is Mode.MULTI_MODEL:
            fields_of |= {"models_bytes": 3 * GIB, "pinned": draw(st.sampled_from([(), names[:1]]))}
            fields_of |= {"slots": draw(st.sampled_from([0, 4])), "unload_s": draw(st.sampled_from([0.05, 2.0]))}
        if mode is Mode.BATCH:
            fields_of |= {"runs_at": "cron(30 2 * * ? *)", "schedule": (), "policies": (), "drain_s": None}
    if STEPS in fields_of.get("policies", ()):
        fields_of["alarms"] = (BUSY,)
    fields_of["timeout_s"] = fields_of["timeout_s"] or timeout_s_of(mode)
    fields_of["queue"] = fields_of.get("queue") or queue_of(mode)
    return Serving(name=f"now-{names[0]}", mode=mode, workloads=names, **fields_of)


@st.composite
def scenarios(draw):
    groups = draw(st.sampled_from([(("a",),), (("a",), ("b",)), (("a", "b"),), (("a", "b"), ("c",))]))
    before = tuple(draw(endpoints(names)) for names in groups)
    at_s = tuple(60.0 * number for number in range(1440))
    workloads = tuple(
        a_workload(
            name,
            counts=(draw(st.sampled_from([3, 400, 4000])),) * 24,
            slo=Slo(within_s=3.0),
            container="one",
            may_wait=True,
            request_bytes=draw(st.sampled_from([0, 5_000_000])),
        )
        for group in groups
        for name in group
    )
    if draw(st.booleans()):
        times = Times(at_s=np.array(at_s), uniform=np.full(len(at_s), 0.5), start_s=0.0, end_s=86_400.0)
        workloads = (replace(workloads[0], arrivals=times), *workloads[1:])
    return a_scenario(*workloads, before=before)


def lost(now: Serving, then: Serving) -> list[str]:
    """Fields that a candidate should have as the one endpoint in whose place it comes has them, and has not."""
    found = []
    for field, of in FIELDS.items():
        if (
            of.origin is not Origin.KEPT
            or is_usual(now, field)
            or now.mode not in of.modes
            or then.mode not in of.modes
        ):
            continue
        if field == "work_times":  # in the workloads while a plan is made; see below
            continue
        value, was = getattr(then, field), getattr(now, field)
        is_same_kind = {now.mode, then.mode} <= {
            Mode.REAL_TIME,
            Mode.MULTI_MODEL,
            Mode.SERVERLESS,
        } or now.mode is then.mode
        if field in ("queue", "timeout_s", "drain_s") and not is_same_kind:
            continue
        if field == "start_s" and (Mode.SERVERLESS in (now.mode, then.mode)) and now.mode is not then.mode:
            continue
        if field == "timeout_s" and then.mode is Mode.BATCH:
            continue  # no less than what its requests may wait
        if value != was:
            found.append(f"{field}: {was} became {value} of {then.mode}")
    return found


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_nothing_that_is_set_is_lost_in_any_candidate_or_without_a_word_in_the_plan(scenario) -> None:
    recorder = Recorder()
    found = planned(scenario, Limits(model_bytes=ROOM, start_s=7.0), recorder)
    before = scenario.architectures[0].endpoints
    for then in recorder.seen:
        for now in before:
            if set(now.workloads) == set(then.workloads):
                assert not lost(now, then)
    told = {(one.endpoint, one.planned, one.name): one for one in found.settings}
    for now in before:
        for then in found.after.architecture.endpoints:
            if set(now.workloads).isdisjoint(then.workloads):
                continue
            for field in (
                "drain_s",
                "schedule",
                "queue",
                "timeout_s",
                "is_spot",
                "provisioned",
                "work_times",
                "keep_warm",
            ):
                of = FIELDS[field]
                if now.mode in of.modes and not is_usual(now, field):
                    one = told[(now.name, then.name, of.words)]
                    assert one.why or getattr(now, field) == getattr(then, field)
                    assert is_true(one.why, now, then, before)
    source = program(found.after.architecture, "any", Where.TRIMTAB)
    built = endpoints_of(source)
    for then, made in zip(found.after.architecture.endpoints, built, strict=True):
        assert [one["ScheduledActionName"] for one in made["schedule"]] == [one.name for one in then.schedule]
        assert all(policy["configuration"] for policy in made["policies"])
        assert sum(len(policy["alarms"]) for policy in made["policies"]) == len(then.alarms) * bool(then.policies)


def is_true(why: str, now: Serving, then: Serving, before: tuple[Serving, ...]) -> bool:
    """Whether a reason is one of the endpoints that it is said of."""
    if why.startswith("shared with"):
        others = [one for one in before if one != now and not set(one.workloads).isdisjoint(then.workloads)]
        return bool(others) and all(one.name in why for one in others)
    if why.startswith("not carried over"):
        return now.mode is not then.mode
    return "usually" not in why


def endpoints_of(source: str):
    space: dict[str, object] = {"__name__": "plan"}
    exec(compile(source, "build.py", "exec"), space)
    return space["ENDPOINTS"]


def test_every_field_of_an_endpoint_is_kept_searched_or_its_own() -> None:
    assert {one.name for one in fields(Serving)} == set(FIELDS)


def only(mode: Mode, **more) -> Limits:
    return Limits(**{"modes": (mode,), "model_bytes": ROOM} | more)


def set_so(**more) -> Serving:
    return an_endpoint(**{"start_s": 60.0, "min_replicas": 6, "max_replicas": 6} | more)


def test_spot_queue_timeout_and_drain_stay_whatever_is_searched() -> None:
    before = set_so(is_spot=True, queue=50, timeout_s=30.0, drain_s=5.0)
    found = planned(a_scenario(a_workload(), before=(before,)), only(Mode.REAL_TIME))
    (then,) = found.after.architecture.endpoints
    assert then.instance_type == "ml.small"
    assert (then.is_spot, then.queue, then.timeout_s, then.drain_s, then.start_s) == (True, 50, 30.0, 5.0, 60.0)
    assert lines(found.settings) == ["fraud: keeps drain (5 s), queue (50), timeout (30 s), spot (yes)"]


def test_an_environments_start_and_one_tracking_policy_are_no_settings_to_speak_of() -> None:
    before = set_so(policies=(tracked("fraud", Signal.TEN, 0.5),), start_s=200.0)
    found = planned(a_scenario(a_workload(counts=(3,) * 24), before=(before,)), only(Mode.SERVERLESS))
    assert found.settings == ()
    steps = set_so(policies=(STEPS,), alarms=(BUSY,))
    found = planned(a_scenario(a_workload(counts=(3,) * 24), before=(steps,)), only(Mode.SERVERLESS))
    assert [(one.name, one.now) for one in found.settings] == [
        ("scaling policies", "steps"),
        ("alarms of step policies", "1"),
    ]


def test_what_a_mode_does_not_have_is_said() -> None:
    before = set_so(is_spot=True, queue=50, schedule=(NIGHT,))
    found = planned(a_scenario(a_workload(counts=(3,) * 24), before=(before,)), only(Mode.SERVERLESS, where=Where.AWS))
    assert found.after.architecture.endpoints[0].mode is Mode.SERVERLESS
    said = " ".join(lines(found.settings))
    assert "scheduled scaling (1): -, serverless has none" in said
    assert "spot (yes): -, serverless has none" in said
    assert {one["name"] for one in document(found)["settings"]} >= {"spot", "queue", "scheduled scaling"}


def test_limits_that_are_not_carried_over_to_another_mode_are_not_said_to_be_shared_with_others() -> None:
    now = set_so(queue=50, timeout_s=30.0, drain_s=5.0)
    fields_of = keeping.kept(Mode.ASYNC, (now,), (a_workload(),), only(Mode.ASYNC))
    then = Serving(name="fraud-async", mode=Mode.ASYNC, workloads=("fraud",), instance_type="ml.small", **fields_of)
    found = settings_of(Architecture(name="now", endpoints=(now,)), Architecture(name="then", endpoints=(then,)))
    apart = "not carried over from real-time to async, where requests wait in another way"
    assert {one.name: one.why for one in found} == {"drain": apart, "queue": apart, "timeout": apart}


def test_what_is_shared_names_the_others_and_whose_value_it_has() -> None:
    first = set_so(queue=50, timeout_s=30.0, drain_s=5.0)
    second = set_so(name="risk", workloads=("risk",), queue=70, timeout_s=45.0, start_s=90.0, is_spot=True)
    then = replace(first, name="both", mode=Mode.MULTI_MODEL, workloads=("fraud", "risk"), queue=120, timeout_s=45.0,
                   drain_s=None, start_s=90.0)  # fmt: skip
    found = settings_of(
        Architecture(name="now", endpoints=(first, second)), Architecture(name="then", endpoints=(then,))
    )
    assert [(one.endpoint, one.name, one.why) for one in found] == [
        ("fraud", "start", "shared with risk: the longest of theirs"),
        ("fraud", "drain", "shared with risk: the longest of theirs"),
        ("fraud", "queue", "shared with risk: all of theirs together"),
        ("fraud", "timeout", "shared with risk: the longest of theirs"),
        ("risk", "queue", "shared with fraud: all of theirs together"),
        ("risk", "timeout", ""),
        ("risk", "spot", "shared with fraud: spot where all are"),
    ]


def test_of_whatever_is_kept_of_several_endpoints_it_is_said_whose_it_is() -> None:
    told_otherwise = {"memory_mb", "keep_warm", "pinned"}  # of one workload; of each workload its own
    kept_of = {name for name, of in FIELDS.items() if of.origin is Origin.KEPT}
    assert kept_of - told_otherwise == set(SHARED)


def test_faster_models_stay_as_fast_wherever_they_are_served() -> None:
    before = set_so(work_times=0.5)
    found = planned(a_scenario(a_workload(), before=(before,)), only(Mode.REAL_TIME))
    plain = planned(a_scenario(a_workload(), before=(set_so(),)), only(Mode.REAL_TIME))
    (then,) = found.after.architecture.endpoints
    assert then.work_times == 0.5
    assert found.before.architecture.endpoints == (before,)
    assert found.workloads[0].work == a_workload().work
    assert found.after.outcome.served[0].mean_s == pytest.approx(plain.after.outcome.served[0].mean_s / 2)


def rungs_of(before: Serving, instance_type: str, **workload) -> list[tuple[Serving, ...]]:
    scenario = a_scenario(a_workload(**workload), before=(before,))
    with Trials(scenario, Prices(), simulate, workers=1) as trials:
        searcher = Searcher(trials, demands_of(scenario.workloads, 0), Limits(), present=(before,))
        place = searcher.place(before.workloads, before)
    return [way.rungs for way in ways(place, Mode.REAL_TIME, instance_type, Limits())]


def test_schedules_are_tried_with_and_without_and_follow_the_work_to_other_types() -> None:
    before = set_so(min_replicas=1, max_replicas=2, schedule=(NIGHT, DAY))
    for instance_type, bounds in (("ml.large", (2, 8)), ("ml.small", (8, 32))):  # four times as slow on small ones
        rungs = [rung for way in rungs_of(before, instance_type) for rung in way]
        tried = {(bool(one.policies), bool(one.schedule)) for one in rungs}
        assert tried == {(False, False), (False, True), (True, False), (True, True)}
        under_policies = {
            (one.schedule[1].min_capacity, one.schedule[1].max_capacity)
            for one in rungs
            if one.schedule and one.policies
        }
        assert under_policies == {bounds}
        by_schedule = [one.schedule[1].min_capacity for one in rungs if one.schedule and not one.policies]
        assert by_schedule == sorted(by_schedule)
        assert by_schedule[0] < bounds[0] < by_schedule[-1]


def test_work_that_takes_as_long_anywhere_needs_no_more_of_a_schedule() -> None:
    work = {"ml.small": Work(quantiles_s=(0.1,)), "ml.large": Work(quantiles_s=(0.1,))}
    ways_of = rungs_of(set_so(min_replicas=1, max_replicas=2, schedule=(DAY,)), "ml.small", work=work)
    found = {rung.schedule[0].min_capacity for way in ways_of for rung in way if rung.schedule and rung.policies}
    assert found == {2}


def test_small_changes_to_the_policy_of_an_endpoint_keep_what_plans_do_not_set() -> None:
    policy = tracked("fraud", Signal.EVENT, 0.1)
    tracking = replace(policy.tracking, disable_scale_in=True, scale_out_cooldown_s=7.0)
    own = replace(policy, name="mine", tracking=tracking, document={})
    before = set_so(min_replicas=0, policies=(own, STEPS), alarms=(BUSY,))
    scenario = a_scenario(a_workload(), before=(before,))
    with Trials(scenario, Prices(), simulate, workers=1) as trials:
        searcher = Searcher(trials, demands_of(scenario.workloads, 0), Limits(), present=(before,))
        (trial,) = trials.of([before])
        search, tried = polish(trial, searcher.place(("fraud",), before), Limits()), []
        with contextlib.suppress(StopIteration):
            tried.append(next(search))
            while True:
                tried.append(search.send(None))
    assert len(tried) == 4  # in sooner, no headroom, callers that wait, a higher target
    slo = scenario.workloads[0].slo
    waits = [dict(one.policies[0].tracking.stat.dimensions).get("PatienceSeconds") for one in tried]
    assert [wait for wait in waits if wait] == [f"{0.3 * slo.within_s:g}"]
    for one in tried:
        first, second = one.policies
        assert second == STEPS
        assert one.alarms == (BUSY,)
        assert (first.name, first.tracking.disable_scale_in, first.tracking.scale_out_cooldown_s) == ("mine", True, 7.0)
        assert first.document == tracking_document(first.tracking)


def test_pins_stay_as_far_as_there_is_room() -> None:
    workloads = tuple(a_workload(name) for name in "abc")
    pinned = (an_endpoint("a", mode=Mode.MULTI_MODEL, workloads=("a", "b", "c"), pinned=("a", "c")),)
    assert pins_of(pinned, workloads, 3 * GIB) == ("a", "c")
    assert pins_of(pinned, workloads, 2 * GIB) == ("a",)
    assert pins_of(pinned, workloads[:2], 2 * GIB) == ("a",)


def test_where_no_endpoint_tells_how_long_a_start_takes_an_assumption_is_made_and_said() -> None:
    recorder = Recorder()
    found = planned(a_scenario(a_workload()), Limits(modes=(Mode.REAL_TIME,), where=Where.AWS), recorder)
    assert {one.start_s for one in recorder.seen} == {START_S[Where.AWS] + 1.0}
    assert any("--start" in note for note in found.notes)
    serverless = an_endpoint(mode=Mode.SERVERLESS, instance_type="", memory_mb=2048, max_concurrency=5, start_s=2.0)
    recorder = Recorder()
    planned(a_scenario(a_workload(), before=(serverless,)), Limits(where=Where.AWS, start_s=100.0), recorder)
    starts = {(one.mode is Mode.SERVERLESS, one.start_s) for one in recorder.seen}
    assert starts == {(True, 2.0), (False, 100.0)}


def test_faults_that_a_mode_does_not_have_neither_end_the_plan_nor_flatter_batch() -> None:
    fault = Fault(at_s=3600.0, endpoint="fraud", kind="kill")
    scenario = a_scenario(a_workload(counts=(3,) * 24, may_wait=True), before=(an_endpoint(),), faults=(fault,))
    recorder = Recorder()
    found = planned(scenario, Limits(), recorder)
    modes = {one.mode for one in recorder.seen}
    assert Mode.SERVERLESS in modes
    assert Mode.BATCH not in modes
    assert any("batch was not tried" in note for note in found.notes)


def test_modes_that_were_not_tried_are_said_with_the_reason() -> None:
    workloads = [a_workload(name, memory_bytes=0) for name in "abcdef"]
    notes = planned(a_scenario(*workloads, before=tuple(an_endpoint(name) for name in "abcdef")), Limits()).notes
    assert (
        "a, b, c, d and 2 more: not tried as multi-model or serverless: how much memory its model takes is not known"
        in notes
    )
    assert "a, b, c, d and 2 more: not tried as async or batch: its callers wait for the answer" in notes


def test_further_architectures_of_a_scenario_are_said_to_be_left_alone() -> None:
    scenario = a_scenario(a_workload(), before=(an_endpoint(),))
    scenario = replace(scenario, architectures=(*scenario.architectures, Architecture(name="other", endpoints=())))
    assert any("other: not looked at" in note for note in planned(scenario, only(Mode.REAL_TIME)).notes)


def test_the_program_holds_schedules_step_policies_and_their_alarms() -> None:
    serving = set_so(schedule=(DAY,), policies=(STEPS,), alarms=(BUSY,), is_spot=True, queue=9, timeout_s=5.0)
    (made,) = endpoints_of(program(Architecture(name="p", endpoints=(serving,)), "x", Where.AWS))
    assert made["schedule"] == [
        {
            "ScheduledActionName": "day", "Schedule": "cron(0 6 * * ? *)", "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": 2, "MaxCapacity": 8},
        }
    ]  # fmt: skip
    (policy,) = made["policies"]
    assert policy["type"] == "StepScaling"
    assert policy["configuration"]["StepAdjustments"] == [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 2}]
    assert policy["alarms"][0]["MetricName"] == "Invocations"
    assert made["callers"] == ["Config(read_timeout=5) of botocore"]
    assert [what.split(" ", 1)[0] for what in made["not_built"]] == ["spot", "a"]

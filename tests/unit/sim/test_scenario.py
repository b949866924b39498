"""Scenario files: what they may say, and how they are told that they may not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trimtab.aws.autoscaling.declared import policy_of
from trimtab.errors import Invalid
from trimtab.policies.scaling.tracking import alarms_of
from trimtab.sim.scenario import load
from trimtab.sim.world import Mode, Slo

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"
WORKLOADS = """
workloads:
  fraud:
    arrivals: {rate: 600/min, for: 1h}
    work: 20ms
"""
ONE = (
    WORKLOADS
    + """
architectures:
  now:
    fraud: {instance_type: ml.m5.large}
"""
)


def loaded(tmp_path, text):
    path = tmp_path / "case.yaml"
    path.write_text(text)
    return load(path, read_policy=policy_of)


def scenario(tmp_path, text):
    return loaded(tmp_path, text).scenario


def requests(workload, seed=1):
    return [at_s for chunk in workload.arrivals.chunks(seed) for at_s in chunk.at_s.tolist()]


def test_the_least_scenario(tmp_path):
    found = scenario(tmp_path, ONE)
    assert found.name == "case"
    (workload,) = found.workloads
    assert workload.work["*"].quantiles_s == (0.02,)
    assert 35_000 < len(requests(workload)) < 37_000
    (endpoint,) = found.architectures[0].endpoints
    assert (endpoint.workloads, endpoint.mode, endpoint.min_replicas) == (("fraud",), Mode.REAL_TIME, 1)
    assert workload.arrivals.start_s == datetime(2026, 1, 5, tzinfo=UTC).timestamp()


def test_a_workload_alone_may_be_loaded_for_a_plan(tmp_path):
    assert scenario(tmp_path, WORKLOADS).architectures == ()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_can_be_loaded_and_tell_each_thing_once(path):
    found = load(path, read_policy=policy_of)
    assert len(found.scenario.architectures) > 1
    assert len(set(found.notes)) == len(found.notes)


def test_mappings_that_merge_others_may_be_merged_themselves(tmp_path):
    text = (
        WORKLOADS
        + """
templates:
  small: &small {instance_type: ml.m5.large, queue: 5}
architectures:
  now: &now
    fraud: &fraud {<<: *small, queue: 6}
  later: &later
    <<: *now
    fraud: {<<: *fraud, queue: 7}
  last: {<<: *later}
"""
    )
    found = scenario(tmp_path, text).architectures
    assert [(one.endpoints[0].instance_type, one.endpoints[0].queue) for one in found] == [
        ("ml.m5.large", 6), ("ml.m5.large", 7), ("ml.m5.large", 7),
    ]  # fmt: skip


def test_an_endpoint_may_be_quicker_than_its_workload_says(tmp_path):
    endpoint = scenario(tmp_path, ONE.replace("m5.large}", "m5.large, times: 0.5}")).architectures[0].endpoints[0]
    workload = scenario(tmp_path, ONE).workloads[0]
    assert endpoint.served(workload).work["*"].quantiles_s == (0.01,)
    with pytest.raises(Invalid, match=r"fraud.times: it must be more than 0"):
        scenario(tmp_path, ONE.replace("m5.large}", "m5.large, times: 0}"))


def test_words_of_yaml_1_1_are_words(tmp_path):
    text = ONE.replace(
        "{instance_type: ml.m5.large}", "{mode: serverless, memory: 2GB, concurrency: 5, keep_warm: off, start: 1s}"
    )
    (endpoint,) = scenario(tmp_path, text).architectures[0].endpoints
    assert (endpoint.keep_warm, endpoint.memory_mb) == ("off", 2048)


def test_policies_are_as_live_ones(tmp_path):
    text = ONE.replace(
        "fraud: {instance_type: ml.m5.large}",
        """fraud:
      instance_type: ml.m5.large
      replicas: {min: 1, max: 4}
      start: 4m
      policies:
        - event: {target: 0.7, stable: 30s, scale_in_cooldown: 60s}
        - tracking: {on: concurrency-1s, target: 2}
        - tracking: {on: invocations, target: 300}
        - aws: {TargetValue: 300, PredefinedMetricSpecification: {PredefinedMetricType: SageMakerVariantInvocationsPerInstance}}
      schedule:
        - {schedule: "cron(0 6 * * ? *)", min: 2}""",
    )
    (endpoint,) = scenario(tmp_path, text).architectures[0].endpoints
    event, signal, invocations, declared = endpoint.policies
    assert event.tracking.is_event
    assert ("StableWindowSeconds", "30") in event.tracking.stat.dimensions
    assert {alarm.watched.period_s for alarm in alarms_of(signal, "high", "low")} == {1}
    assert invocations.tracking == declared.tracking
    assert endpoint.schedule[0].min_capacity == 2
    assert len({policy.arn for policy in endpoint.policies}) == 4


def test_traces_are_cut_scaled_and_placed(tmp_path):
    (tmp_path / "t.csv").write_text(
        "timestamp,count\n" + "".join(f"2020-03-0{d}T{h:02}:00,36\n" for d in (1, 2) for h in range(24))
    )
    arrivals = "{trace: t.csv, from: 2020-03-02, for: 12h, scale: 10, cv: 0}"
    (workload,) = scenario(tmp_path, WORKLOADS.replace("{rate: 600/min, for: 1h}", arrivals)).workloads
    assert workload.arrivals.start_s == datetime(2020, 3, 2, tzinfo=UTC).timestamp()
    assert workload.arrivals.end_s - workload.arrivals.start_s == 12 * 3600
    assert len(requests(workload)) == pytest.approx(4320, abs=2)
    moved = "start: 2026-06-01\n" + WORKLOADS.replace("{rate: 600/min, for: 1h}", arrivals)
    (workload,) = scenario(tmp_path, moved).workloads
    assert workload.arrivals.start_s == datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def test_speed_and_repetition_keep_the_number_of_requests_right(tmp_path):
    (tmp_path / "t.csv").write_text("t_s\n0\n1\n4\n")
    text = WORKLOADS.replace("{rate: 600/min, for: 1h}", "{trace: t.csv, speed: 2, repeat: 2}")
    (workload,) = scenario(tmp_path, text).workloads
    start_s = workload.arrivals.start_s
    assert [at_s - start_s for at_s in requests(workload)] == [0, 0.5, 2, 3, 3.5, 5]
    assert workload.arrivals.end_s - start_s == 6


def test_recorded_durations_come_back_to_their_own_requests(tmp_path):
    rows = [(0, 3.0), (1, 0.5), (2, 9.0), (3, 0.25)]
    (tmp_path / "t.csv").write_text("t_s,duration_s\n" + "".join(f"{at},{took}\n" for at, took in rows))
    text = WORKLOADS.replace("{rate: 600/min, for: 1h}", "{trace: t.csv}").replace("work: 20ms", "work: {trace: true}")
    (workload,) = scenario(tmp_path, text).workloads
    (chunk,) = workload.arrivals.chunks(1)
    assert workload.work["*"].service_s(chunk.uniform).tolist() == pytest.approx([took for _, took in rows], rel=0.02)


def test_work_by_mean_quantiles_and_sizes(tmp_path):
    (tmp_path / "s.csv").write_text("prefill_tokens,decode_tokens\n100,10\n200,20\n")
    for work, mean_s in (
        ("{mean: 100ms, cv: 1}", 0.1),
        ("{mean: 100ms, cv: 0}", 0.1),
        ("{quantiles: [10ms, 30ms]}", 0.02),
        ("{sizes: {file: s.csv, base: 1s, per: {prefill_tokens: 1ms, decode_tokens: 10ms}}}", 1.3),
        ("{takes: 10ms, times: 3}", 0.03),
    ):
        (workload,) = scenario(tmp_path, WORKLOADS.replace("20ms", work)).workloads
        assert workload.work["*"].mean_s == pytest.approx(mean_s, rel=1e-3), work
    (workload,) = scenario(tmp_path, WORKLOADS.replace("20ms", "{p50: 10ms, p99: 50ms}")).workloads
    points = workload.work["*"].quantiles_s
    assert (points[500], points[990]) == pytest.approx((0.01, 0.05))


def test_slos_are_written_short_or_long(tmp_path):
    for slo in ("p99.9=250ms", "{within: 250ms, kept: 99.9%}"):
        (workload,) = scenario(tmp_path, WORKLOADS + f"    slo: {slo}\n").workloads
        assert workload.slo == Slo(within_s=0.25, kept=0.999)


def test_anchors_and_merging_spare_repetition(tmp_path):
    text = "templates: {big: &big {instance_type: ml.g5.xlarge, replicas: 2}}\n" + ONE.replace(
        "{instance_type: ml.m5.large}", "{<<: *big, replicas: 3}"
    )
    (endpoint,) = scenario(tmp_path, text).architectures[0].endpoints
    assert (endpoint.instance_type, endpoint.max_replicas) == ("ml.g5.xlarge", 3)


def test_steps_and_waves_have_the_rates_that_were_told(tmp_path):
    steps = "{steps: [[0s, 1], [10m, 10]], for: 20m, cv: 0}"
    (workload,) = scenario(tmp_path, WORKLOADS.replace("{rate: 600/min, for: 1h}", steps)).workloads
    came = [at_s - workload.arrivals.start_s for at_s in requests(workload)]
    assert sum(at_s < 600 for at_s in came) == pytest.approx(600, abs=2)
    assert len(came) == pytest.approx(6600, abs=3)
    wave = "{daily: {low: 0, high: 2, peak: 12h}, for: 24h, cv: 0}"
    (workload,) = scenario(tmp_path, WORKLOADS.replace("{rate: 600/min, for: 1h}", wave)).workloads
    came = [at_s - workload.arrivals.start_s for at_s in requests(workload)]
    assert len(came) == pytest.approx(86_400, rel=1e-3)
    assert sum(11 * 3600 < at_s < 13 * 3600 for at_s in came) == pytest.approx(14_400, rel=0.03)


SERVERLESS = "{mode: serverless, memory: 2GB, concurrency: 5, start: 1s}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("    work: 20ms\n", "", r"line 3: workloads.fraud: the field `work` is needed"),
        ("work: 20ms", "wrok: 20ms", r"line 5: workloads.fraud.wrok: there is no such field here. Did you mean `work`\?"),
        ("20ms", "20mss", r"line 5: workloads.fraud.work: '20mss' has the unit 'mss'"),
        ("20ms", "0", r"line 5: .*more than 0"),
        ("20ms", "{mean: 20ms, p50: 1ms}", "there are mean and p50"),
        ("20ms", "{p50: 2ms, p99: 1ms}", "p99 is not the smaller one"),
        ("20ms", "{trace: true}", "does not tell how long"),
        ("20ms", "{sizes: {file: no.csv, per: {a: 1ms}}}", "cannot be read"),
        ("20ms", "{takes: 1s, slots: 0}", r"work.slots: it must be 1 or more"),
        ("20ms", "{ml.g5.xlarge: 20ms}", "work of fraud is not known on ml.m5.large, but on ml.g5.xlarge"),
        ("600/min", "many", r"line 4: workloads.fraud.arrivals.rate: 'many' is not a rate like 12/s"),
        ("600/min", "-1", "is not a rate"),
        (", for: 1h", "", "how long requests come must be said"),
        (", for: 1h", ", for: 1h, daily: {low: 1, high: 2}", "there are rate and daily"),
        (", for: 1h", ", for: 1h, until: 2h", r"arrivals.until: it is of a trace"),
        (", for: 1h", ", for: 1h, scale: 0", r"scale: it must be more than 0"),
        ("{rate: 600/min, for: 1h}", "{trace: missing.csv}", r"line 4: .*missing.csv cannot be read"),
        ("{rate: 600/min, for: 1h}", "{steps: [[5s, 1]], for: 1h}", "the first at 0s"),
        ("{rate: 600/min, for: 1h}", "{steps: [[0s, 1, 2]], for: 1h}", r"arrivals.steps\[0\]"),
        ("{rate: 600/min, for: 1h}", "{times: [1s, 5s], for: 2s}", "the last request comes later"),
        ("{rate: 600/min, for: 1h}", "hourly", r"arrivals: it must be a mapping, not a word"),
        ("{instance_type: ml.m5.large}", "{}", "say on what it runs"),
        ("ml.m5.large}", "ml.m5.large, replicas: {min: 2, max: 1}}", r"replicas: `min` is 0 or more"),
        ("ml.m5.large}", "ml.m5.large, replicas: {min: 1, max: 2}}", "say how long a start takes"),
        ("ml.m5.large}", "ml.m5.large, mode: fast}", r"line 9: architectures.now.fraud.mode"),
        ("ml.m5.large}", "ml.m5.large, mode: async}", "say `may_wait: true` there"),
        ("ml.m5.large}", "ml.m5.large, serves: [faud]}", "there is no workload 'faud'; there are fraud"),
        ("ml.m5.large}", "ml.m5.large, models: 3GB}", "only the mode multi-model has it"),
        ("ml.m5.large}", "ml.m5.large, mode: multi-model}", "say how much memory"),
        ("ml.m5.large}", "ml.m5.large, mode: multi-model, models: 3GB}", "say its `memory`"),
        ("fraud: {instance_type", "other: {instance_type", "say what it serves"),
        ("    fraud: {instance", "    b: {serves: fraud, instance_type: x}\n    fraud: {instance", "served by b already"),
        ("{instance_type: ml.m5.large}", SERVERLESS.replace("2GB", "2.5GB"), "1GB to 6GB, in whole GB"),
        ("{instance_type: ml.m5.large}", SERVERLESS.replace("5", "500"), "1 to 200"),
        ("{instance_type: ml.m5.large}", SERVERLESS.replace("}", ", replicas: 2}"), "a serverless endpoint has it not"),
        ("{instance_type: ml.m5.large}", SERVERLESS.replace("}", ", keep_warm: long}"), "learned, off, or a time"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{event: {target: 1}}]}", r"policies: they have nothing to decide where replicas are always 1: say `replicas: \{min: 1, max"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, replicas: 3, policies: [{event: {target: 1}}]}", "always 3"),
        ("ml.m5.large}", "ml.m5.large, mode: batch, start: 1s, policies: [{event: {target: 1}}]}", "a batch endpoint has it not"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{event: {target: 0}}]}", r"policies\[0\].event.target: it must be a number"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{event: {target: 1, panic: 9h}}]}", "PanicWindowSeconds must be"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{}]}", "exactly one of event, tracking, aws, file"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{tracking: {on: luck, target: 1}}]}", r"tracking.on"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{aws: {TargetValue: 1}}]}", r"policies\[0\].aws: Exactly one of"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{file: no.json}]}", "no.json cannot be read"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, schedule: [{schedule: daily, min: 1}]}", r"schedule\[0\]: Schedule 'daily' is not"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 1h, endpoint: docs, kind: kill}]", r"faults\[0\].endpoint: no architecture has it; there are fraud"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 1h, endpoint: fraud, kind: fire}]", r"faults\[0\].kind"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 9m, endpoint: fraud, kind: slow}]", "how long it lasts"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 9m, endpoint: fraud, kind: slow, for: 1m}]", "`factor: 3`"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 9m, endpoint: fraud, kind: slow, for: 1m, factor: .inf}]", "`factor: 3`"),
        ("ml.m5.large}", "ml.m5.large, start: 1s}\nfaults: [{at: 9m, endpoint: fraud, kind: kill, for: 1m}]", r"faults\[0\].for: the kind kill has it not"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 9m, endpoint: fraud, kind: outage, for: 1m, count: 2}]", "outage has it not"),
        ("ml.m5.large}", "ml.m5.large, start: 1s}\nfaults: [{at: 2h, endpoint: fraud, kind: kill}]", "it is after the last request: these come for 3,600 s"),
        ("ml.m5.large}", "ml.m5.large}\nstart: 20260302", "start: 20260302 is not a date like"),
        ("ml.m5.large}", "ml.m5.large}\nstart: 1e300", "is not a date like"),
        (", for: 1h", ", for: 1h, speed: 1e-9", "its requests last .* years; at most 100 are simulated"),
        (", for: 1h", ", for: 1h, speed: 1e300", "its requests last 0 years"),
        ("{rate: 600/min, for: 1h}", "{times: [1e18]}", "at most 100 are simulated"),
        (", for: 1h", ", for: 1h, gaps: hold", r"arrivals.gaps: it is of a trace"),
        (", for: 1h", ", for: 1h, timezone: Asia/Kolkata", r"arrivals.timezone: it is of a trace"),
        ("{rate: 600/min, for: 1h}", "{times: [1s, 5s], cv: 3}", r"arrivals.cv: it is of rates, and these are single requests"),
        ("{instance_type: ml.m5.large}", SERVERLESS.replace("}", ", queue: 5}"), "fraud.queue: a serverless endpoint has it not"),
        ("ml.m5.large}", "ml.m5.large, mode: async, queue: 5}", "fraud.queue: the queue of an asynchronous endpoint has no bound"),
        ("20ms", "{takes: 20ms, row: 5ms}", r"work.row: it is of each further request of a batch"),
        ("20ms", "{mean: 20ms, p99: 90ms}", r"work.p99: it goes with `p50`, and `mean` says what a request takes"),
        ("20ms", "{takes: 20ms, cv: 2}", r"work.cv: it goes with `mean`, and `takes` says"),
        ("20ms", "{p50: 20ms, p99: 90ms, cv: 2}", r"work.cv: it goes with `mean`"),
        ("ml.m5.large}", "ml.m5.large, start: 1s, policies: [{aws: {TargetValue: 1, ScaleInColdown: 9}}]}", r"aws: A policy has no ScaleInColdown. Did you mean ScaleInCooldown"),
        ("ml.m5.large}", "ml.m5.large, start: 1s}\nfaults: [{at: 2019-01-01, endpoint: fraud, kind: kill}]", "before the first request"),
        ("ml.m5.large}", "ml.m5.large}\nfaults: [{at: 9m, endpoint: fraud, kind: kill}]", r"faults\[0\]: replicas of fraud are replaced: say how long a start takes"),
        ("ml.m5.large}", "ml.m5.large, start: 1s}\nfaults: [{at: 9m, endpoint: fraud, kind: spot}]", "fraud is nowhere on spot instances: say `spot: true` there"),
        ("ml.m5.large}", "ml.m5.large}\nname: a\nname: b", "line 11: name: it stands there twice"),
        ("ml.m5.large}", "ml.m5.large", "it is no YAML"),
        ("20ms", "!!python/object:os.system 20ms", "tag"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_field(tmp_path, before, after, said):
    assert before in ONE
    with pytest.raises(Invalid, match=said):
        loaded(tmp_path, ONE.replace(before, after, 1))


@pytest.mark.parametrize(
    "text", ["", "just words", "[1, 2]", "workloads: {}", "workloads: {a: 3}", "a: &a [*a, *a]", "\x00", "? [a]\n: b"]
)
def test_what_is_no_scenario_is_refused(tmp_path, text):
    with pytest.raises(Invalid, match="case.yaml"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("said", ["cv: 3", "step: 60s", "gaps: hold"])
def test_what_is_of_rates_is_refused_of_a_trace_of_single_requests(tmp_path, said):
    (tmp_path / "t.csv").write_text("t_s\n0\n60\n")
    with pytest.raises(Invalid, match=rf"arrivals.{said.split(':')[0]}: it is of rates, and these are single requests"):
        loaded(tmp_path, WORKLOADS.replace("{rate: 600/min, for: 1h}", f"{{trace: t.csv, {said}}}"))


def test_that_a_trace_of_rates_ends_before_what_is_asked_for_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("t_s,count\n0,60\n60,60\n120,60\n")
    for said, is_told in (("until: 3m", False), ("until: 9m", True), ("from: 1m, for: 10m", True)):
        text = ONE.replace("{rate: 600/min, for: 1h}", f"{{trace: t.csv, {said}}}")
        notes = loaded(tmp_path, text).notes
        assert any("do not reach as far as `from`, `until` and `for` say" in note for note in notes) is is_told


def test_of_two_slownesses_at_once_one_is_refused_as_its_end_would_end_the_other(tmp_path):
    first = "{at: 1m, endpoint: fraud, kind: slow, factor: 5, for: 8m}"
    within, after = (f"{{at: {at}, endpoint: fraud, kind: slow, factor: 2, for: 1m}}" for at in ("2m", "9m"))
    with pytest.raises(Invalid, match=r"faults\[1\]: it overlaps faults\[0\]: one slow at a time"):
        loaded(tmp_path, f"{ONE}faults: [{first}, {within}]")
    assert len(scenario(tmp_path, f"{ONE}faults: [{first}, {after}]").faults) == 2
    killed, starting = "{at: 2m, endpoint: fraud, kind: kill}", ONE.replace("ml.m5.large}", "ml.m5.large, start: 1s}")
    assert len(scenario(tmp_path, f"{starting}faults: [{killed}, {killed}]").faults) == 2


def test_aliases_that_multiply_are_bounded(tmp_path):
    layers = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(Invalid, match="more than 1,000,000 values"):
        loaded(tmp_path, "l0: &l0 [1, 2]\n" + layers)


def test_workloads_that_lie_years_apart_are_refused(tmp_path):
    for year in (1995, 2014):
        (tmp_path / f"{year}.csv").write_text(f"timestamp,count\n{year}-03-01T00:00,5\n{year}-03-01T01:00,5\n")
    text = "workloads:\n" + "".join(f"  w{y}: {{arrivals: {{trace: {y}.csv}}, work: 1s}}\n" for y in (1995, 2014))
    with pytest.raises(
        Invalid, match="line 3: workloads.w2014: its requests begin on 2014-03-01, after those of w1995"
    ):
        loaded(tmp_path, text)
    assert len(scenario(tmp_path, "start: 2026-01-01\n" + text).workloads) == 2


def test_flaws_of_traces_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("t_s,count\n0,1\n60,1\n180,1\n")
    found = loaded(tmp_path, WORKLOADS.replace("{rate: 600/min, for: 1h}", "{trace: t.csv}"))
    assert found.notes == ("t.csv: 1 of 4 steps have no number: counted as no requests.",)


def test_a_trace_ends_when_it_is_said_to_although_nothing_comes_any_more(tmp_path):
    (tmp_path / "t.csv").write_text("t_s\n5\n6\n")
    text = WORKLOADS.replace("{rate: 600/min, for: 1h}", "{trace: t.csv, for: 1h}")
    (workload,) = scenario(tmp_path, text).workloads
    assert workload.arrivals.end_s - workload.arrivals.start_s == 3600


def test_policies_of_another_endpoint_are_for_this_ones_own_load(tmp_path):
    dimensions = "[{Name: EndpointName, Value: live}, {Name: VariantName, Value: blue}]"
    metric = (
        "{Namespace: trimtab/Endpoints, MetricName: ConcurrencyPerReplicaEvent, Statistic: Average, Dimensions: "
        + dimensions
    )
    policy = "{aws: {TargetValue: 1, CustomizedMetricSpecification: " + metric + "}}}"
    text = ONE.replace(
        "ml.m5.large}", "ml.m5.large, start: 1s, replicas: {min: 1, max: 2}, policies: [" + policy + "]}"
    )
    (endpoint,) = scenario(tmp_path, text).architectures[0].endpoints
    assert endpoint.policies[0].tracking.is_event


def test_policies_decide_once_a_schedule_has_widened_the_bounds(tmp_path):
    widens = "policies: [{event: {target: 1}}], schedule: [{schedule: rate(1 hour), max: 4}]}"
    text = ONE.replace("ml.m5.large}", "ml.m5.large, start: 1s, replicas: 1, " + widens)
    (endpoint,) = scenario(tmp_path, text).architectures[0].endpoints
    assert len(endpoint.policies) == len(endpoint.schedule) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ONE.replace("{instance_type: ml.m5.large}", "{mode: magic}"), "'magic' is none of real-time, multi-model"),
        (ONE.replace("{instance_type: ml.m5.large}", ""), "it must be a mapping, not empty"),
        (f"seed: -1\n{ONE}", "seed: it must be 0 or more"),
        (ONE.replace("600/min", "1e14"), "at most 1e[+]11 are simulated"),
        (f"{ONE}faults: [{{at: 1m, endpoint: fraud, kind: melt}}]", "'melt' is none of kill"),
        (
            ONE.replace("ml.m5.large", "ml.m5.large, policies: [{tracking: {on: vibes, target: 1}}]"),
            "'vibes' is none of invocations",
        ),
    ],
)
def test_what_may_stand_there_is_said_of_what_may_not(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        loaded(tmp_path, text)

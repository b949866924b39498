"""`trimtab plan`, with the real simulator and the real prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.advisor.finding import Audit, Unseen
from trimtab.advisor.observed import Observed
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction, TargetTracking
from trimtab.sim.world import Mode

pytest.importorskip("numba")

SCENARIO = """
name: two services
workloads:
  fraud:
    arrivals: {rate: 0.5, for: 40m}
    work: {ml.g4dn.xlarge: 60ms, ml.m5.large: 150ms}
    slo: p99=1s
  reports:
    arrivals: {rate: 0.01, for: 40m}
    work: {ml.g4dn.xlarge: 200ms, ml.m5.large: 500ms, "*": 500ms}
    slo: p99=5s
    memory: 200MB
architectures:
  before:
    fraud: {instance_type: ml.g4dn.xlarge, replicas: 2, start: 4m}
    reports: {instance_type: ml.g4dn.xlarge, replicas: 1, start: 4m}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(SCENARIO)
    return path


def test_it_tells_what_is_saved_and_by_what(bare, scenario: Path, tmp_path: Path) -> None:
    page, source = tmp_path / "plan.html", tmp_path / "build.py"
    done = bare(
        "plan", str(scenario), "--workers", "1", "--html", str(page), "--write", str(source), "--migration-usd", "100"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "every SLO is kept" in done.output
    assert "A migration of $100 is paid for after" in done.output
    assert "Other instance types" in done.output
    html = page.read_text()
    assert "What each step saves" in html
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    compile(source.read_text(), "build.py", "exec")


def test_json_holds_both_sides_and_the_steps(bare, scenario: Path) -> None:
    done = bare("plan", str(scenario), "--workers", "1", "--json", "--on", "aws")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["after"]["month_usd"] < found["before"]["month_usd"]
    assert sum(1 for step in found["steps"]) == 5
    assert all(
        endpoint["min_replicas"] >= 1 or endpoint["mode"] == "serverless" for endpoint in found["after"]["endpoints"]
    )


def test_the_same_seed_gives_the_same_plan(bare, scenario: Path) -> None:
    first, second = (bare("plan", str(scenario), "--workers", "1", "--json", "--seed", "7").stdout for _ in range(2))
    assert first == second


def test_an_slo_that_nothing_keeps_shows_the_nearest_miss_and_fails(bare, tmp_path: Path) -> None:
    path = tmp_path / "strict.yaml"
    path.write_text(SCENARIO.replace("slo: p99=1s", "slo: p99=20ms"))
    done = bare("plan", str(path), "--workers", "1")
    assert done.exit_code == 1
    proof = "if none ever waited, 99% would take 60 ms, on ml.g4dn.xlarge as the quickest"
    assert f"fraud: nothing can keep 99% within 20 ms: {proof}. Nearest: 0% within 20 ms" in done.output


def test_a_commitment_needs_a_day_of_requests(bare, scenario: Path) -> None:
    done = bare("plan", str(scenario), "--workers", "1", "--commit")
    assert "no commitment was sized" in done.output


def observed(name: str, **more: object) -> Observed:
    given = {
        "endpoint": name, "mode": Mode.REAL_TIME, "counts": (150.0,) * 12, "start_s": 1.7e9, "step_s": 300.0,
        "service_s": {"50": 0.05, "99": 0.2}, "instance_type": "ml.m5.xlarge", "replicas": 2,
    } | more  # fmt: skip
    return Observed(name=name, **given)  # type: ignore[arg-type]


def audit_file(tmp_path: Path, *each: Observed) -> Path:
    audit = Audit(
        account="123456789012", region="us-east-1", at_s=1.7e9, days=14, findings=(), endpoints=len(each),
        unseen=(Unseen(what="s3", why="AccessDenied"),), month_micro_usd=1, observed=each,
    )  # fmt: skip
    path = tmp_path / "audit.json"
    path.write_bytes(msgspec.json.encode(audit))
    return path


def test_an_audit_is_planned_from(bare, tmp_path: Path) -> None:
    path = audit_file(tmp_path, observed("fraud", gaps=3), observed("idle", counts=(0.0,) * 12))
    done = bare("plan", str(path), "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "fraud: its metrics have gaps, 3 steps of 300 s" in done.output
    assert "idle: no request came" in done.output
    assert "not seen by the audit, so not in the plan: s3" in done.output


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("plan.txt", "", "neither AUDIT.json nor WORKLOAD.yaml"),
        ("audit.json", "{}", "is not what `trimtab audit --json` prints"),
        ("audit.json", "nothing", "is not what `trimtab audit --json` prints"),
        ("work.yaml", "workloads: 3", "workloads"),
        ("none.yaml", None, "none.yaml"),
    ],
)
def test_what_cannot_be_read_is_said_without_a_trace(
    bare, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    done = bare("plan", str(path))
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_an_audit_of_an_account_that_nobody_asks_says_so(bare, tmp_path: Path) -> None:
    done = bare("plan", str(audit_file(tmp_path, observed("idle", counts=(0.0,) * 12))))
    assert "there is nothing to plan for" in done.output
    done = bare("plan", str(audit_file(tmp_path)))
    assert "holds no workloads" in done.output


def tracks(**given: Any) -> ScalingPolicy:
    tracking = TargetTracking(**{"target_value": 9.0, "predefined": "SageMakerVariantInvocationsPerInstance"} | given)
    return ScalingPolicy(name="t", arn="a", endpoint="fraud", variant="v", created_s=0.0, tracking=tracking)


def acts(low: int | None, high: int | None) -> ScheduledAction:
    return ScheduledAction(
        name="s", arn="a", endpoint="fraud", variant="v", created_s=0.0, schedule="cron(0 6 * * ? *)",
        min_capacity=low, max_capacity=high,
    )  # fmt: skip


def test_what_an_audit_has_that_is_not_read_is_told_of(bare, tmp_path: Path) -> None:
    path = audit_file(tmp_path, observed("fraud"))
    path.write_text(path.read_text().replace('"min_replicas":', '"min_replica":9,"min_replicas":', 1))
    done = bare("plan", str(path), "--workers", "1")
    assert done.exit_code == 0
    assert "not known here, so not read: observed.min_replica" in done.output


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"replicas": -3}, "fraud: replicas is -3; it is 0 or more"),
        ({"min_replicas": 5, "max_replicas": 2}, "fraud: min_replicas 5 is more than max_replicas 2"),
        ({"mode": Mode.SERVERLESS, "memory_mb": 2048, "max_concurrency": -4}, "fraud: max_concurrency is -4"),
        ({"mode": Mode.SERVERLESS, "memory_mb": 2048}, "a serverless endpoint has max_concurrency and memory_mb"),
        ({"start_s": 1e300}, "start_s 1e+300 and steps of 300 s are no time since 1970"),
        ({"replicas": 10**9}, "replicas is 1,000,000,000; at most 100,000 are simulated"),
        ({"counts": (1e300,)}, "these are 1e+300 requests; at most 1e+11 are simulated"),
        ({"policies": (tracks(target_value=0.0),)}, "the target of its policy t is 0; it is above 0"),
        ({"policies": (tracks(predefined="Nope"),)}, "its policy t tracks 'Nope', which is none of SageMakerVariant"),
        ({"schedule": (acts(9, 2),)}, "its scheduled action s has bounds from 9 to 2"),
        ({"schedule": (acts(-9, None),)}, "its scheduled action s has bounds from -9 to None"),
        ({"step_s": 0.0}, "steps of some seconds"),
        ({"endpoint": " "}, "one of them is empty"),
    ],
)
def test_an_audit_that_was_changed_to_what_cannot_be_is_refused_with_the_field(
    bare, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    done = bare("plan", str(audit_file(tmp_path, observed("fraud", **changed))))
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.output
    assert "defect" not in done.output


def test_options_that_make_no_sense_are_refused(bare, scenario: Path) -> None:
    assert "--on is trimtab or aws" in bare("plan", str(scenario), "--on", "moon").output
    assert "p99=1s" in bare("plan", str(scenario), "--slo", "fast").output
    assert "--min-replicas 9" in bare("plan", str(scenario), "--min-replicas", "9", "--max-replicas", "2").output
    assert "--start is a time like 4m" in bare("plan", str(scenario), "--start", "soon").output
    assert "--start is more than 0" in bare("plan", str(scenario), "--start", "0s").output
    assert "--load is a time like 4m" in bare("plan", str(scenario), "--load", "soon").output
    assert "like scans=10m, not 'reports'" in bare("plan", str(scenario), "--may-wait", "reports").output
    assert "there are fraud, reports" in bare("plan", str(scenario), "--may-wait", "scans=10m").output
    assert "folder" in bare("plan", str(scenario), "--write", "/nowhere/at/all/build.py").output


def test_a_plan_for_trimtab_has_no_batch_as_trimtab_has_no_transform_jobs(bare, tmp_path: Path) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text(NIGHTLY)
    modes = {}
    for where in ("aws", "trimtab"):
        done = json.loads(bare("plan", str(path), "--on", where, "--workers", "1", "--json").stdout)
        modes[where] = done["after"]["endpoints"][0]["mode"]
        said = "nightly: not tried as batch: trimtab has no transform jobs (--on aws plans them)"
        assert (said in done["notes"]) == (where == "trimtab")
    assert modes["aws"] == "batch"
    assert modes["trimtab"] != "batch"


NIGHTLY = """
name: a night's work
workloads:
  nightly: {arrivals: {steps: [[0s, 0], [2h, 5], [3h, 0]], for: 24h}, work: 500ms, slo: p99=12h, may_wait: true}
architectures:
  before:
    nightly: {instance_type: ml.m5.large, replicas: 2, start: 4m}
"""


def test_instance_types_that_were_not_tried_are_said(bare, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(SELDOM.replace("work: 500ms", "work: {ml.m5.large: 500ms}"))
    notes = bare("plan", str(path), "--workers", "1").output
    assert "reports: tried on no instance type but ml.m5.large, as how fast it is on others is not known\n" in notes
    notes = bare("plan", str(path), "--workers", "1", "--instance-type", "ml.c5.large").output
    assert "reports: not tried on ml.c5.large: how long its requests take there is not known (`work`)" in notes
    path.write_text(SELDOM)
    assert "--instance-type NAME tries another, taken to be as fast" in bare("plan", str(path), "--workers", "1").output


def test_that_serverless_was_not_tried_for_want_of_a_time_is_said(bare, tmp_path: Path) -> None:
    path, known = tmp_path / "one.yaml", "slo: p99=5s, memory: 200MB}"
    said = "reports: not tried as serverless: how long its requests take there is not known (`work:"
    path.write_text(SELDOM.replace("slo: p99=5s}", known).replace("work: 500ms", "work: {ml.m5.large: 500ms}"))
    assert said in bare("plan", str(path), "--workers", "1").output
    path.write_text(SELDOM.replace("slo: p99=5s}", known))
    assert said not in bare("plan", str(path), "--workers", "1").output


SELDOM = """
name: a few pages a day
workloads:
  reports: {arrivals: {times: [1h, 9h]}, work: 500ms, slo: p99=5s}
architectures:
  before:
    reports: {instance_type: ml.m5.large, replicas: 1, start: 4m}
"""


def test_a_workload_whose_callers_may_wait_is_served_asynchronously_or_in_batches(bare, tmp_path: Path) -> None:
    path = tmp_path / "seldom.yaml"
    path.write_text(SELDOM)
    plain, patient = (
        json.loads(bare("plan", str(path), "--on", "aws", "--workers", "1", "--json", *more).stdout)
        for more in ((), ("--may-wait", "reports=20m"))
    )
    waits = "reports: not tried as async or batch: its callers wait for the answer"
    assert waits in plain["notes"]
    assert waits not in patient["notes"]
    assert patient["keeps_every_slo"]
    assert patient["after"]["month_usd"] < plain["after"]["month_usd"] / 2
    assert patient["after"]["endpoints"][0]["mode"] in ("async", "batch")


def test_no_file_is_written_over_the_one_that_is_read_or_another_that_is_written(bare, scenario: Path) -> None:
    before, link, page = scenario.read_text(), scenario.with_name("link.html"), scenario.with_name("plan.html")
    link.symlink_to(scenario)
    assert "would overwrite the file that is read" in bare("plan", str(scenario), "--write", str(scenario)).output
    assert "would overwrite the file that is read" in bare("plan", str(scenario), "--html", str(link)).output
    done = bare("plan", str(scenario), "--html", str(page), "--write", str(page))
    assert done.exit_code == 1
    assert "would overwrite what --write writes" in done.output
    assert (scenario.read_text(), page.exists()) == (before, False)


def test_a_program_is_not_promised_of_an_endpoint_that_no_call_can_make(bare, scenario: Path, tmp_path: Path) -> None:
    scenario.write_text(scenario.read_text().replace("    fraud: {ins", "    card fraud: {serves: fraud, ins"))
    done = bare("plan", str(scenario), "--write", str(tmp_path / "build.py"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "No program can build an endpoint that is called 'card fraud'" in done.output
    assert not (tmp_path / "build.py").exists()


def test_a_migration_costs_a_number_of_dollars(bare, scenario: Path) -> None:
    done = bare("plan", str(scenario), "--migration-usd", "inf")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--migration-usd is a number of dollars, not inf" in done.output


SET = SCENARIO.replace(
    "replicas: 2, start: 4m", "replicas: 2, start: 4m, spot: true, queue: 50, timeout: 30s, times: 0.5"
)


def test_what_is_set_of_the_endpoints_that_there_are_is_kept_or_said(bare, tmp_path: Path) -> None:
    path, page = tmp_path / "set.yaml", tmp_path / "plan.html"
    path.write_text(SET)
    done = bare("plan", str(path), "--workers", "1", "--html", str(page))
    assert done.exit_code == 0, done.output
    said = "fraud: keeps queue (50), timeout (30 s), spot (yes), times (0.5)"
    assert said in done.output
    assert said in page.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--discount", "0.3"), "give it with --commit"),
        (("--instance-type", "m5.large"), "SageMaker's is ml.m5.large"),
        (("--instance-type", "ml.m5.lagre"), "Did you mean ml.m5.large"),
        (("--instance-type", "ml.nope.xlarge"), "`trimtab instances --all` lists what there is"),
        (("--write", "."), "is a folder"),
        (("--html", "no/such/plan.html"), "is not there"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_searched(bare, scenario: Path, options, said: str) -> None:
    done = bare("plan", str(scenario), *options)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "simulating" not in done.stderr

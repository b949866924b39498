"""`trimtab audit` of a trimtab with days of history: every fault that can be there is found, no clean twin is flagged;
what trimtab has not is said to be unseen; fixes are carried out for real."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.advisor.audit.reading.permissions import PERMISSIONS
from trimtab.advisor.finding import Audit
from trimtab.testing.account import CASES, Case, expected
from trimtab.testing.account_stores import LOOSE, PRODUCTION, STORED_FAULTS
from trimtab.testing.own_account import OWN_CASES, OWN_STORED_FAULTS, populate, prepare
from trimtab.testing.server import PROGRAM, Trimtab

DAYS = 8
FEW = tuple(case for case in CASES if case.name in ("internal", "risk-eu", "risk-us"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def with_history(cases: tuple[Case, ...], days: int) -> Iterator[Trimtab]:
    """A trimtab that has these endpoints, and has seen them called for so many days."""
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        data_dir = Path(folder) / "data"
        prepare(data_dir, time.time(), days=days, cases=cases)
        server = Trimtab(data_dir)
        try:
            populate(cache(server.client), cases=cases)
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def account() -> Iterator[Trimtab]:
    """All faults, all twins; nobody changes it."""
    with with_history(OWN_CASES, DAYS) as server:
        yield server


@pytest.fixture
def own_account() -> Iterator[Trimtab]:
    """The same, to change."""
    with with_history(OWN_CASES, DAYS) as server:
        yield server


def run(
    server: Trimtab, *arguments: str, cwd: Path | None = None, key: tuple[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A verb as a user gives it: with credentials and a URL, and nothing that says where the data lies."""
    env = {name: value for name, value in server.env.items() if name != "TRIMTAB_DATA_DIR"} | {"TRIMTAB_PRICES": ""}
    if key is not None:
        env |= {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1]}
    return subprocess.run(
        [str(PROGRAM), *arguments], env=env, capture_output=True, text=True, timeout=280, cwd=cwd or os.getcwd()
    )


def audit(server: Trimtab, *, key: tuple[str, str] | None = None) -> Audit:
    done = run(server, "audit", "--json", "--days", str(DAYS), key=key)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Audit)


@pytest.fixture(scope="module")
def found(account: Trimtab) -> Audit:
    """What the first audit of it says."""
    return audit(account)


def test_every_fault_on_a_trimtab_is_found_and_no_clean_twin_is_flagged(found: Audit) -> None:
    assert found.endpoints == len(OWN_CASES)
    on_endpoints = {
        (resource.rpartition("/")[2], finding.kind)
        for finding in found.findings
        if finding.id not in OWN_STORED_FAULTS
        for resource in finding.covers or (finding.resource,)
    }
    assert on_endpoints == set(expected().items())
    assert {finding.id for finding in found.findings} & STORED_FAULTS == OWN_STORED_FAULTS
    assert {each.endpoint for each in found.observed} == {case.name for case in OWN_CASES} - {"forgotten"}


def test_what_a_trimtab_counts_of_payloads_takes_the_place_of_data_capture(found: Audit) -> None:
    (scans,) = [finding for finding in found.findings if finding.id == "async-candidate/scans/main"]
    assert scans.evidence["mean_payload_mb"] == 4.5
    assert scans.evidence["payloads_told_by"] == "trimtab's RequestBytes and ResponseBytes"
    assert not [unseen for unseen in found.unseen if "Sizes of requests" in unseen.what]


def test_what_trimtab_does_not_have_is_told_as_not_seen_and_never_as_fine(found: Audit) -> None:
    unseen = {each.what.partition(" (")[0]: each.why for each in found.unseen}
    assert set(unseen) == {"Training jobs", "Transform jobs", "Lifecycle rules of buckets", "Image repositories"}
    assert all("not supported" in why for why in unseen.values())
    assert not any(each.needs for each in found.unseen)  # no permission would help


def test_instances_are_counted_by_what_replicas_told_every_second(found: Audit) -> None:
    (pricing,) = [finding for finding in found.findings if finding.id == "no-scaling-policy/pricing/main"]
    assert pricing.evidence["instances"] == 4
    assert pricing.evidence["now_usd_per_month"] == pytest.approx(4 * 0.23 * 730, rel=0.02)


def test_the_table_of_a_trimtab_says_what_could_not_be_looked_at(account: Trimtab) -> None:
    done = run(account, "audit", "--days", str(DAYS))
    assert done.returncode == 0, done.stderr
    assert "pricing: 4 x ml.m5.xlarge whatever comes" in done.stdout
    assert "4 things could not be looked at" in done.stdout
    assert "Image repositories" in done.stderr


def key_for(server: Trimtab, name: str, actions: Iterable[str]) -> tuple[str, str]:
    """An access key that may do no more."""
    given = [part for action in sorted(actions) for part in ("--action", action)]
    made = json.loads(server.cli("keys", "create", "--name", name, "--json", *given))
    return made["id"], made["secret"]


def test_the_least_policy_is_enough_for_a_key_of_trimtab(account: Trimtab, found: Audit) -> None:
    (statement,) = json.loads(run(account, "audit", "--policy").stdout)["Statement"]
    seen = audit(account, key=key_for(account, "auditor", statement["Action"]))
    assert seen.unseen == found.unseen
    assert {finding.id for finding in seen.findings} == {finding.id for finding in found.findings}


def test_what_a_key_of_trimtab_may_not_see_is_named_and_nothing_is_found_for_want_of_it(
    account: Trimtab, found: Audit
) -> None:
    missing = {"application-autoscaling:DescribeScalingPolicies", "sagemaker:ListTags", "s3:GetBucketVersioning"}
    blind = audit(account, key=key_for(account, "half-blind", PERMISSIONS.keys() - missing))
    assert {unseen.needs for unseen in blind.unseen} == {"", *missing}
    lost = {finding.id for finding in found.findings} - {finding.id for finding in blind.findings}
    assert lost == set(SAFE) | {"slow-metric-on-spiky-traffic/tickets/main"}
    assert {finding.id for finding in blind.findings} <= {finding.id for finding in found.findings}


def test_a_request_is_weighed_by_a_running_trimtab(account: Trimtab) -> None:
    account.invoke("billing", b"x" * 3000)  # which echoes
    cloudwatch = account.client("cloudwatch")
    until_s = time.monotonic() + 30
    while True:  # gateways report once a second
        sums = [_last_sum(cloudwatch, name) for name in ("RequestBytes", "ResponseBytes")]
        if all(sums):
            break
        assert time.monotonic() < until_s
    assert sums == [3000.0, 3000.0]


def _last_sum(cloudwatch: Any, name: str) -> float:
    answer = cloudwatch.get_metric_statistics(
        Namespace="trimtab/Endpoints",
        MetricName=name,
        Dimensions=[{"Name": "EndpointName", "Value": "billing"}, {"Name": "VariantName", "Value": "main"}],
        StartTime=time.time() - 60,
        EndTime=time.time() + 60,
        Period=1,
        Statistics=["Sum"],
    )
    return sum(float(point["Sum"]) for point in answer["Datapoints"] if point["Sum"] == 3000.0)


def test_plan_begins_with_an_audit_of_a_trimtab_and_builds_on_it(tmp_path: Path) -> None:
    with with_history(FEW, 4) as server:
        done = run(server, "audit", "--json", "--days", "3")
        assert done.returncode == 0, done.stderr
        (tmp_path / "audit.json").write_text(done.stdout)
        planned = run(server, "plan", "audit.json", "--json", "--slo", "p99=5s", "--write", "build.py", cwd=tmp_path)
        assert planned.returncode == 0, planned.stderr
        plan = json.loads(planned.stdout)
        assert plan
        assert "risk-eu" in (tmp_path / "build.py").read_text()


# --- what changes the account ---------------------------------------------------------------------------------------

SAFE = (
    "no-scaling-policy/pricing/main",
    "scale-in-cooldown-too-short/search/main/search-load",
    "too-few-instances/ledger/main",
    f"no-versioning/{LOOSE}",
)


def test_safe_fixes_change_a_trimtab_and_are_not_found_again(own_account: Trimtab) -> None:
    found = audit(own_account)
    assert {finding.id for finding in found.findings if finding.fix and finding.fix.is_safe} == set(SAFE)
    asked = [part for name in SAFE for part in ("--apply", name)]
    done = run(own_account, "audit", "--days", str(DAYS), *asked, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: ") == 5  # a target and a policy for pricing
    assert "answered, but not yet to be seen" not in done.stdout

    scaling = own_account.client("application-autoscaling")
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", PolicyNames=["search-load"])[
        "ScalingPolicies"
    ]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["ScaleInCooldown"] == 300
    targets = {
        target["ResourceId"]: target["MinCapacity"]
        for target in scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    }
    assert targets["endpoint/pricing/variant/main"] == 2
    assert targets[f"endpoint/{PRODUCTION[0].name}/variant/main"] == 2
    assert own_account.client("s3").get_bucket_versioning(Bucket=LOOSE)["Status"] == "Enabled"

    again = {finding.id for finding in audit(own_account).findings}
    assert again == {finding.id for finding in found.findings} - set(SAFE)
    repeated = run(own_account, "audit", "--days", str(DAYS), *asked, "--yes")
    assert repeated.stdout.count("nothing to change") == len(SAFE), repeated.stdout


def test_a_fix_that_callers_would_notice_is_not_carried_out_on_a_trimtab_either(account: Trimtab) -> None:
    done = run(account, "audit", "--days", str(DAYS), "--apply", "idle-endpoint/forgotten", "--yes")
    assert done.returncode != 0
    assert account.sagemaker.describe_endpoint(EndpointName="forgotten")["EndpointStatus"] == "InService"

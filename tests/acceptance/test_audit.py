"""`trimtab audit` on a whole account: every fault is found, no clean twin is flagged; and on trimtab itself."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from examples.audit.account import KEYS
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.reading.account import read_account
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.finding import Audit
from trimtab.advisor.prices.book import aws_list
from trimtab.testing.account import CASES, by_concurrency, expected, populate
from trimtab.testing.account_stores import (
    ACCOUNT,
    PRODUCTION,
    REGION,
    STORED_FAULTS,
    aged,
    populate_stores,
    quick,
)
from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.aws_server import AwsServer, aws_server
from trimtab.testing.server import PROGRAM, Trimtab, serving

DAYS = 8
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def account() -> Iterator[AwsServer]:
    """The example's account."""
    with aws_server() as server:

        @cache
        def clients(service: str) -> Any:
            return boto3.client(service, endpoint_url=server.url, **KEYS)

        populate_stores(clients)
        populate(quick(clients), time.time(), days=DAYS, cases=(*CASES, *PRODUCTION))
        aged(ACCOUNT, REGION, time.time())
        yield server
        for service in ("s3", "ecr", "sagemaker", "application-autoscaling", "cloudwatch"):
            clients(service).close()


@pytest.fixture
def env(account: AwsServer, tmp_path: Path) -> dict[str, str]:
    """What a user would have exported."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRIMTAB_"))}
    return base | {
        "AWS_ENDPOINT_URL": account.url,
        "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "TRIMTAB_PRICES": "",
    }


def run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(PROGRAM), "audit", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=250)


def test_every_fault_of_the_account_is_found_and_no_clean_twin_is_flagged(env: dict[str, str]) -> None:
    done = run(env, "--json", "--days", str(DAYS))
    assert done.returncode == 0, done.stderr
    audit = msgspec.json.decode(done.stdout, type=Audit)
    assert audit.account == ACCOUNT
    assert audit.endpoints == len(CASES) + len(PRODUCTION)
    on_endpoints = {
        (resource.rpartition("/")[2], finding.kind)
        for finding in audit.findings
        if finding.id not in STORED_FAULTS
        for resource in finding.covers or (finding.resource,)
    }
    assert on_endpoints == set(expected().items())
    assert {finding.id for finding in audit.findings} >= STORED_FAULTS
    assert not [unseen for unseen in audit.unseen if unseen.needs]
    assert {each.endpoint for each in audit.observed} == {case.name for case in (*CASES, *PRODUCTION)} - {"forgotten"}
    assert json.loads(done.stdout)["observed"][0]["counts"]


def test_a_person_sees_a_table_with_dollars_and_a_report(env: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run(env, "--days", str(DAYS), "--html", str(report))
    assert done.returncode == 0, done.stderr
    assert "pricing: 4 x ml.m5.xlarge whatever comes" in done.stdout
    assert "a month can be saved" in done.stdout
    assert "price: " in done.stderr
    assert "pricing" in report.read_text()


def test_the_least_policy_is_printed_without_an_account() -> None:
    done = run({"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, "--policy")
    assert done.returncode == 0, done.stderr
    (statement,) = json.loads(done.stdout)["Statement"]
    assert "cloudwatch:GetMetricData" in statement["Action"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "99"], "1 to 15"),
        (["--profile", "nobodys"], "nobodys"),
        (["--yes"], "--apply"),
        (["--html", "/nonexistent/report.html"], "/nonexistent/report.html"),
    ],
)
def test_bad_input_is_told_in_a_line(env: dict[str, str], arguments: list[str], said: str) -> None:
    done = run(env, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_denied_is_said_and_does_not_count_as_fine(account: AwsServer, env: dict[str, str]) -> None:
    account.denied.add("DescribeScalingPolicies")
    try:
        done = run(env, "--days", "2")
    finally:
        account.denied.clear()
    assert done.returncode == 0, done.stderr
    assert "application-autoscaling:DescribeScalingPolicies" in done.stderr
    assert "no-scaling-policy" not in done.stdout


@pytest.fixture(scope="module")
def trimtab() -> Iterator[Trimtab]:
    """A trimtab with an endpoint that nothing scales, and one that gives replicas up too soon."""
    with serving() as server:
        for name in ("fixed", "hasty"):
            server.deploy(name, script(ECHO))
        autoscaling = server.client("application-autoscaling")
        resource = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": "endpoint/hasty/variant/blue",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=3)
        autoscaling.put_scaling_policy(
            **resource,
            PolicyName="hasty-load",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=by_concurrency(20),
        )
        for name in ("fixed", "hasty"):
            for _ in range(20):
                server.invoke(name, b"{}")
        yield server


def test_trimtab_is_audited_as_aws_is(trimtab: Trimtab) -> None:
    env = {name: value for name, value in trimtab.env.items() if name != "TRIMTAB_DATA_DIR"}
    done = run(env, "--json")
    assert done.returncode == 0, done.stderr
    audit = msgspec.json.decode(done.stdout, type=Audit)
    assert audit.endpoints == 2
    assert {finding.id for finding in audit.findings} >= {"scale-in-cooldown-too-short/hasty/blue/hasty-load"}
    assert any("Training jobs" in unseen.what for unseen in audit.unseen)


def test_what_trimtab_measured_of_its_own_traffic_is_looked_at(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, trimtab.env[name])
    until_s = time.monotonic() + 30
    while True:  # gateways report once a second
        account = read_account(Login(), days=1, now_s=time.time() + 3600)  # so that the hour of the requests is over
        counts = [v.requests.total if v.requests is not None else None for _, v in account.variants()]
        if set(counts) == {20}:
            break
        assert time.monotonic() < until_s, counts
    audit = audited(account, aws_list())
    assert {finding.kind for finding in audit.findings if "fixed" in finding.id} == {"no-scaling-policy"}
    (observed,) = [each for each in audit.observed if each.endpoint == "fixed"]
    assert sum(observed.counts) == 20
    assert set(observed.service_s) == {"50", "90", "99", "100"}
    assert 0 < observed.service_s["50"] < 1

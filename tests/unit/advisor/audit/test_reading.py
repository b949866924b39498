"""Reading an account: all pages, through throttling; what is refused is told, and never taken for absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.reading.account import read_account
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.audit.reading.permissions import PERMISSIONS, policy
from trimtab.advisor.audit.reading.reader import Reader, action_of
from trimtab.advisor.prices.book import aws_list
from trimtab.errors import Denied, Invalid, Unavailable
from trimtab.testing.account import BUCKET, CAPTURES, CASES, populate
from trimtab.testing.account_view import account_of
from trimtab.testing.aws_server import AwsServer, aws_server

NOW_S = 1_790_000_000.0
DAYS = 2
SOME = tuple(case for case in CASES if case.name in ("pricing", "search", "tickets", "vision", "scans-twin"))
Read = Callable[[], Account]


@pytest.fixture(scope="module")
def populated() -> Iterator[AwsServer]:
    """A server with some of the cases."""
    with aws_server() as account:
        clients: dict[str, Any] = {}

        def client(service: str) -> Any:
            if service not in clients:
                clients[service] = boto3.client(
                    service,
                    endpoint_url=account.url,
                    region_name="us-east-1",
                    aws_access_key_id="AKIA0",
                    aws_secret_access_key="secret",
                    config=Config(parameter_validation=False),
                )
            return clients[service]

        for bucket in (BUCKET, CAPTURES):
            client("s3").create_bucket(Bucket=bucket)
        populate(client, NOW_S, days=DAYS, cases=SOME)
        yield account
        for each in clients.values():
            each.close()


@pytest.fixture
def account(populated: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AwsServer]:
    """The server, with everything allowed again afterwards; the environment names it."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": populated.url,
        "AWS_ACCESS_KEY_ID": "AKIA0",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    populated.calls.clear()
    yield populated
    populated.denied.clear()
    populated.throttle_every, populated.page_values = 0, 100_800


def read(region: str = "us-east-1", **options: Any) -> Account:
    return read_account(Login(region=region), days=options.get("days", DAYS), now_s=NOW_S)


def kinds(account: Account) -> set[str]:
    return {finding.kind for finding in audited(account, aws_list()).findings}


def test_what_is_read_is_what_is_there(account: AwsServer) -> None:
    found = {endpoint.name: endpoint for endpoint in read().endpoints}
    for there in account_of(*SOME, days=DAYS, now_s=NOW_S).endpoints:
        seen, (variant,) = found[there.name], there.variants
        (mine,) = seen.variants
        assert mine.model is not None
        assert variant.model is not None
        assert (seen.arn, mine.instance_type, mine.count) == (there.arn, variant.instance_type, variant.count)
        assert mine.model.containers[0].image == variant.model.containers[0].image
        assert mine.scaling is not None
        assert variant.scaling is not None
        assert mine.scaling.periods_s == variant.scaling.periods_s
        assert [policy.tracking for policy in mine.scaling.policies] == [
            policy.tracking for policy in variant.scaling.policies
        ]
        assert mine.metrics is not None
        assert variant.metrics is not None
        for measure, series in mine.metrics.items():
            np.testing.assert_allclose(
                series.values, variant.metrics[measure].values, err_msg=f"{there.name} {measure}"
            )
        if there.name == "tickets":
            assert mine.minutes is not None
            assert variant.minutes is not None
            np.testing.assert_allclose(mine.minutes.values, variant.minutes.last(DAYS * 86_400).values)
    assert found["scans-twin"].payload is not None
    assert found["scans-twin"].payload.mean_bytes == pytest.approx(20_000, rel=0.01)


def test_nothing_is_called_that_the_policy_does_not_allow_and_nothing_is_allowed_that_is_not_called(
    account: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = set()
    call, pages = Reader.call, Reader.pages

    def noted(method: Any) -> Any:
        def asked(reader: Reader, service: str, operation: str, *rest: Any, **params: Any) -> Any:
            called.add(action_of(reader._login.client(service), operation))
            return method(reader, service, operation, *rest, **params)

        return asked

    monkeypatch.setattr(Reader, "call", noted(call))
    monkeypatch.setattr(Reader, "pages", noted(pages))
    assert read().unseen[1:] == ()  # the one: payloads that nothing tells of
    assert called <= set(PERMISSIONS)
    changing = ("Create", "Put", "Delete", "Update", "Register")
    assert not [action for action in PERMISSIONS if action.partition(":")[2].startswith(changing)]
    assert policy()["Statement"][0]["Action"] == sorted(PERMISSIONS)


@pytest.mark.parametrize(
    ("operation", "action", "lost"),
    [
        ("DescribeScalableTargets", "application-autoscaling:DescribeScalableTargets", "no-scaling-policy"),
        ("DescribeScalingPolicies", "application-autoscaling:DescribeScalingPolicies", "no-scaling-policy"),
        ("DescribeScheduledActions", "application-autoscaling:DescribeScheduledActions", "no-scaling-policy"),
        ("GetMetricData", "cloudwatch:GetMetricData", "gpu-underused"),
        ("DescribeEndpoint", "sagemaker:DescribeEndpoint", "no-scaling-policy"),
        ("ListEndpoints", "sagemaker:ListEndpoints", "no-scaling-policy"),
    ],
)
def test_what_may_not_be_seen_is_said_with_its_permission_and_never_counted_as_a_fault(
    account: AwsServer, operation: str, action: str, lost: str
) -> None:
    assert lost in kinds(read())
    account.denied.add(operation)
    blind = read()
    assert [unseen.needs for unseen in blind.unseen if unseen.needs] == [action]
    assert lost not in kinds(blind)


def test_models_and_configs_that_may_not_be_seen_leave_the_rest(account: AwsServer) -> None:
    account.denied |= {"DescribeModel", "DescribeEndpointConfig"}
    blind = read()
    assert len(blind.endpoints) == len(SOME)
    needs = {unseen.needs for unseen in blind.unseen}
    assert needs >= {"sagemaker:DescribeEndpointConfig"}
    (told,) = [unseen for unseen in blind.unseen if unseen.needs == "sagemaker:DescribeEndpointConfig"]
    assert f"{len(SOME)} times" in told.what


def test_throttling_is_waited_out_and_said_once(account: AwsServer) -> None:
    said = []
    account.throttle_every = 9
    found = read_account(Login(region="us-east-1", on_throttled=lambda: said.append(1)), days=DAYS, now_s=NOW_S)
    assert account.throttled > 1
    assert said == [1]
    assert len(found.endpoints) == len(SOME)
    assert not [unseen for unseen in found.unseen if "throttled" in unseen.why]
    assert all(variant.metrics for endpoint in found.endpoints for variant in endpoint.variants)


def test_every_page_of_metrics_is_read(account: AwsServer) -> None:
    whole = read()
    account.page_values = 500
    account.calls.clear()
    paged = read()
    assert account.calls["GetMetricData"] > 8
    for before, after in zip(whole.endpoints, paged.endpoints, strict=True):
        for measure in (Measure.REQUESTS, Measure.LATENCY_P99, Measure.CPU_SAMPLES):
            first, second = before.variants[0].series(measure), after.variants[0].series(measure)
            assert (first is None) == (second is None)
            if first is not None and second is not None:
                np.testing.assert_array_equal(first.values, second.values)


def test_an_endpoint_that_goes_while_it_is_read_is_left_out(
    account: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Reader.pages

    def with_one_gone(reader: Reader, service: str, operation: str, *rest: Any, **params: Any) -> Any:
        found = pages(reader, service, operation, *rest, **params)
        return [*found, {"EndpointName": "gone"}] if operation == "list_endpoints" and found else found

    monkeypatch.setattr(Reader, "pages", with_one_gone)
    found = read()
    assert len(found.endpoints) == len(SOME)
    assert not [unseen for unseen in found.unseen if unseen.needs]


def test_environments_of_models_are_kept_as_digests(account: AwsServer) -> None:
    client = boto3.client("sagemaker", endpoint_url=account.url, region_name="us-east-1")
    client.create_model(
        ModelName="secretive",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/models",
        PrimaryContainer={"Image": "company/secretive:1", "Environment": {"TOKEN": "hunter2"}},
    )
    client.create_endpoint_config(
        EndpointConfigName="secretive",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "secretive", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
    )
    client.create_endpoint(EndpointName="secretive", EndpointConfigName="secretive")
    try:
        assert "hunter2" not in repr(read())
    finally:
        client.delete_endpoint(EndpointName="secretive")
        client.close()


# --- what cannot be begun with ----------------------------------------------------------------------------------------


def test_days_are_those_that_cloudwatch_has(account: AwsServer) -> None:
    for days in (0, 16):
        with pytest.raises(Invalid, match="1 to 15"):
            read(days=days)


def test_an_unknown_profile_is_named(account: AwsServer) -> None:
    with pytest.raises(Invalid, match="nobodys"):
        Login(profile="nobodys", region="us-east-1")


def test_without_a_region_it_is_asked_for(account: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(Invalid, match="--region"):
        Login()


def test_without_credentials_it_is_said(account: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Invalid, match="no AWS credentials"):
        Login(region="us-east-1")


def test_an_unknown_region_is_told_with_those_that_there_are(
    account: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(Invalid, match=r"'us-esat-1'.*us-east-1"):
        read(region="us-esat-1")


def test_where_nobody_answers_it_is_said_at_once(account: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        read()


def test_credentials_of_nobody_end_it(account: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = account.refusal

    def refused(operation: str) -> tuple[str, str] | None:
        return ("ExpiredToken", "The token has expired") if operation == "GetCallerIdentity" else refusal(operation)

    monkeypatch.setattr(account, "refusal", refused)
    with pytest.raises(Denied, match="expired"):
        read()

"""Training, buckets and images of an account, read from a server that speaks AWS's APIs: each fault, and no twin."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.applying.apply import carry_out, look, undoing
from trimtab.advisor.audit.applying.caller import AccountCaller
from trimtab.advisor.audit.applying.change import Refused
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.reading.account import read_account
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.finding import Call, Finding
from trimtab.advisor.prices.book import aws_list
from trimtab.errors import Invalid
from trimtab.testing.account import populate
from trimtab.testing.account_stores import (
    ACCOUNT,
    LOOSE,
    OLD_CHECKPOINTS,
    PRODUCTION,
    REGION,
    STORED_FAULTS,
    aged,
    populate_stores,
    quick,
)
from trimtab.testing.aws_server import AwsServer, aws_server

KINDS = {name.partition("/")[0] for name in STORED_FAULTS}
SAFE = {f"no-versioning/{LOOSE}", f"checkpoints-kept/{OLD_CHECKPOINTS}", "images-unscanned/team/ledger"}
Clients = Callable[[str], Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """One for all of these tests: each leaves it as it was."""
    nowhere = str(tmp_path_factory.mktemp("aws") / "none")
    with pytest.MonkeyPatch.context() as patch, aws_server() as running:
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, nowhere)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running
        login.cache_clear()
        gc.collect()  # connections of clients


@pytest.fixture(scope="module")
def clients(server: AwsServer) -> Clients:
    made: Clients = cache(boto3.client)
    populate_stores(made)
    populate(quick(made), time.time(), cases=PRODUCTION)
    aged(ACCOUNT, REGION, time.time())
    return made


@pytest.fixture
def account(server: AwsServer, clients: Clients) -> Iterator[AwsServer]:
    yield server
    server.denied = set()


@cache
def login() -> Login:
    return Login(attempts=2)


def read() -> Account:
    return read_account(login(), days=14, now_s=time.time())


def found() -> dict[str, Finding]:
    return {one.id: one for one in audited(read(), aws_list()).findings if one.kind in KINDS}


def test_every_fault_is_found_and_no_twin_is(clients: Clients) -> None:
    assert set(found()) == STORED_FAULTS


def test_safe_fixes_are_carried_out_found_no_more_and_undone(clients: Clients) -> None:
    caller = AccountCaller(login())
    before = found()
    undo: list[Call] = []
    for name in SAFE:
        done = list(carry_out(look(before[name], caller), caller))
        assert [(one.failed, one.is_seen) for one in done] == [("", True)] * len(done)
        assert list(carry_out(look(before[name], caller), caller)) == []
        undo += undoing(done)
    assert SAFE.isdisjoint(found())
    for call in undo:
        caller.call(call)
    assert set(found()) == STORED_FAULTS


def test_rules_of_a_bucket_are_there_after_a_fix_as_they_were_before(clients: Clients) -> None:
    caller = AccountCaller(login())
    before = clients("s3").get_bucket_lifecycle_configuration(Bucket=OLD_CHECKPOINTS)["Rules"]
    done = list(carry_out(look(found()[f"checkpoints-kept/{OLD_CHECKPOINTS}"], caller), caller))
    after = clients("s3").get_bucket_lifecycle_configuration(Bucket=OLD_CHECKPOINTS)["Rules"]
    assert after[:2] == before
    assert [rule["ID"] for rule in after[2:]] == ["colder-checkpoints-vision"]
    for call in undoing(done):
        caller.call(call)


def test_the_second_instance_is_given_and_taken_back(clients: Clients) -> None:
    caller = AccountCaller(login())
    done = list(carry_out(look(found()["too-few-instances/ledger/main"], caller), caller))
    assert [one.failed for one in done] == [""]
    assert "too-few-instances/ledger/main" not in found()
    for call in undoing(done):
        caller.call(call)
    assert "too-few-instances/ledger/main" in found()


@pytest.mark.parametrize(
    ("denied", "what", "needs", "lost"),
    [
        ("ListTrainingJobs", "Training jobs", "sagemaker:ListTrainingJobs", "training-without-spot"),
        ("DescribeRepositories", "Image repositories", "ecr:DescribeRepositories", "image-tags"),
        ("ListTags", "Tags of endpoints", "sagemaker:ListTags", "too-few-instances"),
        ("DescribeImages", "Images in repositories", "ecr:DescribeImages", "images-untagged"),
    ],
)
def test_what_may_not_be_seen_is_said_and_nothing_is_found_there(
    account: AwsServer, clients: Clients, denied: str, what: str, needs: str, lost: str
) -> None:
    account.denied = {denied}
    [unseen] = [one for one in read().unseen if one.what.startswith(what)]
    assert unseen.needs == needs
    assert [name for name in found() if name.startswith(lost)] == []


def test_what_one_may_not_change_is_told(account: AwsServer, clients: Clients) -> None:
    account.denied = {"PutImageScanningConfiguration"}
    caller = AccountCaller(login())
    [done] = carry_out(look(found()["images-unscanned/team/ledger"], caller), caller)
    assert done.failed.startswith("AccessDeniedException")
    with pytest.raises(Refused):
        caller.call(done.change.call)


def test_a_call_that_botocore_does_not_take_is_told_without_a_trace(clients: Clients) -> None:
    with pytest.raises(Invalid, match="s3 put_bucket_versioning could not be called"):
        AccountCaller(login()).call(Call(service="s3", operation="put_bucket_versioning", parameters={"Bukket": 1}))


def test_a_registry_that_scans_all_of_its_repositories_needs_no_setting_of_each(clients: Clients) -> None:
    everything = [{"filter": "*", "filterType": "WILDCARD"}]
    clients("ecr").put_registry_scanning_configuration(
        scanType="BASIC", rules=[{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": everything}]
    )
    assert "images-unscanned/team/ledger" not in found()
    clients("ecr").put_registry_scanning_configuration(scanType="BASIC", rules=[])


def test_a_policy_that_lets_untagged_images_go_is_seen(clients: Clients) -> None:
    fix = found()["images-untagged/team/ledger"].fix
    assert fix is not None
    [call] = fix.calls
    assert json.loads(call.parameters["lifecyclePolicyText"])["rules"][0]["selection"]["countNumber"] == 14
    clients("ecr").put_lifecycle_policy(**call.parameters)
    assert "images-untagged/team/ledger" not in found()
    clients("ecr").delete_lifecycle_policy(repositoryName="team/ledger")

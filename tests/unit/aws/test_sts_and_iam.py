"""STS and IAM: what the SDKs' role look-ups need."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from trimtab.aws import sts
from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.iam import Iam
from trimtab.aws.registry import AwsError, Call, handlers_of, merge
from trimtab.errors import NotSupported
from trimtab.resources.routing import AccessKey

HANDLERS = merge(handlers_of(sts), handlers_of(Iam(created_s=1_700_000_000.0)))
KEY = AccessKey(id="TRIMKEY0000000000001", secret="s")


async def ask(service: str, operation: str, key: AccessKey | None = KEY, **params: Any) -> dict[str, Any]:
    call = Call(
        request=HttpRequest(method="POST", raw_path="/", body=BytesBody()),
        service=service,
        operation=operation,
        request_id="r",
        region="us-east-1",
        account="123456789012",
        identity=key,
    )
    result = await HANDLERS[service][operation](call, params)  # type: ignore[misc]
    assert isinstance(result, dict)
    return result


async def simulate(key: AccessKey | None, actions: list[str], **params: Any) -> list[str]:
    params.setdefault("PolicySourceArn", "arn:aws:iam::123456789012:role/service-role/x")
    answer = await ask("iam", "SimulatePrincipalPolicy", key, ActionNames=actions, **params)
    return [result["EvalDecision"] for result in answer["EvaluationResults"]]


async def test_the_callers_role_is_the_one_that_the_sdk_then_asks_iam_for() -> None:
    identity = await ask("sts", "GetCallerIdentity")
    assert identity["Account"] == "123456789012"
    assert identity["Arn"].endswith("/TRIMKEY0000000000001")
    # as the sagemaker SDK (v2 and v3) does in get_caller_identity_arn
    role = re.sub(r"^(.+)sts::(\d+):assumed-role/(.+?)/.*$", r"\1iam::\2:role/\3", identity["Arn"])
    found = (await ask("iam", "GetRole", RoleName=role[role.rfind("/") + 1 :]))["Role"]
    assert ":role/" in found["Arn"]
    assert found["Arn"] == f"arn:aws:iam::123456789012:role/service-role/{sts.EXECUTION_ROLE}"
    assert identity["UserId"].split(":")[0] == found["RoleId"]


async def test_an_unsigned_caller_has_an_identity_too() -> None:
    assert (await ask("sts", "GetCallerIdentity", None))["Arn"].endswith("/anonymous")


async def test_any_role_name_is_a_role_that_sagemaker_may_assume() -> None:
    role = (await ask("iam", "GetRole", RoleName="MyRole"))["Role"]
    assert role["Arn"] == "arn:aws:iam::123456789012:role/MyRole"
    document = json.loads(unquote(role["AssumeRolePolicyDocument"]))
    assert document["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert role["CreateDate"] == 1_700_000_000.0


async def test_service_linked_roles_do_not_exist() -> None:
    with pytest.raises(AwsError, match="cannot be found") as caught:
        await ask("iam", "GetRole", RoleName="AWSServiceRoleForSupport")
    assert (caught.value.code, caught.value.status) == ("NoSuchEntity", 404)


async def test_the_full_access_policy_is_attached_already_and_no_other_can_be() -> None:
    arn = "arn:aws:iam::aws:policy/"
    assert await ask("iam", "AttachRolePolicy", RoleName="R", PolicyArn=f"{arn}AmazonSageMakerFullAccess") == {}
    with pytest.raises(NotSupported, match="trimtab keys create"):
        await ask("iam", "AttachRolePolicy", RoleName="R", PolicyArn=f"{arn}AdministratorAccess")


async def test_the_simulation_says_what_the_calling_key_may_do() -> None:
    actions = ["s3:PutObject", "sagemaker:CreateModel", "ecr:GetAuthorizationToken"]
    assert await simulate(KEY, actions) == ["allowed"] * 3
    assert await simulate(None, actions) == ["allowed"] * 3
    limited = AccessKey(id="k", secret="s", actions=("sagemaker:Create*",))
    assert await simulate(limited, actions) == ["implicitDeny", "allowed", "implicitDeny"]


async def test_the_simulation_knows_the_limits_to_endpoints() -> None:
    limited = AccessKey(id="k", secret="s", endpoints=("fraud-*",))
    arns = [f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}" for name in ("fraud-1", "other")]
    decisions = await simulate(limited, ["sagemaker:InvokeEndpoint"], ResourceArns=[*arns, "*"])
    assert decisions == ["allowed", "implicitDeny", "implicitDeny"]  # "*" reaches beyond the limit


async def test_the_simulation_is_paged() -> None:
    params = {"PolicySourceArn": "arn:aws:iam::1:role/x", "ActionNames": ["a:B", "a:C", "a:D"], "MaxItems": 2}
    first = await ask("iam", "SimulatePrincipalPolicy", **params)
    assert (len(first["EvaluationResults"]), first["IsTruncated"]) == (2, True)
    second = await ask("iam", "SimulatePrincipalPolicy", **params, Marker=first["Marker"])
    assert (len(second["EvaluationResults"]), second["IsTruncated"], second["Marker"]) == (1, False, None)


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("arn:aws:iam::123456789012:user/someone", "NoSuchEntity"),
        ("arn:aws:iam::123456789012:role/AWSServiceRoleForX", "NoSuchEntity"),
        ("arn:aws:s3:::a-bucket-name", "InvalidInput"),
        ("not-an-arn-but-long-enough", "InvalidInput"),
    ],
)
async def test_the_simulation_needs_a_role(arn: str, code: str) -> None:
    with pytest.raises(AwsError) as caught:
        await simulate(KEY, ["s3:*"], PolicySourceArn=arn)
    assert caught.value.code == code


async def test_the_simulation_does_not_pretend_to_evaluate_policies() -> None:
    with pytest.raises(NotSupported, match="PolicyInputList"):
        await simulate(KEY, ["s3:*"], PolicyInputList=["{}"])


async def test_a_marker_that_trimtab_did_not_give_is_refused() -> None:
    with pytest.raises(AwsError, match="Marker"):
        await simulate(KEY, ["s3:*"], Marker="x")

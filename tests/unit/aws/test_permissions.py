"""What limited keys may do."""

from __future__ import annotations

import pytest

from trimtab.aws.permissions import check_action, check_endpoints
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

CALLER = "arn:aws:sts::1:assumed-role/R/KEY"


def key(*actions: str, endpoints: tuple[str, ...] = ()) -> AccessKey:
    return AccessKey(id="KEY", secret="s", actions=actions, endpoints=endpoints)


@pytest.mark.parametrize(
    ("actions", "service", "operation"),
    [
        ((), "sagemaker", "CreateModel"),
        (("sagemaker:*",), "sagemaker-runtime", "InvokeEndpoint"),
        (("sagemaker:Describe*",), "sagemaker", "DescribeModel"),
        (("s3:ListBucket",), "s3", "ListObjectsV2"),
        (("s3:PutObject",), "s3", "UploadPart"),
        (("s3:ListObjectsV2",), "s3", "ListObjectsV2"),
        (("*",), "iam", "GetRole"),
    ],
)
def test_a_key_may_do_what_its_actions_name(actions: tuple[str, ...], service: str, operation: str) -> None:
    check_action(key(*actions), service, operation, caller=CALLER)


@pytest.mark.parametrize(
    ("actions", "service", "operation"),
    [
        (("sagemaker:InvokeEndpoint",), "sagemaker", "CreateModel"),
        (("sagemaker:invokeendpoint",), "sagemaker-runtime", "InvokeEndpoint"),
        (("s3:GetObject",), "s3", "PutObject"),
        (("s3:*",), "sagemaker", "CreateModel"),
    ],
)
def test_everything_else_is_denied_in_awss_words(actions: tuple[str, ...], service: str, operation: str) -> None:
    with pytest.raises(Denied) as denied:
        check_action(key(*actions), service, operation, caller=CALLER)
    action = f"{service.removesuffix('-runtime')}:{operation}"
    assert str(denied.value) == (
        f"User: {CALLER} is not authorized to perform: {action} because no identity-based policy allows the {action}"
        " action"
    )


def test_without_a_key_nothing_is_limited() -> None:
    check_action(None, "s3", "PutObject", caller=CALLER)
    check_endpoints(None, "sagemaker", "DescribeEndpoint", ["x"], caller=CALLER, arn_prefix="")


def test_endpoints_are_patterns_and_the_answer_names_the_resource() -> None:
    limited = key(endpoints=("team-a-*",))
    prefix = "arn:aws:sagemaker:us-east-1:1:endpoint/"
    check_endpoints(limited, "sagemaker", "DeleteEndpoint", ["team-a-x"], caller=CALLER, arn_prefix=prefix)
    with pytest.raises(Denied, match=f"on resource: {prefix}team-b"):
        check_endpoints(limited, "sagemaker", "DeleteEndpoint", ["team-b"], caller=CALLER, arn_prefix=prefix)

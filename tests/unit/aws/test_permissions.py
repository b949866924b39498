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


@pytest.mark.parametrize(
    ("actions", "service", "operation", "allowed"),
    [
        ((), "sagemaker", "ListModels", False),
        ((), "s3", "GetObject", False),
        (("*",), "sagemaker", "DeleteModel", False),
        (("sagemaker:*",), "sagemaker", "CreateEndpointConfig", False),
        (("sagemaker:InvokeEndpoint",), "iam", "GetRole", False),
        (("sagemaker:*", "s3:*"), "s3", "PutObject", True),
        (("*", "sagemaker:ListModels"), "sagemaker", "ListModels", True),
        (("s3:ListBucket",), "s3", "ListObjectsV2", True),
        (("sagemaker:InvokeEndpoint",), "sts", "GetCallerIdentity", True),
    ],
)
def test_a_key_for_endpoints_does_nothing_that_names_none_unless_an_action_says_so(
    actions: tuple[str, ...], service: str, operation: str, allowed: bool
) -> None:
    limited = key(*actions, endpoints=("mine",))
    if allowed:
        check_endpoints(limited, service, operation, (), caller=CALLER, arn_prefix="")
        return
    with pytest.raises(Denied, match=f"perform: {service}:{operation} because"):
        check_endpoints(limited, service, operation, (), caller=CALLER, arn_prefix="")


def test_who_am_i_is_allowed_to_every_key() -> None:
    check_action(key("s3:GetObject"), "sts", "GetCallerIdentity", caller=CALLER)
    with pytest.raises(Denied):
        check_action(key("s3:GetObject"), "sts", "AssumeRole", caller=CALLER)

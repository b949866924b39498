"""What a limited key may do."""

from __future__ import annotations

import pytest

from trimtab.errors import Denied
from trimtab.policies.permits import allowed, check
from trimtab.resources.routing import AccessKey


def key(actions: tuple[str, ...] = (), endpoints: tuple[str, ...] = ()) -> AccessKey:
    return AccessKey(id="TRIMKEY", secret="s", actions=actions, endpoints=endpoints)


@pytest.mark.parametrize(
    ("who", "action", "endpoint", "may"),
    [
        (None, "s3:PutObject", "", True),
        (key(), "s3:PutObject", "", True),
        (key(("s3:*",)), "s3:PutObject", "", True),
        (key(("s3:*",)), "sagemaker:InvokeEndpoint", "a", False),
        (key(("S3:getobject",)), "s3:GetObject", "", True),
        (key(("*",)), "iam:GetRole", "", True),
        (key(("sagemaker:InvokeEndpoint",), ("fraud*",)), "sagemaker:InvokeEndpoint", "fraud-2", True),
        (key(("sagemaker:InvokeEndpoint",), ("fraud*",)), "sagemaker:InvokeEndpoint", "other", False),
        (key(("sagemaker:InvokeEndpoint",), ("fraud*",)), "sagemaker:DescribeEndpoint", "fraud", False),
        (key((), ("fraud",)), "sagemaker:DeleteEndpoint", "fraud", True),
        (key((), ("*",)), "s3:PutObject", "", False),
        (key(("s3:*",)), "sts:GetCallerIdentity", "", True),
    ],
)
def test_limits_take_away_and_nothing_else(who: AccessKey | None, action: str, endpoint: str, may: bool) -> None:
    assert allowed(who, action, endpoint) is may


def test_the_refusal_says_what_the_key_may_do_and_what_to_do() -> None:
    with pytest.raises(Denied) as caught:
        check(key(("s3:*",), ("fraud",)), "sagemaker:InvokeEndpoint", "other")
    text = str(caught.value)
    assert caught.value.code == "AccessDenied"
    assert "TRIMKEY is not authorized to perform: sagemaker:InvokeEndpoint on endpoint 'other'" in text
    assert "s3:*" in text
    assert "trimtab keys create" in text

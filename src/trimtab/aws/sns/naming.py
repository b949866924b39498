"""ARNs of topics and subscriptions."""

from __future__ import annotations

import re
from typing import Final

from trimtab.aws.arns import partition_of
from trimtab.aws.registry import Call
from trimtab.aws.sns import faults

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,251}\.fifo|[A-Za-z0-9_-]{1,256}")


def is_name(name: str) -> bool:
    """Whether a topic may be called so: 1 to 256 letters, digits, `-` and `_`, `.fifo` included."""
    return _NAME.fullmatch(name) is not None


def topic_arn(call: Call, name: str) -> str:
    """The ARN of a topic."""
    return f"arn:{partition_of(call.region)}:sns:{call.region}:{call.account}:{name}"


def topic_of(call: Call, arn: str, member: str = "TopicArn") -> str:
    """The name in a topic's ARN. Raises InvalidParameter for what is none, or is elsewhere."""
    name = arn.removeprefix(topic_arn(call, ""))
    if name == arn or not is_name(name):
        raise faults.invalid(f"{member}")
    return name


def subscription_of(call: Call, arn: str) -> tuple[str, str]:
    """Topic and id in a subscription's ARN. Raises InvalidParameter."""
    topic, _, id = arn.removeprefix(topic_arn(call, "")).partition(":")
    if arn == topic or not is_name(topic) or not id:
        raise faults.invalid("SubscriptionArn Reason: An ARN must have at least 6 elements, not 1")
    return topic, id

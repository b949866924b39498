"""CloudWatch's refusals, each with the code that AWS gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from trimtab.aws.registry import AwsError, Call
from trimtab.errors import Invalid

T = TypeVar("T")


def invalid_value(message: str) -> AwsError:
    """A value that is out of range or malformed."""
    return AwsError("InvalidParameterValue", message)


def bad_combination(message: str) -> AwsError:
    """Values that contradict each other."""
    return AwsError("InvalidParameterCombination", message)


def missing(message: str) -> AwsError:
    """Something that is needed is not there."""
    return AwsError("MissingParameter", message)


def invalid(message: str) -> AwsError:
    """What GetMetricData and PutMetricAlarm say of queries and alarms."""
    return AwsError("ValidationError", message)


def listing_of(call: Call, params: Mapping[str, Any]) -> str:
    """What is listed, for a Pager: a token is good for nothing else."""
    asked = {key: value for key, value in params.items() if key not in ("NextToken", "MaxRecords", "MaxDatapoints")}
    digest = sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
    return f"cloudwatch:{call.operation}:{digest}"


def paged(page: Callable[[], T]) -> T:
    """`page()`, a Pager's; a token that is not one of ours has a code of its own."""
    try:
        return page()
    except Invalid as error:
        raise AwsError("InvalidNextToken", str(error)) from None

"""What every S3 handler goes through: whose bucket it is, and the object store's refusals in S3's words."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from trimtab.aws.registry import Answer, AwsError, Call, operation
from trimtab.errors import Invalid
from trimtab.objects.model import (
    ChecksumMismatch,
    Hidden,
    InvalidPart,
    PartTooSmall,
    PreconditionFailed,
    StorageFull,
)
from trimtab.objects.names import InvalidBucketName, InvalidKey, KeyTooLong

Params = dict[str, Any]
Method = Callable[[Any, Call, Params], Awaitable[Params | Answer]]
F = TypeVar("F", bound=Method)


def s3(name: str, *, missing: str = "") -> Callable[[Method], Method]:
    """Declare a handler of S3's operation `name`, with the checks and translations that all of them share."""

    def wrap(method: Method) -> Method:
        @functools.wraps(method)
        async def handler(self: Any, call: Call, params: Params) -> Params | Answer:
            check_owner(call, params.get("ExpectedBucketOwner"))
            try:
                return await method(self, call, params)
            except (Invalid, Hidden, PreconditionFailed, StorageFull) as refusal:
                raise in_s3_words(refusal) from refusal

        return operation("s3", name, missing=missing)(handler)

    return wrap


def check_owner(call: Call, expected: str | None) -> None:
    """`x-amz-expected-bucket-owner`: every bucket here belongs to the one account."""
    if expected is not None and expected != call.account:
        raise AwsError("AccessDenied", "Access Denied", 403)


def in_s3_words(refusal: Exception) -> Exception:
    """The AwsError for what only an object store says; everything else as it is (see `aws/faults.py`)."""
    text = str(refusal)
    match refusal:
        case Hidden():
            return _hidden(refusal)
        case PreconditionFailed():
            return precondition_failed()
        case ChecksumMismatch():
            return AwsError("BadDigest", text, 400)
        case InvalidPart():
            return AwsError("InvalidPart", text, 400)
        case PartTooSmall():
            return AwsError(
                "EntityTooSmall",
                f"Your proposed upload is smaller than the minimum allowed size. {text}",
                400,
                extra={
                    "ProposedSize": refusal.part.size_bytes,
                    "MinSizeAllowed": refusal.minimum_bytes,
                    "PartNumber": refusal.part.number,
                    "ETag": refusal.part.etag,
                },
            )
        case InvalidBucketName():
            return AwsError("InvalidBucketName", text, 400)
        case KeyTooLong():
            return AwsError("KeyTooLongError", text, 400)
        case InvalidKey():
            return AwsError("InvalidArgument", text, 400)
        case StorageFull():
            return AwsError("InsufficientStorage", text, 507)
    return refusal


def precondition_failed(condition: str = "") -> AwsError:
    """412. `condition` is the header that did not hold."""
    return AwsError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        412,
        extra={"Condition": condition} if condition else {},
    )


def _hidden(refusal: Hidden) -> AwsError:
    headers = [("x-amz-delete-marker", "true"), ("x-amz-version-id", refusal.version_id)]
    if refusal.asked:
        message = "The specified method is not allowed against this resource."
        return AwsError("MethodNotAllowed", message, 405, headers=[*headers, ("Allow", "DELETE")])
    return AwsError("NoSuchKey", "The specified key does not exist.", 404, {"Key": refusal.name}, headers)


def not_implemented(params: Params, *names: str) -> None:
    """Refuse members that ask for what trimtab does not do: it would be wrong to take them and do nothing."""
    for name in names:
        if params.get(name):
            raise AwsError(
                "NotImplemented",
                f"A header or parameter you provided implies functionality that trimtab does not have: {name}.",
                501,
            )


def invalid(message: str, **extra: str) -> AwsError:
    """400 InvalidArgument."""
    return AwsError("InvalidArgument", message, 400, extra=extra)


def owner(call: Call) -> dict[str, str]:
    """The canonical user that owns everything."""
    return {"ID": hashlib.sha256(f"trimtab {call.account}".encode()).hexdigest()}

"""What a key may do: its `actions` and `endpoints` against one call. Imported by gateways: loads no service model."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from trimtab.aws import denials
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

# IAM's service prefixes where they differ from botocore's service names.
_PREFIXES: Final = {"sagemaker-runtime": "sagemaker", "sagemaker-metrics": "sagemaker"}

# S3 operations that IAM knows under another action. Source: the service authorization reference for S3.
_S3_ACTIONS: Final = {
    "ListBuckets": "ListAllMyBuckets",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "HeadObject": "GetObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "DeleteObjects": "DeleteObject",
}


def check_action(key: AccessKey | None, service: str, operation: str, *, caller: str) -> None:
    """Raises Denied unless `key` may call `operation`. `caller` is the ARN that the answer names.

    A key's actions are patterns of `service:Operation`; for S3 also of IAM's own action names. None may everything:
    authentication let the caller in without a key.
    """
    if key is None or not key.actions:
        return
    prefix = _PREFIXES.get(service, service)
    names = [f"{prefix}:{operation}"]
    if service == "s3" and operation in _S3_ACTIONS:
        names.append(f"s3:{_S3_ACTIONS[operation]}")
    if not any(fnmatchcase(name, pattern) for name in names for pattern in key.actions):
        raise _denied(caller, names[0], "")


def check_endpoints(
    key: AccessKey | None, service: str, operation: str, endpoints: Iterable[str], *, caller: str, arn_prefix: str
) -> None:
    """Raises Denied unless `key` may work with each of `endpoints` (names). `arn_prefix` ends in `endpoint/`."""
    if key is None or not key.endpoints:
        return
    for name in endpoints:
        if not any(fnmatchcase(name, pattern) for pattern in key.endpoints):
            raise _denied(caller, f"{_PREFIXES.get(service, service)}:{operation}", arn_prefix + name)


def _denied(caller: str, action: str, resource: str) -> Denied:
    on = f" on resource: {resource}" if resource else ""
    return Denied(
        f"User: {caller} is not authorized to perform: {action}{on} because no identity-based policy allows the"
        f" {action} action",
        code=denials.ACCESS_DENIED,
    )

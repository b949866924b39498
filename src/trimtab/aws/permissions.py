"""What a key may do: its `actions` and `endpoints` against one call. Imported by gateways: loads no service model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from trimtab.aws import denials
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

# IAM's service prefixes where they differ from botocore's service names.
_PREFIXES: Final = {"sagemaker-runtime": "sagemaker", "sagemaker-metrics": "sagemaker"}

# Of a key with endpoints these allow what names one of them. What names none must be allowed by something narrower.
_SWEEPING: Final = frozenset({"*", "sagemaker:*"})

_ALWAYS: Final = ("sts", "GetCallerIdentity")  # AWS: needs no permission, and cannot be denied

# Operations that IAM knows under another action. Sources: the service authorization references of S3, SQS and SNS.
_SQS_ACTIONS: Final = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
_SNS_ACTIONS: Final = {"PublishBatch": "Publish"}
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
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteObjects": "DeleteObject",
}
_ACTIONS: Final[Mapping[str, Mapping[str, str]]] = {"s3": _S3_ACTIONS, "sqs": _SQS_ACTIONS, "sns": _SNS_ACTIONS}


def check_action(key: AccessKey | None, service: str, operation: str, *, caller: str) -> None:
    """Raises Denied unless `key` may call `operation`. `caller` is the ARN that the answer names.

    A key's actions are patterns of `service:Operation`; also of IAM's own action names, where they differ. None may
    everything: authentication let the caller in without a key.
    """
    if key is None or not key.actions or (service, operation) == _ALWAYS:
        return
    names = _action_names(service, operation)
    if not _matches(names, key.actions):
        raise _denied(caller, names[0], "")


def check_endpoints(
    key: AccessKey | None, service: str, operation: str, endpoints: Iterable[str], *, caller: str, arn_prefix: str
) -> None:
    """Raises Denied unless `key` may work with each of `endpoints` (the names in the call). `arn_prefix` ends in
    `endpoint/`.

    A call that names no endpoint reaches beyond those that the key is limited to, so one of the key's actions must
    allow it by more than a sweeping `*` or `sagemaker:*`.
    """
    if key is None or not key.endpoints or (service, operation) == _ALWAYS:
        return
    named = tuple(endpoints)
    action, *others = _action_names(service, operation)
    if not named and not _matches([action, *others], [a for a in key.actions if a not in _SWEEPING]):
        raise _denied(caller, action, "")
    for name in named:
        if not _matches([name], key.endpoints):
            raise _denied(caller, action, arn_prefix + name)


def _action_names(service: str, operation: str) -> list[str]:
    """What IAM calls an operation: by its own name first."""
    prefix = _PREFIXES.get(service, service)
    names = [f"{prefix}:{operation}"]
    other = _ACTIONS.get(service, {}).get(operation)
    if other is not None:
        names.append(f"{prefix}:{other}")
    return names


def _matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _denied(caller: str, action: str, resource: str) -> Denied:
    on = f" on resource: {resource}" if resource else ""
    return Denied(
        f"User: {caller} is not authorized to perform: {action}{on} because no identity-based policy allows the"
        f" {action} action",
        code=denials.ACCESS_DENIED,
    )

"""What an invocation's path and headers ask for. Source: botocore's `sagemaker-runtime` model; messages as AWS's."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from trimtab.aws.registry import AwsError
from trimtab.aws.sigv4.canonical import canonical_path
from trimtab.errors import Invalid

PREFIX: Final = b"/endpoints/"

CUSTOM_ATTRIBUTES: Final = b"x-amzn-sagemaker-custom-attributes"
TARGET_VARIANT: Final = b"x-amzn-sagemaker-target-variant"
INFERENCE_ID: Final = b"x-amzn-sagemaker-inference-id"
STREAM_ACCEPT: Final = b"x-amzn-sagemaker-accept"
TARGET_MODEL: Final = b"x-amzn-sagemaker-target-model"
_TARGET_CONTAINER: Final = b"x-amzn-sagemaker-target-container-hostname"
_INFERENCE_COMPONENT: Final = b"x-amzn-sagemaker-inference-component"
_SESSION_ID: Final = b"x-amzn-sagemaker-session-id"
_ENABLE_EXPLANATIONS: Final = b"x-amzn-sagemaker-enable-explanations"


class Operation(enum.Enum):
    """What a path below `/endpoints/NAME/` is called on AWS."""

    INVOKE = "InvokeEndpoint"
    STREAM = "InvokeEndpointWithResponseStream"
    ASYNC = "InvokeEndpointAsync"
    UNKNOWN = ""


_OPERATIONS: Final = {
    b"invocations": Operation.INVOKE,
    b"invocations-response-stream": Operation.STREAM,
    b"async-invocations": Operation.ASYNC,
}


class Target(Struct, frozen=True):
    """A request target, read."""

    operation: Operation
    endpoint: str
    raw_path: str
    query: str
    plain_path: bytes  # the path as it is signed, where that is how it was sent, without a query; else empty


def read_target(raw: bytes) -> Target:
    """Read a request target that begins with PREFIX. Anything that is no operation of the runtime is UNKNOWN."""
    path, _, query = raw.partition(b"?")
    name, _, rest = path.removeprefix(PREFIX).partition(b"/")
    raw_path = path.decode("latin-1")
    return Target(
        operation=_OPERATIONS.get(rest, Operation.UNKNOWN),
        endpoint=unquote_to_bytes(name).decode("utf-8", "replace"),
        raw_path=raw_path,
        query=query.decode("latin-1"),
        plain_path=raw if raw == path and canonical_path(raw_path, s3=False) == raw_path else b"",
    )


_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_LONGEST_TEXT: Final = 1024


def text(raw: bytes, member: str, *, most: int = _LONGEST_TEXT) -> str:
    """A header's text. Invalid when it is longer than `most` or not printable ASCII (AWS: `\\p{ASCII}*`)."""
    value = raw.decode("latin-1")
    if len(value) > most:
        raise constraint(value, member, f"Member must have length less than or equal to {most}")
    if not (value.isascii() and value.isprintable()):
        raise constraint(value, member, r"Member must satisfy regular expression pattern: \p{ASCII}*")
    return value


@lru_cache(maxsize=1024)
def common_text(raw: bytes, member: str) -> str:
    """`text` of a header of which clients send few different values."""
    return text(raw, member)


def variant_name(raw: bytes) -> str:
    """The name in a TargetVariant header. Invalid when no variant can have it."""
    value = text(raw, "targetVariant", most=63)
    if _NAME.fullmatch(value) is None:
        pattern = "[a-zA-Z0-9](-*[a-zA-Z0-9])*"
        raise constraint(value, "targetVariant", f"Member must satisfy regular expression pattern: {pattern}")
    return value


@lru_cache(maxsize=4096)
def model_name(raw: bytes) -> str:
    """The key in a TargetModel header, as it was sent. Invalid when no model can have it.

    It is UTF-8 where the object's key has more than ASCII: AWS's `\\p{Print}` is of ASCII, S3's keys are not.
    """
    try:
        value = raw.decode()
    except UnicodeDecodeError:
        value = raw.decode("latin-1")
    if len(raw) > _LONGEST_TEXT:
        raise constraint(value, "targetModel", f"Member must have length less than or equal to {_LONGEST_TEXT}")
    if not value.isprintable() or value[:1].isspace():
        pattern = r"\A\S[\p{Print}]*\z"
        raise constraint(value, "targetModel", f"Member must satisfy regular expression pattern: {pattern}")
    return value


_CONTRADICTIONS: Final = frozenset({_TARGET_CONTAINER, _INFERENCE_COMPONENT, _SESSION_ID, _ENABLE_EXPLANATIONS})


def check_contradictions(fields: Mapping[bytes, bytes], endpoint: str) -> None:
    """Refuse headers that no endpoint takes here. AwsError.

    Multi-container, inference-component and session headers contradict endpoints of one container, as on AWS. Whether
    a target model fits is for the gateway to say: it depends on the variant.
    """
    if fields.keys().isdisjoint(_CONTRADICTIONS):
        return
    if fields.get(_INFERENCE_COMPONENT):
        raise _validation(
            "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy inference "
            "components. Please remove the Inference Component Name header and try again.",
            "INFERENCE_COMPONENT_NAME_NOT_ALLOWED",
        )
    if fields.get(_TARGET_CONTAINER):
        raise _validation(
            f"Endpoint {endpoint} does not run several containers in Direct mode and does not support the target "
            "container hostname header. Remove TargetContainerHostname and try again.",
            "TARGET_CONTAINER_HOSTNAME_NOT_SUPPORTED",
        )
    if fields.get(_SESSION_ID):
        raise _validation(
            f"Endpoint {endpoint} does not support stateful sessions. Remove SessionId and try again.",
            "SESSION_ID_NOT_SUPPORTED",
        )
    if fields.get(_ENABLE_EXPLANATIONS):
        raise _validation(
            f"Endpoint {endpoint} has no explainer. Remove EnableExplanations, or create the endpoint config with an "
            "ExplainerConfig.",
            "ENABLE_EXPLANATIONS_NOT_SUPPORTED",
        )


def _validation(message: str, error_code: str) -> AwsError:
    return AwsError("ValidationError", message, extra={"ErrorCode": error_code})


def constraint(value: str, member: str, constraint: str) -> Invalid:
    """AWS's words for a member that breaks a constraint."""
    shown = value if len(value) <= 128 else f"{value[:128]}..."
    return Invalid(
        f"1 validation error detected: Value '{shown}' at '{member}' failed to satisfy constraint: {constraint}"
    )

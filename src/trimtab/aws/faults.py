"""The only table from trimtab's errors to each AWS service's code, HTTP status and words.

Sources of codes and texts: AWS's API references, and answers of AWS that its SDKs branch on ("Could not find",
"Cannot create already existing", ...). How a fault looks on the wire is `fault_shapes`. Imported by gateways: nothing
here loads a service model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, field

from trimtab.aws import denials
from trimtab.aws.arns import partition_of, sagemaker_arn
from trimtab.aws.protocols.errors import ConstraintsFailed, Malformed, Part, UnknownOperation
from trimtab.aws.registry import AwsError
from trimtab.errors import (
    AlreadyExists,
    Denied,
    InUse,
    Invalid,
    LimitExceeded,
    ModelFailed,
    NotFound,
    NotReady,
    NotSupported,
    QueueFull,
    TargetModelMissing,
    TargetModelRefused,
    TooLarge,
    Unavailable,
)

MAX_ORIGINAL_CHARS = 16_384  # of what a model said, in a ModelError
OPERATIONS_DOC = "docs/operations.md"


class Where(Struct, kw_only=True):
    """Where a failure happened: whose words and which wire it takes to tell the caller."""

    service: str
    protocol: str  # json, cbor, rest-json, rest-xml, query
    request_id: str
    region: str = "us-east-1"
    account: str = "000000000000"
    resource: str = ""  # the path, as S3 repeats it
    presigned: bool = False
    json_version: str = "1.1"
    query_compatible: bool = False  # JSON now, query once: codes go into x-amzn-query-error
    error_shapes: Mapping[str, str] = {}  # of query-compatible services: code -> shape
    xml_namespace: str = ""
    head: bool = False  # HEAD: no body
    endpoint: str = ""  # invocations
    container: str = "primary"


class Fault(Struct, frozen=True, kw_only=True):
    """An error in a service's words. An empty `code` is left out: clients make one of the status."""

    code: str
    message: str
    status: int
    extra: dict[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()


Codes = Mapping[type[Exception], tuple[str, int]]

_JSON: Final[Codes] = {
    Malformed: ("SerializationException", 400),
    UnknownOperation: ("UnknownOperationException", 400),
    Invalid: ("ValidationException", 400),
    NotFound: ("ResourceNotFound", 400),
    AlreadyExists: ("ResourceInUse", 400),
    InUse: ("ResourceInUse", 400),
    LimitExceeded: ("ResourceLimitExceeded", 400),
    TooLarge: ("RequestEntityTooLargeException", 413),
    NotSupported: ("UnsupportedOperationException", 400),
    QueueFull: ("ThrottlingException", 400),
    Unavailable: ("ServiceUnavailable", 503),
    Exception: ("InternalFailure", 500),
}
_QUERY: Final[Codes] = {
    Malformed: ("MalformedInput", 400),
    UnknownOperation: ("InvalidAction", 400),
    Invalid: ("ValidationError", 400),
    NotFound: ("NoSuchEntity", 404),
    AlreadyExists: ("EntityAlreadyExists", 409),
    InUse: ("DeleteConflict", 409),
    LimitExceeded: ("LimitExceeded", 409),
    TooLarge: ("RequestEntityTooLarge", 413),
    NotSupported: ("UnsupportedOperation", 400),
    QueueFull: ("Throttling", 400),
    Unavailable: ("ServiceUnavailable", 503),
    Exception: ("InternalFailure", 500),
}
_S3: Final[Codes] = {
    UnknownOperation: ("MethodNotAllowed", 405),
    Invalid: ("InvalidArgument", 400),
    NotFound: ("NoSuchKey", 404),
    AlreadyExists: ("BucketAlreadyOwnedByYou", 409),
    InUse: ("BucketNotEmpty", 409),
    LimitExceeded: ("TooManyBuckets", 400),
    TooLarge: ("EntityTooLarge", 400),
    NotSupported: ("NotImplemented", 501),
    QueueFull: ("SlowDown", 503),
    Unavailable: ("ServiceUnavailable", 503),
    Exception: ("InternalError", 500),
}
# The data plane says ValidationError where the control plane says ValidationException.
_RUNTIME: Final[Codes] = {
    **_JSON,
    Malformed: ("ValidationError", 400),
    Invalid: ("ValidationError", 400),
    NotFound: ("ValidationError", 400),
    TooLarge: ("", 413),  # boto3 makes the code "413" of it
    NotReady: ("ModelNotReadyException", 429),
}
_CODES: Final[Mapping[str, Codes]] = {
    "s3": _S3,
    "sagemaker-runtime": _RUNTIME,
    "application-autoscaling": {
        **_JSON,
        NotFound: ("ObjectNotFoundException", 400),
        InUse: ("ConcurrentUpdateException", 400),
        LimitExceeded: ("LimitExceededException", 400),
        Exception: ("InternalServiceException", 500),
    },
    "logs": {
        **_JSON,
        Invalid: ("InvalidParameterException", 400),
        NotFound: ("ResourceNotFoundException", 400),
        AlreadyExists: ("ResourceAlreadyExistsException", 400),
        LimitExceeded: ("LimitExceededException", 400),
    },
    "cloudwatch": {
        **_QUERY,
        Malformed: ("InvalidParameterValue", 400),
        ConstraintsFailed: ("ValidationError", 400),
        Invalid: ("InvalidParameterValue", 400),
        NotFound: ("ResourceNotFound", 404),
        LimitExceeded: ("LimitExceeded", 400),
    },
    "sqs": {
        **_QUERY,
        Invalid: ("InvalidParameterValue", 400),
        NotFound: ("AWS.SimpleQueueService.NonExistentQueue", 400),
        AlreadyExists: ("QueueAlreadyExists", 400),
    },
    "sns": {**_QUERY, Invalid: ("InvalidParameter", 400), NotFound: ("NotFound", 404)},
}

# denial -> (JSON and REST-JSON, query, S3, S3's status); query services answer 403, malformed 400.
_DENIED: Final[Mapping[str, tuple[str, str, str, int]]] = {
    denials.INVALID_SIGNATURE: ("InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch", 403),
    denials.UNKNOWN_KEY: ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", 403),
    denials.INVALID_TOKEN: ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken", 400),
    denials.MISSING_TOKEN: ("MissingAuthenticationTokenException", "MissingAuthenticationToken", "AccessDenied", 403),
    denials.INCOMPLETE_SIGNATURE: (
        "IncompleteSignatureException",
        "IncompleteSignature",
        "AuthorizationHeaderMalformed",
        400,
    ),
    denials.EXPIRED: ("InvalidSignatureException", "SignatureDoesNotMatch", "AccessDenied", 403),
    denials.SKEW: ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", 403),
    denials.WRONG_SCOPE: ("InvalidSignatureException", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", 400),
    denials.BODY_HASH: ("InvalidSignatureException", "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch", 400),
    denials.ACCESS_DENIED: ("AccessDeniedException", "AccessDenied", "AccessDenied", 403),
    denials.BAD_DIGEST: ("InvalidSignatureException", "SignatureDoesNotMatch", "BadDigest", 400),
    denials.INVALID_DIGEST: ("InvalidSignatureException", "SignatureDoesNotMatch", "InvalidDigest", 400),
    denials.INCOMPLETE_BODY: ("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteBody", 400),
}
_S3_DENIAL_WORDS: Final[Mapping[str, str]] = {
    denials.UNKNOWN_KEY: "The AWS Access Key Id you provided does not exist in our records.",
    denials.INVALID_TOKEN: "The provided token is malformed or otherwise invalid.",
    denials.MISSING_TOKEN: "Access Denied",
}

_NOUNS: Final[Mapping[str, str]] = {
    "model": "model",
    "endpoint": "endpoint",
    "endpoint-config": "endpoint configuration",
    "inference-component": "inference component",
}
_S3_MISSING: Final[Mapping[str, tuple[str, str, str]]] = {  # kind -> code, words, the member that repeats the name
    "bucket": ("NoSuchBucket", "The specified bucket does not exist", "BucketName"),
    "object": ("NoSuchKey", "The specified key does not exist.", "Key"),
    "key": ("NoSuchKey", "The specified key does not exist.", "Key"),
    "upload": (
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
        " completed.",
        "UploadId",
    ),
    "version": ("NoSuchVersion", "The specified version does not exist.", "VersionId"),
}
_S3_MALFORMED: Final[Mapping[Part, str]] = {
    Part.BODY: "MalformedXML",
    Part.ARGUMENT: "InvalidArgument",
    Part.URI: "InvalidURI",
}


def fault_of(error: BaseException, where: Where) -> Fault:
    """`error` in the words of `where.service`. What trimtab does not name is an internal failure, without its text."""
    if isinstance(error, AwsError):
        return Fault(
            code=error.code,
            message=error.message or error.code,
            status=error.status,
            extra=error.extra,
            headers=tuple(error.headers),
        )
    if isinstance(error, Denied):
        return _denied(error, where)
    if isinstance(error, ModelFailed):
        return _model_error(error, where)
    code, status = _code(type(error), where)
    if status == 500:
        return Fault(code=code, message=_internal(where), status=status)
    fault = _named(error, code, status, where)
    if isinstance(error, Unavailable):
        return Fault(
            code=fault.code,
            message=fault.message,
            status=fault.status,
            headers=(("Retry-After", str(max(1, math.ceil(error.retry_after_s)))),),
        )
    return fault


def _code(kind: type[BaseException], where: Where) -> tuple[str, int]:
    default = {"rest-xml": _S3, "query": _QUERY}.get(where.protocol, _JSON)
    codes = _CODES.get(where.service, default)
    for ancestor in kind.__mro__:
        if ancestor in codes:
            return codes[ancestor]
    return codes[Exception]


def _internal(where: Where) -> str:
    if where.service == "s3":
        return "We encountered an internal error. Please try again."
    return "The request processing has failed because of an unknown error, exception or failure."


def _named(error: BaseException, code: str, status: int, where: Where) -> Fault:
    if isinstance(error, TargetModelMissing):
        code_word = "TARGET_MODEL_HEADER_MISSING"
        message = f"Request {where.request_id} is missing a target model header."  # AWS's words
        return Fault(code=code, message=message, status=status, extra={"ErrorCode": code_word})
    if isinstance(error, TargetModelRefused):
        extra = {"ErrorCode": "TARGET_MODEL_HEADER_NOT_SUPPORTED"}  # AWS's
        return Fault(code=code, message=str(error), status=status, extra=extra)
    if isinstance(error, NotFound | AlreadyExists | InUse):
        named = _about_resource(error, where)
        if named is not None:
            return named
    if where.service == "s3" and isinstance(error, Malformed | ConstraintsFailed):
        code = _S3_MALFORMED[error.part]
    return Fault(code=code, message=str(error), status=status)


def _about_resource(error: NotFound | AlreadyExists | InUse, where: Where) -> Fault | None:
    """AWS's own sentence about a resource, for the kinds that have one."""
    if where.service == "sagemaker":
        return _sagemaker_resource(error, where)
    if not isinstance(error, NotFound):
        return None
    if where.service == "sagemaker-runtime":
        message = str(error)
        if error.kind == "endpoint":
            message = f"Endpoint {error.name} of account {where.account} not found."
        elif error.kind == "variant" and where.endpoint:
            message = f"Variant {error.name} of endpoint {where.endpoint} of account {where.account} not found."
        return Fault(code="ValidationError", message=message, status=400)
    if where.service == "s3" and error.kind in _S3_MISSING:
        code, message, member = _S3_MISSING[error.kind]
        return Fault(code=code, message=message, status=404, extra={member: error.name})
    if where.service == "sqs" and error.kind == "queue":
        code = "AWS.SimpleQueueService.NonExistentQueue"
        return Fault(code=code, message="The specified queue does not exist.", status=400)
    if where.service == "sns" and error.kind in ("topic", "subscription"):
        return Fault(code="NotFound", message=f"{error.kind.capitalize()} does not exist", status=404)
    if where.service == "iam" and error.kind in ("role", "user"):
        message = f"The {error.kind} with name {error.name} cannot be found."
        return Fault(code="NoSuchEntity", message=message, status=404)
    return None


def _sagemaker_resource(error: NotFound | AlreadyExists | InUse, where: Where) -> Fault | None:
    if isinstance(error, NotFound) and error.kind == "variant":
        message = f'The variant name(s) "{error.name}" is/are not present within endpoint configuration.'
        return Fault(code="ValidationException", message=message, status=400)
    noun = _NOUNS.get(error.kind)
    if noun is None:
        return None
    arn = sagemaker_arn(where.region, where.account, error.kind, error.name)
    if isinstance(error, NotFound):
        message = f'Could not find {noun} "{arn}".'
    elif isinstance(error, AlreadyExists):
        message = f'Cannot create already existing {noun} "{arn}".'
    elif error.kind == "endpoint":
        message = f'Cannot update in-progress endpoint "{arn}".'
    else:
        message = str(error)
    return Fault(code="ValidationException", message=message, status=400)


def _denied(error: Denied, where: Where) -> Fault:
    row = _DENIED.get(error.code)
    if row is None:  # an AWS code, verbatim
        return Fault(code=error.code, message=str(error), status=403)
    json_code, query_code, s3_code, s3_status = row
    if where.service == "s3":
        malformed = error.code in (denials.INCOMPLETE_SIGNATURE, denials.WRONG_SCOPE)
        if malformed and where.presigned:
            s3_code = "AuthorizationQueryParametersError"
        return Fault(code=s3_code, message=_S3_DENIAL_WORDS.get(error.code, str(error)), status=s3_status)
    if where.protocol == "query" or where.query_compatible:
        status = 400 if error.code == denials.INCOMPLETE_SIGNATURE else 403
        if where.service == "sns" and error.code == denials.ACCESS_DENIED:
            query_code = "AuthorizationError"
        return Fault(code=query_code, message=str(error), status=status)
    return Fault(code=json_code, message=str(error), status=400 if where.protocol == "json" else 403)


def _model_error(error: ModelFailed, where: Where) -> Fault:
    """ModelError 424: a container's own status never reaches the client as a status."""
    container, region = where.container or "primary", where.region
    said = error.body.decode("utf-8", "replace") if error.body else str(error)
    if error.status == 0:
        said = (
            f"Your invocation timed out while waiting for a response from container {container}. Review the latency"
            " metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
        )
    if len(said) > MAX_ORIGINAL_CHARS:
        said = f"{said[:MAX_ORIGINAL_CHARS]}... ({len(said) - MAX_ORIGINAL_CHARS} more characters)"
    client = 400 <= error.status < 500
    group = f"/aws/sagemaker/Endpoints/{where.endpoint}"
    message = (
        f'Received {"client" if client else "server"} error ({error.status}) from {container} with message "{said}".'
        f" See https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
        f" in account {where.account} for more information. (On trimtab: `trimtab logs {where.endpoint}`.)"
    )
    extra = {
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if client else "INTERNAL_FAILURE_FROM_MODEL",
        "LogStreamArn": f"arn:{partition_of(region)}:logs:{region}:{where.account}:log-group:{group}",
        "OriginalMessage": said,
        "OriginalStatusCode": error.status,
    }
    return Fault(code="ModelError", message=message, status=424, extra=extra)

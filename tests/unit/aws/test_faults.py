"""Errors as each service tells them, read by botocore."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import wire_halves

from trimtab.aws import denials
from trimtab.aws.fault_shapes import error_response, runtime_error_response
from trimtab.aws.faults import MAX_ORIGINAL_CHARS, Where, fault_of
from trimtab.aws.protocols.errors import ConstraintsFailed, Malformed, Part, UnknownOperation
from trimtab.aws.registry import AwsError
from trimtab.errors import (
    AlreadyExists,
    Broken,
    Denied,
    InUse,
    Invalid,
    LimitExceeded,
    ModelFailed,
    NoCapacity,
    NotFound,
    NotReady,
    NotSupported,
    QueueFull,
    ReplicaLost,
    TooLarge,
    TrimtabError,
    Unavailable,
)

PROTOCOLS = {"sagemaker": "json", "sagemaker-runtime": "rest-json", "s3": "rest-xml", "sts": "query", "iam": "query"}
ARN = "arn:aws:sagemaker:us-east-1:111122223333:"


def where(service: str, **more: Any) -> Where:
    protocol = PROTOCOLS.get(service, "json")
    return Where(service=service, protocol=protocol, request_id="r-1", account="111122223333", **more)


def told(error: Exception, service: str, **more: Any) -> tuple[int, str, str]:
    """Status, code and message as boto3 reads them."""
    at = where(service, **more)
    response = error_response(error, at)
    parsed = wire_halves.error(response, at.protocol)
    assert parsed["ResponseMetadata"]["RequestId"] == "r-1"
    return response.status, parsed["Error"]["Code"], parsed["Error"]["Message"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotFound("endpoint", "e"), f'Could not find endpoint "{ARN}endpoint/e".'),
        (NotFound("endpoint-config", "c"), f'Could not find endpoint configuration "{ARN}endpoint-config/c".'),
        (NotFound("model", "m"), f'Could not find model "{ARN}model/m".'),
        (AlreadyExists("endpoint", "e"), f'Cannot create already existing endpoint "{ARN}endpoint/e".'),
        (
            AlreadyExists("endpoint-config", "c"),
            f'Cannot create already existing endpoint configuration "{ARN}endpoint-config/c".',
        ),
        (AlreadyExists("model", "m"), f'Cannot create already existing model "{ARN}model/m".'),
        (InUse("endpoint", "e"), f'Cannot update in-progress endpoint "{ARN}endpoint/e".'),
        (NotFound("variant", "v"), 'The variant name(s) "v" is/are not present within endpoint configuration.'),
        (Invalid("no."), "no."),
    ],
)
def test_the_control_plane_speaks_awss_sentences(error: TrimtabError, message: str) -> None:
    assert told(error, "sagemaker") == (400, "ValidationException", message)


@pytest.mark.parametrize(
    ("error", "service", "status", "code"),
    [
        (LimitExceeded("x"), "sagemaker", 400, "ResourceLimitExceeded"),
        (NotFound("thing", "t"), "sagemaker", 400, "ResourceNotFound"),
        (Malformed("x"), "sagemaker", 400, "SerializationException"),
        (UnknownOperation("x"), "sagemaker", 400, "UnknownOperationException"),
        (NotSupported("sagemaker:CreateApp"), "sagemaker", 400, "UnsupportedOperationException"),
        (TooLarge("x", limit_bytes=1), "sagemaker", 413, "RequestEntityTooLargeException"),
        (Unavailable("x"), "sagemaker", 503, "ServiceUnavailable"),
        (Broken("x"), "sagemaker", 500, "InternalFailure"),
        (KeyError("x"), "sagemaker", 500, "InternalFailure"),
        (Invalid("x"), "iam", 400, "ValidationError"),
        (Malformed("x"), "sts", 400, "MalformedInput"),
        (UnknownOperation("x"), "sts", 400, "InvalidAction"),
        (NotFound("role", "r"), "iam", 404, "NoSuchEntity"),
        (NotSupported("iam:CreateUser"), "iam", 400, "UnsupportedOperation"),
        (Broken("x"), "iam", 500, "InternalFailure"),
        (NotFound("bucket", "b"), "s3", 404, "NoSuchBucket"),
        (NotFound("object", "k"), "s3", 404, "NoSuchKey"),
        (NotFound("upload", "u"), "s3", 404, "NoSuchUpload"),
        (NotFound("version", "v"), "s3", 404, "NoSuchVersion"),
        (AlreadyExists("bucket", "b"), "s3", 409, "BucketAlreadyOwnedByYou"),
        (InUse("bucket", "b"), "s3", 409, "BucketNotEmpty"),
        (Malformed("x", Part.BODY), "s3", 400, "MalformedXML"),
        (Malformed("x", Part.URI), "s3", 400, "InvalidURI"),
        (ConstraintsFailed(["x"], Part.ARGUMENT), "s3", 400, "InvalidArgument"),
        (ConstraintsFailed(["x"], Part.BODY), "s3", 400, "MalformedXML"),
        (UnknownOperation("x"), "s3", 405, "MethodNotAllowed"),
        (NotSupported("s3:PutBucketWebsite"), "s3", 501, "NotImplemented"),
        (TooLarge("x", limit_bytes=1), "s3", 400, "EntityTooLarge"),
        (Unavailable("x"), "s3", 503, "ServiceUnavailable"),
        (Broken("x"), "s3", 500, "InternalError"),
        (NotFound("endpoint", "e"), "sagemaker-runtime", 400, "ValidationError"),
        (Invalid("x"), "sagemaker-runtime", 400, "ValidationError"),
        (NotReady("x"), "sagemaker-runtime", 429, "ModelNotReadyException"),
        (QueueFull("x"), "sagemaker-runtime", 400, "ThrottlingException"),
        (NoCapacity("x"), "sagemaker-runtime", 503, "ServiceUnavailable"),
        (ReplicaLost("x"), "sagemaker-runtime", 503, "ServiceUnavailable"),
        (TooLarge("x", limit_bytes=1), "sagemaker-runtime", 413, "413"),
        (Broken("x"), "sagemaker-runtime", 500, "InternalFailure"),
        (NotFound("log-group", "g"), "logs", 400, "ResourceNotFoundException"),
        (NotFound("target", "t"), "application-autoscaling", 400, "ObjectNotFoundException"),
    ],
)
def test_each_service_has_its_own_code_for_the_same_failure(
    error: Exception, service: str, status: int, code: str
) -> None:
    assert told(error, service)[:2] == (status, code)


def test_what_is_our_fault_never_shows_its_text() -> None:
    for service in PROTOCOLS:
        for error in (Broken("secret"), RuntimeError("secret")):
            assert "secret" not in told(error, service)[2]


def test_try_again_later_says_when() -> None:
    fault = fault_of(NoCapacity("full", retry_after_s=1.2), where("sagemaker-runtime"))
    assert fault.headers == (("Retry-After", "2"),)


@pytest.mark.parametrize("denial", sorted(denials.CODES))
@pytest.mark.parametrize("service", [*PROTOCOLS, "sqs"])
def test_every_denial_has_a_name_in_every_service(denial: str, service: str) -> None:
    status, code, message = told(Denied("why", code=denial), service)
    assert status in (400, 403)
    assert code
    assert message


@pytest.mark.parametrize(
    ("denial", "json_code", "query_code", "s3_code"),
    [
        (denials.INVALID_SIGNATURE, "InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch"),
        (denials.UNKNOWN_KEY, "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"),
        (denials.MISSING_TOKEN, "MissingAuthenticationTokenException", "MissingAuthenticationToken", "AccessDenied"),
        (denials.SKEW, "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed"),
        (denials.ACCESS_DENIED, "AccessDeniedException", "AccessDenied", "AccessDenied"),
    ],
)
def test_a_denial_is_named_by_protocol(denial: str, json_code: str, query_code: str, s3_code: str) -> None:
    error = Denied("why", code=denial)
    assert told(error, "sagemaker")[:2] == (400, json_code)
    assert told(error, "sagemaker-runtime")[:2] == (403, json_code)
    assert told(error, "sts")[:2] == (403, query_code)
    assert told(error, "s3")[:2] == (403, s3_code)


def test_s3_tells_a_malformed_presigned_url_from_a_malformed_header() -> None:
    error = Denied("why", code=denials.INCOMPLETE_SIGNATURE)
    assert told(error, "s3")[:2] == (400, "AuthorizationHeaderMalformed")
    assert told(error, "s3", presigned=True)[:2] == (400, "AuthorizationQueryParametersError")


def test_an_aws_error_goes_out_as_it_is() -> None:
    error = AwsError(
        "PreconditionFailed", "At least one", 412, extra={"Condition": "If-Match"}, headers=[("ETag", "x")]
    )
    response = error_response(error, where("s3", resource="/b/k<&>"))
    parsed = wire_halves.error(response, "rest-xml")
    assert parsed["Error"] == {
        "Code": "PreconditionFailed",
        "Message": "At least one",
        "Condition": "If-Match",
        "Resource": "/b/k<&>",
    }
    assert ("ETag", "x") in response.headers


def test_a_head_request_and_304_have_no_body() -> None:
    response = error_response(NotFound("object", "k"), where("s3", head=True))
    assert (response.status, response.body) == (404, b"")
    assert wire_halves.error(response, "rest-xml")["Error"] == {"Code": "404", "Message": "Not Found"}
    assert error_response(AwsError("NotModified", status=304), where("s3")).body == b""


def test_a_service_of_the_query_days_keeps_its_old_codes_beside_the_new() -> None:
    at = where(
        "sqs", query_compatible=True, error_shapes={"AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist"}
    )
    parsed = wire_halves.error(error_response(NotFound("queue", "q"), at), "json")
    assert parsed["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert parsed["Error"]["QueryErrorCode"] == "QueueDoesNotExist"
    assert parsed["Error"]["Type"] == "Sender"


def test_text_that_no_document_can_hold_does_not_break_the_answer() -> None:
    for service in PROTOCOLS:
        assert told(Invalid("a\x00b\ud800c"), service)[2]


# --- invocations ---------------------------------------------------------------------------------------------------


def invoked(error: Exception, **more: str) -> dict[str, Any]:
    response = runtime_error_response(
        error, endpoint="ep", region="eu-west-1", account="111122223333", request_id="r-1", **more
    )
    assert ("x-amzn-RequestId", "r-1") in response.headers
    assert isinstance(response.body, bytes)
    return {"status": response.status, **json.loads(response.body)}


def test_a_models_4xx_is_a_424_with_what_it_said() -> None:
    answer = invoked(ModelFailed("x", status=400, body=b'{"error": "bad row"}'))
    assert answer["status"] == 424
    assert answer["ErrorCode"] == "CLIENT_ERROR_FROM_MODEL"
    assert answer["OriginalStatusCode"] == 400
    assert answer["OriginalMessage"] == '{"error": "bad row"}'
    assert answer["LogStreamArn"] == "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/Endpoints/ep"
    assert answer["Message"].startswith(
        'Received client error (400) from primary with message "{"error": "bad row"}". See https://eu-west-1.console.'
        "aws.amazon.com/cloudwatch/home?region=eu-west-1#logEventViewer:group=/aws/sagemaker/Endpoints/ep in account"
        " 111122223333 for more information."
    )


def test_a_models_5xx_and_its_container_are_named() -> None:
    answer = invoked(ModelFailed("it raised", status=503), container="second")
    assert answer["ErrorCode"] == "INTERNAL_FAILURE_FROM_MODEL"
    assert answer["Message"].startswith('Received server error (503) from second with message "it raised".')


def test_a_model_that_took_too_long_has_status_0() -> None:
    answer = invoked(ModelFailed("late", status=0))
    assert answer["OriginalStatusCode"] == 0
    assert 'error (0) from primary with message "Your invocation timed out while waiting' in answer["Message"]


def test_what_a_model_says_is_cut_to_a_sane_length() -> None:
    answer = invoked(ModelFailed("x", status=500, body=b"\xff" * 10**6))
    assert len(answer["OriginalMessage"]) < MAX_ORIGINAL_CHARS + 100
    assert "more characters" in answer["OriginalMessage"]


def test_an_unknown_endpoint_is_named_with_its_account() -> None:
    answer = invoked(NotFound("endpoint", "ep"))
    assert answer == {"status": 400, "Message": "Endpoint ep of account 111122223333 not found."}


def test_gateways_pay_for_no_service_models() -> None:
    code = "import sys, trimtab.aws.fault_shapes, trimtab.aws.eventstream, trimtab.aws.permissions;" + (
        "print(any(m.split('.')[0] in ('botocore', 'sqlalchemy', 'numpy') for m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"

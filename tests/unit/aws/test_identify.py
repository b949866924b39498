"""Which operation a request means, by whatever it says of itself."""

from __future__ import annotations

import pytest

from trimtab.aws.http import BytesBody, Headers, HttpRequest
from trimtab.aws.identify import Identifier, Target, signed_service
from trimtab.aws.protocols.errors import Malformed, UnknownOperation
from trimtab.aws.services import SERVICES, Services

IDENTIFIER = Identifier(Services(dict.fromkeys(SERVICES, ())))
FORM = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")


def request(method: str, path: str, *headers: tuple[str, str], scope: str = "", form: str = "") -> HttpRequest:
    raw_path, _, query = path.partition("?")
    pairs = [*headers]
    if scope:
        pairs.append(("authorization", f"AWS4-HMAC-SHA256 Credential=K/20260101/r/{scope}/aws4_request, Signature=0"))
    if form:
        pairs.append(FORM)
    return HttpRequest(
        method=method, raw_path=raw_path, query=query, headers=Headers(pairs), body=BytesBody(form.encode())
    )


def identified(request: HttpRequest, form: str = "") -> Target:
    return IDENTIFIER.operation_of(IDENTIFIER.service_of(request), request, form.encode())


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/", "ListBuckets"),
        ("GET", "/?x-id=ListBuckets", "ListBuckets"),
        ("PUT", "/b", "CreateBucket"),
        ("PUT", "/b/", "CreateBucket"),
        ("HEAD", "/b", "HeadBucket"),
        ("GET", "/b", "ListObjects"),
        ("GET", "/b?prefix=a&delimiter=%2F", "ListObjects"),
        ("GET", "/b?list-type=2&prefix=", "ListObjectsV2"),
        ("GET", "/b?list-type=3", "ListObjects"),
        ("GET", "/b?versions", "ListObjectVersions"),
        ("GET", "/b?versioning", "GetBucketVersioning"),
        ("GET", "/b?location", "GetBucketLocation"),
        ("GET", "/b?uploads", "ListMultipartUploads"),
        ("GET", "/b?lifecycle", "GetBucketLifecycleConfiguration"),
        ("POST", "/b?delete", "DeleteObjects"),
        ("DELETE", "/b", "DeleteBucket"),
        ("GET", "/b/k", "GetObject"),
        ("GET", "/b/k?versionId=1&x-id=GetObject", "GetObject"),
        ("GET", "/b/k?uploadId=1", "ListParts"),
        ("GET", "/b/k?tagging", "GetObjectTagging"),
        ("GET", "/b/k?attributes", "GetObjectAttributes"),
        ("HEAD", "/b/k", "HeadObject"),
        ("PUT", "/b/k", "PutObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ("DELETE", "/b/k", "DeleteObject"),
    ],
)
def test_s3_operations_are_told_by_method_path_and_subresource(method: str, path: str, operation: str) -> None:
    target = identified(request(method, path, scope="s3"))
    assert (target.service, target.operation) == ("s3", operation)
    assert identified(request(method, path)).operation == operation, "S3 is what remains of unsigned requests"


def test_a_copy_is_told_by_its_header() -> None:
    source = ("x-amz-copy-source", "/a/b")
    assert identified(request("PUT", "/b/k", source)).operation == "CopyObject"
    assert identified(request("PUT", "/b/k?partNumber=1&uploadId=u", source)).operation == "UploadPartCopy"


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("/b/k", {"Bucket": "b", "Key": "k"}),
        ("/b/a/b/c", {"Bucket": "b", "Key": "a/b/c"}),
        ("/b//a", {"Bucket": "b", "Key": "/a"}),
        ("/b/a%20%2B%E6%BC%A2+", {"Bucket": "b", "Key": "a +漢+"}),
        ("/b/../k", {"Bucket": "b", "Key": "../k"}),
    ],
)
def test_keys_are_decoded_once_and_not_normalised(path: str, labels: dict[str, str]) -> None:
    assert identified(request("GET", path)).labels == labels


@pytest.mark.parametrize("host", ["my-bucket.localhost:7070", "my-bucket.s3.localhost", "MY-BUCKET.localhost"])
def test_a_bucket_may_stand_in_the_host_name(host: str) -> None:
    assert identified(request("GET", "/k", ("host", host))).labels == {"Bucket": "my-bucket", "Key": "k"}
    assert identified(request("GET", "/", ("host", host))).operation == "ListObjects"


@pytest.mark.parametrize("host", ["localhost:7070", "s3.localhost", "127.0.0.1:7070", "[::1]:7070"])
def test_other_host_names_leave_the_bucket_in_the_path(host: str) -> None:
    assert identified(request("GET", "/b", ("host", host))).labels == {"Bucket": "b"}


@pytest.mark.parametrize("path", ["/b/%ff", "/%ff", "/b?prefix=%ff"])
def test_a_path_or_query_that_is_not_utf8_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        identified(request("GET", path))


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/b/k"), ("POST", "/b"), ("OPTIONS", "/"), ("DELETE", "/")])
def test_what_s3_does_not_know_is_not_allowed(method: str, path: str) -> None:
    with pytest.raises(UnknownOperation, match="not allowed"):
        identified(request(method, path))


def test_json_services_are_told_by_their_target() -> None:
    target = identified(request("POST", "/", ("x-amz-target", "SageMaker.CreateModel")))
    assert (target.service, target.protocol, target.operation) == ("sagemaker", "json", "CreateModel")
    target = identified(request("POST", "/", ("x-amz-target", "GraniteServiceVersion20100801.PutMetricData")))
    assert (target.service, target.protocol) == ("cloudwatch", "json")


@pytest.mark.parametrize("target", ["SageMaker.CreateModle", "SageMaker.", "SageMaker", "Nobody.CreateModel", "."])
def test_a_target_that_aws_does_not_have_is_unknown(target: str) -> None:
    with pytest.raises(UnknownOperation):
        identified(request("POST", "/", ("x-amz-target", target)))


def test_a_json_operation_takes_post_and_needs_its_target() -> None:
    with pytest.raises(UnknownOperation, match="takes POST"):
        identified(request("GET", "/", ("x-amz-target", "SageMaker.CreateModel")))
    with pytest.raises(UnknownOperation, match="X-Amz-Target"):
        identified(request("POST", "/", scope="sagemaker"))


@pytest.mark.parametrize("scope", ["", "sagemaker"])
@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/endpoints/e/invocations", "InvokeEndpoint"),
        ("/endpoints/e/invocations-response-stream", "InvokeEndpointWithResponseStream"),
        ("/endpoints/e/async-invocations", "InvokeEndpointAsync"),
    ],
)
def test_invocations_are_told_by_their_path(path: str, operation: str, scope: str) -> None:
    target = identified(request("POST", path, scope=scope))
    assert (target.service, target.operation, target.labels) == (
        "sagemaker-runtime",
        operation,
        {"EndpointName": "e"},
    )


def test_a_bucket_named_endpoints_is_a_bucket_for_who_signs_for_s3() -> None:
    assert identified(request("GET", "/endpoints/e/invocations")).operation == "GetObject"
    assert identified(request("PUT", "/endpoints/e/invocations", scope="s3")).operation == "PutObject"


def test_metrics_of_sagemaker_have_their_own_path() -> None:
    assert identified(request("PUT", "/BatchPutMetrics", scope="sagemaker")).service == "sagemaker-metrics"
    assert identified(request("PUT", "/BatchPutMetrics")).service == "sagemaker-metrics"


@pytest.mark.parametrize(
    ("scope", "form", "service", "operation"),
    [
        ("sts", "Action=GetCallerIdentity&Version=2011-06-15", "sts", "GetCallerIdentity"),
        ("iam", "Action=GetRole&Version=2010-05-08", "iam", "GetRole"),
        ("", "Action=GetRole&Version=2010-05-08", "iam", "GetRole"),
        ("", "Action=GetCallerIdentity", "sts", "GetCallerIdentity"),
        ("monitoring", "Action=PutMetricData&Version=2010-08-01", "cloudwatch", "PutMetricData"),
        ("sqs", "Action=SendMessage&Version=2012-11-05", "sqs", "SendMessage"),
        ("sns", "Action=Publish&Version=2010-03-31", "sns", "Publish"),
    ],
)
def test_query_services_are_told_by_scope_or_version_and_action(
    scope: str, form: str, service: str, operation: str
) -> None:
    target = identified(request("POST", "/", scope=scope, form=form), form)
    assert (target.service, target.protocol, target.operation) == (service, "query", operation)


def test_a_query_request_may_come_by_get() -> None:
    target = identified(request("GET", "/?Action=GetRole&Version=2010-05-08&RoleName=r"))
    assert (target.service, target.operation) == ("iam", "GetRole")


@pytest.mark.parametrize("form", ["Action=Nope", "Version=2011-06-15", "x", "Action=%41%"])
def test_an_action_that_aws_does_not_have_is_unknown(form: str) -> None:
    with pytest.raises(UnknownOperation, match="Could not find operation"):
        identified(request("POST", "/", scope="sts", form=form), form)


def test_a_form_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(Malformed):
        identified(request("POST", "/", scope="sts", form="Action=%ff"), "Action=%ff")


def test_the_service_is_read_from_a_presigned_url_too() -> None:
    credential = "X-Amz-Credential=K%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
    assert signed_service(request("GET", f"/b/k?X-Amz-Algorithm=x&{credential}")) == "s3"
    assert signed_service(request("GET", "/b/k?X-Amz-Credential=nonsense")) == ""
    assert signed_service(request("GET", "/b/k")) == ""


def test_a_service_that_trimtab_does_not_know_is_named() -> None:
    target = IDENTIFIER.service_of(request("POST", "/", ("x-amz-target", "DynamoDB_20120810.Scan"), scope="dynamodb"))
    assert (target.service, target.known, target.protocol) == ("dynamodb", False, "json")

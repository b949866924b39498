"""A handler's result to an HTTP response of any protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from trimtab.aws import eventstream
from trimtab.aws.http import HttpResponse
from trimtab.aws.protocols import cborbody, jsonbody, old_sqs, xmlbody
from trimtab.aws.protocols.bindings import has_body_members, write_located
from trimtab.aws.services import Operation, Service

S3_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"

# The root elements of S3's answers, which the model does not name. Source: the S3 API reference, per operation.
_S3_ROOTS: Final = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListPartsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CopyObject": "CopyObjectResult",
    "UploadPartCopy": "CopyPartResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesOutput",
    "GetObjectTagging": "Tagging",
}


def serialize(
    service: Service, operation: Operation, protocol: str, result: Mapping[str, Any], request_id: str
) -> HttpResponse:
    """The response that says `result`. Raises ValueError or TypeError when the model does not know what is in it."""
    if protocol == "cbor":
        return _cbor(operation, result)
    if protocol == "json":
        return _json(service, operation, result)
    if protocol == "query":
        return _query(service, operation, result, request_id)
    return _rest(service, operation, protocol, result)


def _json(service: Service, operation: Operation, result: Mapping[str, Any]) -> HttpResponse:
    content_type = f"application/x-amz-json-{service.json_version}"
    if operation.output is None:
        if result:
            raise ValueError(f"{operation.name} has no output, but its handler returned {sorted(result)}")
        return HttpResponse(headers=[("Content-Type", content_type)])
    return HttpResponse(headers=[("Content-Type", content_type)], body=jsonbody.dump(operation.output, result))


def _cbor(operation: Operation, result: Mapping[str, Any]) -> HttpResponse:
    headers = [("Content-Type", cborbody.CONTENT_TYPE), ("smithy-protocol", "rpc-v2-cbor")]
    if operation.output is None:
        if result:
            raise ValueError(f"{operation.name} has no output, but its handler returned {sorted(result)}")
        return HttpResponse(headers=headers)
    return HttpResponse(headers=headers, body=cborbody.dump(operation.output, result))


def _query(service: Service, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    writer = xmlbody.Writer()
    response = f"{operation.name}Response"
    writer.open(response, {"xmlns": service.xml_namespace} if service.xml_namespace else {})
    if service.name == "sqs":
        _old_sqs(writer, operation, result)
    elif operation.output is not None:
        wrapper = operation.result_wrapper or f"{operation.name}Result"
        writer.open(wrapper)
        writer.structure(operation.output, result)
        writer.close(wrapper)
    elif result:
        raise ValueError(f"{operation.name} has no output, but its handler returned {sorted(result)}")
    writer.open("ResponseMetadata")
    writer.element("RequestId", request_id)
    writer.close("ResponseMetadata")
    writer.close(response)
    return HttpResponse(headers=[("Content-Type", "text/xml")], body=writer.document())


def _old_sqs(writer: xmlbody.Writer, operation: Operation, result: Mapping[str, Any]) -> None:
    if operation.output is not None:
        writer.open(f"{operation.name}Result")
        old_sqs.write(writer, operation.name, result)
        writer.close(f"{operation.name}Result")


def _rest(service: Service, operation: Operation, protocol: str, result: Mapping[str, Any]) -> HttpResponse:
    shape = operation.output
    if shape is None:
        if result:
            raise ValueError(f"{operation.name} has no output, but its handler returned {sorted(result)}")
        return HttpResponse(status=operation.status)
    unknown = result.keys() - shape.members.keys()
    if unknown:
        raise ValueError(f"{shape.name} has no members {sorted(unknown)}")
    status, headers = write_located(shape, result)
    body, content_type = _body(service, operation, protocol, result)
    if content_type and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", content_type))
    return HttpResponse(status=status or operation.status, headers=headers, body=body)


def _body(
    service: Service, operation: Operation, protocol: str, result: Mapping[str, Any]
) -> tuple[bytes | AsyncIterator[bytes], str]:
    shape = operation.output
    assert shape is not None
    if operation.method == "HEAD":
        return b"", ""
    if shape.payload:
        member = shape.members[shape.payload]
        value = result.get(shape.payload)
        if member.shape.eventstream:
            return value if value is not None else b"", eventstream.CONTENT_TYPE
        if member.shape.type in ("blob", "string"):
            body = value.encode() if isinstance(value, str) else value if value is not None else b""
            return body, "binary/octet-stream" if service.name == "s3" else "application/octet-stream"
        if value is None:
            return b"", ""
        if protocol == "rest-json":
            return jsonbody.dump(member.shape, value), "application/json"
        root = _S3_ROOTS.get(operation.name, member.wire_name)
        return _xml(service, root, member.shape, value)
    if not has_body_members(shape):
        return b"", ""
    if protocol == "rest-json":
        return jsonbody.dump(shape, result, skip_located=True), "application/json"
    if service.name == "s3" and operation.name == "GetBucketLocation":
        return _bucket_location(result), "application/xml"
    return _xml(service, _S3_ROOTS.get(operation.name, operation.name + "Result"), shape, result)


def _xml(service: Service, root: str, shape: Any, value: Mapping[str, Any]) -> tuple[bytes, str]:
    s3 = service.name == "s3"
    namespace = S3_NAMESPACE if s3 else service.xml_namespace
    return xmlbody.dump(root, shape, value, namespace, always_millis=s3), "application/xml"


def _bucket_location(result: Mapping[str, Any]) -> bytes:
    """The one answer whose root element is the member itself; empty for us-east-1."""
    writer = xmlbody.Writer()
    writer.open("LocationConstraint", {"xmlns": S3_NAMESPACE})
    writer.text(result.get("LocationConstraint") or "")
    writer.close("LocationConstraint")
    return writer.document()

"""Faults on the wire: JSON, REST-JSON, query and S3 error bodies. Used by gateways: loads no service model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from trimtab.aws.faults import Fault, Where, fault_of
from trimtab.aws.http import HttpResponse

# Characters that no XML 1.0 document may hold, not even as a reference.
_ILLEGAL_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def error_response(error: BaseException, where: Where) -> HttpResponse:
    """The answer that tells `error` to the caller of `where.service`, request id included."""
    return render(fault_of(error, where), where)


def runtime_error_response(
    error: BaseException,
    *,
    endpoint: str,
    region: str,
    account: str,
    request_id: str,
    container: str = "primary",
) -> HttpResponse:
    """A failed invocation, as sagemaker-runtime tells it."""
    where = Where(
        service="sagemaker-runtime",
        protocol="rest-json",
        request_id=request_id,
        region=region,
        account=account,
        endpoint=endpoint,
        container=container,
    )
    return error_response(error, where)


def render(fault: Fault, where: Where) -> HttpResponse:
    """`fault` in the shape of `where.protocol`."""
    headers = [*request_id_headers(where.service, where.request_id), *fault.headers]
    if where.head or fault.status == 304 or fault.status < 200:
        return HttpResponse(status=fault.status, headers=headers)
    if where.protocol == "query":
        body, content_type = _query(fault, where), "text/xml"
    elif where.protocol == "rest-xml":
        body, content_type = _s3(fault, where), "application/xml"
    elif where.protocol == "rest-json":
        body, content_type = _rest_json(fault, where), "application/json"
        if fault.code:
            headers.append(("x-amzn-ErrorType", fault.code))
    else:
        if where.protocol == "cbor":
            body, content_type = _cbor(fault, where), "application/cbor"
            headers.append(("smithy-protocol", "rpc-v2-cbor"))
        else:
            body, content_type = _json(fault, where), f"application/x-amz-json-{where.json_version}"
        if where.query_compatible:
            side = "Sender" if fault.status < 500 else "Receiver"
            headers.append(("x-amzn-query-error", f"{fault.code};{side}"))
    return HttpResponse(status=fault.status, headers=[*headers, ("Content-Type", content_type)], body=body)


def request_id_headers(service: str, request_id: str) -> list[tuple[str, str]]:
    """The header that carries the request id of every answer."""
    if service == "s3":
        return [("x-amz-request-id", request_id), ("x-amz-id-2", request_id)]
    return [("x-amzn-RequestId", request_id)]


def _json(fault: Fault, where: Where) -> bytes:
    return msgspec.json.encode(_members(fault, where))


def _cbor(fault: Fault, where: Where) -> bytes:
    import cbor2  # gateways, which use this module, have no use for it

    return cbor2.dumps(_members(fault, where))


def _members(fault: Fault, where: Where) -> dict[str, Any]:
    kind = fault.code
    if where.query_compatible:
        kind = f"com.amazonaws.{where.service}#{where.error_shapes.get(fault.code, fault.code)}"
    return {"__type": kind, "message": _encodable(fault.message), **_safe(fault.extra)}


def _rest_json(fault: Fault, where: Where) -> bytes:
    name = "Message" if where.service == "sagemaker-runtime" else "message"
    return msgspec.json.encode({**_safe(fault.extra), name: _encodable(fault.message)})


def _query(fault: Fault, where: Where) -> bytes:
    side = "Sender" if fault.status < 500 else "Receiver"
    namespace = f' xmlns="{escape(where.xml_namespace)}"' if where.xml_namespace else ""
    members = _elements({"Type": side, "Code": fault.code, "Message": fault.message, **fault.extra})
    return (
        f"{_XML}<ErrorResponse{namespace}><Error>{members}</Error>"
        f"{_elements({'RequestId': where.request_id})}</ErrorResponse>"
    ).encode("utf-8", "replace")


def _s3(fault: Fault, where: Where) -> bytes:
    members = {
        "Code": fault.code,
        "Message": fault.message,
        **fault.extra,
        "Resource": where.resource,
        "RequestId": where.request_id,
        "HostId": where.request_id,
    }
    return f"{_XML}<Error>{_elements(members)}</Error>".encode("utf-8", "replace")


def _elements(members: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{escape(_ILLEGAL_XML.sub('�', str(text)))}</{name}>" for name, text in members.items())


def _safe(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _encodable(v) if isinstance(v, str) else v for k, v in extra.items()}


def _encodable(text: str) -> str:
    """`text` without lone surrogates (which undecodable bytes in a path can leave)."""
    return text.encode("utf-8", "replace").decode()

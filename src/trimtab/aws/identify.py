"""Which service and operation a request is for, before anybody has read its body.

Many services share one host. They are told apart, in this order, by X-Amz-Target, by the service that the caller
signed for, by a form body's Action and Version, by paths that only one service has; S3 is what remains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from trimtab.aws.http import HttpRequest
from trimtab.aws.protocols import query
from trimtab.aws.protocols.errors import Part, UnknownOperation
from trimtab.aws.protocols.routes import Router
from trimtab.aws.services import SERVICES, Service, Services

_SCOPE = re.compile(r"Credential=[^/,\s]+/\d*/[^/,\s]*/([^/,\s]+)/")
_PRESIGNED = re.compile(r"(?:^|&)X-Amz-Credential=([^&]*)")
_ACTION = re.compile(r"(?:^|&)Action=")
_RUNTIME_PATH = re.compile(r"/endpoints/[^/]+/(async-)?invocations(-response-stream)?/?")
_CBOR_PATH = re.compile(r"/service/([^/]{1,100})/operation/([^/]{1,100})")
_BY_TARGET: Final = {known.target_prefix: name for name, known in SERVICES.items() if known.target_prefix}
_BY_VERSION: Final = {
    known.api_version: name for name, known in SERVICES.items() if name in ("sts", "iam", "cloudwatch", "sqs", "sns")
}
_LOCAL_HOST = ".localhost"


class Target(Struct, kw_only=True):
    """What a request addresses. `operation` is empty until the form body of a query request has been read."""

    service: str
    protocol: str
    operation: str = ""
    labels: Mapping[str, str] = {}
    query_pairs: Sequence[tuple[str, str]] = ()  # decoded; the form's fields for query requests

    @property
    def known(self) -> bool:
        """Whether trimtab has a model of the service. `service` is the name that the caller signed for otherwise."""
        return self.service in SERVICES


class Identifier:
    """Identifies requests to the services of AWS that trimtab knows of, served or not."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routers: dict[str, Router] = {}

    def service_of(self, request: HttpRequest) -> Target:
        """Service and protocol, by the head alone. Never raises: what nothing else claims is S3's."""
        scope = signed_service(request)
        if scope and not _by_signing_name(scope):
            return Target(service=scope, protocol=_guessed_protocol(request))
        if match := _CBOR_PATH.fullmatch(request.raw_path) if _is_cbor(request) else None:
            return Target(service=_BY_TARGET.get(match[1], match[1]), protocol="cbor", operation=match[2])
        if name := request.headers.get("x-amz-target"):
            prefix, _, operation = name.partition(".")
            return Target(service=_BY_TARGET.get(prefix, "sagemaker"), protocol="json", operation=operation or name)
        if scope == "sagemaker" or (not scope and _is_sagemaker_path(request)):
            return _sagemaker(request)
        if _is_form(request) and scope != "s3":
            return Target(service=_by_signing_name(scope) or _by_version(request), protocol="query")
        service = _by_signing_name(scope) or "s3"
        return Target(service=service, protocol=self._services.get(service).protocol)

    def operation_of(self, target: Target, request: HttpRequest, form: bytes = b"") -> Target:
        """`target` with its operation. `form` is the body of a query request.

        Raises UnknownOperation, and Malformed when path or form are not what they claim to be.
        """
        if target.protocol == "query":
            return self._query(target, request, form)
        if target.protocol == "json":
            return self._json(target, request)
        if target.protocol == "cbor":
            return self._cbor(target, request)
        pairs = query.fields(request.query, Part.ARGUMENT)
        match = self._router(target.service).match(
            request.method, _path(target.service, request), dict(pairs), request.headers
        )
        if match is None:
            if target.service == "s3":
                raise UnknownOperation("The specified method is not allowed against this resource.")
            raise UnknownOperation(f"{target.service} has no operation at {request.method} {_shown(request)}.")
        return Target(
            service=target.service,
            protocol=target.protocol,
            operation=match.operation,
            labels=match.labels,
            query_pairs=pairs,
        )

    def _json(self, target: Target, request: HttpRequest) -> Target:
        service = self._service(target.service)
        prefix, _, operation = request.headers.get("x-amz-target").partition(".")
        if not prefix:
            raise UnknownOperation(
                f"{target.service} names its operation in the header X-Amz-Target, which this request does not have."
            )
        if request.method != "POST":
            raise UnknownOperation(f"{target.service} takes POST, not {request.method[:20]}.")
        if prefix != service.target_prefix or operation not in service.names:
            raise UnknownOperation(f"AWS has no operation {(prefix + '.' + operation)[:200]!r}.")
        return target

    def _cbor(self, target: Target, request: HttpRequest) -> Target:
        if request.method != "POST" or target.operation not in self._service(target.service).names:
            raise UnknownOperation(f"AWS has no operation {target.operation[:100]!r} of {target.service}.")
        return target

    def _query(self, target: Target, request: HttpRequest, form: bytes) -> Target:
        if request.method not in ("GET", "POST"):
            raise UnknownOperation(f"The query protocol takes GET and POST, not {request.method[:20]}.")
        pairs = query.form(form) if request.method == "POST" else query.fields(request.query, Part.ARGUMENT)
        if request.method == "POST" and request.query:
            pairs = query.fields(request.query, Part.ARGUMENT) + pairs
        values = dict(pairs)
        service = target.service
        if not signed_service(request):
            service = _BY_VERSION.get(values.get("Version", ""), service)
        action = values.get("Action", "")
        version = values.get("Version", "")
        names = self._service(service).names
        if action not in names:
            raise UnknownOperation(
                f"Could not find operation {action[:100]} for version {version[:30] or 'NO_VERSION'}"
            )
        return Target(service=service, protocol="query", operation=action, query_pairs=pairs)

    def _service(self, name: str) -> Service:
        return self._services.get(name)

    def _router(self, name: str) -> Router:
        router = self._routers.get(name)
        if router is None:
            router = self._routers[name] = Router(self._service(name))
        return router


def signed_service(request: HttpRequest) -> str:
    """The service in the credential scope of the Authorization header or the presigned URL; empty when unsigned."""
    match = _SCOPE.search(request.headers.get("authorization"))
    if match:
        return match.group(1)
    presigned = _PRESIGNED.search(request.query)
    parts = unquote(presigned.group(1)).split("/") if presigned else []
    return parts[3] if len(parts) == 5 else ""


def _by_signing_name(scope: str) -> str:
    return next((name for name, known in SERVICES.items() if known.signing_name == scope), "")


def _sagemaker(request: HttpRequest) -> Target:
    """Three services are signed as `sagemaker`; the path tells two of them."""
    if request.raw_path.startswith("/endpoints/"):
        return Target(service="sagemaker-runtime", protocol="rest-json")
    if request.raw_path in ("/BatchPutMetrics", "/BatchGetMetrics"):
        return Target(service="sagemaker-metrics", protocol="rest-json")
    return Target(service="sagemaker", protocol="json")


def _guessed_protocol(request: HttpRequest) -> str:
    if "x-amz-target" in request.headers:
        return "json"
    return "query" if _is_form(request) else "rest-json"


def _is_cbor(request: HttpRequest) -> bool:
    return request.headers.get("smithy-protocol") == "rpc-v2-cbor"


def _is_form(request: HttpRequest) -> bool:
    if request.method == "POST":
        return query.is_form(request.headers.get("content-type"))
    return request.method == "GET" and request.raw_path == "/" and _ACTION.search(request.query) is not None


def _by_version(request: HttpRequest) -> str:
    """The service of an unsigned query request sent by GET; a form body's Version is not known yet."""
    for version, name in _BY_VERSION.items():
        if f"Version={version}" in request.query:
            return name
    return "sts"


def _is_sagemaker_path(request: HttpRequest) -> bool:
    if request.method == "POST":
        return _RUNTIME_PATH.fullmatch(request.raw_path) is not None
    return request.method == "PUT" and request.raw_path == "/BatchPutMetrics"


def _path(service: str, request: HttpRequest) -> str:
    """The path; for S3 with the bucket first also when the bucket is the first part of the host name."""
    if service != "s3":
        return request.raw_path
    host = request.headers.get("host").lower()
    host = host if host.startswith("[") else host.partition(":")[0]
    if not host.endswith(_LOCAL_HOST):
        return request.raw_path
    bucket = host[: -len(_LOCAL_HOST)].removesuffix(".s3")
    return request.raw_path if bucket in ("", "s3") else f"/{bucket}{request.raw_path}"


def _shown(request: HttpRequest) -> str:
    return request.raw_path[:200]

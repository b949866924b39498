"""The request path of the AWS edge in control, as a list: identify, authenticate, authorize, parse, validate, handle,
serialize. Whatever fails on the way becomes an answer in the caller's protocol; no exception leaves it.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from trimtab.aws.apart import LARGE_BYTES, Apart
from trimtab.aws.arns import partition_of, sagemaker_arn
from trimtab.aws.autoscaling import places
from trimtab.aws.fault_shapes import error_response, request_id_headers
from trimtab.aws.faults import OPERATIONS_DOC, Where
from trimtab.aws.http import HttpRequest, HttpResponse
from trimtab.aws.identify import Identifier, Target
from trimtab.aws.logs.naming import endpoint_of
from trimtab.aws.permissions import check_action, check_endpoints
from trimtab.aws.protocols import requests, responses
from trimtab.aws.protocols.validation import validate
from trimtab.aws.registry import Answer, Authenticate, AwsError, Call, Handlers, Result
from trimtab.aws.services import SERVICES, Services
from trimtab.aws.sts import ANONYMOUS, EXECUTION_ROLE
from trimtab.errors import Broken, NotSupported, TrimtabError
from trimtab.logs import fields
from trimtab.resources.routing import AccessKey

_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Dispatcher:
    """Answers AWS calls with the `handlers` (service -> operation -> handler).

    `authenticate(request, service)` proves who calls and gives the body; it raises Denied. Services without handlers
    are known all the same, and answer "not supported". Models are read when a service is called for the first time.
    """

    def __init__(self, handlers: Handlers, authenticate: Authenticate, *, region: str, account: str) -> None:
        self._handlers = handlers
        self._authenticate = authenticate
        self._region = region
        self._account = account
        self._services = Services({name: handlers.get(name, {}).keys() for name in {*SERVICES, *handlers}})
        self._identifier = Identifier(self._services)
        self._apart = Apart("documents")

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request. Raises nothing but cancellation."""
        request_id = str(uuid.uuid4())
        target = self._identifier.service_of(request)
        try:
            return await self._answer(request, target, request_id)
        except (TrimtabError, AwsError) as error:
            if isinstance(error, Broken):
                self._report(target, request_id)
            return self._failed(error, request, target, request_id)
        except Exception as error:  # noqa: BLE001 - a defect of ours: it ends the request, never the server
            self._report(target, request_id)
            return self._failed(error, request, target, request_id)

    async def _answer(self, request: HttpRequest, target: Target, request_id: str) -> HttpResponse:
        if not target.known:
            raise NotSupported(target.service, f"trimtab does not serve {target.service[:60]!r}. {OPERATIONS_DOC} lists"
                               " the services and operations that it does.")  # fmt: skip
        verified = await self._authenticate(request, target.service)
        body = verified.body if target.service == "s3" else await requests.unpacked(verified.body, request.headers)
        document = b""
        if target.protocol in requests.DOCUMENTS and request.method == "POST":
            document = await body.read(requests.MAX_DOCUMENT_BYTES)
        reader = self._apart if len(document) > LARGE_BYTES else _at_once
        self._adopt(target, await reader(self._identifier.operation_of, target, request, document))
        call = Call(
            request=request,
            service=target.service,
            operation=target.operation,
            request_id=request_id,
            region=self._region,
            account=self._account,
            identity=verified.key,
        )
        caller = self._caller(verified.key)
        check_action(verified.key, target.service, target.operation, caller=caller)
        handler = self._handlers.get(target.service, {}).get(target.operation)
        if handler is None:
            raise _not_supported(target)
        service = self._services.get(target.service)
        operation = service.operations[target.operation]
        if target.protocol in requests.DOCUMENTS:
            params = await reader(
                requests.parse_document, service, operation, target.protocol, document, target.query_pairs
            )
        else:
            params = await requests.parse(
                operation,
                target.protocol,
                body=body,
                labels=target.labels,
                query_pairs=target.query_pairs,
                headers=request.headers,
            )
        self._check_endpoints(call, params, caller)
        if operation.input is not None:
            await reader(validate, operation.input, params)
        result = handler(call, params)
        return await self._serialized(target, await result if inspect.isawaitable(result) else result, request_id)

    async def _serialized(self, target: Target, result: Result, request_id: str) -> HttpResponse:
        service = self._services.get(target.service)
        answer = result if isinstance(result, Answer) else Answer(result=result)
        operation = service.operations[target.operation]
        writer = self._apart if answer.large else _at_once
        response = await writer(responses.serialize, service, operation, target.protocol, answer.result, request_id)
        if answer.status:
            response.status = answer.status
        response.headers.extend([*answer.headers, *request_id_headers(target.service, request_id)])
        return response

    def _failed(self, error: BaseException, request: HttpRequest, target: Target, request_id: str) -> HttpResponse:
        service = self._services.get(target.service) if target.known else None
        where = Where(
            service=target.service,
            protocol=target.protocol,
            request_id=request_id,
            region=self._region,
            account=self._account,
            resource=request.raw_path,
            presigned="authorization" not in request.headers and "Signature=" in request.query,
            head=request.method == "HEAD",
            endpoint=target.labels.get("EndpointName", ""),
        )
        if service is not None:
            where.json_version = service.json_version
            where.query_compatible = service.query_compatible and target.protocol in ("json", "cbor")
            where.error_shapes = service.error_shapes
            where.xml_namespace = service.xml_namespace
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("refused %s", fields(service=target.service, operation=target.operation, reason=str(error)))
        return error_response(error, where)

    def _adopt(self, target: Target, found: Target) -> None:
        """Keep what is known by now in the caller's `target`, so that a later failure can name it."""
        for name in ("service", "operation", "labels", "query_pairs"):
            setattr(target, name, getattr(found, name))

    def _report(self, target: Target, request_id: str) -> None:
        what = fields(service=target.service, operation=target.operation, request_id=request_id)
        _log.exception("a call failed inside trimtab %s", what)

    def _caller(self, key: AccessKey | None) -> str:
        """The ARN of who calls, as STS GetCallerIdentity tells it."""
        session = key.id if key is not None else ANONYMOUS
        return f"arn:{partition_of(self._region)}:sts::{self._account}:assumed-role/{EXECUTION_ROLE}/{session}"

    def _check_endpoints(self, call: Call, params: dict[str, Any], caller: str) -> None:
        if call.identity is None or not call.identity.endpoints:
            return
        prefix = sagemaker_arn(self._region, self._account, "endpoint", "")
        named = [params["EndpointName"]] if isinstance(params.get("EndpointName"), str) else []
        arn = params.get("ResourceArn")
        if isinstance(arn, str) and ":endpoint/" in arn:
            named.append(arn.partition(":endpoint/")[2])
        if call.service == "logs" and (endpoint := endpoint_of(params)) is not None:
            named.append(endpoint)
        if call.service == "application-autoscaling":
            named.extend(places.endpoints_of(params))
        check_endpoints(call.identity, call.service, call.operation, named, caller=caller, arn_prefix=prefix)


async def _at_once(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `Apart`, for what takes a moment."""
    return function(*args, **kwargs)


def _not_supported(target: Target) -> NotSupported:
    return NotSupported(
        f"{target.service}:{target.operation}",
        f"trimtab does not support the operation {target.operation} of {target.service}. {OPERATIONS_DOC} lists what"
        " it supports.",
    )

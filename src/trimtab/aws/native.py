"""trimtab's own JSON API: what AWS's calls do not show. Beside AWS's on the same port, signed like SageMaker's calls.

    GET /_trimtab/v1/health                        who answers
    GET /_trimtab/v1/endpoints                     every endpoint in short
    GET /_trimtab/v1/endpoints/NAME                replicas, start budgets, failures, events with their reasons
    GET /_trimtab/v1/top                           rates, latencies, CPU, memory (aws/native_top.py)
    GET /_trimtab/v1/costs                         what was spent, and on what (aws/native_costs.py)
    GET /_trimtab/v1/endpoints/NAME/logs           log lines as JSON Lines; variant=, replica=, tail=N, follow=true
    GET /_trimtab/v1/endpoints/NAME/scaling        what autoscaling saw and decided (aws/native_scaling.py)
    GET /_trimtab/v1/endpoints/NAME/models         models of a multi-model endpoint; settings of them can be changed
                                                   below it (aws/native_models.py)
    GET /_trimtab/v1/endpoints/NAME/requests       which models were asked when, or what asynchronous requests took
                                                   (aws/native_requests.py)
    GET /_trimtab/v1/endpoints/NAME/queue          queue of an asynchronous endpoint; its tasks, redrive and purge are
                                                   below it (aws/native_queue.py)

Names are snake_case with their units, times are seconds since the epoch. What is not known is left out. Errors are
`{"error": {"code": ..., "message": ...}}` with the code of trimtab's own taxonomy.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec.structs import replace

import trimtab
from trimtab.aws.http import Handler, HttpRequest, HttpResponse
from trimtab.aws.native_costs import cost_query
from trimtab.aws.native_logs import LogFiles, LogLine
from trimtab.aws.native_models import METHODS as MODELS_METHODS
from trimtab.aws.native_models import answer_models
from trimtab.aws.native_queries import READS, Methods
from trimtab.aws.native_queue import METHODS as QUEUE_METHODS
from trimtab.aws.native_queue import answer_queue
from trimtab.aws.native_requests import requests_of
from trimtab.aws.native_scaling import ScalingHistory
from trimtab.aws.native_top import top_query
from trimtab.aws.permissions import check_action, check_endpoints
from trimtab.aws.registry import Authenticate
from trimtab.control.api import ControlApi
from trimtab.control.costs.asking import CostBook
from trimtab.control.fleet import wanted_of
from trimtab.control.hosts.api import ModelsApi
from trimtab.control.queue_desk import QueueDesk
from trimtab.control.top import Overview, Top
from trimtab.errors import Denied, Invalid, NotFound, RequestError, TrimtabError, Unavailable
from trimtab.logs import fields
from trimtab.policies.costs.report import CostReport
from trimtab.resources.endpoint import Endpoint, EndpointView
from trimtab.resources.names import is_name
from trimtab.resources.replica import ReplicaState
from trimtab.resources.routing import AccessKey

PREFIX = "/_trimtab/v1/"
SERVICE = "sagemaker"  # the service that callers sign for
_MAX_TAIL = 1_000_000

_log = logging.getLogger(__name__)


def native_api(
    control: ControlApi,
    overview: Overview,
    authenticate: Authenticate,
    logs: Path,
    about: Mapping[str, str],
    scaling: ScalingHistory | None = None,
    models: ModelsApi | None = None,
    queues: QueueDesk | None = None,
    costs: CostBook | None = None,
) -> Handler:
    """The handler of every path below `PREFIX`. `logs` is `Paths.logs`; `about` (region, ...) is told by `health`.

    Without `scaling`, `models`, `queues` or `costs`, there are no paths for it.
    """
    api = _Api(control, overview, logs, about, scaling, models, queues, costs)

    async def handle(request: HttpRequest) -> HttpResponse:
        try:
            verified = await authenticate(request, SERVICE)
            return await api.answer(replace(request, body=verified.body), verified.key)
        except TrimtabError as error:
            return _failed(error)
        except Exception:  # noqa: BLE001 - a defect of ours: logged, and it ends the request, never the server
            _log.exception("native api failed %s", fields(path=request.raw_path))
            return _json(500, {"error": {"code": "Broken", "message": "trimtab failed; its log on stderr says where."}})

    return handle


class _Api:
    def __init__(
        self,
        control: ControlApi,
        overview: Overview,
        logs: Path,
        about: Mapping[str, str],
        scaling: ScalingHistory | None,
        models: ModelsApi | None,
        queues: QueueDesk | None,
        costs: CostBook | None,
    ) -> None:
        self._control = control
        self._models = models
        self._queues = queues
        self._costs = costs
        self._scaling = scaling
        self._overview = overview
        self._logs = logs
        self._about = about

    async def answer(self, request: HttpRequest, key: AccessKey | None) -> HttpResponse:
        parts = request.path.removeprefix(PREFIX).rstrip("/").split("/")
        if self._models is not None and parts[0] == "endpoints" and parts[2:3] == ["models"]:
            answer = partial(answer_models, self._models)
            return await self._part(parts[1], tuple(parts[3:]), request, key, MODELS_METHODS, answer)
        if self._queues is not None and parts[0] == "endpoints" and parts[2:3] == ["queue"]:
            answer = partial(answer_queue, self._queues)
            return await self._part(parts[1], tuple(parts[3:]), request, key, QUEUE_METHODS, answer)
        if request.method not in READS:
            return _not_allowed(request)
        match parts:
            case ["health"]:
                return _json(200, {"status": "ok", "version": trimtab.__version__, **self._about})
            case ["endpoints"]:
                return self._endpoints(key)
            case ["top"]:
                return await self._top(key, request.query)
            case ["costs"] if self._costs is not None:
                return await self._spent(self._costs, key, request.query)
            case ["endpoints", name]:
                _require(key, "sagemaker", "DescribeEndpoint", name)
                return _json(200, endpoint_document(self._control.get_endpoint(name)))
            case ["endpoints", name, "logs"]:
                _require(key, "logs", "FilterLogEvents", name)
                return self._stream_logs(name, request.query)
            case ["endpoints", name, "requests"] if self._models is not None:
                _require(key, "sagemaker", "DescribeEndpoint", name)
                return _encoded(200, await requests_of(self._models, name, request.query))
            case ["endpoints", name, "scaling", *rest] if self._scaling is not None and rest in ([], ["activities"]):
                _require(key, "application-autoscaling", "DescribeScalingActivities", name)
                return await self._scaled(self._scaling, name, request.query, activities=bool(rest))
        raise NotFound("path", request.path, f"trimtab's API has no {request.path}.")

    async def _part(
        self,
        name: str,
        below: tuple[str, ...],
        request: HttpRequest,
        key: AccessKey | None,
        methods: Methods,
        answer: Callable[[str, tuple[str, ...], HttpRequest], Awaitable[dict[str, Any]]],
    ) -> HttpResponse:
        """What is below a part of an endpoint: who may describe the endpoint reads it, who may update it changes it."""
        reads = request.method in READS
        _require(key, "sagemaker", "DescribeEndpoint" if reads else "UpdateEndpoint", name)
        if request.method not in methods.get(below, READS):
            return _not_allowed(request)
        return _json(200, await answer(name, below, request))

    def _endpoints(self, key: AccessKey | None) -> HttpResponse:
        check_action(key, "sagemaker", "ListEndpoints", caller=_caller(key))  # of those that the key may see
        found = [
            _short(view)
            for endpoint in sorted(self._control.list_endpoints(), key=lambda endpoint: endpoint.name)
            if _sees(key, endpoint.name) and (view := self._view(endpoint)) is not None
        ]
        return _json(200, {"endpoints": found})

    async def _top(self, key: AccessKey | None, query: str) -> HttpResponse:
        asked = top_query(query)
        if asked.endpoint:
            _require(key, "sagemaker", "DescribeEndpoint", asked.endpoint)
        else:
            check_action(key, "sagemaker", "ListEndpoints", caller=_caller(key))
        return _json(200, await self._overview.top(asked, lambda name: _sees(key, name)))

    async def _spent(self, costs: CostBook, key: AccessKey | None, query: str) -> HttpResponse:
        asked = cost_query(query)
        if asked.endpoint:
            _require(key, "sagemaker", "DescribeEndpoint", asked.endpoint)
        else:
            check_action(key, "sagemaker", "ListEndpoints", caller=_caller(key))
        return _json(200, await costs.report(asked, lambda name: _sees(key, name)))

    def _view(self, endpoint: Endpoint) -> EndpointView | None:
        try:
            return self._control.get_endpoint(endpoint.name)
        except NotFound:
            return None  # deleted since it was listed

    def _stream_logs(self, name: str, query: str) -> HttpResponse:
        given = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
        tail = _tail(given["tail"]) if "tail" in given else None
        folder = self._logs / name if is_name(name) else None
        if folder is None or not (folder.is_dir() or self._exists(name)):
            raise NotFound("endpoint", name)
        files = LogFiles(folder, variant=given.get("variant", ""), replica=given.get("replica", ""), tail=tail)
        follow = given.get("follow", "").lower() in ("1", "true", "yes")
        body = _followed(files, lambda: self._exists(name)) if follow else _once(files)
        return HttpResponse(headers=[("Content-Type", "application/x-ndjson")], body=body)

    async def _scaled(self, scaling: ScalingHistory, name: str, query: str, *, activities: bool) -> HttpResponse:
        if activities:
            return _json(200, scaling.activities(name, query, lambda: self._exists(name)))
        body = await scaling.entries(name, query, lambda: self._exists(name))
        return HttpResponse(headers=[("Content-Type", "application/x-ndjson")], body=body)

    def _exists(self, name: str) -> bool:
        try:
            self._control.get_endpoint(name)
        except NotFound:
            return False
        return True


def endpoint_document(view: EndpointView) -> dict[str, Any]:
    """All that is known of an endpoint, as JSON: the stored state, its replicas, its events (newest last)."""
    endpoint = msgspec.to_builtins(replace(view.endpoint, document={}))
    for member in ("document", "revision"):
        del endpoint[member]
    return {
        **{key: value for key, value in endpoint.items() if value not in ("", [], 0.0)},
        "replicas": [_replica(msgspec.to_builtins(status)) for status in view.replicas],
        "events": [
            {key: value for key, value in msgspec.to_builtins(event).items() if value != ""} for event in view.events
        ],
    }


def _replica(status: dict[str, Any]) -> dict[str, Any]:
    budget = {step: seconds for step, seconds in status["budget"].items() if seconds is not None}
    known = {key: value for key, value in status.items() if value is not None}
    return {**known, "budget": budget, "start_s": sum(budget.values())}


def _short(view: EndpointView) -> dict[str, Any]:
    document = endpoint_document(view)
    del document["replicas"], document["events"]
    serving = [replica for replica in view.replicas if replica.state is ReplicaState.READY]
    return {
        **document,
        "replicas_ready": len(serving),
        "replicas_desired": sum(
            wanted_of(variant, view.endpoint.name, view.replicas) for variant in view.endpoint.variants
        ),
    }


async def _once(files: LogFiles) -> AsyncIterator[bytes]:
    for block in files.read():
        yield _json_lines(block)
    for block in files.rest():
        yield _json_lines(block)


async def _followed(files: LogFiles, still_there: Callable[[], bool]) -> AsyncIterator[bytes]:
    async for block in files.follow(still_there):
        yield _json_lines(block) or b"\n"  # an empty line says that we are still here
    for rest in files.rest():
        yield _json_lines(rest)


def _json_lines(block: list[LogLine]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in block)


def _tail(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_TAIL):
        raise Invalid(f"tail must be a number of lines from 0 to {_MAX_TAIL}, not {text!r}.")
    return int(text)


def _sees(key: AccessKey | None, endpoint: str) -> bool:
    return key is None or not key.endpoints or any(fnmatchcase(endpoint, pattern) for pattern in key.endpoints)


def _require(key: AccessKey | None, service: str, operation: str, *endpoints: str) -> None:
    """Raise Denied unless `key` may call the AWS operation that says as much (None: nobody need sign)."""
    check_action(key, service, operation, caller=_caller(key))
    check_endpoints(key, service, operation, endpoints, caller=_caller(key), arn_prefix="endpoint/")


def _caller(key: AccessKey | None) -> str:
    return f"access key {key.id}" if key is not None else ""


def _failed(error: TrimtabError) -> HttpResponse:
    if isinstance(error, NotFound):
        status = 404
    elif isinstance(error, Denied):
        status = 403
    elif isinstance(error, RequestError):
        status = 400
    else:
        status = 503 if isinstance(error, Unavailable) else 500
    return _json(status, {"error": {"code": error.reason, "message": str(error)}})


def _not_allowed(request: HttpRequest) -> HttpResponse:
    return _json(405, {"error": {"code": "Invalid", "message": f"{request.method} is not allowed here."}})


def _json(status: int, document: Mapping[str, Any] | Top | CostReport) -> HttpResponse:
    return _encoded(status, msgspec.json.encode(document) + b"\n")


def _encoded(status: int, document: bytes) -> HttpResponse:
    return HttpResponse(status=status, headers=[("Content-Type", "application/json")], body=document)

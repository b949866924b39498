"""A server for the CLI's tests: the real AWS edge and trimtab's JSON API over a control plane in memory.

Objects are kept in a dict, invocations are answered by a function; `on_order` plays the control loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from trimtab.aws import sts
from trimtab.aws.auth import Authenticator
from trimtab.aws.cloudwatch.data import Data
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.eventstream import payload_part
from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.native import PREFIX, native_api
from trimtab.aws.native_scaling import ScalingHistory
from trimtab.aws.paging import Pager
from trimtab.aws.registry import AwsError, Call, handlers_of, merge, operation
from trimtab.aws.sagemaker import sagemaker_handlers
from trimtab.clock import SystemClock
from trimtab.control.scaling.journal import Journal
from trimtab.control.top import Overview
from trimtab.resources.routing import AccessKey
from trimtab.resources.usage import ReplicaUsage
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.fake_models import FakeModels
from trimtab.testing.fake_scaling import FakeScaling
from trimtab.testing.metrics import MemoryMetricStore

KEY = AccessKey(id="AKIDTEST", secret="secret")
REGION = "eu-west-1"


class Objects:
    """S3, as far as a deployment goes."""

    def __init__(self) -> None:
        self.buckets: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.parts: dict[int, bytes] = {}
        self.puts = 0

    @operation("s3", "HeadBucket")
    async def head_bucket(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        if params["Bucket"] not in self.buckets:
            raise AwsError("NoSuchBucket", "no", 404)
        return {}

    @operation("s3", "CreateBucket")
    async def create_bucket(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        self.buckets.add(params["Bucket"])
        return {}

    @operation("s3", "HeadObject")
    async def head_object(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        found = self.objects.get(f"{params['Bucket']}/{params['Key']}")
        if found is None:
            raise AwsError("NoSuchKey", "no", 404)
        return {"ContentLength": len(found)}

    @operation("s3", "PutObject")
    async def put_object(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        self.puts += 1
        self.objects[f"{params['Bucket']}/{params['Key']}"] = await params["Body"].read(1 << 30)
        return {"ETag": '"e"'}

    @operation("s3", "CreateMultipartUpload")
    async def create_upload(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        self.parts.clear()
        return {"Bucket": params["Bucket"], "Key": params["Key"], "UploadId": "u"}

    @operation("s3", "UploadPart")
    async def upload_part(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        self.parts[params["PartNumber"]] = await params["Body"].read(1 << 30)
        return {"ETag": f'"{params["PartNumber"]}"'}

    @operation("s3", "CompleteMultipartUpload")
    async def complete_upload(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        numbers = [part["PartNumber"] for part in params["MultipartUpload"]["Parts"]]
        self.objects[f"{params['Bucket']}/{params['Key']}"] = b"".join(self.parts[number] for number in numbers)
        return {"ETag": '"e"'}

    @operation("s3", "AbortMultipartUpload")
    async def abort_upload(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        self.parts.clear()
        return {}


class Models:
    """InvokeEndpoint, answered by `answer`."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[bytes], bytes] = lambda body: body
        self.content_type = "application/json"
        self.error: AwsError | None = None

    @operation("sagemaker-runtime", "InvokeEndpoint")
    async def invoke(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        body = params.get("Body", b"")
        data = body if isinstance(body, bytes) else await body.read(1 << 30)
        self.requests.append({**params, "Body": data})
        if self.error is not None:
            raise self.error
        return {
            "Body": self.answer(data),
            "ContentType": self.content_type,
            "InvokedProductionVariant": "AllTraffic",
        }


class World:
    """The server's parts, for tests to look into and to steer."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.control = FakeControl(SystemClock())
        self.objects = Objects()
        self.models = Models()
        self.on_order: Callable[[str], None] = self.control.settle
        authenticate = Authenticator(lambda: {KEY.id: KEY}, region=REGION, clock=SystemClock(), required=True)
        self.metrics = MemoryMetricStore()
        handlers = merge(
            sagemaker_handlers(self.control, SystemClock(), Pager(b"secret")),
            handlers_of(Data(self.metrics, SystemClock(), Pager(b"secret"))),
            handlers_of(self.objects),
            handlers_of(self.models),
            handlers_of(sts),
        )
        self._edge = Dispatcher(handlers, authenticate, region=REGION, account="123456789012")
        self.trouble = False  # control is away: nobody but a gateway answers
        self.nonsense = False  # who answers is no trimtab
        self.usages: dict[str, ReplicaUsage] = {}
        overview = Overview(self.control, self.metrics, lambda: self.usages, SystemClock())
        self.journal = Journal(logs.parent / "scaling.db", SystemClock(), write_every_s=0, keep_s=1e12)
        self.scaling = FakeScaling(SystemClock(), [("fraud", "blue")])
        history = ScalingHistory(self.journal, self.scaling)
        self.many = FakeModels()
        self._native = native_api(self.control, overview, authenticate, logs, {}, history, self.many)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if self.nonsense:
            return HttpResponse(body=b"<html>")
        if self.trouble:
            return HttpResponse(status=503, body=b'{"error": {"code": "Unavailable", "message": "Control is away."}}')
        if request.raw_path.startswith(PREFIX):
            return await self._native(request)
        if request.raw_path.endswith("/invocations-response-stream"):
            return await self._streamed(request)
        response = await self._edge(request)
        target = request.headers.get("x-amz-target")
        if target in ("SageMaker.CreateEndpoint", "SageMaker.UpdateEndpoint") and response.status == 200:
            for name, endpoint in list(self.control.endpoints.items()):
                if endpoint.status in ("Creating", "Updating"):
                    self.on_order(name)
        return response

    async def _streamed(self, request: HttpRequest) -> HttpResponse:
        body = await request.body.read(1 << 20)

        async def parts() -> AsyncIterator[bytes]:
            for piece in body.split(b" "):
                yield payload_part(piece)

        headers = [
            ("Content-Type", "application/vnd.amazon.eventstream"),
            ("X-Amzn-SageMaker-Content-Type", "text/plain"),
            ("x-Amzn-Invoked-Production-Variant", "AllTraffic"),
        ]
        return HttpResponse(headers=headers, body=parts())


class Server:
    """`World` on a loopback port, in threads."""

    def __init__(self, logs: Path) -> None:
        self.world = World(logs)
        world = self.world

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                path, _, query = self.path.partition("?")
                request = HttpRequest(
                    method=self.command,
                    raw_path=path,
                    query=query,
                    headers=Headers([(name.lower(), value.strip()) for name, value in self.headers.items()]),
                    body=BytesBody(self.rfile.read(size)),
                )
                asyncio.run(self.send(request))

            async def send(self, request: HttpRequest) -> None:
                response = await world(request)
                self.send_response_only(response.status)
                for name, value in response.headers:
                    if name.lower() != "content-length":
                        self.send_header(name, value)
                if isinstance(response.body, bytes):
                    size = next((v for n, v in response.headers if n.lower() == "content-length"), len(response.body))
                    self.send_header("Content-Length", str(size))
                    self.end_headers()
                    self.wfile.write(response.body if self.command != "HEAD" else b"")
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                async for piece in response.body:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

            def handle_expect_100(self) -> bool:
                self.send_response_only(100)
                self.end_headers()
                return True

            do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)
        self.world.journal.close()

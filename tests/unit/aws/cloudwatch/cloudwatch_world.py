"""botocore's real CloudWatch client, answered in-process; and hand-made query requests, as older clients send them."""

from __future__ import annotations

import asyncio
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse, HeadersDict
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from trimtab.aws.auth import Authenticator
from trimtab.aws.cloudwatch import cloudwatch_handlers
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.paging import Pager
from trimtab.clock import ManualClock, SystemClock
from trimtab.control.alarm_loop import AlarmLoop
from trimtab.control.alarms import Alarms
from trimtab.errors import Unavailable
from trimtab.resources.alarm import Alarm
from trimtab.resources.routing import AccessKey
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.metrics import MemoryMetricStore

KEY = AccessKey(id="ROOT", secret="s3cret")
LOADER = botocore.session.Session().get_component("data_loader")
URL = "http://127.0.0.1:7070/"
NAMESPACE = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"


class OneProtocol:
    """botocore's data loader, with a CloudWatch model that knows one protocol only, as older and other clients have."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(LOADER, name)

    def load_service_model(self, service: str, kind: str, api_version: str | None = None) -> Any:
        model = LOADER.load_service_model(service, kind, api_version)
        if (service, kind) != ("cloudwatch", "service-2"):
            return model
        metadata = {**model["metadata"], "protocol": self._protocol, "protocols": [self._protocol]}
        if self._protocol == "query":
            del metadata["awsQueryCompatible"]
        return {**model, "metadata": metadata}


class CloudWatch:
    """A CloudWatch in memory, at a time of one's own."""

    def __init__(self, database: Path, protocol: str = "json") -> None:
        self.protocol = protocol
        self.clock = ManualClock(1_700_000_000.0)
        self.metrics = MemoryMetricStore()
        self.store = open_sqlite(database, synchronous="NORMAL")
        self.acted: list[tuple[str, str, str]] = []  # alarm, state, action
        self.refusal = ""
        self.alarms = Alarms(self.store.alarms, self.clock, self._act)
        self.loop = AlarmLoop(self.alarms, self.metrics, self.clock)
        keys = {KEY.id: KEY}
        authenticate = Authenticator(lambda: keys, region="us-east-1", clock=SystemClock(), required=True)
        handlers = cloudwatch_handlers(self.metrics, self.alarms, self.clock, Pager(b"secret"))
        self._edge = Dispatcher(handlers, authenticate, region="us-east-1", account="111122223333")
        self.client = self._client()
        self.sent: list[HttpRequest] = []

    async def _act(self, alarm: Alarm, action: str) -> None:
        self.acted.append((alarm.name, alarm.state.value, action))
        if self.refusal:
            raise Unavailable(self.refusal)

    def tick(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass, evaluate what is due, and wait for the actions."""

        async def turn() -> None:
            await self.loop.tick()
            await self.alarms.runner.settled()

        self.clock.advance(seconds)
        asyncio.run(turn())

    def query(self, action: str, **fields: str) -> tuple[int, ElementTree.Element]:
        """A query request as boto3 sent it until 2025: status and the XML."""
        body = urlencode({"Action": action, "Version": "2010-08-01", **fields})
        request = AWSRequest("POST", URL, data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        SigV4Auth(Credentials(KEY.id, KEY.secret), "monitoring", "us-east-1").add_auth(request)
        prepared = request.prepare()
        response = self.send("POST", URL, dict(prepared.headers.items()), body.encode())
        assert response.body
        return response.status, ElementTree.fromstring(bytes(response.body))

    def send(self, method: str, address: str, headers: dict[str, Any], body: bytes) -> HttpResponse:
        url = urlsplit(address)
        pairs = [(k.lower(), v.decode("latin-1") if isinstance(v, bytes) else str(v)) for k, v in headers.items()]
        if not any(name == "host" for name, _ in pairs):
            pairs.append(("host", url.netloc))
        request = HttpRequest(
            method=method, raw_path=url.path or "/", query=url.query, headers=Headers(pairs), body=BytesBody(body)
        )
        self.sent.append(request)

        async def answered() -> HttpResponse:
            response = await self._edge(request)
            await self.alarms.runner.settled()
            return response

        return asyncio.run(answered())

    def _client(self) -> Any:
        session = botocore.session.Session()
        session.register_component("data_loader", OneProtocol(self.protocol))
        session.set_credentials(KEY.id, KEY.secret)
        client = session.create_client(
            "cloudwatch",
            region_name="us-east-1",
            endpoint_url=URL,
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=True),
        )

        def send(request: Any, **_: Any) -> AWSResponse:
            body = request.body.read() if hasattr(request.body, "read") else request.body or b""
            data = body.encode() if isinstance(body, str) else bytes(body)
            response = self.send(request.method, request.url, dict(request.headers.items()), data)
            headers = HeadersDict()
            for name, value in response.headers:
                headers[name] = value
            return AWSResponse(request.url, response.status, headers, _Raw(bytes(response.body)))

        client.meta.events.register("before-send", send)
        return client


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404, 413)
    return error["Code"], error["Message"]

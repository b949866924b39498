"""botocore's real Application Auto Scaling client, answered in-process; what is told is kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError

from trimtab.aws.auth import Authenticator
from trimtab.aws.autoscaling import autoscaling_handlers
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.paging import Pager
from trimtab.clock import ManualClock, SystemClock
from trimtab.resources.alarm import Alarm
from trimtab.resources.routing import AccessKey
from trimtab.testing.fake_scaling import FakeScaling

ROOT = AccessKey(id="ROOT", secret="s3cret")
LIMITED = AccessKey(id="LIMITED", secret="s", actions=("*",), endpoints=("fraud",))
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
PLACE = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/fraud/variant/blue", "ScalableDimension": DIMENSION}
LOADER = botocore.session.Session().get_component("data_loader")  # reads each model once


class World:
    """The edge, and clients of it."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.scaling = FakeScaling(self.clock, [("fraud", "blue"), ("fraud", "green"), ("other", "blue")])
        self.alarms: list[Alarm] = []
        keys = {key.id: key for key in (ROOT, LIMITED)}
        authenticate = Authenticator(lambda: keys, region="us-east-1", clock=SystemClock(), required=True)
        handlers = autoscaling_handlers(self.scaling, self.clock, Pager(b"secret"), lambda: self.alarms)
        self._edge = Dispatcher(handlers, authenticate, region="us-east-1", account="111122223333")

    def client(self, key: AccessKey = ROOT, *, checks: bool = True) -> Any:
        """botocore's; with `checks` False it sends what it knows to be wrong, too."""
        session = botocore.session.Session()
        session.register_component("data_loader", LOADER)
        session.set_credentials(key.id, key.secret)
        client = session.create_client(
            "application-autoscaling",
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:7070/",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=checks),
        )
        client.meta.events.register("before-send", self._answer)
        return client

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        pairs = [(k.lower(), v.decode() if isinstance(v, bytes) else str(v)) for k, v in request.headers.items()]
        asked = HttpRequest(
            method=request.method,
            raw_path=url.path,
            query=url.query,
            headers=Headers([*pairs, ("host", url.netloc)]),
            body=BytesBody(request.body or b""),
        )
        response: HttpResponse = asyncio.run(self._edge(asked))
        headers = HeadersDict()
        for name, value in response.headers:
            headers[name] = value
        assert isinstance(response.body, bytes)
        return AWSResponse(request.url, response.status, headers, _Raw(response.body))


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    """Code and message."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]

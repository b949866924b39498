"""A real S3 endpoint on a real socket, signatures included, in a thread of its own; and boto3 clients for it."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from trimtab.aws.auth import Authenticator
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.s3 import s3_handlers
from trimtab.aws.server import HttpServer
from trimtab.clock import SystemClock
from trimtab.objects.indexed import open_object_store
from trimtab.resources.routing import AccessKey

ACCOUNT = "123456789012"
KEY = AccessKey(id="AKIDEXAMPLE000000001", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


class Endpoint:
    """Runs an object store behind S3's API until `stop`."""

    def __init__(self, folder: Path, *, region: str = "us-east-1", blobs_url: str = "") -> None:
        self.region = region
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._folder = folder
        self._blobs_url = blobs_url
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def client(self, **config: Any) -> Any:
        return boto3.session.Session().client("s3", **self._settings(config))

    def resource(self) -> Any:
        return boto3.session.Session().resource("s3", **self._settings({}))

    def environment(self) -> dict[str, str]:
        """For programs that take it from there."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY.id,
            "AWS_SECRET_ACCESS_KEY": KEY.secret,
            "AWS_DEFAULT_REGION": self.region,
        }

    def _settings(self, config: dict[str, Any]) -> dict[str, Any]:
        return {
            "endpoint_url": self.url,
            "region_name": self.region,
            "aws_access_key_id": KEY.id,
            "aws_secret_access_key": KEY.secret,
            "config": Config(retries={"total_max_attempts": 1}, **config),
        }

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        clock = SystemClock()
        store = open_object_store(self._folder, clock, blobs_url=self._blobs_url)
        await store.start()
        keys = {KEY.id: KEY}
        authenticate = Authenticator(lambda: keys, region=self.region, clock=clock, required=True)
        server = HttpServer(Dispatcher(s3_handlers(store), authenticate, region=self.region, account=ACCOUNT))
        await server.start(self._sock)
        self._started.set()
        await self._ended.wait()
        await server.stop(grace_s=1)
        await store.close()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path_factory.mktemp("objects"))
    endpoint.start()
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def s3(endpoint: Endpoint) -> Iterator[Any]:
    client = endpoint.client()
    yield client
    client.close()


_numbers = itertools.count()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"bucket-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def refused() -> Callable[..., dict[str, Any]]:
    """Call, expect an error, and give its code, message and status."""
    from botocore.exceptions import ClientError

    def call(function: Callable[..., Any], **params: Any) -> dict[str, Any]:
        with pytest.raises(ClientError) as caught:
            function(**params)
        response = caught.value.response
        return {**response["Error"], "Status": response["ResponseMetadata"]["HTTPStatusCode"], "Response": response}

    return call

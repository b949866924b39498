import asyncio
import shutil
import socket
import tempfile
from pathlib import Path

import boto3
import botocore.config
import pytest
import uvloop

from trimtab.aws.passthrough import Passthrough
from trimtab.aws.runtime import RuntimeEdge
from trimtab.aws.server import HttpServer
from trimtab.aws.sigv4.verifier import Verifier
from trimtab.gateway.gateway import Gateway
from trimtab.queues.model import Done
from trimtab.resources.routing import AccessKey, EndpointRoute, RouteTable, VariantRoute
from trimtab.testing.fake_worker import FakeWorker

KEY = AccessKey(id="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
INVOKER = AccessKey(id="AKIAINVOKER", secret="s", actions=("sagemaker:InvokeEndpoint",), endpoints=("fraud*",))


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


class FakeQueues:
    """Answers each op as told, and keeps it."""

    owner = "o"

    def __init__(self):
        self.asked = []
        self.answer = Done()

    async def ask(self, op):
        self.asked.append(op)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def watch(self, prefix, told):
        raise NotImplementedError


class Place:
    """A gateway with its public port, one fake worker, and boto3 clients for it."""

    def __init__(self, folder):
        self.folder = folder
        self.gateway = Gateway()
        self.queues = FakeQueues()
        verifier = Verifier(lambda: {key.id: key for key in self.gateway.table.keys}, region="us-east-1")
        self.server = HttpServer(
            Passthrough(folder / "control.sock", hold_s=0.1), fast=RuntimeEdge(self.gateway, verifier, self.queues)
        )
        self.worker = FakeWorker(folder / "w.sock", lambda got: got.answer(got.body, "text/plain"))
        self._clients = []

    async def start(self):
        await self.worker.start()
        await self.route()
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.server.start(sock)
        return self

    async def route(self, name="fraud", **variant):
        variant = VariantRoute(**{"name": "AllTraffic", "weight": 1.0, "lanes": (self.worker.lane(),), **variant})
        endpoints = (EndpointRoute(name=name, variants=(variant,)),)
        version = self.gateway.table.version + 1
        await self.gateway.apply(RouteTable(version=version, endpoints=endpoints, keys=(KEY, INVOKER)))

    def client(self, key=KEY, **config):
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=botocore.config.Config(retries={"total_max_attempts": 1}, **config),
        )
        self._clients.append(client)
        return client

    async def invoke(self, body=b"x", *, key=KEY, operation="invoke_endpoint", name="fraud", **more):
        client = self.client(key)
        call = getattr(client, operation)
        return await asyncio.to_thread(lambda: call(EndpointName=name, Body=body, **more))

    async def raw(self, data):
        """All that the server says to these bytes before it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer

    async def stop(self):
        for client in self._clients:
            client.close()
        await self.server.stop(grace_s=1)
        await self.gateway.close()
        await self.worker.die()


@pytest.fixture
async def place():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))
    place = await Place(folder).start()
    yield place
    await place.stop()
    shutil.rmtree(folder)

"""One gateway, put together."""

import asyncio
import socket
import tempfile
from pathlib import Path

import msgspec
import pytest

from trimtab.aws.dataplane import serve
from trimtab.aws.sigv4 import Verifier
from trimtab.config import Config
from trimtab.gateway.gateway import Gateway
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute
from trimtab.testing.fake_worker import FakeWorker

INVOKE = b"POST /endpoints/e/invocations HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="tt-") as path:
        yield Path(path)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


async def test_a_gateway_serves_without_control_and_drains_on_stop(folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    held = []
    worker = await FakeWorker(folder / "w.sock", held.append).start()
    config = Config(data_dir=folder, drain_grace_s=5)
    variant = VariantRoute(name="v", weight=1, lanes=(worker.lane(),))
    table = RouteTable(version=1, endpoints=(EndpointRoute(name="e", variants=(variant,)),), require_auth=False)
    config.paths.routes.write_bytes(msgspec.msgpack.encode(table))
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.ensure_future(
        serve(
            sock,
            config,
            gateway=Gateway(),
            verifier=Verifier(lambda: pytest.fail("no auth wanted"), region="us-east-1"),
            stop=stop,
        )
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(INVOKE)
    await worker.until(lambda: held)
    stop.set()
    await worker.until(lambda: refused(port))
    held[0].answer(b"in hand")
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert b"Connection: close" in answer
    assert answer.endswith(b"in hand")
    await asyncio.wait_for(serving, 5)
    writer.close()
    await worker.die()

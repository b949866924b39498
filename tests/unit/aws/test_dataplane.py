"""One gateway, put together."""

import asyncio
import socket
import tempfile
from pathlib import Path

import msgspec
import pytest

from trimtab.aws.dataplane import serve
from trimtab.aws.server import Limits
from trimtab.aws.sigv4 import Verifier
from trimtab.clock import SystemClock
from trimtab.config import Config
from trimtab.control.routes import RoutePublisher
from trimtab.control.signal_server import SignalServer
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


async def test_requests_at_zero_are_held_for_control_even_while_it_stops_and_let_go_when_their_clients_are(
    folder, monkeypatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    config = Config(data_dir=folder, drain_grace_s=5)
    config.paths.run_dir.mkdir()
    publisher = RoutePublisher(config.paths.routes, config.paths.routes_socket, SystemClock(), require_auth=False)
    variant = VariantRoute(name="v", weight=1, lanes=(), signals=True)
    publisher.book.publish("e", EndpointRoute(name="e", variants=(variant,)))
    signals = SignalServer(config.paths.signals_socket)
    await publisher.open()
    await signals.open()
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    stop = asyncio.Event()
    verifier = Verifier(lambda: pytest.fail("no auth wanted"), region="us-east-1")
    limits = Limits(half_close_s=0)  # who closes has gone
    serving = asyncio.ensure_future(serve(sock, config, gateway=Gateway(), verifier=verifier, stop=stop, limits=limits))
    worker = await FakeWorker(folder / "w.sock", lambda got: got.answer(b"awake")).start()

    def waiting():
        return getattr(signals.totals.get(("e", "v")), "waiting", 0)

    patient, impatient = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _, writer in (patient, impatient):
        writer.write(INVOKE)
    await worker.until(lambda: waiting() == 2)
    impatient[1].close()
    await worker.until(lambda: waiting() == 1)
    stop.set()
    await worker.until(lambda: refused(port))
    publisher.book.publish(
        "e", EndpointRoute(name="e", variants=(msgspec.structs.replace(variant, lanes=(worker.lane(),)),))
    )
    async with asyncio.timeout(5):
        assert (await patient[0].read()).endswith(b"awake")
        await serving
    patient[1].close()
    await worker.die()
    await signals.close()
    await publisher.close()

"""Calls that are passed on to control: unchanged, streaming, and patient while control is away."""

import asyncio
import json
import shutil
import socket
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trimtab.aws.http import HttpResponse
from trimtab.aws.passthrough import Passthrough
from trimtab.aws.server import HttpServer


class Relay:
    """A public server, control's server behind it, and clients."""

    def __init__(self, folder, handler):
        self.path = folder / "control.sock"
        self.handler = handler
        self.passthrough = Passthrough(self.path, hold_s=0.3)
        self.front = HttpServer(self.passthrough)
        self.control = None
        self._writers = []

    async def start(self):
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.front.start(sock)
        await self.start_control()

    async def start_control(self):
        self.path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        self.control = HttpServer(self.handler)
        await self.control.start(sock)

    async def kill_control(self):
        await self.control.stop(grace_s=0)
        self.path.unlink(missing_ok=True)

    async def connect(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, data):
        """Head and body of the answer to a request that closes its connection."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head.decode(), body

    async def stop(self):
        for writer in self._writers:
            writer.close()
        await self.front.stop(grace_s=0.1)
        await self.passthrough.close()
        await self.control.stop(grace_s=0.1)


@pytest.fixture
async def relay():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))
    relays = []

    async def start(handler):
        relays.append(Relay(folder, handler))
        await relays[0].start()
        return relays[0]

    yield start
    for one in relays:
        await one.stop()
    shutil.rmtree(folder)


async def mirror(request):
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "query": request.query,
        "headers": request.headers.pairs,
    }
    body = await request.body.read(1 << 30)
    return HttpResponse(
        status=201, headers=[("x-seen", json.dumps(seen)), ("x-twice", "1"), ("x-twice", "2")], body=body
    )


def seen(head):
    line = next(line for line in head.split("\r\n") if line.startswith("x-seen: "))
    return json.loads(line.removeprefix("x-seen: "))


async def test_a_request_arrives_as_it_was_sent_but_for_the_hops_own_fields(relay):
    place = await relay(mirror)
    head, body = await place.ask(
        b"PUT /b/a%2Fb?x=1&y HTTP/1.1\r\nHost: h:1\r\nX-Amz-Date: d\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    )
    request = seen(head)
    assert (request["method"], request["path"], request["query"]) == ("PUT", "/b/a%2Fb", "x=1&y")
    assert request["headers"] == [["host", "h:1"], ["x-amz-date", "d"], ["content-length", "4"]]
    assert head.startswith("HTTP/1.1 201")
    assert head.count("x-twice") == 2
    assert head.lower().count("\r\ndate: ") == 1
    assert body == b"body"


async def test_a_chunked_body_is_passed_on_chunked(relay):
    place = await relay(mirror)
    head, body = await place.ask(
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    )
    assert (seen(head)["headers"], body) == ([["transfer-encoding", "chunked"]], b"abcdef")


async def test_head_and_empty_answers(relay):
    async def handler(request):
        return (
            HttpResponse(headers=[("Content-Length", "1234")]) if request.method == "HEAD" else HttpResponse(status=204)
        )

    place = await relay(handler)
    head, body = await place.ask(b"HEAD /k HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "Content-Length: 1234" in head
    assert body == b""
    head, body = await place.ask(b"DELETE /k HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert head.startswith("HTTP/1.1 204")


async def test_connections_to_control_are_reused(relay):
    place = await relay(mirror)
    for _ in range(5):
        await place.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert len(place.control.connections) == 1


async def test_bodies_stream_both_ways_without_being_held(relay):
    async def handler(request):
        async def doubled():
            async for piece in request.body.stream():
                yield piece
                yield piece

        return HttpResponse(body=doubled())

    place = await relay(handler)
    reader, writer = await place.connect()
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 40000000\r\nConnection: close\r\n\r\n" + b"a" * 1000)
    async with asyncio.timeout(10):
        await reader.readuntil(b"a" * 1000)  # before the rest was sent
        sending = asyncio.ensure_future(send_slowly(writer, b"z" * 39_999_000))
        rest = await reader.read()
        await sending
    assert rest.count(b"z") == 2 * 39_999_000


async def send_slowly(writer, data):
    for at in range(0, len(data), 1 << 20):
        writer.write(data[at : at + (1 << 20)])
        await writer.drain()


async def test_a_request_waits_while_control_is_restarted(relay):
    place = await relay(mirror)
    place.passthrough._hold_s = 5
    await place.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    await place.kill_control()
    asking = asyncio.ensure_future(place.ask(b"PUT /x HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"))
    await asyncio.sleep(0)
    await place.start_control()
    head, body = await asking
    assert head.startswith("HTTP/1.1 201")
    assert body == b"hi"


async def test_a_control_that_stays_away_is_service_unavailable(relay):
    place = await relay(mirror)
    await place.kill_control()
    head, body = await place.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert head.startswith("HTTP/1.1 503")
    assert json.loads(body)["__type"] == "ServiceUnavailable"
    assert "Retry-After: 1" in head


async def test_a_control_that_dies_with_a_request_in_hand_is_service_unavailable(relay):
    arrived = asyncio.Event()

    async def handler(request):
        await request.body.read(100)
        arrived.set()
        await asyncio.Event().wait()

    place = await relay(handler)
    asking = asyncio.ensure_future(place.ask(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"))
    await asyncio.wait_for(arrived.wait(), 5)
    await place.kill_control()
    head, _ = await asking
    assert head.startswith("HTTP/1.1 503")


async def test_clients_of_the_query_protocol_are_told_in_xml(relay):
    place = await relay(mirror)
    await place.kill_control()
    form = b"POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\nConnection: close\r\n\r\na="
    head, body = await place.ask(form)
    assert head.startswith("HTTP/1.1 503")
    assert ElementTree.fromstring(body).findtext("Error/Code") == "ServiceUnavailable"


async def test_a_control_that_dies_in_mid_answer_cuts_the_client_off(relay, caplog):
    async def handler(request):
        async def forever():
            yield b"begun"
            await asyncio.Event().wait()

        return HttpResponse(body=forever())

    place = await relay(handler)
    reader, writer = await place.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"begun")
    await place.kill_control()
    async with asyncio.timeout(5):
        rest = await reader.read()
    assert b"0\r\n\r\n" not in rest


async def test_a_client_that_leaves_ends_the_stream_at_control(relay):
    ended = asyncio.Event()

    async def handler(request):
        async def forever():
            try:
                while True:
                    yield b"tick"
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        return HttpResponse(body=forever())

    place = await relay(handler)
    reader, writer = await place.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"tick")
    writer.close()
    await asyncio.wait_for(ended.wait(), 5)

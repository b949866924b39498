import asyncio
import socket

import httptools
import pytest
import uvloop

from trimtab.aws.http import HttpResponse
from trimtab.aws.server import HttpServer, Limits
from trimtab.clock import ManualClock


def pytest_asyncio_loop_factories(config, item):
    """As in production; and on the standard loop, which warns where uvloop is silent."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Answer:
    """One response, parsed."""

    def __init__(self, head_only=False):
        self.headers = {}
        self.body = b""
        self.complete = False
        self.interim = 0
        self.head_only = head_only
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data):
        self._parser.feed_data(data)

    def on_header(self, name, value):
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self):
        self.status = self._parser.get_status_code()
        if self.head_only and self.status >= 200:
            self.complete = True

    def on_body(self, data):
        self.body += data

    def on_message_complete(self):
        if self.status < 200:
            self.interim, self.headers = self.status, {}
        else:
            self.complete = True


class Client:
    """A client that sends exactly the bytes it is told."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self._rest = b""

    def send(self, data):
        self.writer.write(data)

    async def answer(self, head_only=False):
        """The next answer; ConnectionResetError when the server closed before it was complete."""
        answer = Answer(head_only)
        async with asyncio.timeout(5):
            while not answer.complete:
                # a byte at a time at the end of an answer, so that the next one's bytes stay
                data = self._rest[:1] or await self.reader.read(1)
                self._rest = self._rest[1:]
                if not data:
                    raise ConnectionResetError(answer.__dict__)
                answer.feed(data)
        return answer

    async def ask(self, data):
        self.send(data)
        return await self.answer()

    async def closed(self):
        """What else comes until the server closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def close(self):
        self.writer.close()


class Harness:
    """A server on a loopback port, with a clock of its own."""

    def __init__(self):
        self.clock = ManualClock()
        self.server = None
        self.clients = []

    async def start(self, handler, *, fast=None, **limits):
        self.server = HttpServer(
            handler,
            fast=fast,
            limits=Limits(**limits),
            wall_s=self.clock.now_s,
            monotonic_s=self.clock.monotonic_s,
        )
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.server.start(sock)
        return self

    async def client(self):
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def pass_time(self, seconds):
        """Let the server's sweep see time pass, second by second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.server._timer.cancel()
            self.server._sweep()

    async def until(self, done):
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.001)


@pytest.fixture
async def harness():
    harness = Harness()
    yield harness
    for client in harness.clients:
        await client.close()
    if harness.server is not None:
        await harness.server.stop(grace_s=1)


async def echo(request):
    """Says what it was asked."""
    body = await request.body.read(1 << 30)
    headers = [("content-type", "text/plain"), ("x-method", request.method), ("x-path", request.raw_path)]
    return HttpResponse(headers=[*headers, ("x-query", request.query)], body=body)


@pytest.fixture
def echo_handler():
    return echo

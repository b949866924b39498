"""The container contract: what a container gets, and what becomes of its answers."""

import asyncio
import socket

import pytest

from trimtab.errors import ModelFailed, ReplicaLost
from trimtab.gateway import http_lane
from trimtab.resources.replica import Wire
from trimtab.resources.routing import Lane


class Container:
    """A server whose answers are scripted, byte by byte."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.readers = []
        self.writers = []
        self.connections = 0
        self.concurrency = 2
        self._server = None

    async def start(self, port=0):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer):
        self.connections += 1
        self.readers.append(reader)
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append((head.decode(), await reader.readexactly(length)))
                keep = await self.answer(self.requests[-1][1], writer)
                if keep is False:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def lane(self):
        return Lane(replica_id="c", address=f"tcp:127.0.0.1:{self.port}", wire=Wire.HTTP, concurrency=self.concurrency)

    async def stop(self):
        self._server.close()
        await asyncio.sleep(0)


@pytest.fixture
async def container(bench):
    containers = []

    async def start(answer, **variant):
        one = await Container(answer).start()
        containers.append(one)
        await bench.route(one.lane, **variant)
        return one

    yield start
    await bench.gateway.close()
    for one in containers:
        await one.stop()


def fixed(data):
    async def answer(body, writer):
        writer.write(data)

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 2\r\n\r\nok"


async def test_a_container_gets_the_callers_fields_and_a_connection_is_reused(bench, container):
    one = await container(fixed(OK))
    call = bench.ask(b"1,2", content_type="text/csv", accept="a/b", custom_attributes="trace")
    assert await call.outcome() == b"ok"
    assert await bench.ask(b"").outcome() == b"ok"
    head, body = one.requests[0]
    assert head.startswith(f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{one.port}\r\n")
    for line in ("Content-Type: text/csv", "Accept: a/b", "X-Amzn-SageMaker-Custom-Attributes: trace"):
        assert line in head
    assert body == b"1,2"
    assert "Content-Type" not in one.requests[1][0]
    assert one.connections == 1


async def test_a_traced_request_tells_the_container_of_its_trace(bench, container):
    one = await container(fixed(OK))
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assert await bench.ask(b"", trace=traceparent).outcome() == b"ok"
    assert await bench.ask(b"", trace=f"{traceparent} a=1,b=2").outcome() == b"ok"
    assert await bench.ask(b"").outcome() == b"ok"
    heads = [head for head, _ in one.requests]
    assert f"traceparent: {traceparent}" in heads[0]
    assert "tracestate" not in heads[0]
    assert f"traceparent: {traceparent}\r\ntracestate: a=1,b=2\r\n" in heads[1]
    assert "trace" not in heads[2]


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
)
async def test_answers_in_every_framing(bench, container, answer):
    await container(fixed(answer))
    for _ in range(3):
        assert await bench.ask().outcome() == b"ok"


async def test_an_answer_without_a_length_ends_with_the_connection(bench, container):
    async def answer(body, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nok")
        return False

    await container(answer)
    for _ in range(3):
        assert await bench.ask().outcome() == b"ok"


async def test_a_containers_error_keeps_status_and_body(bench, container):
    await container(fixed(b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbusy"))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert (error.status, error.body, error.content_type) == (503, b"busy", "text/plain")


async def test_a_container_that_runs_out_of_memory_is_named(bench, container):
    await container(fixed(b"HTTP/1.1 507 No Room\r\nContent-Length: 4\r\n\r\nfull"))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert (error.reason, error.status, error.body) == ("OutOfMemory", 507, b"full")


async def test_an_answer_that_is_no_http_is_the_models_failure(bench, container):
    await container(fixed(b"hello\r\n\r\n"))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert "not well-formed" in str(error)


async def test_a_connection_cut_with_a_request_in_hand_loses_it(bench, container):
    async def answer(body, writer):
        writer.transport.abort()

    await container(answer)
    assert isinstance(await bench.ask().outcome(), ReplicaLost)


class Dying:
    """A process that ends: the kernel has closed its connections, but not its listener yet."""

    def __init__(self, listener):
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self.heard = []
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)

    @property
    def lane(self):
        return Lane(replica_id="dying", address=f"tcp:127.0.0.1:{self._listener.getsockname()[1]}", wire=Wire.HTTP)

    async def connection(self):
        connection, _ = await self._loop.sock_accept(self._listener)
        return connection

    async def hears(self, connection):
        self.heard.append(await self._loop.sock_recv(connection, 1 << 16))

    async def dies(self, connection):
        await self.hears(connection)
        connection.close()


async def test_a_container_that_hangs_up_while_idle_gets_nothing_more_until_it_answers_a_ping(bench, container):
    with socket.socket() as listener:
        dying = Dying(listener)
        await bench.route(dying.lane)
        (await dying.connection()).close()
        again = await dying.connection()
        call = bench.ask(b"patient")
        await dying.dies(again)
    assert dying.heard[0].startswith(b"GET /ping HTTP/1.1\r\n")
    await container(fixed(OK))
    assert await call.outcome() == b"ok"


async def test_a_container_that_hangs_up_on_a_request_loses_that_one_and_gets_no_other(bench, container):
    with socket.socket() as listener:
        dying = Dying(listener)
        await bench.route(dying.lane)
        connection = await dying.connection()
        lost = bench.ask(b"begun")
        await dying.dies(connection)
        assert isinstance(await lost.outcome(), ReplicaLost)  # it may have been executed
        call = bench.ask(b"patient")
        await dying.dies(await dying.connection())
    assert dying.heard[1].startswith(b"GET /ping HTTP/1.1\r\n")
    await container(fixed(OK))
    assert await call.outcome() == b"ok"


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n", b"pong\r\n\r\n"])
async def test_a_container_that_answers_a_ping_whatever_it_says_gets_requests_again(bench, container, answer):
    pinged = asyncio.Event()

    async def say(body, writer):
        writer.write(OK if body else answer)
        if not body:
            pinged.set()

    one = await container(say)
    assert await bench.ask(b"1").outcome() == b"ok"
    one.writers[-1].close()
    await asyncio.wait_for(pinged.wait(), 5)
    assert await bench.ask(b"2").outcome() == b"ok"


async def test_a_connection_that_the_container_closes_after_its_own_time_out_says_nothing(
    bench, container, monkeypatch
):
    one = await container(fixed(OK))
    assert await bench.ask(b"1").outcome() == b"ok"
    monkeypatch.setattr(http_lane, "_REUSE_S", 0.0)
    one.writers[-1].close()
    async with asyncio.timeout(5):
        while bench.variant.lanes[0]._idle:
            await asyncio.sleep(0.001)
    assert await bench.ask(b"2").outcome() == b"ok"
    assert [head.split(" ")[1] for head, _ in one.requests] == ["/invocations"] * 2


async def test_no_more_calls_at_once_than_the_container_takes_when_it_is_slow(bench, container):
    release = asyncio.Event()
    busy = most = 0

    async def answer(body, writer):
        nonlocal busy, most
        busy, most = busy + 1, max(most, busy + 1)
        await release.wait()
        busy -= 1
        writer.write(OK)

    one = await container(answer)
    calls = [bench.ask() for _ in range(6)]
    async with asyncio.timeout(5):
        while len(one.requests) < 2:
            await asyncio.sleep(0.001)
    assert most == 2
    release.set()
    assert [await call.outcome() for call in calls] == [b"ok"] * 6


async def test_a_container_of_unstated_concurrency_gets_requests_as_they_come(bench, container):
    release = asyncio.Event()

    async def answer(body, writer):
        await release.wait()
        writer.write(OK)

    one = await container(answer)
    one.concurrency = 1
    await bench.route(one.lane)
    calls = [bench.ask() for _ in range(10)]
    async with asyncio.timeout(5):
        while len(one.requests) < 10:
            await asyncio.sleep(0.001)
    release.set()
    assert [await call.outcome() for call in calls] == [b"ok"] * 10


async def test_a_container_that_refuses_connections_keeps_its_calls_waiting_until_it_is_back(bench, container):
    one = await container(fixed(OK))
    assert await bench.ask().outcome() == b"ok"
    await one.stop()
    for connection in bench.variant.lanes[0]._idle:
        connection.close()
    call = bench.ask()
    again = await Container(fixed(OK)).start(one.port)
    assert await call.outcome() == b"ok"
    await bench.gateway.close()
    await again.stop()


async def test_a_stream_is_passed_on_as_it_comes(bench, container, streaming):
    release = asyncio.Event()

    async def answer(body, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await release.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    await container(answer)
    call = bench.ask(kind=streaming)
    await asyncio.wait_for(call.settled.wait(), 5)
    assert call.outcomes == ["began", b"first"]
    release.set()
    async with asyncio.timeout(5):
        while call.outcomes[-1] != "ended":
            await asyncio.sleep(0.001)
    assert call.outcomes == ["began", b"first", b"last", "ended"]


async def test_a_stream_nobody_consumes_is_not_read_further(bench, container, streaming):
    written = 0

    async def answer(body, writer):
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            written += 65536
        writer.write(b"0\r\n\r\n")

    await container(answer)
    call = bench.ask(kind=streaming)
    held = -1
    while held != written or not written:
        held = written
        await asyncio.sleep(0.05)
    assert held < 32 << 20
    got = 0
    async with asyncio.timeout(20):
        while call.outcomes[-1] != "ended":
            size = sum(map(len, call.outcomes[1:]))
            call.consumed(size - got)
            got = size
            await asyncio.sleep(0)
    assert sum(len(o) for o in call.outcomes[1:-1]) == 1000 * 65536


async def test_a_cancelled_call_closes_its_connection(bench, container):
    ended = asyncio.Event()

    async def answer(body, writer):
        if not await one.readers[-1].read():  # the end of the stream
            ended.set()
        return False

    one = await container(answer)
    call = bench.ask()
    async with asyncio.timeout(5):
        while not one.requests:
            await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    assert not call.outcomes


async def test_an_answer_larger_than_any_worker_may_give_is_the_models_error(bench, container, monkeypatch):
    monkeypatch.setattr(http_lane, "MAX_PAYLOAD_BYTES", 1000)
    await container(fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert "over 1000 bytes" in str(error)

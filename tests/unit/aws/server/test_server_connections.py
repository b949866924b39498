"""The server on a real socket: keep-alive, streaming, slow and broken clients, ends."""

import asyncio
import resource
import socket
import sys

import pytest

from trimtab.aws.http import HttpResponse
from trimtab.errors import Invalid, TooLarge

GET = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body, *more):
    lines = b"".join(line + b"\r\n" for line in more)
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


async def test_a_connection_serves_request_after_request(harness, echo_handler):
    await harness.start(echo_handler)
    client = await harness.client()
    answer = await client.ask(GET)
    assert (answer.status, answer.headers["x-path"], answer.headers["x-query"]) == (200, "/a%20b", "q=1")
    assert "date" in answer.headers
    assert (await client.ask(post(b"body"))).body == b"body"
    assert (await client.ask(post(b""))).body == b""


async def test_pipelined_requests_are_answered_in_order_however_long_each_takes(harness):
    release = asyncio.Event()

    async def handler(request):
        if request.raw_path == "/slow":
            await release.wait()
        return HttpResponse(body=request.raw_path.encode())

    await harness.start(handler)
    client = await harness.client()
    client.send(b"GET /slow HTTP/1.1\r\n\r\nGET /quick HTTP/1.1\r\n\r\nGET /last HTTP/1.1\r\n\r\n")
    other = await harness.client()
    assert (await other.ask(b"GET /other HTTP/1.1\r\n\r\n")).body == b"/other"
    release.set()
    assert [(await client.answer()).body for _ in range(3)] == [b"/slow", b"/quick", b"/last"]


async def test_a_chunked_body_arrives_as_it_was_sent(harness, echo_handler):
    await harness.start(echo_handler)
    client = await harness.client()
    answer = await client.ask(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n"
    )
    assert answer.body == b"abcde"


async def test_a_client_that_expects_100_is_told_to_go_on_when_the_body_is_wanted(harness, echo_handler):
    await harness.start(echo_handler)
    client = await harness.client()
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"body")).body == b"body"
    assert (await client.ask(GET)).status == 200


async def test_a_client_that_expects_100_gets_a_refusal_instead_and_the_connection_ends(harness):
    async def refuse(request):
        return HttpResponse(status=403, body=b"no")

    await harness.start(refuse)
    client = await harness.client()
    answer = await client.ask(b"PUT / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert (answer.status, answer.headers["connection"], answer.interim) == (403, "close", 0)
    assert await client.closed() == b""


async def test_head_gets_the_length_but_no_body(harness):
    async def handler(request):
        if request.raw_path == "/sized":
            return HttpResponse(headers=[("Content-Length", "1000")])
        return HttpResponse(body=b"12345")

    await harness.start(handler)
    client = await harness.client()
    client.send(b"HEAD / HTTP/1.1\r\n\r\n")
    assert (await client.answer(head_only=True)).headers["content-length"] == "5"
    client.send(b"HEAD /sized HTTP/1.1\r\n\r\n")
    assert (await client.answer(head_only=True)).headers["content-length"] == "1000"
    assert (await client.ask(GET)).body == b"12345"


async def test_204_and_304_have_no_body_and_no_length(harness):
    async def handler(request):
        return HttpResponse(status=int(request.raw_path[1:]), headers=[("etag", "x")])

    await harness.start(handler)
    client = await harness.client()
    for status in (204, 304):
        answer = await client.ask(b"GET /%d HTTP/1.1\r\n\r\n" % status)
        assert answer.status == status
        assert "content-length" not in answer.headers


async def test_http_1_0_is_closed_unless_it_asks_to_be_kept(harness, echo_handler):
    await harness.start(echo_handler)
    client = await harness.client()
    answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.headers["connection"] == "keep-alive"
    assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).headers["connection"] == "close"
    assert await client.closed() == b""


async def test_a_stream_is_chunked_or_for_http_1_0_ends_with_the_connection(harness):
    async def pieces():
        yield b"one "
        yield b""
        yield b"two"

    async def handler(request):
        return HttpResponse(body=pieces())

    await harness.start(handler)
    client = await harness.client()
    answer = await client.ask(GET)
    assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"one two")
    assert (await client.ask(GET)).body == b"one two"
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.closed()).endswith(b"\r\n\r\none two")


async def test_a_stream_of_known_length_that_falls_short_is_cut(harness):
    async def pieces():
        yield b"12"

    async def handler(request):
        return HttpResponse(headers=[("Content-Length", "5")], body=pieces())

    await harness.start(handler)
    client = await harness.client()
    client.send(GET)
    with pytest.raises(ConnectionResetError):
        await client.answer()


async def test_a_stream_that_breaks_off_is_cut_so_that_the_client_notices(harness, caplog):
    async def pieces():
        yield b"one"
        raise RuntimeError("disk on fire")

    async def handler(request):
        return HttpResponse(body=pieces())

    await harness.start(handler)
    client = await harness.client()
    client.send(GET)
    with pytest.raises(ConnectionResetError):
        await client.answer()
    assert "disk on fire" in caplog.text


async def test_a_handler_with_a_bug_is_answered_500_without_its_words(harness, caplog):
    async def handler(request):
        raise RuntimeError("secret detail")

    await harness.start(handler)
    client = await harness.client()
    answer = await client.ask(GET)
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "secret detail" in caplog.text
    assert (await client.ask(GET)).status == 500


async def test_a_slow_reader_holds_up_the_stream_and_nobody_else(harness, echo_handler):
    made = 0

    async def pieces():
        nonlocal made
        for _ in range(1000):
            made += 1
            yield b"x" * 100_000

    async def handler(request):
        return HttpResponse(body=pieces()) if request.raw_path == "/big" else await echo_handler(request)

    await harness.start(handler)
    reader = socket.create_connection(("127.0.0.1", harness.port))
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    reader.sendall(b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n")
    await harness.until(lambda: made > 3)
    other = await harness.client()
    for _ in range(50):
        assert (await other.ask(GET)).status == 200
    assert made < 200  # 20 MB: kernel buffers and ours, not the 100 MB of the stream
    reader.close()
    await harness.until(lambda: len(harness.server.connections) == 1)


async def test_a_body_that_nobody_reads_holds_up_its_sender(harness):
    release = asyncio.Event()
    taken = []

    async def handler(request):
        await release.wait()
        async for piece in request.body.stream():
            taken.append(len(piece))
        return HttpResponse(body=b"%d" % sum(taken))

    await harness.start(handler)
    client = await harness.client()
    size = 64 << 20
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(b"x" * size)
    other = await harness.client()
    other.send(GET)
    await harness.until(lambda: len(harness.server.connections) == 2)
    assert client.writer.transport.get_write_buffer_size() > size // 2
    release.set()
    assert (await client.answer()).body == b"%d" % size


async def test_a_handler_learns_that_its_client_left_in_the_middle_of_the_body(harness):
    outcome = asyncio.get_running_loop().create_future()

    async def handler(request):
        try:
            await request.body.read(1000)
        except Invalid as error:
            outcome.set_result(str(error))
        return HttpResponse()

    await harness.start(handler)
    client = await harness.client()
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    await harness.until(lambda: harness.server.connections)
    await client.close()
    assert "before it had sent the whole body" in await asyncio.wait_for(outcome, 5)


async def test_a_stream_ends_when_its_client_leaves(harness):
    closed = asyncio.Event()

    async def pieces():
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async def handler(request):
        return HttpResponse(body=pieces())

    await harness.start(handler)
    client = await harness.client()
    client.send(GET)
    await client.reader.readuntil(b"tick")
    await client.close()
    await asyncio.wait_for(closed.wait(), 5)


async def test_a_handler_that_leaves_the_body_unread_does_not_spoil_the_connection(harness):
    async def handler(request):
        return HttpResponse(status=413)

    await harness.start(handler)
    client = await harness.client()
    for _ in range(3):
        client.send(b"PUT / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        assert (await client.answer()).status == 413


async def test_reading_a_body_has_a_limit(harness):
    async def handler(request):
        try:
            await request.body.read(10)
        except TooLarge as error:
            return HttpResponse(status=413, body=str(error).encode())

    await harness.start(handler)
    client = await harness.client()
    answer = await client.ask(post(b"x" * 11))
    assert (answer.status, answer.body) == (413, b"The request body is over 10 bytes.")


async def test_a_slow_loris_is_cut_off_though_it_keeps_trickling(harness, echo_handler):
    await harness.start(echo_handler, head_timeout_s=10)
    client = await harness.client()
    client.send(b"GET / HTTP/1.1\r\n")
    await harness.until(lambda: any(c._in_head for c in harness.server.connections))
    for _ in range(12):
        client.send(b"X-A: b\r\n")
        harness.pass_time(1)
    assert (await client.answer()).status == 408
    assert await client.closed() == b""


async def test_a_half_sent_body_is_given_up_but_a_slow_one_is_not(harness, echo_handler):
    await harness.start(echo_handler, body_grace_s=10, body_bytes_per_s=100)
    stuck, slow = await harness.client(), await harness.client()
    stuck.send(b"PUT / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf")
    slow.send(b"PUT / HTTP/1.1\r\nContent-Length: 4010\r\n\r\n" + b"x" * 4000)
    await harness.until(
        lambda: sum(c._receiving.size_bytes for c in harness.server.connections if c._receiving) == 4004
    )
    harness.pass_time(15)
    assert await stuck.closed() == b""
    assert len((await slow.ask(b"x" * 10)).body) == 4010


async def test_an_idle_connection_is_closed_after_its_time(harness, echo_handler):
    await harness.start(echo_handler, idle_timeout_s=20)
    client, silent = await harness.client(), await harness.client()
    await client.ask(GET)
    await harness.until(lambda: len(harness.server.connections) == 2)
    harness.pass_time(15)
    await client.ask(GET)
    harness.pass_time(15)
    assert await silent.closed() == b""
    assert (await client.ask(GET)).status == 200


async def test_a_request_in_hand_has_no_time_limit_of_the_servers(harness):
    release = asyncio.Event()

    async def handler(request):
        await release.wait()
        return HttpResponse(body=b"at last")

    await harness.start(handler)
    client = await harness.client()
    client.send(GET)
    await harness.until(lambda: any(c._active for c in harness.server.connections))
    harness.pass_time(500)
    release.set()
    assert (await client.answer()).body == b"at last"


async def test_a_client_that_never_reads_is_cut_off(harness):
    async def pieces():
        while True:
            yield b"x" * 100_000

    async def handler(request):
        return HttpResponse(body=pieces())

    await harness.start(handler, write_timeout_s=10)
    reader = socket.create_connection(("127.0.0.1", harness.port))
    reader.sendall(GET)
    await harness.until(lambda: any(not c.writable for c in harness.server.connections))
    harness.pass_time(15)
    await harness.until(lambda: not harness.server.connections)
    reader.close()


async def test_one_connection_too_many_is_told_so(harness, echo_handler):
    await harness.start(echo_handler, connections=2)
    clients = [await harness.client() for _ in range(2)]
    for client in clients:
        await client.ask(GET)
    surplus = await harness.client()
    surplus.send(GET)
    answer = await surplus.answer()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert (await clients[0].ask(GET)).status == 200


async def test_upgrades_and_tunnels_are_refused(harness, echo_handler):
    await harness.start(echo_handler)
    for request in (
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    ):
        client = await harness.client()
        assert (await client.ask(request)).status == 400
        assert await client.closed() == b""


async def test_a_stop_lets_what_is_in_hand_finish_and_closes_what_is_idle(harness):
    release = asyncio.Event()

    async def handler(request):
        await release.wait()
        return HttpResponse(body=b"done")

    await harness.start(handler)
    busy, idle = await harness.client(), await harness.client()
    busy.send(GET)
    await harness.until(
        lambda: len(harness.server.connections) == 2 and any(c._active for c in harness.server.connections)
    )
    stopping = asyncio.ensure_future(harness.server.stop(grace_s=5))
    assert await idle.closed() == b""
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", harness.port)
    release.set()
    answer = await busy.answer()
    assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    await asyncio.wait_for(stopping, 5)


async def test_a_stop_cuts_what_outlasts_the_grace_time(harness):
    async def handler(request):
        await asyncio.Event().wait()

    await harness.start(handler)
    client = await harness.client()
    client.send(GET)
    await harness.until(lambda: any(c._active for c in harness.server.connections))
    await asyncio.wait_for(harness.server.stop(grace_s=0.01), 5)
    with pytest.raises((ConnectionResetError, OSError)):
        await client.answer()


OPEN_CONNECTIONS = """
import resource, socket, sys
port, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
print("open", flush=True)
sys.stdin.read()
"""


async def test_ten_thousand_idle_connections_cost_little_and_hinder_nobody(harness, echo_handler):
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 200:
        pytest.skip(f"the hard limit on open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    await harness.start(echo_handler)
    arguments = (sys.executable, "-c", OPEN_CONNECTIONS, str(harness.port), str(wanted))
    crowd = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await asyncio.wait_for(crowd.stdout.readline(), 20) == b"open\n"
        await harness.until(lambda: len(harness.server.connections) == wanted)
        client = await harness.client()
        assert len(asyncio.all_tasks()) < 10
        harness.pass_time(2)
        assert (await client.ask(GET)).status == 200
        harness.pass_time(80)
        await harness.until(lambda: len(harness.server.connections) <= 1)
    finally:
        crowd.stdin.close()
        await crowd.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_client_that_closes_its_sending_half_behind_its_request_is_answered(harness):
    release = asyncio.Event()

    async def handler(request):
        await release.wait()
        return HttpResponse(body=await request.body.read(100))

    await harness.start(handler)
    client = await harness.client()
    client.send(post(b"body"))
    client.writer.write_eof()
    await harness.until(lambda: any(connection.closing for connection in harness.server.connections))
    release.set()
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"body")
    assert await client.closed() == b""


async def test_a_client_that_closes_its_sending_half_within_a_request_is_gone(harness, echo_handler):
    await harness.start(echo_handler)
    client = await harness.client()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
    client.writer.write_eof()
    assert await client.closed() == b""

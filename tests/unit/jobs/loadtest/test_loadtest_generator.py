"""The generator is honest: about servers that stall, refuse, vanish or talk nonsense, and about itself."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
import trustme
from loadtest_server import OK, Plain, at, evenly, generated, serving

from trimtab.errors import Invalid, Unavailable
from trimtab.jobs.loadtest.crew import Run
from trimtab.jobs.loadtest.generator import Generator
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.sender import Address, Failure
from trimtab.jobs.loadtest.tally import Tally


async def test_every_request_is_sent_once_and_counted_once() -> None:
    async with serving() as server:
        tally = await generated(evenly(400, 0.5), server.port)
    assert (tally.due, tally.sent, tally.answered, tally.failed) == (200, 200, 200, 0)
    assert server.requests == 200
    assert sum(step.due for step in tally.steps.values()) == 200
    assert tally.latency().count == tally.service.count == tally.lag.count == 200
    assert tally.bytes_received == 200 * len(OK)


async def test_a_stall_is_counted_for_all_who_would_have_waited() -> None:
    """Coordinated omission: a closed loop would see one slow request here, and call the p95 quick."""
    stall_s, stalled = 0.4, asyncio.Event()

    async def answer(_body: bytes) -> bytes:
        if not stalled.is_set():
            stalled.set()
            time.sleep(stall_s)
        return OK

    async with serving(answer) as server:
        thread_like = asyncio.create_task(generated_elsewhere(evenly(200, 0.8), server.port))
        outcome = await thread_like
    latency = outcome.latency()
    assert outcome.answered == 160
    # Requests were due every 5 ms while the server stood still: half of all waited, on average half of the stall.
    assert latency.quantile(0.75) > stall_s / 4
    assert latency.max >= stall_s * 0.95
    assert latency.sum / latency.count == pytest.approx(stall_s * 0.5 * 0.5, rel=0.5)


async def generated_elsewhere(plan, port) -> Tally:
    """In a process of its own, so that a server which stands still does not stop it."""
    from trimtab.jobs.loadtest.crew import Crew

    def run() -> Tally:
        with Crew(1) as crew:
            return crew.run(plan, Plain(port)).tally

    return await asyncio.to_thread(run)


async def test_latency_counts_from_when_a_request_was_due_service_time_from_when_it_left() -> None:
    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.05)
        return OK

    async with serving(answer) as server:
        tally = await generated(at(0, 0, 0, 0, max_connections=1), server.port)
    assert tally.answered == 4
    assert tally.waited >= 3
    assert server.connections == 2  # one of them to see whether somebody is there
    assert tally.latency().max >= 0.2
    assert tally.service.max < 0.15


async def test_connections_are_kept_and_no_more_are_opened_than_needed() -> None:
    async with serving() as server:
        tally = await generated(at(0, 0.1, 0.2, 0.3), server.port)
    assert tally.connections_opened == 1


async def test_answers_that_never_come_are_time_outs_and_what_could_not_leave_was_not_sent() -> None:
    async def answer(_body: bytes) -> bytes:
        await asyncio.Event().wait()
        return OK

    async with serving(answer) as server:
        tally = await generated(at(0, 0, 0, max_connections=1, timeout_s=0.2), server.port)
    assert tally.answered == 0
    assert {kind: error.count for (kind, _), error in tally.errors.items()} == {"Timeout": 1, "NotSent": 2}


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"HTTP/1.1 429 Too Many\r\nx-amzn-ErrorType: ThrottlingException\r\nContent-Length: 4\r\n\r\nslow",
         "ThrottlingException", 429),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "HTTP 500", 500),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "BadAnswer", 0),
        (b"", "ConnectionClosed", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nok", "Timeout", 0),
    ],
)  # fmt: skip
async def test_failures_are_counted_by_kind(answer, kind, status) -> None:
    async def always(_body: bytes) -> bytes:
        return answer

    async with serving(always) as server:
        tally = await generated(at(0, 0.01, 0.02, timeout_s=0.3), server.port)
    assert [(e.kind, e.status, e.count) for e in tally.errors.values()] == [(kind, status, 3)]
    assert tally.answered == 0
    assert sum(step.failed for step in tally.steps.values()) == 3


async def test_a_server_that_closes_after_each_answer_is_connected_to_anew() -> None:
    async def answer(_body: bytes) -> bytes:
        return OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    async with serving(answer) as server:
        tally = await generated(evenly(100, 0.2), server.port)
    assert (tally.answered, tally.failed) == (20, 0)
    assert tally.connections_opened >= 20


async def test_nobody_at_the_port_is_said_before_anything_is_sent() -> None:
    async with serving() as server:
        port = server.port
    with pytest.raises(Unavailable, match=f"Nobody answers at 127.0.0.1:{port}: Connection refused"):
        await generated(evenly(10, 1), port)


async def test_a_server_that_goes_away_ends_the_test() -> None:
    async with serving() as server:
        task = asyncio.create_task(generated(evenly(50, 60), server.port))
        while server.requests < 10:
            await asyncio.sleep(0.01)
    tally = await task
    assert "Nobody answers" in tally.hopeless
    assert tally.errors[("ConnectionFailed", 0)].example == "Connection refused"
    assert tally.answered >= 9


async def test_an_answer_that_makes_going_on_useless_ends_the_test() -> None:
    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 400 No\r\nx-amzn-errortype: Gone\r\nContent-Length: 8\r\n\r\nit went."

    async with serving(answer) as server:
        tally = await generated(evenly(50, 60), server.port)
    assert tally.hopeless == "it went."
    assert tally.failed >= 1


async def test_warm_up_is_sent_and_does_not_count() -> None:
    slow = True

    async def answer(_body: bytes) -> bytes:
        nonlocal slow
        if slow:
            slow = False
            await asyncio.sleep(0.3)
        return OK

    async with serving(answer) as server:
        tally = await generated(evenly(100, 0.2, warm_up_s=0.2, warm_up_rate=50), server.port)
        assert server.requests == 30
    assert (tally.due, tally.answered) == (20, 20)
    assert tally.latency().max < 0.3


async def test_a_test_that_is_stopped_tells_what_is_unfinished() -> None:
    async def answer(_body: bytes) -> bytes:
        await asyncio.Event().wait()
        return OK

    async with serving(answer) as server:
        total = Tally()
        generator = Generator(evenly(100, 30), Plain(server.port), total.merge)
        await generator.prepare()
        task = asyncio.create_task(generator.run(asyncio.get_running_loop().time()))
        while server.requests < 5:
            await asyncio.sleep(0.01)
        generator.stop()
        await task
        await generator.close()
    assert total.unfinished == total.due >= 5
    assert total.finished == 0


async def test_its_own_lag_is_measured_and_told() -> None:
    async with serving() as server:
        plan = evenly(200, 0.5)
        total = Tally()
        generator = Generator(plan, Plain(server.port), total.merge)
        await generator.prepare()
        loop = asyncio.get_running_loop()
        start = loop.time() + 0.01
        loop.call_at(start + 0.1, time.sleep, 0.2)  # the generator's process is not scheduled
        await generator.run(start)
        await generator.close()
    assert total.lag.max >= 0.15
    assert total.latency().max >= total.lag.max
    outcome = Outcome(plan, Run(total, 0.0, plan.duration_s))
    assert "left" in outcome.lagged
    assert outcome.document()["generator"]["kept_up"] is False


class Streaming(Plain):
    """Each `;` in the body is a chunk; `!` fails the stream."""

    streams = True

    def stream_reader(self):
        class Reader:
            failure: Failure | None = None

            def feed(self, data: bytes) -> int:
                if b"!" in data:
                    self.failure = Failure("ModelStreamError", "it broke")
                return data.count(b";")

        return Reader()


async def test_streams_tell_their_first_chunk_and_their_chunks() -> None:
    async with serving() as server:

        async def answer(_body: bytes) -> bytes:
            writer = next(iter(server._writers))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na;b\r\n")
            await asyncio.sleep(0.1)
            return b"4\r\nc;d;\r\n0\r\n\r\n"

        server.answer = answer
        tally = await generated(at(0, 0.3), server.port, Streaming(server.port))
    assert (tally.answered, tally.chunks) == (2, 6)
    assert tally.first_chunk.max < 0.1 <= tally.latency().min


async def test_a_stream_that_fails_after_it_began_is_a_failure() -> None:
    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na;!"

    async with serving(answer) as server:
        tally = await generated(at(0), server.port, Streaming(server.port))
    assert tally.answered == 0
    assert tally.errors[("ModelStreamError", 200)].example == "it broke"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def test_https_is_spoken_with_those_whose_certificate_is_good(authority, tmp_path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(tls=tls) as server:
        sender = Plain(server.port)
        sender.address = Address("127.0.0.1", server.port, True, str(tmp_path / "ca.pem"))
        tally = await generated(evenly(50, 0.2), server.port, sender)
        assert (tally.answered, tally.failed) == (10, 0)
        sender.address = Address("127.0.0.1", server.port, True)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await generated(evenly(50, 0.2), server.port, sender)
        sender.address = Address("127.0.0.1", server.port, True, str(tmp_path / "none.pem"))
        with pytest.raises(Invalid, match="cannot be read"):
            await generated(evenly(50, 0.2), server.port, sender)

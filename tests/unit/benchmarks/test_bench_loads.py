"""The open-loop client, and what becomes of memory samples."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import openloop
from benchmarks.endurance import Latencies, Sample, drift
from benchmarks.footprint import Footprint

THROTTLED = b"HTTP/1.1 400 Bad Request\r\nx-amzn-ErrorType: ThrottlingException\r\nContent-Length: 2\r\n\r\n{}"
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"


async def drive(answers: list[bytes], rate: float, seconds: float, cut: int = 0) -> openloop.Outcome:
    """A server that gives these answers in turn, `cut` bytes of each a moment before the rest; and the client's outcome."""
    count = 0
    handlers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        handlers.add(asyncio.current_task())
        while await reader.read(1000):
            answer = answers[count % len(answers)]
            count += 1
            writer.write(answer[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(answer[cut:])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, openloop.HOST, 0)
    port = server.sockets[0].getsockname()[1]
    request = openloop.request("/x", b"[1]")
    client = openloop.Client(port, request, is_right=lambda body: body == b"right", most_connections=10)
    try:
        return await client.run(rate, seconds)
    finally:
        client.close()
        await asyncio.gather(*handlers, return_exceptions=True)
        server.close()
        await server.wait_closed()


async def test_requests_leave_at_their_rate_and_every_answer_is_counted_by_kind() -> None:
    seen = await drive([RIGHT, THROTTLED, RIGHT.replace(b"right", b"wrong")], rate=300, seconds=0.3)
    assert 0 < seen.sent <= 91
    assert sum(seen.statuses.values()) == seen.sent
    assert seen.refusals == {"ThrottlingException": seen.statuses[400]}
    assert seen.wrong == pytest.approx(seen.sent / 3, abs=1)
    assert seen.in_time <= len(seen.ok_s) - seen.wrong
    assert len(seen.ok_s) + len(seen.refused_s) == seen.sent


@pytest.mark.parametrize("cut", [5, len(RIGHT) - 6, len(RIGHT) - 2])
async def test_an_answer_may_come_in_two_parts(cut: int) -> None:
    seen = await drive([RIGHT], rate=100, seconds=0.1, cut=cut)
    assert seen.statuses[200] == seen.sent
    assert not seen.wrong


async def test_nobody_listening_is_counted_not_raised() -> None:
    with __import__("socket").create_server((openloop.HOST, 0)) as listener:
        port = listener.getsockname()[1]
    client = openloop.Client(port, b"x", is_right=bool, most_connections=4)
    seen = await client.run(100, 0.1)
    assert seen.statuses[0] == seen.sent > 0


def memory(*sizes_mib: float) -> dict[str, Footprint]:
    return {f"p{i}": Footprint(int(size * 2**20), 0) for i, size in enumerate(sizes_mib)}


def test_drift_is_growth_after_the_first_minutes() -> None:
    samples = [Sample(at_s, memory(100 + min(at_s, 300), 50 + at_s / 1000)) for at_s in range(0, 3600, 10)]
    found = drift(samples, 3600)
    assert found["p0"] == pytest.approx(0.0)
    assert found["p1"] == pytest.approx(3.24 / 50.33, rel=0.02)


def test_a_process_that_came_later_has_no_drift() -> None:
    samples = [Sample(at_s, memory(1, 1) if at_s > 1000 else memory(1)) for at_s in range(0, 3600, 10)]
    assert set(drift(samples, 3600)) == {"p0"}


@given(st.lists(st.floats(min_value=1e-5, max_value=60), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_of_the_histogram_is_within_its_step(values: list[float], share: float) -> None:
    histogram = Latencies()
    for value in values:
        histogram.append(value)
    rank = max(0, -(-len(values) * share // 1) - 1)
    assert histogram.quantile(share) == pytest.approx(sorted(values)[int(rank)], rel=0.02)


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)  # its child is an orphan now
    time.sleep(600)
print("there", flush=True)
time.sleep(600)
"""
KEEPER = f"""
import subprocess, sys
from benchmarks.peers import processes
processes.adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", {FAMILY!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(len(processes.descendants()), flush=True)
processes.end_all(grace_s=0.1)
print(len(processes.descendants()), flush=True)
"""


def test_a_server_ends_with_its_whole_family_whatever_it_does_to_hide() -> None:
    done = subprocess.run([sys.executable, "-c", KEEPER], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    before, after = map(int, done.stdout.split())
    assert before >= 3
    assert after == 0
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

"""Answers that go on: pieces, credit, cancel, failure half-way, and other requests meanwhile."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest
from worker_frames import BOUND_S

from trimtab.wire.frames import INITIAL_CREDIT_BYTES, MAX_STREAMS, Kind
from trimtab.worker.answers import Streamed
from trimtab.worker.connection import Connection
from trimtab.worker.streams import Streams

STREAMER = """
import json
def model_fn(d): return d
def input_fn(data, content_type): return json.loads(data)
def predict_fn(data, model):
    what = data.get("what")
    if what == "plain":
        return ["plain"]
    return pieces(data)
def pieces(data):
    try:
        for number in range(data.get("count", 3)):
            if number == data.get("fail_at"):
                raise RuntimeError("lost the thread")
            yield data.get("piece", "piece %d ") % number if "%" in data.get("piece", "%") else data["piece"] * data["times"]
    finally:
        if "closed" in data:
            open(data["closed"], "w").write("closed")
"""
JSON = "application/json"


def streamer(start):
    return start({"code/inference.py": STREAMER}).ready()


def rest(client, stream=1):
    """All frames of one stream up to its end."""
    frames = []
    while not frames or frames[-1].kind not in (Kind.END, Kind.FAILURE, Kind.ANSWER):
        frames.append(client.receive())
        assert frames[-1].stream == stream
    return frames


def test_a_generator_becomes_head_chunks_and_end(start):
    client = streamer(start).client()
    client.request(1, b'{"count": 3}', JSON, accept="text/event-stream")

    frames = rest(client)

    assert [frame.kind for frame in frames] == [Kind.HEAD, *[Kind.CHUNK] * 3, Kind.END]
    assert frames[0].answer.content_type == "text/event-stream"
    assert b"".join(frame.payload for frame in frames) == b"piece 0 piece 1 piece 2 "


def test_a_stream_of_nothing_has_a_head_and_an_end(start):
    client = streamer(start).client()
    client.request(1, b'{"count": 0}', JSON)

    assert [frame.kind for frame in rest(client)] == [Kind.HEAD, Kind.END]


def test_a_failure_before_the_first_piece_is_an_ordinary_failure(start):
    client = streamer(start).client()
    client.request(1, b'{"fail_at": 0}', JSON)

    (frame,) = rest(client)

    assert (frame.kind, frame.failure.status) == (Kind.FAILURE, 500)
    assert b"lost the thread" in frame.payload


def test_a_failure_half_way_ends_the_stream_with_what_the_model_said(start):
    client = streamer(start).client()
    client.request(1, b'{"fail_at": 2}', JSON)

    frames = rest(client)

    assert [frame.kind for frame in frames] == [Kind.HEAD, Kind.CHUNK, Kind.CHUNK, Kind.FAILURE]
    assert b"lost the thread" in frames[-1].payload


def test_a_stream_sends_no_more_than_its_credit_and_goes_on_when_it_gets_some(start):
    client = streamer(start).client()
    client.request(1, b'{"piece": "x", "times": 100000, "count": 30}', JSON)
    assert client.receive().kind is Kind.HEAD
    received = 0
    while received < INITIAL_CREDIT_BYTES:
        received += len(client.receive().payload)
    assert received == INITIAL_CREDIT_BYTES
    client.request(2, b'{"what": "plain"}', JSON)
    assert client.receive().stream == 2, "the stream waits for credit; others do not wait for it"

    while received < 3_000_000:
        client.send(Kind.CREDIT, 1, payload=struct.pack("<I", 250_000))
        wanted = min(3_000_000, received + 250_000)
        while received < wanted:
            received += len(client.receive().payload)
    assert received == 3_000_000
    assert client.receive().kind is Kind.END


def test_a_cancelled_stream_stops_and_closes_its_generator(start, tmp_path):
    closed = tmp_path / "closed"
    os.mkfifo(closed)
    worker = streamer(start)
    client = worker.client()
    client.request(1, b'{"piece": "x", "times": 100000, "count": 1000000, "closed": "%s"}' % str(closed).encode(), JSON)
    assert client.receive().kind is Kind.HEAD
    client.send(Kind.CANCEL, 1)

    assert Path(closed).read_text() == "closed"
    control = worker.client()
    control.describe_until(lambda d: not d.in_flight)


def test_a_gateway_that_leaves_closes_its_streams(start, tmp_path):
    closed = tmp_path / "closed"
    os.mkfifo(closed)
    client = streamer(start).client()
    client.request(1, b'{"piece": "x", "times": 100000, "count": 1000000, "closed": "%s"}' % str(closed).encode(), JSON)
    assert client.receive().kind is Kind.HEAD
    client.close()

    assert Path(closed).read_text() == "closed"


def test_cancel_and_credit_arrive_while_an_ordinary_request_keeps_the_main_thread(start, tmp_path):
    gate, closed = tmp_path / "gate", tmp_path / "closed"
    os.mkfifo(gate)
    os.mkfifo(closed)
    text = STREAMER.replace('return ["plain"]', 'return open(data["gate"]).read()')
    client = start({"code/inference.py": text}).ready().client()
    order = b'{"piece": "x", "times": 100000, "count": 1000000, "closed": "%s"}' % str(closed).encode()
    client.request(1, order, JSON)
    assert client.receive().kind is Kind.HEAD
    client.request(2, b'{"what": "plain", "gate": "%s"}' % str(gate).encode(), JSON)
    client.send(Kind.CREDIT, 1, payload=struct.pack("<I", 1_000_000))
    received = 0
    while received < INITIAL_CREDIT_BYTES + 1_000_000:
        frame = client.receive()
        assert frame.stream == 1
        received += len(frame.payload)
    client.send(Kind.CANCEL, 1)
    assert Path(closed).read_text() == "closed"
    gate.write_text("through")

    frame = client.receive()
    assert (frame.stream, frame.payload) == (2, b'"through"')


def test_many_streams_and_requests_interleave(start):
    client = streamer(start).client()
    for stream in range(40):
        client.request(stream, b'{"count": 50}', JSON)
    bodies: dict[int, bytes] = dict.fromkeys(range(40), b"")
    open_streams = set(bodies)
    while open_streams:
        frame = client.receive()
        bodies[frame.stream] += frame.payload
        if frame.kind is Kind.END:
            open_streams.remove(frame.stream)

    assert set(bodies.values()) == {b"".join(b"piece %d " % n for n in range(50))}


def test_dicts_in_a_stream_become_json_lines_and_context_sets_the_head(start):
    text = """
def model_fn(d): return d
def transform_fn(model, data, content_type, accept, context):
    context.set_response_content_type(0, "application/jsonlines")
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "tokens=2")
    return ({"token": n} for n in range(2))
"""
    client = start({"code/inference.py": text}).ready().client()
    client.request(1, b"")
    frames = rest(client)

    assert (frames[0].answer.content_type, frames[0].answer.custom_attributes) == ("application/jsonlines", "tokens=2")
    assert b"".join(frame.payload for frame in frames) == b'{"token":0}\n{"token":1}\n'


def test_drain_waits_for_the_end_of_streams(start):
    worker = streamer(start)
    client, control = worker.client(), worker.client()
    client.request(1, b'{"piece": "x", "times": 100000, "count": 15}', JSON)
    assert client.receive().kind is Kind.HEAD
    control.send(Kind.DRAIN)
    assert control.description().state == "Draining"
    client.send(Kind.CREDIT, 1, payload=struct.pack("<I", 10_000_000))

    assert sum(len(frame.payload) for frame in rest(client)) == 1_500_000
    assert worker.wait() == 0


PATIENT = """
import os
def model_fn(d): return d
def transform_fn(model, data, content_type, accept):
    return pieces(data.decode()) if data else (b"plain", "text/plain")
def pieces(gate):
    yield b"first"
    while not os.path.exists(gate):
        yield b""
    yield b"last"
"""
BYTES = "application/octet-stream"


def test_as_many_streams_as_are_promised_go_on_at_once_and_one_more_waits_for_its_turn(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)  # opening it for reading waits for the writer below
    text = PATIENT.replace('while not os.path.exists(gate):\n        yield b""', "open(gate).read()")
    client = start({"code/inference.py": text}).ready().client()
    for stream in range(MAX_STREAMS + 1):
        client.request(stream, str(gate).encode(), BYTES)
    begun = set()
    while len(begun) < MAX_STREAMS:
        frame = client.receive()
        if frame.kind is Kind.CHUNK:
            assert frame.payload == b"first"
            begun.add(frame.stream)
    client.request(1000, b"", BYTES)
    frame = client.receive()
    assert (frame.stream, frame.payload) == (1000, b"plain"), "the last stream waits; other requests do not"

    ended = set()
    done = threading.Event()
    opener = threading.Thread(target=_let_through, args=(gate, done))
    opener.start()
    while len(ended) <= MAX_STREAMS:
        frame = client.receive()
        if frame.kind is Kind.END:
            ended.add(frame.stream)
    done.set()
    opener.join(BOUND_S)
    assert ended == set(range(MAX_STREAMS + 1))


def _let_through(gate: Path, done: threading.Event) -> None:
    """Be the writer of the pipe, again and again: a reader that comes later needs one too."""
    while not done.is_set():
        try:
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads just now
            done.wait(0.001)


def test_a_stream_that_never_gives_a_piece_holds_up_nobody_and_ends_with_its_worker(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    text = PATIENT.replace('yield b"first"', "open(gate).read()")
    worker = start({"code/inference.py": text}).ready()
    client, control = worker.client(), worker.client()
    for stream in range(20):
        client.request(stream, str(gate).encode(), BYTES)
    client.request(99, b"", BYTES)
    assert client.receive().stream == 99
    for stream in range(20):
        client.send(Kind.CANCEL, stream)
    client.request(100, b"", BYTES)
    assert client.receive().stream == 100
    assert control.describe_until(lambda d: d.busy_since_monotonic_s).in_flight == 20
    os.kill(worker.pid, signal.SIGKILL)
    assert client.is_closed()


def test_streams_under_every_kind_of_reader_lose_and_mix_nothing(start):
    worker = streamer(start)
    found: list[str] = []

    def reader(seed: int) -> None:
        chance, client = random.Random(seed), worker.client()
        wanted = {n: (chance.choice([1, 200, 30_000, 400_000]), chance.randrange(1, 8)) for n in range(30)}
        cancelled = {n for n in wanted if chance.random() < 0.2}
        failing = {n for n in wanted if n not in cancelled and chance.random() < 0.2}
        got: dict[int, int] = dict.fromkeys(wanted, 0)
        unpaid: dict[int, int] = dict.fromkeys(wanted, 0)
        missing = set(wanted) - cancelled
        for n, (size, count) in wanted.items():
            fail = f', "fail_at": {count - 1}' if n in failing else ""
            client.request(
                n, f'{{"piece": "{chr(97 + n % 26)}", "times": {size}, "count": {count}{fail}}}'.encode(), JSON
            )
            if n in cancelled:
                client.send(Kind.CANCEL, n)
        while missing:
            frame = client.receive()
            n, (size, count) = frame.stream, wanted[frame.stream]
            if frame.kind is Kind.CHUNK:
                assert frame.payload.strip(chr(97 + n % 26).encode()) == b""
                got[n] += len(frame.payload)
                unpaid[n] += len(frame.payload)
                if got[n] - unpaid[n] + INITIAL_CREDIT_BYTES < got[n]:
                    found.append(f"{n} sent more than it may")
                if unpaid[n] > INITIAL_CREDIT_BYTES * chance.random():
                    client.send(Kind.CREDIT, n, payload=struct.pack("<I", unpaid[n]))
                    unpaid[n] = 0
            elif frame.kind in (Kind.END, Kind.FAILURE):
                missing.discard(n)
                if n not in cancelled:
                    right = size * (count - 1) if n in failing else size * count
                    if got[n] != right or (frame.kind is Kind.FAILURE) is not (n in failing):
                        found.append(f"{n}: {got[n]} of {right} bytes, {frame.kind}")

    readers = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join(60)
    assert not any(thread.is_alive() for thread in readers)
    assert not found
    worker.client().describe_until(lambda d: d.in_flight == 0)


def test_a_generator_whose_end_fails_fails_its_stream_and_its_thread_goes_on(start):
    text = """
def model_fn(d): return d
def transform_fn(model, data, content_type, accept):
    return pieces()
def pieces():
    try:
        yield b"x"
    finally:
        raise RuntimeError("will not close")
"""
    worker = start({"code/inference.py": text}).ready()
    client = worker.client()
    for _ in range(3):
        client.request(1, b"")
        assert [frame.kind for frame in rest(client)] == [Kind.HEAD, Kind.CHUNK, Kind.FAILURE]
    worker.client().describe_until(lambda d: d.in_flight == 0)


class Alone:
    """A host without a loop."""

    def __init__(self) -> None:
        self.sent = threading.Semaphore(0)

    def send(self, connection, *buffers) -> None:
        connection.write(buffers)

    def read_if_busy(self) -> bool:
        return False


def test_where_the_system_gives_no_more_threads_streams_wait_for_those_that_are_there(monkeypatch):
    theirs, ours = socket.socketpair()
    theirs.settimeout(BOUND_S)
    ended = threading.Semaphore(0)
    streams = Streams(Alone(), on_end=ended.release)
    connection, go_on = Connection(ours), threading.Event()

    def pieces():
        assert go_on.wait(BOUND_S)
        yield b"x"

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = lambda: Streamed(pieces(), lambda: ("text/plain", ""))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            streams.start(connection, 1, one())
    assert len(streams) == 0
    streams.start(connection, 2, one())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        streams.start(connection, 3, one())
        streams.start(connection, 4, one())
    go_on.set()
    for _ in range(3):
        assert ended.acquire(timeout=BOUND_S)
    assert len(streams) == 0
    theirs.close()
    ours.close()


def test_while_streams_go_on_no_thread_keeps_the_interpreter_for_long(start):
    text = """
import sys
def model_fn(d): return d
def transform_fn(model, data, content_type, accept):
    return iter([b"x"]) if data else str(sys.getswitchinterval())
"""
    client = start({"code/inference.py": text}).ready().client()
    assert client.ask().payload == b"0.005"
    client.request(1, b"stream", BYTES)
    assert rest(client)[-1].kind is Kind.END
    assert float(client.ask().payload) <= 0.0005

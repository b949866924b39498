"""Answers that go on: pieces, credit, cancel, failure half-way, and other requests meanwhile."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from trimtab.wire.frames import INITIAL_CREDIT_BYTES, Kind

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

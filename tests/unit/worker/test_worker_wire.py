"""The framed wire under load and abuse: every answer belongs to its request, and no peer harms another."""

from __future__ import annotations

import random
import socket
import struct
import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.wire.frames import HEADER, Kind, RequestMeta, pack
from trimtab.worker.connection import BUFFER_BYTES, LARGE_BYTES, MAX_BODY_BYTES, Connection, Malformed

# Echoes; `!N` in front asks for failure N, `*N` for an answer of N times the body, `?` for a slow one.
MOODY = """
import time
def model_fn(d): return d
def transform_fn(model, data, content_type, accept):
    if data[:1] == b"!":
        raise RuntimeError("no " + data[1:9].decode())
    if data[:1] == b"*":
        count, _, rest = data[1:].partition(b" ")
        return rest * int(count)
    if data[:1] == b"?":
        time.sleep(0.002)
    return data
"""
BYTES = "application/octet-stream"


def moody(start):
    return start({"code/inference.py": MOODY}).ready()


def test_each_answer_belongs_to_its_request_under_mixed_sizes_cancels_and_failures(start):
    worker = moody(start)
    threads, wrong = [], []

    def gateway(seed: int) -> None:
        chance, client = random.Random(seed), worker.client()
        expected, cancelled = {}, set()
        sender = []
        for stream in range(300):
            body = b"%08d" % stream + chance.randbytes(
                chance.choice([0, 10, 500, 70_000, 300_000]) if stream % 9 == 0 else 64
            )
            kind = chance.choice("=!*?")
            if kind == "=":
                sent, expected[stream] = b"=" + body, (Kind.ANSWER, b"=" + body)
            elif kind == "!":
                sent, expected[stream] = b"!" + body, (Kind.FAILURE, b"no %08d" % stream)
            elif kind == "*":
                sent, expected[stream] = b"*3 " + body, (Kind.ANSWER, body * 3)
            else:
                sent, expected[stream] = b"?" + body, (Kind.ANSWER, b"?" + body)
            sender.append(pack(Kind.REQUEST, stream, msgspec.msgpack.encode(RequestMeta(BYTES)), sent))
            if chance.random() < 0.1:
                cancelled.add(stream)
                sender.append(pack(Kind.CANCEL, stream))
        writer = threading.Thread(target=client.sock.sendall, args=(b"".join(sender),))
        writer.start()
        missing = set(expected) - cancelled
        while missing:
            frame = client.receive()
            kind, payload = expected.pop(frame.stream)
            right = frame.payload == payload if kind is Kind.ANSWER else frame.payload.startswith(payload)
            if frame.kind is not kind or not right:
                wrong.append(frame)
            missing.discard(frame.stream)
        writer.join()

    for seed in range(3):
        threads.append(threading.Thread(target=gateway, args=(seed,)))
        threads[-1].start()
    for thread in threads:
        thread.join(60)

    assert not wrong
    worker.client().describe_until(lambda d: d.in_flight == 0)  # what was cancelled may be the last in the queue


def test_a_request_cancelled_while_it_waits_is_never_worked_on(start, tmp_path):
    seen = tmp_path / "seen"
    text = f"""
import time
def model_fn(d): return d
def transform_fn(model, data, content_type, accept):
    with open({str(seen)!r}, "ab") as file:
        file.write(data)
    time.sleep(0.02)
    return data
"""
    client = start({"code/inference.py": text}).ready().client()
    frames = [pack(Kind.REQUEST, n, msgspec.msgpack.encode(RequestMeta(BYTES)), b"%d" % n) for n in range(4)]
    client.sock.sendall(b"".join([*frames, pack(Kind.CANCEL, 1), pack(Kind.CANCEL, 2), pack(Kind.CANCEL, 99)]))

    assert [client.receive().payload for _ in range(2)] == [b"0", b"3"]
    assert seen.read_bytes() == b"03"


def test_a_gateway_that_does_not_read_blocks_nobody_else(start):
    worker = moody(start)
    deaf, other = worker.client(), worker.client()

    def ask_without_reading() -> None:  # waits too, once the worker reads no more of what it cannot answer
        for stream in range(8):
            deaf.request(stream, b"*40 " + b"x" * 100_000, BYTES)

    asking = threading.Thread(target=ask_without_reading)
    asking.start()
    for _ in range(100):
        assert other.ask(b"hello", BYTES).payload == b"hello"
    assert [len(deaf.receive().payload) for _ in range(8)] == [4_000_000] * 8
    asking.join()


def test_a_gateway_that_leaves_with_requests_in_hand_harms_nobody(start):
    worker = moody(start)
    for _ in range(5):
        leaver = worker.client()
        for stream in range(20):
            leaver.request(stream, b"*100 " + b"x" * 10_000, BYTES)
        leaver.close()
    client = worker.client()

    assert client.ask(b"hello", BYTES).payload == b"hello"
    control = worker.client()
    control.describe_until(lambda d: not d.in_flight)


@pytest.mark.parametrize(
    "garbage",
    [
        pack(Kind.ANSWER, 1, b"", b"x"),
        pack(Kind.REQUEST, 1, b"\xc1", b"x"),
        pack(Kind.REQUEST, 1, b"\x93\x01\x02\x03", b"x"),
        pack(Kind.CREDIT, 1, b"", b"x"),
        struct.pack("<IIHBB", MAX_BODY_BYTES + 1, 1, 0, Kind.REQUEST, 0),
        struct.pack("<IIHBB", 0, 1, 0, 200, 0),
        pack(Kind.DESCRIBE, 0),
    ],
    ids=["answer", "meta is no MessagePack", "meta of wrong types", "short credit", "too large", "unknown", "control"],
)
def test_a_connection_that_breaks_the_protocol_is_closed_and_only_that_one(start, garbage):
    worker = moody(start)
    good, bad = worker.client(), worker.client()
    assert bad.ask(b"hello", BYTES).payload == b"hello"
    bad.sock.sendall(garbage)

    assert bad.is_closed()
    assert good.ask(b"hello", BYTES).payload == b"hello"


def test_garbage_from_the_first_byte_and_half_headers_do_no_harm(start):
    worker = moody(start)
    bad, half = worker.client(), worker.client()
    bad.sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    half.sock.sendall(b"\0\0\0")

    assert bad.is_closed()
    assert worker.client().ask(b"hello", BYTES).payload == b"hello"


def test_a_control_connection_that_sends_a_request_is_closed(start):
    worker = moody(start)
    control = worker.client()
    control.describe()
    control.request(1, b"x")

    assert control.is_closed()


def test_frames_may_arrive_byte_by_byte(start):
    client = moody(start).client()
    for byte in pack(Kind.REQUEST, 9, msgspec.msgpack.encode(RequestMeta(BYTES)), b"slowly"):
        client.sock.sendall(bytes([byte]))

    frame = client.receive()
    assert (frame.stream, frame.payload) == (9, b"slowly")


def test_a_request_without_meta_or_body_is_a_request(start):
    client = start({"code/inference.py": "def model_fn(d): 0\ndef transform_fn(m, d, c, a): return repr((d, c, a))"})
    client = client.ready().client()
    client.sock.sendall(HEADER.pack(0, 3, 1, Kind.REQUEST, 0) + b"\x90")

    assert client.receive().payload == b"('', 'application/json', 'application/json')"


@pytest.mark.parametrize(
    "size", [0, 1, LARGE_BYTES - 40, LARGE_BYTES, LARGE_BYTES + 1, BUFFER_BYTES, 5_000_000, 25 * 2**20]
)
def test_bodies_of_every_size_come_through(start, size):
    client = moody(start).client()
    body = random.Random(size).randbytes(size)
    writer = threading.Thread(target=client.request, args=(4, b"=" + body, BYTES))
    writer.start()
    frame = client.receive()
    writer.join()

    assert frame.payload == b"=" + body


_FRAME = st.tuples(
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.one_of(st.binary(max_size=40), st.just(b"m" * 65535)),
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from([LARGE_BYTES - 12, LARGE_BYTES, 150_000, 300_000]).map(lambda n: b"p" * n),
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(_FRAME, max_size=8), st.data())
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(frames, data):
    sent = b"".join(HEADER.pack(len(p), s, len(m), k, 0) + m + p for k, s, m, p in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    prefix = cuts[0] if cuts and cuts[0] <= 12 else 0
    ours, theirs = socket.socketpair()
    got = []
    take = lambda _, kind, stream, meta, payload: got.append((kind, stream, bytes(meta), payload))  # noqa: E731
    with ours, theirs:
        connection = Connection(ours, sent[:prefix])
        assert connection.cut(take)
        at = prefix
        for cut in [*cuts, len(sent)]:
            while at < cut:
                at += theirs.send(sent[at : min(cut, at + 60_000)])
                assert connection.receive(take)
        for _ in range(len(frames) + 1):
            assert connection.receive(take)

    assert got == frames


@given(st.binary(min_size=12, max_size=300))
def test_no_bytes_at_all_break_the_cutting(garbage):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        theirs.sendall(garbage)
        try:
            assert connection.receive(lambda *_: None)
        except Malformed:
            size, _, _, kind, _ = HEADER.unpack_from(garbage)
            assert size > MAX_BODY_BYTES or kind not in (1, 2, 3) or len(garbage) > 12

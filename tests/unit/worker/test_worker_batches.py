"""Each answer belongs to its request, whatever happens in the batch. A real loop on a socket pair; the model is scripted."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_frames import BOUND_S, Frame

from trimtab.policies.batching import Batching, Limits
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, RequestMeta, pack
from trimtab.worker.answers import Answer, Fault
from trimtab.worker.batchable import Inseparable, Prepared
from trimtab.worker.batches import Batches
from trimtab.worker.faults import failure_frame, fault_of
from trimtab.worker.serve import Loop

Go = Callable[[], None]
HEADERS = {"verbose": "x" * 70_000, "garbled": "\ud800"}  # longer than a frame's meta; no text


class Scripted:
    """Bodies are `mood kind number`. Answers `number!` in its own type; does what the mood says."""

    def __init__(self, apart: bool) -> None:
        self.apart = apart
        self.batches: list[list[str]] = []
        self.before: Callable[[list[str]], None] = lambda _: None

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        mood, kind, number = body.decode().split()
        if mood == "undecodable":
            raise Fault(400, f"{number} is nothing")
        return Prepared((mood, number), None if kind == "alone" else kind, 1 + int(number) % 3, 1, meta.accept)

    def predict(self, many: Sequence[Prepared]) -> Sequence[Any]:
        numbers = [one.value[1] for one in many]
        self.batches.append(numbers)
        self.before(numbers)
        if any(one.value[0] == "poisoned" for one in many):
            raise RuntimeError("no " + ",".join(numbers))
        if len(many) > 1 and any(one.value[0] == "inseparable" for one in many):
            raise Inseparable("too few rows")
        return [f"{number}!" for number in numbers]

    def finish(self, one: Prepared, result: Any) -> Answer:
        if one.value[0] == "unwritable":
            raise ValueError(f"{one.value[1]} cannot be written")
        return str(result).encode(), one.accept, HEADERS.get(one.value[0], "")

    def answer_alone(self, body: bytes, meta: RequestMeta) -> Answer:
        one = self.prepare(body, meta)
        return self.finish(one, self.predict([one])[0])

    def fault_of(self, error: BaseException) -> Fault:
        return fault_of(error)


class Gateway:
    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(BOUND_S)
        self._buffer = bytearray()

    def receive(self) -> Frame:
        size, stream, meta_size, kind, _ = HEADER.unpack(self._exactly(HEADER_SIZE))
        return Frame(Kind(kind), stream, self._exactly(meta_size), self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            piece = self.sock.recv(65536)
            assert piece, "the worker closed the connection"
            self._buffer += piece
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


class Running:
    def __init__(self, model: Scripted, limits: Limits) -> None:
        self.notes: list[str] = []
        self.stopped: list[str] = []
        self.loop = Loop()
        self.batching = Batching(limits)
        self.batches = Batches(self.loop, model, self.batching, self.notes.append, self.stopped.append)


@contextmanager
def running(model: Scripted, gateways: Sequence[Gateway], limits: Limits) -> Iterator[Running]:
    interval_s = sys.getswitchinterval()
    it = Running(model, limits)
    thread = threading.Thread(target=it.batches.run, daemon=True)
    thread.start()
    try:
        for gateway in gateways:
            it.loop.adopt(gateway.theirs, b"")
        yield it
        it.loop.leave()
        thread.join(BOUND_S)
        assert not thread.is_alive()
        assert it.batches.in_hand() == 0
        assert not it.batches._items
    finally:
        for gateway in gateways:
            gateway.sock.close()
            gateway.theirs.close()
        if not thread.is_alive():
            it.loop.forsake()
        sys.setswitchinterval(interval_s)


def frame_of(stream: int, mood: str, kind: str, accept: str = "text/plain", **more: Any) -> bytes:
    meta = msgspec.msgpack.encode(RequestMeta(accept=accept, **more))
    return pack(Kind.REQUEST, stream, meta, f"{mood} {kind} {stream}".encode())


def is_right(frame: Frame, mood: str, timeout_s: float) -> bool:
    number = str(frame.stream)
    if mood == "undecodable":
        return frame.kind is Kind.FAILURE and frame.payload == f"{number} is nothing".encode()
    if timeout_s <= 0:
        return frame.kind is Kind.FAILURE and frame.failure.status == 504
    if mood == "poisoned":
        return frame.kind is Kind.FAILURE and frame.payload.startswith(f"no {number}\n".encode())  # it alone
    if mood in HEADERS:
        return frame.kind is Kind.FAILURE and frame.failure.status == 500
    if mood == "unwritable":
        return frame.kind is Kind.FAILURE and frame.payload.startswith(f"{number} cannot be written".encode())
    return frame.kind is Kind.ANSWER and frame.payload == f"{number}!".encode()


asked = st.tuples(
    st.sampled_from(["fine"] * 6 + ["poisoned", "undecodable", "unwritable", "inseparable", *HEADERS]),
    st.sampled_from(["square", "square", "round", "alone"]),
    st.sampled_from([60.0] * 9 + [0.0]),
    st.sampled_from(["text/plain", "text/csv", "application/json"]),
    st.integers(0, 9).map(lambda n: n == 0),  # cancelled
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(asked, max_size=40), min_size=1, max_size=3),
    st.integers(2, 16),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 0.01]),
)
def test_each_answer_belongs_to_its_request_under_failures_cancels_and_mixed_shapes(loads, rows, apart, latency_s):
    model = Scripted(apart)
    gateways = [Gateway() for _ in loads]
    with running(model, gateways, Limits(rows=rows, delay_s=0.001, latency_s=latency_s)):
        for offset, (gateway, load) in enumerate(zip(gateways, loads, strict=True)):
            frames = []
            for number, (mood, kind, timeout_s, accept, cancelled) in enumerate(load):
                frames.append(frame_of(number * 3 + offset, mood, kind, accept, timeout_s=timeout_s))
                if cancelled:
                    frames.append(pack(Kind.CANCEL, number * 3 + offset))
            gateway.sock.sendall(b"".join(frames))
        for offset, (gateway, load) in enumerate(zip(gateways, loads, strict=True)):
            wanted = {number * 3 + offset for number, one in enumerate(load) if not one[4]}
            seen: set[int] = set()
            while wanted - seen:
                frame = gateway.receive()
                mood, _, timeout_s, accept, _ = load[frame.stream // 3]
                assert frame.stream not in seen
                assert is_right(frame, mood, timeout_s), (frame, mood)
                if frame.kind is Kind.ANSWER:
                    assert frame.answer.content_type == accept
                    assert 1 <= frame.answer.batch <= rows
                seen.add(frame.stream)

    kinds = {str(number * 3 + offset): one[1] for offset, load in enumerate(loads) for number, one in enumerate(load)}
    for batch in model.batches:
        assert len({kinds[number] for number in batch}) == 1
        if len(batch) > 1:
            assert kinds[batch[0]] != "alone"
            assert sum(1 + int(number) % 3 for number in batch) <= rows


@contextmanager
def busy(model: Scripted, gateways: Sequence[Gateway], limits: Limits, *waiting: bytes) -> Iterator[tuple[Running, Go]]:
    """The model is in its first batch, request 0 of the first gateway, until it is told to go on; `waiting` wait."""
    inside, go_on = threading.Event(), threading.Event()

    def before(_numbers: list[str]) -> None:
        inside.set()
        assert go_on.wait(BOUND_S)

    model.before = before
    with running(model, gateways, limits) as it:
        gateways[0].sock.sendall(frame_of(0, "fine", "square"))
        assert inside.wait(BOUND_S)
        gateways[0].sock.sendall(b"".join(waiting))
        wait_for(lambda: it.batches.in_hand() + len(it.loop.waiting) == 1 + len(waiting))
        yield it, go_on.set


def wait_for(is_so: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(int(BOUND_S * 1000)):
        if is_so():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come to pass")


@pytest.mark.parametrize("apart", [True, False])
def test_a_batch_forms_while_the_model_is_busy_and_cancelled_requests_have_no_part_in_it(apart):
    model, gateway = Scripted(apart), Gateway()
    waiting = [frame_of(n, "fine", "square") for n in (3, 6, 9, 12)]
    with busy(model, [gateway], Limits(rows=32), *waiting) as (it, go_on):
        gateway.sock.sendall(pack(Kind.CANCEL, 6))
        wait_for(lambda: _is_cancelled(it, 6))
        go_on()
        answers = sorted((gateway.receive() for _ in range(4)), key=lambda frame: frame.stream)

    assert model.batches == [["0"], ["3", "9", "12"]]
    assert {frame.stream: frame.payload for frame in answers} == {n: f"{n}!".encode() for n in (0, 3, 9, 12)}
    assert [frame.answer.batch for frame in answers] == [1, 3, 3, 3]
    assert all(frame.answer.wait_us > 0 for frame in answers[1:])


def _is_cancelled(it: Running, stream: int) -> bool:
    decoded = [item for (_, number), item in list(it.batches._items.items()) if number == stream]
    return any(item.cancelled for item in decoded) or any(
        stream in connection.cancelled for connection in it.loop._connections.values()
    )


@pytest.mark.parametrize("mood", ["fine", "poisoned", "undecodable", "unwritable", *HEADERS])
def test_a_request_that_comes_alone_is_answered_as_any_other(mood):
    model, gateway = Scripted(True), Gateway()
    with running(model, [gateway], Limits(rows=8)):
        for stream in (0, 3, 6):
            gateway.sock.sendall(frame_of(stream, mood, "square", alone=True))
            frame = gateway.receive()
            assert frame.stream == stream
            assert is_right(frame, mood, 60.0)
            assert frame.kind is Kind.FAILURE or frame.answer.batch == 1


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("mood", ["undecodable", "fine"])
def test_bodies_that_come_to_nothing_do_not_use_up_the_memory_bound(monkeypatch, apart, mood):
    monkeypatch.setattr("trimtab.worker.serve._MAX_WAITING_BYTES", 2000)  # a few dozen bodies
    model, gateway = Scripted(apart), Gateway()
    with running(model, [gateway], Limits(rows=8)) as it:
        for stream in range(1, 400):
            frames = [frame_of(stream, "fine", "square"), frame_of(1000 + stream, mood, "square")]
            if mood == "fine":
                frames.append(pack(Kind.CANCEL, 1000 + stream))  # read together: it never comes to be decoded
            gateway.sock.sendall(b"".join(frames))
            seen = {gateway.receive().stream for _ in range(1 if mood == "fine" else 2)}
            assert stream in seen
    assert it.loop._taken_bytes == it.loop._done_bytes + it.loop._skipped_bytes


def test_a_failure_whose_headers_cannot_travel_is_told_without_them():
    for attributes in HEADERS.values():
        frame = failure_frame(7, Fault(418, "why", custom_attributes=attributes))
        assert frame.endswith(b"why")
        assert HEADER.unpack_from(frame)[1] == 7


def test_only_the_poisoned_one_of_a_batch_fails_and_it_is_said_once():
    model, gateway = Scripted(True), Gateway()
    waiting = [frame_of(3 * n, "poisoned" if n == 13 else "fine", "square") for n in range(1, 33)]
    with busy(model, [gateway], Limits(rows=64), *waiting) as (it, go_on):
        go_on()
        frames = [gateway.receive() for _ in range(33)]

    assert [frame.stream for frame in frames if frame.kind is Kind.FAILURE] == [39]
    assert len(model.batches) - 1 == 1 + 2 * 5  # 32, and then a pair of halves five times
    assert len(it.notes) == 1
    assert "no 3,6" in it.notes[0]


def test_a_model_whose_answers_cannot_be_divided_is_not_batched_any_more():
    model, gateway = Scripted(True), Gateway()
    waiting = [frame_of(3 * n, "inseparable", "square") for n in range(1, 9)]
    with busy(model, [gateway], Limits(rows=32), *waiting) as (it, go_on):
        go_on()
        frames = [gateway.receive() for _ in range(9)]
        gateway.sock.sendall(b"".join(frame_of(3 * n, "fine", "square") for n in range(10, 14)))
        frames += [gateway.receive() for _ in range(4)]

    assert all(frame.kind is Kind.ANSWER and frame.payload == f"{frame.stream}!".encode() for frame in frames)
    assert it.stopped == ["too few rows"]
    assert [len(batch) for batch in model.batches[-4:]] == [1, 1, 1, 1]


def test_what_goes_alone_is_not_starved_by_what_goes_together():
    model, gateway = Scripted(True), Gateway()
    kinds = ["square"] * 3 + ["alone"] + ["square"] * 8
    waiting = [frame_of(3 * n, "fine", kind) for n, kind in enumerate(kinds, 1)]
    with busy(model, [gateway], Limits(rows=6), *waiting) as (it, go_on):
        go_on()
        for _ in range(13):
            assert gateway.receive().kind is Kind.ANSWER

    assert model.batches.index(["12"]) <= 2  # the batch in hand, that of what came before it, and then it


def test_a_gateway_that_leaves_takes_its_requests_along():
    model, leaver, other = Scripted(True), Gateway(), Gateway()
    waiting = [frame_of(3 * n, "fine", "square") for n in range(1, 5)]
    with busy(model, [leaver, other], Limits(rows=32), *waiting) as (it, go_on):
        other.sock.sendall(frame_of(1, "fine", "square"))
        wait_for(lambda: it.batches.in_hand() == 6)
        leaver.sock.close()
        wait_for(lambda: len(it.loop._connections) == 1)
        go_on()
        assert other.receive().payload == b"1!"

    assert model.batches == [["0"], ["1"]]


def test_a_worker_that_leaves_answers_what_it_has():
    model, gateway = Scripted(True), Gateway()
    waiting = [frame_of(3 * n, "fine", "square") for n in range(1, 11)]
    with busy(model, [gateway], Limits(rows=4), *waiting) as (it, go_on):
        it.loop.leave()
        gateway.sock.sendall(frame_of(99, "fine", "square"))
        refused = gateway.receive()
        go_on()
        frames = [gateway.receive() for _ in range(11)]

    assert (refused.kind, refused.stream) == (Kind.REFUSED, 99)
    assert sorted(frame.stream for frame in frames) == [3 * n for n in range(11)]

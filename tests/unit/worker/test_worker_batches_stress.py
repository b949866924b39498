"""Gateways that send, cancel, leave and come back as chance has it, while a slow model answers: no answer is wrong,
missing, or given twice. Seeds are fixed; what the threads make of them is not, and any of it must be right.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from test_worker_batches import HEADERS, Gateway, Running, Scripted, frame_of, is_right, running, wait_for
from worker_frames import BOUND_S

from trimtab.policies.batching import Limits
from trimtab.wire.frames import Kind, pack

MOODS = ["fine"] * 12 + ["poisoned", "undecodable", "unwritable", *HEADERS]
REQUESTS = 120


class Erratic(threading.Thread):
    """One gateway: sends from one thread, reads from another, and notes whatever is not as it must be."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self.chance = random.Random(seed)
        self.gateway = Gateway()
        self.moods: dict[int, str] = {}
        self.cancelled: set[int] = set()
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.sent_all = False
        self.leaves_after = self.chance.choice([None, None, REQUESTS // 2])

    def run(self) -> None:
        chance, pause = self.chance, threading.Event()
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        stream = 0
        while stream < (self.leaves_after or REQUESTS):
            frames = []
            for _ in range(min(chance.choice([1, 1, 2, 9, 40]), REQUESTS - stream)):
                stream += 1
                self.moods[stream] = mood = chance.choice(MOODS)
                kind = chance.choice(["square", "square", "round", "alone"])
                frames.append(frame_of(stream, mood, kind, alone=chance.random() < 0.3))
                if chance.random() < 0.15:
                    victim = chance.randrange(max(1, stream - 5), stream + 1)
                    self.cancelled.add(victim)
                    frames.append(pack(Kind.CANCEL, victim))
            data = b"".join(frames)
            cut = chance.randrange(len(data))
            self.gateway.sock.sendall(data[:cut])
            pause.wait(chance.choice([0, 0, 0.0003, 0.003]))
            self.gateway.sock.sendall(data[cut:])
        self.sent_all = True
        if self.leaves_after is not None:
            self.gateway.sock.shutdown(1)  # an end of file in the middle of its requests
        reader.join(BOUND_S)

    def missing(self) -> set[int]:
        return set(self.moods) - self.cancelled - set(self.answers)

    def _read(self) -> None:
        while not (self.sent_all and not self.missing()):
            try:
                frame = self.gateway.receive()
            except (AssertionError, OSError):
                return  # closed by the worker, or nothing came in time: what is missing shows
            self.answers[frame.stream] += 1
            mood = self.moods[frame.stream]
            if not is_right(frame, mood, 60.0):
                self.wrong.append(f"{frame.stream} ({mood}): {frame}")


class Slow(Scripted):
    """Takes its time, with and without the interpreter."""

    def __init__(self, apart: bool, seed: int) -> None:
        super().__init__(apart)
        chance, pause = random.Random(seed), threading.Event()

        def before(_numbers: list[str]) -> None:
            pause.wait(chance.choice([0, 0, 0.0005, 0.004]))
            sum(range(chance.choice([0, 1000, 30_000])))

        self.before = before


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_every_request_gets_its_one_right_answer_whatever_gateways_do(seed, apart):
    gateways = [Erratic(seed * 100 + n) for n in range(5)]
    limits = Limits(rows=random.Random(seed).choice([2, 8, 32]), delay_s=0.002, latency_s=[0.0, 0.02][seed % 2])
    with running(Slow(apart, seed), [one.gateway for one in gateways], limits) as it:
        for one in gateways:
            one.start()
        for one in gateways:
            one.join(BOUND_S)
        for one in gateways:
            assert not one.is_alive()
            assert not one.wrong
            if one.leaves_after is None:
                assert not one.missing()
            assert max(one.answers.values(), default=1) == 1
        wait_for(lambda: _is_at_rest(it))
    assert it.loop._taken_bytes == it.loop._done_bytes + it.loop._skipped_bytes


def _is_at_rest(it: Running) -> bool:
    return it.loop.load()[0] == 0


@pytest.mark.parametrize("apart", [True, False])
def test_a_worker_that_is_told_to_leave_answers_or_refuses_all_that_it_was_sent(apart):
    for seed in range(20):
        gateways = [Gateway() for _ in range(3)]
        with running(Slow(apart, seed), gateways, Limits(rows=8, delay_s=0.001)) as it:
            for gateway in gateways:
                gateway.sock.sendall(b"".join(frame_of(n, "fine", "square") for n in range(40)))
            it.loop.leave()
            for gateway in gateways:
                frames = [gateway.receive() for _ in range(40)]
                assert {frame.stream for frame in frames} == set(range(40))
                assert {frame.kind for frame in frames} <= {Kind.ANSWER, Kind.REFUSED}

"""The gateway looks for an answer only while requests come one at a time, and never for long."""

from __future__ import annotations

import asyncio

from trimtab.gateway.calls import Call
from trimtab.gateway.looker import Looker
from trimtab.policies.patience import ALONE_IN_A_ROW, LOOK_MOST_S


class Time:
    """A clock that moves a little with every reading, as looking takes time."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return self.readings * LOOK_MOST_S / 10


def sent(now_s: Time) -> Call:
    call = Call("echo", (), 0)
    call.sent_s = now_s()
    return call


async def test_it_stops_looking_at_the_bound() -> None:
    now_s = Time()
    Looker(now_s).expect(sent(now_s), 0.0, ALONE_IN_A_ROW)
    for _ in range(100):
        await asyncio.sleep(0)
    assert 10 <= now_s.readings <= 13


async def test_it_stops_looking_when_the_answer_is_here() -> None:
    now_s = Time()
    looker, call = Looker(now_s), sent(now_s)
    looker.expect(call, 0.0, ALONE_IN_A_ROW)
    await asyncio.sleep(0)
    call.done = True
    before = now_s.readings
    for _ in range(10):
        await asyncio.sleep(0)
    assert now_s.readings <= before + 1


async def test_it_does_not_look_when_requests_come_together_or_the_model_is_slow() -> None:
    now_s = Time()
    looker = Looker(now_s)
    looker.expect(sent(now_s), 0.0, ALONE_IN_A_ROW - 1)
    looker.expect(sent(now_s), LOOK_MOST_S * 2, ALONE_IN_A_ROW)
    before = now_s.readings
    for _ in range(10):
        await asyncio.sleep(0)
    assert now_s.readings == before


async def test_one_look_is_enough_for_all() -> None:
    now_s = Time()
    looker = Looker(now_s)
    for _ in range(5):
        looker.expect(sent(now_s), 0.0, ALONE_IN_A_ROW)
    for _ in range(100):
        await asyncio.sleep(0)
    assert now_s.readings <= 5 + 13

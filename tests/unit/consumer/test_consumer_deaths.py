"""A consumer is killed between any two things that it does: each task still has one visible result and one notice."""

import asyncio
import threading

import pytest

from trimtab.errors import Unavailable
from trimtab.queues.model import Ack, Bury, Return, Rewrite
from trimtab.resources.asynchronous import QueueMark
from trimtab.testing.consuming import Held, Sent
from trimtab.testing.waiting import until

_STEPS = 14


class Killer:
    """Counts what a consumer does; when it comes to the step `at`, nothing goes on until the consumer is dead."""

    def __init__(self, place, at):
        self.place, self.at, self.steps = place, at, 0
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._dead = threading.Event()

    def watch(self):
        """Follow the consumer that has just begun."""
        self.place.objects.fault = self._in_thread
        ask = self.place.client.ask

        async def watched(op):
            if isinstance(op, Rewrite | Ack | Bury | Return):
                await self._here()
                result = await ask(op)
                await self._here()
                return result
            return await ask(op)

        self.place.client.ask = watched

    async def _here(self):
        if self._is_it():
            self.reached.set()
            await asyncio.Event().wait()

    def _in_thread(self, operation, url):
        if not self._is_it():
            return None
        self._loop.call_soon_threadsafe(self.reached.set)
        self._dead.wait(20)
        return Unavailable("dead")

    def _is_it(self):
        self.steps += 1
        return self.steps == self.at + 1

    async def kill(self):
        await self.place.die()
        self.place.objects.fault = lambda operation, url: None
        self._dead.set()


def answers(size_bytes):
    """A model that answers something else each time."""
    times = iter(range(100))
    return lambda got: got.answer(b"%d " % next(times) + b"x" * size_bytes)


MODELS = {
    "small": answers(10),
    "large": answers(1 << 20),
    "failing": lambda got: got.fail(500, b"no %d" % got.stream),
}


@pytest.mark.parametrize("at", range(_STEPS))
@pytest.mark.parametrize("kind", [*MODELS, "deleted"])
async def test_one_result_and_one_notice_wherever_it_dies(place, kind, at):
    place.objects.objects["s3://bucket/in"] = Held(b"page", Sent())
    place.worker.on_request = MODELS.get(kind, MODELS["small"])
    if kind == "deleted":
        place.uid = "u2"  # the endpoint was made again
        await place.mark(QueueMark(uid="u2"))
        await place.route()
        place.uid = "u1"  # the task is of its life before
    killer = Killer(place, at)
    place.consume()
    killer.watch()
    await place.accept("t1", None, input_location="s3://bucket/in")

    async def over():
        depth = await place.depth()
        return depth.waiting + depth.leased == 0

    async def over_or_stuck():
        return killer.reached.is_set() or await over()

    await until(over_or_stuck)
    await killer.kill()
    place.consume()
    await until(over)
    assert len(place.objects.made) == 1
    ok = kind in ("small", "large")
    assert place.objects.made[0] == ("s3://bucket/out/t1.out" if ok else "s3://bucket/failed/t1-error.out")
    (notice,) = await place.notices()
    assert notice["invocationStatus"] == ("Completed" if ok else "Failed")
    assert not place.objects.uploads
    assert killer.steps <= _STEPS


async def test_many_tasks_and_many_deaths(place):
    """The worker answers all of them in any order, while consumers come and go."""
    place.worker.on_request = answers(3)
    for number in range(60):
        await place.accept(f"t{number}")
    for _ in range(8):
        place.consume()
        before = len(place.objects.made)
        await until(lambda before=before: len(place.objects.made) >= min(60, before + 5))
        await place.die()
    place.consume()

    async def over():
        depth = await place.depth()
        return depth.waiting + depth.leased == 0

    await until(over)
    assert sorted(place.objects.made) == sorted(f"s3://bucket/out/t{number}.out" for number in range(60))
    assert len(await place.notices()) == 60

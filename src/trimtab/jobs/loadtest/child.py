"""One generating process: `python -m trimtab.jobs.loadtest.child FD`, started by `crew.py`.

It talks to the crew over the socket FD, in pickles: `(PLAN, plan, sender, share)` -> READY or FAILED; `(START, at)` ->
TALLY, TALLY, ..., DONE; `(STOP,)` ends a run early. It ends when the crew's side of the socket is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from multiprocessing.connection import Connection as Pipe
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

import uvloop

from trimtab.errors import TrimtabError
from trimtab.jobs.loadtest.generator import Generator
from trimtab.jobs.loadtest.tally import Step, Tally
from trimtab.jobs.loadtest.timer import exact_wakes

PLAN: Final = "plan"
START: Final = "start"
STOP: Final = "stop"
READY: Final = "ready"
FAILED: Final = "failed"
TALLY: Final = "tally"
DONE: Final = "done"


class Child:
    """Runs the plans that come over `pipe`, one after the other."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._orders: asyncio.Queue[tuple[Any, ...] | None] = asyncio.Queue()
        self._generator: Generator | None = None

    async def work(self) -> None:
        """Until the crew is gone."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe.fileno(), self._read)
        while (order := await self._orders.get()) is not None:
            if order[0] == PLAN:
                await self._prepare(*order[1:])
            elif order[0] == START and self._generator is not None:
                await self._run(*order[1:])
        loop.remove_reader(self._pipe.fileno())
        await self._leave()

    def _read(self) -> None:
        try:
            order = self._pipe.recv()
        except (EOFError, ConnectionError):
            order = None
        except (ImportError, AttributeError) as error:  # a sender of a module that is not to be found here
            self._tell(FAILED, f"The load's sender cannot be imported: {error}.")
            return
        if (order is None or order[0] == STOP) and self._generator is not None:
            self._generator.stop()
        if order is None or order[0] != STOP:
            self._orders.put_nowait(order)

    async def _prepare(self, plan: Any, sender: Any, share: int) -> None:
        await self._leave()
        try:
            self._generator = Generator(plan, sender, lambda tally: self._tell(TALLY, tally), share=share)
            await self._generator.prepare()
            ForkingPickler.dumps(
                Tally(steps={0: Step()})
            )  # the first one takes milliseconds, which no request waits for
        except TrimtabError as error:
            self._tell(FAILED, str(error))
        else:
            self._tell(READY)

    async def _run(self, at: float) -> None:
        assert self._generator is not None
        await self._generator.run(at)
        self._tell(DONE)

    async def _leave(self) -> None:
        if self._generator is not None:
            await self._generator.close()
            self._generator = None
            gc.unfreeze()
            gc.collect()

    def _tell(self, *message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the crew is gone: the next read says so
            self._pipe.send(message)


def main(fd: int) -> None:
    """Work for the crew at the other end of `fd`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the crew's to handle
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    exact_wakes()
    uvloop.run(Child(Pipe(fd)).work())


if __name__ == "__main__":
    main(int(sys.argv[1]))

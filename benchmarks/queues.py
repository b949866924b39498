"""Durable queues: accepts a second and how long each takes, from put to lease at idle, redelivery after a death.

    python benchmarks/queues.py [--seconds 5] [--rate 10000] [--clients 2] [--wakes 500] [--deaths 40]
        [--postgresql [URL]]

The keeper and each client are processes of their own, as in `trimtab serve`; an accept is answered when it is on the disk
(fsync). `accept` is an open loop: messages are due at even times, whatever became of those before, and their time counts
from when they were due. `--postgresql` keeps the queues in that database, which must be one to spoil; without a URL in
a server of its own, which is told to fsync. `most` is a closed loop, with so many puts in flight. All processes share one clock (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dataplane import report
from trimtab.app.processes import THREADS_TURN_S
from trimtab.queues.client import QueueClient
from trimtab.queues.keeper import QueueKeeper
from trimtab.queues.model import Ack, Declare, Done, Lease, Leases, Put, QueueSettings
from trimtab.queues.sqlite import SqliteQueueStore
from trimtab.queues.store import QueueStore

BODY = bytes(400)  # about what a task with its locations takes
TTL_S = 6 * 3600.0
TICK_S = 0.001
OWN = "own"
IN_FLIGHT = 512

Role = Callable[[Path, Connection, argparse.Namespace], Coroutine[Any, Any, None]]


def process_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def keeper(folder: Path, pipe: Connection, options: argparse.Namespace) -> None:
    sys.setswitchinterval(THREADS_TURN_S)
    store: QueueStore = SqliteQueueStore(folder / "queues.db")
    if options.url:
        from trimtab.queues.postgresql import PostgresqlQueueStore

        store = PostgresqlQueueStore(options.url, house="benchmark/")
    kept = QueueKeeper(store, folder / "queues.sock", house="benchmark/" if options.url else "")
    await kept.open()
    run = asyncio.create_task(kept.run())
    pipe.send("ready")
    while await asyncio.to_thread(pipe.recv) != "stop":
        pipe.send(process_cpu_s())
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await kept.close()


async def accept(folder: Path, pipe: Connection, options: argparse.Namespace) -> None:
    """Open loop: this client's share of the rate."""
    client = QueueClient(folder / "queues.sock")
    client.open()
    rate = options.rate / options.clients
    taken_s: list[float] = []
    numbers = itertools.count()
    asked: set[asyncio.Task[None]] = set()

    async def put(due_s: float) -> None:
        put_one = Put(queue="q", id=f"{client.owner}-{next(numbers)}", body=BODY, expires_s=time.time() + TTL_S)
        assert await client.ask(put_one) == Done()
        taken_s.append(time.monotonic() - due_s)

    await client.ask(Declare(queue="q", settings=QueueSettings()))
    begin_s = time.monotonic()
    sent = 0
    while (now_s := time.monotonic()) < begin_s + options.seconds:
        while begin_s + sent / rate <= now_s:
            task = asyncio.create_task(put(begin_s + sent / rate))
            asked.add(task)
            task.add_done_callback(asked.discard)
            sent += 1
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*asked)
    pipe.send(taken_s)
    await client.close()


async def most(folder: Path, pipe: Connection, options: argparse.Namespace) -> None:
    """Closed loop: this client's share of the puts in flight."""
    client = QueueClient(folder / "queues.sock")
    client.open()
    await client.ask(Declare(queue="q", settings=QueueSettings()))
    numbers = itertools.count()
    end_s = time.monotonic() + options.seconds

    async def go() -> None:
        while time.monotonic() < end_s:
            await client.ask(
                Put(queue="q", id=f"{client.owner}-{next(numbers)}", body=BODY, expires_s=time.time() + TTL_S)
            )

    await asyncio.gather(*(go() for _ in range(IN_FLIGHT // options.clients)))
    pipe.send(next(numbers))
    await client.close()


async def worker(folder: Path, pipe: Connection, options: argparse.Namespace) -> None:
    """Leases one after the other, says when it had each, and acknowledges."""
    client = QueueClient(folder / "queues.sock")
    client.open()
    await client.ask(Declare(queue=options.queue, settings=QueueSettings()))
    pipe.send("ready")
    while True:
        found = await client.ask(Lease(queue=options.queue, owner=client.owner, wait_s=60.0))
        had_s = time.monotonic()
        assert isinstance(found, Leases)
        for message in found.messages:
            pipe.send((message.id, message.leases, had_s))
            if not options.holds:
                await client.ask(Ack(queue=options.queue, id=message.id, token=message.token))


def start(role: Role, folder: Path, options: argparse.Namespace) -> tuple[SpawnProcess, Connection]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=play, args=(role, folder, theirs, options))
    process.start()
    theirs.close()
    return process, ours


def play(role: Role, folder: Path, pipe: Connection, options: argparse.Namespace) -> None:
    uvloop.run(role(folder, pipe, options))


def at(values: list[float], share: float) -> str:
    ordered = sorted(values)
    return f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.2f} ms"


def accepts(folder: Path, kept: Connection, options: argparse.Namespace) -> None:
    def cpu_s() -> float:
        kept.send("cpu")
        return float(kept.recv())

    before_s = cpu_s()
    begin_s = time.monotonic()
    clients = [start(accept, folder, options) for _ in range(options.clients)]
    taken_s = [value for _, pipe in clients for value in pipe.recv()]
    for process, _ in clients:
        process.join()
    report(f"accepts due {options.rate}/s: accepted", f"{len(taken_s) / options.seconds:.0f}/s", ">= 10,000/s")
    report("  from due to answered (on the disk), p50", at(taken_s, 0.5))
    report("  p99", at(taken_s, 0.99), "<= 10 ms")
    report("  p99.9", at(taken_s, 0.999))
    report("  keeper's CPU for each", f"{1e6 * (cpu_s() - before_s) / len(taken_s):.1f} us")
    before_s, begin_s = cpu_s(), time.monotonic()
    clients = [start(most, folder, options) for _ in range(options.clients)]
    count = sum(pipe.recv() for _, pipe in clients)
    for process, _ in clients:
        process.join()
    report(f"{IN_FLIGHT} puts in flight: accepted", f"{count / options.seconds:.0f}/s")
    report("  keeper's CPU for each", f"{1e6 * (cpu_s() - before_s) / count:.1f} us")
    report("  keeper's CPU", f"{100 * (cpu_s() - before_s) / (time.monotonic() - begin_s):.0f} %")


async def idle(folder: Path, options: argparse.Namespace) -> None:
    options.queue, options.holds = "idle", False
    process, pipe = start(worker, folder, options)
    pipe.recv()
    client = QueueClient(folder / "queues.sock")
    client.open()
    accepted_s, started_s = [], []
    for number in range(options.wakes):
        await asyncio.sleep(0.01)
        begin_s = time.monotonic()
        await client.ask(Put(queue="idle", id=f"i{number}", body=BODY))
        accepted_s.append(time.monotonic() - begin_s)
        _, _, had_s = await asyncio.to_thread(pipe.recv)
        started_s.append(had_s - begin_s)
    process.kill()
    process.join()
    await client.close()
    report("idle: from put to answered, p50", at(accepted_s, 0.5))
    report("idle: from put to leased by another process, p50", at(started_s, 0.5))
    report("  p99", at(started_s, 0.99), "<= 10 ms")


async def deaths(folder: Path, options: argparse.Namespace) -> None:
    options.queue, options.holds = "deaths", True
    client = QueueClient(folder / "queues.sock")
    client.open()
    again_s = []
    for number in range(options.deaths):
        process, pipe = start(worker, folder, options)
        pipe.recv()
        await client.ask(Put(queue="deaths", id=f"d{number}", body=BODY))
        await asyncio.to_thread(pipe.recv)
        waiting = asyncio.create_task(client.ask(Lease(queue="deaths", owner=client.owner, wait_s=60.0)))
        await asyncio.sleep(0.01)
        begin_s = time.monotonic()
        os.kill(process.pid or 0, 9)
        found = await waiting
        again_s.append(time.monotonic() - begin_s)
        assert isinstance(found, Leases)
        (message,) = found.messages
        assert message.leases == 2
        await client.ask(Ack(queue="deaths", id=message.id, token=message.token))
        process.join()
    await client.close()
    report("kill -9 of a worker: its message leased again, p50", at(again_s, 0.5))
    report("  p99", at(again_s, 0.99), "<= 500 ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=10_000, help="puts a second")
    parser.add_argument("--clients", type=int, default=2, help="processes that put")
    parser.add_argument("--wakes", type=int, default=500)
    parser.add_argument("--deaths", type=int, default=40)
    parser.add_argument("--postgresql", nargs="?", const=OWN, default="", metavar="URL", help="instead of SQLite")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queues-")))
        options.url = options.postgresql
        if options.url == OWN:
            from trimtab.testing.postgresql import postgres_server, programs

            installed = programs()
            if installed is None:
                parser.error("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
            options.url = stack.enter_context(postgres_server(installed, fsync=True)).url()
        process, pipe = start(keeper, folder, options)
        pipe.recv()
        try:
            accepts(folder, pipe, options)
            asyncio.run(idle(folder, options))
            asyncio.run(deaths(folder, options))
        finally:
            pipe.send("stop")
            process.join()


if __name__ == "__main__":
    main()

"""What it adds to a request that it names one of very many models: latency and CPU of a gateway.

    python benchmarks/model_dispatch.py [--models 50000] [--rounds 15] [--requests 400]

In one process and one event loop: a gateway, a worker that answers at once, and a model host, over Unix sockets. Rounds
take turns: an ordinary variant; a multi-model variant of one loaded model; the same when the host has told of
`--models` loaded models; the same while, after every fourth request, a model comes or goes and a name is asked for that
no model has. Requests come one at a time; each round asks for a model that is loaded, so figures are of dispatch alone.

Then what it takes a gateway to hear of all models of a host that was just connected.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop

from trimtab.gateway.calls import Call
from trimtab.gateway.gateway import Gateway
from trimtab.resources.routing import EndpointRoute, HostedRoute, RouteTable, VariantRoute
from trimtab.testing.fake_host import FakeHost
from trimtab.testing.fake_worker import FakeWorker, Got
from trimtab.wire.hosting import ModelAt, ModelState

BODY = b"x" * 512


class Asked(Call):
    """A call whose end is awaited."""

    def __init__(self, endpoint: str, model: str) -> None:
        super().__init__(endpoint, [BODY], len(BODY))
        self.target_model = model
        self.ended_s = 0.0
        self.over = asyncio.get_running_loop().create_future()

    def answered(self, meta: object, body: bytes) -> None:
        self.ended_s = time.perf_counter()
        self.over.set_result(True)

    def failed(self, error: Exception) -> None:
        self.over.set_result(False)


class Bench:
    """A gateway with an ordinary endpoint `one` and multi-model endpoints `few` and `many`."""

    def __init__(self, folder: Path, models: int) -> None:
        self.folder = folder
        self.models = models
        self.gateway = Gateway()

    async def open(self) -> None:
        self.worker = await FakeWorker(self.folder / "w.sock", echo).start()
        self.few, self.many = FakeHost(self.folder / "few.sock"), FakeHost(self.folder / "many.sock")
        self.many.on_want = lambda want: self.many.fail(want.model, "ArtifactMissing")
        for host, count in ((self.few, 1), (self.many, self.models)):
            for number in range(count):
                host.ready(f"models/{number:06}.tar.gz", self.worker.lane())
            await host.start()
        endpoints = [
            EndpointRoute(name="one", variants=(VariantRoute(name="v", weight=1, lanes=(self.worker.lane(),)),))
        ]
        for name, host in (("few", self.few), ("many", self.many)):
            route = VariantRoute(name="v", weight=1, lanes=(host.lane(),), hosting=HostedRoute(prefix="s3://b/models/"))
            endpoints.append(EndpointRoute(name=name, variants=(route,)))
        await self.gateway.apply(RouteTable(version=1, endpoints=tuple(endpoints), require_auth=False))
        await self.told()

    async def told(self) -> None:
        (link,) = self.gateway.endpoints["many"].variants[0].lanes
        await self.many.until(lambda: len(link.held) == self.models, timeout_s=60.0)  # type: ignore[attr-defined]

    async def close(self) -> None:
        await self.gateway.close()
        for host in (self.few, self.many):
            await host.close()
        await self.worker.die()

    async def ask(self, endpoint: str, model: str = "") -> float:
        """Seconds until the answer."""
        began_s = time.perf_counter()
        call = Asked(endpoint, model)
        self.gateway.submit(call)
        if not await call.over:
            raise RuntimeError(f"{endpoint} does not answer for {model!r}")
        return call.ended_s - began_s

    async def stir(self, number: int) -> None:
        """A model leaves, another comes, and someone asks for one that is not there."""
        name = f"models/{1 + number % (self.models - 1):06}.tar.gz"
        state = ModelState.LEAVING if number % 2 else ModelState.READY
        self.many.tell(ModelAt(name, "1", state, (self.worker.lane(),)))
        call = Asked("many", f"models/none-{number}.tar.gz")
        self.gateway.submit(call)
        await call.over

    async def reconnect_s(self) -> tuple[float, float]:
        """CPU seconds that the gateway is at it when a host that was just connected tells of all: the longest time in one
        go, and together."""
        models = dict(self.many.models)
        await self.many.die()
        self.many.models = models
        (link,) = self.gateway.endpoints["many"].variants[0].lanes
        frame, turns = link.data_received, []  # type: ignore[attr-defined]

        def received(data: bytes) -> None:
            began_s = time.process_time()
            frame(data)
            turns.append(time.process_time() - began_s)

        link.data_received = received  # type: ignore[attr-defined]
        await self.many.start()
        await self.told()
        return max(turns), sum(turns)


def echo(got: Got) -> None:
    got.answer(got.body, compute_us=5)


async def measure(rounds: int, requests: int, models: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tt-"))
    bench = Bench(folder, models)
    try:
        await bench.open()
        first = "models/000000.tar.gz"
        kinds: dict[str, Callable[[int], Awaitable[float]]] = {
            "an ordinary variant": lambda _: bench.ask("one"),
            "one model": lambda _: bench.ask("few", first),
            f"one of {models:,} models": lambda _: bench.ask("many", first),
            f"one of {models:,}, others come and go": lambda _: bench.ask("many", first),
        }
        stirred = list(kinds)[-1]
        latencies: dict[str, list[float]] = {kind: [] for kind in kinds}
        spent: dict[str, list[float]] = {kind: [] for kind in kinds}
        number = 0
        for turn in range(rounds + 1):
            for kind, ask in kinds.items():
                taken, cpu_s = [], 0.0
                for request in range(requests):
                    if kind == stirred and request % 4 == 0:
                        await bench.stir(number := number + 1)
                    cpu_s -= time.process_time()
                    taken.append(await ask(request))
                    cpu_s += time.process_time()
                list(bench.gateway.reports())
                if turn:  # the first warms up
                    latencies[kind] += taken
                    spent[kind].append(cpu_s / requests)
        base = sorted(latencies["an ordinary variant"])
        print(f"{'':<42}{'p50 us':>9}{'p99 us':>9}{'added p99':>11}{'CPU us':>9}")
        for kind, values in latencies.items():
            values.sort()
            p50, p99 = values[len(values) // 2], values[len(values) * 99 // 100]
            added = p99 - base[len(base) * 99 // 100]
            cpu = statistics.median(spent[kind])
            print(f"{kind:<42}{p50 * 1e6:>9.1f}{p99 * 1e6:>9.1f}{added * 1e6:>11.1f}{cpu * 1e6:>9.1f}")
        longest_s, together_s = await bench.reconnect_s()
        longest, together = longest_s * 1e3, together_s * 1e3
        print(
            f"a host tells of {models:,} models: {together:.1f} ms of CPU of the gateway, {longest:.1f} ms in one go at most"
        )
    finally:
        await bench.close()
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=400)
    args = parser.parse_args()
    uvloop.run(measure(args.rounds, args.requests, args.models))


if __name__ == "__main__":
    main()

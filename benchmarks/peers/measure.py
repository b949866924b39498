"""One measurement: a load on a server, and what it cost."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.peers import processes, wrk
from benchmarks.peers.server import Server

FOREIGN_LIMIT_CORES = 0.15  # a measurement with more foreign work than this is made once more, and the quieter one kept


class Cell(msgspec.Struct, frozen=True):
    """One server under one load."""

    concurrency: int
    figures: wrk.Figures
    server_cpu_s: float
    load_cpu_s: float  # wrk's
    foreign_cores: float  # CPU of everything else on the machine, in cores
    repeated: bool
    memory: processes.Memory

    @property
    def cpu_s_per_1000(self) -> float:
        """CPU seconds of all the server's processes for 1,000 requests."""
        return self.server_cpu_s / max(1, self.figures.requests) * 1000


def warm_up(server: Server, *, connections: int, seconds: int) -> None:
    """Load whose figures are thrown away: compilers, caches and connection pools."""
    with tempfile.TemporaryDirectory() as folder:
        lua = _script(server, folder)
        wrk.run(server.url, lua, connections=connections, seconds=seconds)


def cell(server: Server, *, concurrency: int, seconds: int, repeat: bool = True) -> Cell:
    """Measure; once more where something else was busy meanwhile."""
    first = _measure(server, concurrency, seconds)
    if not repeat or first.foreign_cores <= FOREIGN_LIMIT_CORES:
        return first
    second = _measure(server, concurrency, seconds)
    return msgspec.structs.replace(min(first, second, key=lambda found: found.foreign_cores), repeated=True)


def _measure(server: Server, concurrency: int, seconds: int) -> Cell:
    with tempfile.TemporaryDirectory() as folder:
        lua = _script(server, folder)
        own = processes.descendants()
        before = processes.cpu_s(own), processes.busy_s(), _own_s(), time.monotonic()
        figures = wrk.run(server.url, lua, connections=concurrency, seconds=seconds)
        own = processes.descendants()
        after = processes.cpu_s(own), processes.busy_s(), _own_s(), time.monotonic()
    server_s, all_s, own_s, wall_s = (b - a for a, b in zip(before, after, strict=True))
    return Cell(
        concurrency=concurrency,
        figures=figures,
        server_cpu_s=server_s,
        load_cpu_s=own_s,
        foreign_cores=max(0.0, (all_s - server_s - own_s) / wall_s),
        repeated=False,
        memory=processes.memory(own),
    )


def _own_s() -> float:
    """CPU of this process and of wrk, which it has waited for."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in found)


def _script(server: Server, folder: str) -> Path:
    path = Path(folder) / "request.lua"
    path.write_text(wrk.script(server.headers(), server.body))
    return path

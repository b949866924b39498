"""Parts of a model host that do as a test says: a runner without processes, and a link to no control."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from trimtab.host.runner import Footprint, Key, LoadFault, OnEnd, Running
from trimtab.resources.replica import Failure
from trimtab.resources.routing import Lane
from trimtab.wire.hosting import Files, Holding, ModelEvent, NoFiles

MIB = 2**20


class FakeRunner:
    """A Runner. Models load and end at once, unless they are in `slow_loads` or `slow_ends`, whose events say
    when; they are weighed at once unless in `slow_weighs`."""

    def __init__(self, on_end: OnEnd) -> None:
        self._on_end = on_end
        self.loaded: list[Key] = []  # now
        self.orders: list[tuple[str, str, str]] = []  # load | given up | unload | end, model, version
        self.faults: dict[str, LoadFault] = {}
        self.footprints: dict[str, Footprint] = {}
        self.slow_loads: dict[str, asyncio.Event] = {}
        self.slow_ends: dict[str, asyncio.Event] = {}
        self.slow_weighs: dict[str, asyncio.Event] = {}
        self.absent: set[str] = set()  # models that it has given up by itself, and has not told of

    async def open(self) -> None:
        """See Runner."""

    async def load(self, key: Key, files: Files) -> Running:
        """See Runner."""
        self.orders.append(("load", *key))
        try:
            if key.model in self.slow_loads:
                await self.slow_loads[key.model].wait()
        except asyncio.CancelledError:
            self.orders.append(("given up", *key))
            raise
        if key.model in self.faults:
            raise self.faults[key.model]
        self.loaded.append(key)
        return Running(lanes=(Lane(replica_id="h1", address=f"unix:/{key.model}@{key.version}"),), took_s=0.1, pid=7)

    async def weigh(self, key: Key) -> Footprint | None:
        """See Runner."""
        if key.model in self.slow_weighs:
            await self.slow_weighs[key.model].wait()
        return self.footprints.get(key.model, Footprint(10 * MIB)) if key in self.loaded else None

    async def unload(self, key: Key, *, grace_s: float) -> None:
        """See Runner."""
        self.orders.append(("unload" if grace_s else "end", *key))
        if grace_s and key.model in self.slow_ends:
            await self.slow_ends[key.model].wait()
        if not grace_s and key.model in self.slow_ends:
            self.slow_ends[key.model].set()
        if key in self.loaded:
            self.loaded.remove(key)

    async def has(self, key: Key) -> bool:
        """See Runner."""
        if key.model in self.absent:
            self.absent.remove(key.model)
            self.crash(key)
        return key in self.loaded

    def leave(self) -> None:
        """See Runner."""

    async def measure(self) -> Mapping[Key, Footprint]:
        """See Runner."""
        return {key: found for key in self.loaded if (found := await self.weigh(key)) is not None}

    @property
    def pids(self) -> tuple[int, ...]:
        """See Runner."""
        return ()

    async def close(self, *, grace_s: float) -> None:
        """See Runner."""

    def crash(self, key: Key) -> None:
        """It ends by itself."""
        self.loaded.remove(key)
        self._on_end(key, Failure(reason="Exited", message="A worker was killed by SIGKILL."))


class FakeLink:
    """A ControlLink. Every model is there, in a version and of a size that a test may set."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.missing: set[str] = set()
        self.leases: list[str] = []
        self.events: list[ModelEvent] = []
        self.holding: Holding | None = None

    async def fetch(self, model: str) -> Files | NoFiles:
        """See ControlLink."""
        if model in self.missing:
            return NoFiles(id=1, reason="ArtifactMissing", message="Failed to download model data.")
        version = self.versions.get(model, "v1")
        path = f"/files/{model}@{version}"
        self.leases.append(path)
        size = self.sizes.get(model, 5 * MIB)
        return Files(id=1, path=path, version=version, size_bytes=size, fetched=True, took_s=0.2)

    def release(self, path: str) -> None:
        """See ControlLink."""
        self.leases.remove(path)

    def note(self, event: ModelEvent) -> None:
        """See ControlLink."""
        self.events.append(event)

    def hold(self, holding: Holding) -> None:
        """See ControlLink."""
        self.holding = holding

"""Runner: who runs the models of one host, each loaded and unloaded by itself.

`workers.py`: one worker process for each model, forked from the nursery. `foreign.py`: one program or container that
keeps AWS's multi-model container contract and holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from msgspec import Struct

from trimtab.resources.replica import Failure
from trimtab.resources.routing import Lane
from trimtab.wire.hosting import Files


class Key(NamedTuple):
    """One version of one model: the key below the prefix, and the digest of its artifact."""

    model: str
    version: str


class Footprint(Struct, frozen=True):
    """Memory that unloading one model would give back."""

    bytes: int  # of the machine: resident, less what is shared with others
    gpu_bytes: int = 0
    peak_bytes: int = 0  # the most since it was loaded, where that is known


class Running(Struct, frozen=True, kw_only=True):
    """A model that is loaded and takes requests at `lanes`."""

    lanes: tuple[Lane, ...]
    took_s: float  # from the order until it was ready
    pid: int = 0  # its process; of a program that holds several, the program's


class LoadFault(Exception):
    """A model could not be loaded, and nothing of it is left in memory.

    `failure` says why. `out_of_memory`: it may go well with more room than was set aside for it. `full`: whoever holds
    all models has no memory for another one, whatever is counted here: it may go well once others have been unloaded.
    `died`: a process of its own ended, perhaps by no fault of the model's, and nobody else's requests were in it.
    """

    def __init__(
        self, failure: Failure, *, out_of_memory: bool = False, full: bool = False, died: bool = False
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.out_of_memory = out_of_memory
        self.full = full
        self.died = died


OnEnd = Callable[[Key, Failure], None]
"""Told once of a model that was loaded and is not any more, although nobody had it unloaded: it crashed, or hung."""


class Runner(Protocol):
    """Made with an `OnEnd`. Called from the event loop only; several loads and unloads go on at the same time."""

    async def open(self) -> None:
        """Get ready to load. Raises engines.local.failures.StartFailed: this replica can never serve."""
        ...

    async def load(self, key: Key, files: Files) -> Running:
        """Load one model from its files. Not called again for a key that is loaded or on its way.

        It returns when the model takes requests; what it takes is measured by `weigh`, for which nobody waits.

        Raises LoadFault. Cancelled, it leaves nothing of the model behind, but may take a moment to make sure.
        """
        ...

    async def weigh(self, key: Key) -> Footprint | None:
        """What a model takes that has just been loaded; once for each load. None: it has gone meanwhile."""
        ...

    async def unload(self, key: Key, *, grace_s: float) -> None:
        """Let it finish what it has in hand, at most for `grace_s`, then end it; returns once its memory is back.

        `grace_s` 0 ends it now, also one that another call is waiting for. Unknown key: no effect.
        """
        ...

    async def has(self, key: Key) -> bool:
        """Whether a model that was loaded is there, asked of who holds it; if not, `OnEnd` has been told."""
        ...

    async def measure(self) -> Mapping[Key, Footprint]:
        """What each loaded model takes now; one that cannot be read is left out."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that hold models now, as far as they are not this one."""
        ...

    def leave(self) -> None:
        """The end is near: nothing is loaded any more, and loads that are given up need not be waited for."""
        ...

    async def close(self, *, grace_s: float) -> None:
        """Unload all; nothing of them is left when it returns."""
        ...

"""What a Host needs of others: decisions, and control."""

from __future__ import annotations

from typing import Protocol

from trimtab.policies.models.actions import Action
from trimtab.policies.models.inputs import Input
from trimtab.wire.hosting import Files, Holding, ModelEvent, NoFiles, Resident


class Cache(Protocol):
    """What a Host needs of policies.models.cache.ModelCache."""

    @property
    def memory_bytes(self) -> int:
        """The bound of all models together."""
        ...

    @property
    def used_bytes(self) -> int:
        """What is counted against it."""
        ...

    def step(self, given: Input, now_s: float) -> tuple[Action, ...]:
        """What is to be done after `given`."""
        ...

    def residents(self, now_s: float) -> tuple[Resident, ...]:
        """All copies; times on the clock of `step`."""
        ...

    def next_s(self, now_s: float) -> float | None:
        """When a Tick is due."""
        ...


class Control(Protocol):
    """What a Host needs of its link to control (`control.py`)."""

    async def fetch(self, model: str) -> Files | NoFiles:
        """An artifact, leased."""
        ...

    def release(self, path: str) -> None:
        """One lease less."""
        ...

    def note(self, event: ModelEvent) -> None:
        """Something has happened."""
        ...

    def hold(self, holding: Holding) -> None:
        """What is here."""
        ...

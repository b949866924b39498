"""Which replicas a model belongs to: rendezvous hashing with bounded load. Pure, and the same in every process.

Whoever decides (a gateway, for what it asks; control, for what is to be held unasked) gets the same answer without
asking anybody: each model has an order of its own over the replicas, and goes to the first of them that is not far
above its share. When a replica comes or goes, only the models move that must.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import ceil

from msgspec import Struct

from trimtab.resources.hosting import ModelSetting

SLACK = 1.25  # a replica takes up to so many times the average
BUSY_LEAST = 2.0  # requests in hand below which nobody counts as busy: with few, averages say nothing


class Member(Struct, frozen=True):
    """A replica as whoever decides sees it. `models`: that it holds, loading ones included; `busy`: requests that it
    has in hand on average, as far as this process knows."""

    replica_id: str
    models: int = 0
    busy: float = 0.0


def order(model: str, replicas: Iterable[str]) -> tuple[str, ...]:
    """Replicas as the model prefers them, an order of its own; how it orders any two replicas never changes."""
    return tuple(sorted(replicas, key=lambda replica: (_score(model, replica), replica), reverse=True))


def _score(model: str, replica: str) -> bytes:
    return blake2b(f"{replica}\0{model}".encode(), digest_size=8).digest()


def next_replica(model: str, members: Sequence[Member], having: Collection[str] = ()) -> str | None:
    """Where a (further) copy goes: first in the model's order, without one, and not above its bound. None: all have it.

    `having`: replicas with a copy, ready or loading.
    """
    free = {member.replica_id: member for member in members if member.replica_id not in having}
    if not free:
        return None
    most_models = ceil(SLACK * (sum(member.models for member in members) + 1) / len(members))
    most_busy = max(BUSY_LEAST, SLACK * sum(member.busy for member in members) / len(members))
    preferred = order(model, free)
    for replica in preferred:
        if free[replica].models < most_models and free[replica].busy <= most_busy:
            return replica
    return preferred[0]


def place(copies: Mapping[str, int], replicas: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Replicas of each model, all at once: `copies` says how many each is to have (at most one a replica)."""
    most = ceil(SLACK * sum(min(count, len(replicas)) for count in copies.values()) / len(replicas)) if replicas else 0
    held = dict.fromkeys(replicas, 0)
    placed: dict[str, tuple[str, ...]] = {}
    for model in sorted(copies):
        preferred = order(model, replicas)
        rest = [replica for replica in preferred if held[replica] < most]
        chosen = (rest + [replica for replica in preferred if replica not in rest])[: copies[model]]
        for replica in chosen:
            held[replica] += 1
        placed[model] = tuple(chosen)
    return placed


def holds(settings: Iterable[ModelSetting], replicas: Collection[str]) -> dict[str, dict[str, str]]:
    """What each replica is to hold unasked: replica -> model -> why (`pinned`, `copies`), as wire.hosting.Settings."""
    wanted = {setting.model: setting for setting in settings if setting.least > 0}
    result: dict[str, dict[str, str]] = {replica: {} for replica in replicas}
    for model, chosen in place({model: setting.least for model, setting in wanted.items()}, replicas).items():
        for replica in chosen:
            result[replica][model] = "pinned" if wanted[model].pinned else "copies"
    return result

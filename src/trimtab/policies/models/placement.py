"""Which replicas a model belongs to: rendezvous hashing with bounded load. Pure, and the same in every process.

Whoever decides (a gateway, for what it asks; control, for what is to be held unasked) comes to the same answer without
asking anybody: each model has an order of its own over the replicas, and goes to the first of them that is not far
above its share. When a replica comes or goes, few models move but those that must. What one replica has too much of
goes to as many others as there are models in it, each to its own next: never all to the one that is emptiest now.

Rendezvous hashing: Thaler and Ravishankar, 1998. Bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import ceil

from msgspec import Struct

from trimtab.resources.hosting import ModelSetting

SLACK = 1.25  # a replica takes up to so many times the average: less moves more, more is less even
BUSY_LEAST = 2.0  # requests in hand up to which no replica is passed over: of so few, an average says nothing


class Member(Struct, frozen=True):
    """A replica as whoever decides sees it now.

    `models` that it holds, those that it loads included; `loading`: how many of them it loads (whoever has just asked
    for one counts it at once: others are told by the host in a moment); `busy`: requests that it has in hand on
    average, as far as this process knows.
    """

    replica_id: str
    models: int = 0
    busy: float = 0.0
    loading: int = 0

    @property
    def load(self) -> float:
        """Requests in hand and about to be: a load takes a processor as a request does, and brings requests."""
        return self.busy + self.loading


def order(model: str, replicas: Iterable[str]) -> tuple[str, ...]:
    """Replicas as the model prefers them, an order of its own; how it orders any two replicas never changes."""
    return tuple(sorted(replicas, key=lambda replica: (_score(model, replica), replica), reverse=True))


def _score(model: str, replica: str) -> bytes:
    return blake2b(f"{replica}\0{model}".encode(), digest_size=8).digest()


def next_replica(model: str, members: Sequence[Member], having: Collection[str] = ()) -> str | None:
    """Where a (further) copy goes: first in the model's order that has none and is below its bounds. None: all have it.

    The bounds are SLACK times the average of models and of requests in hand. Where all that could take it are above
    one, the first in the order takes it. `having`: replicas with a copy, ready or loading, and those that lately
    refused one.
    """
    free = {member.replica_id: member for member in members if member.replica_id not in having}
    if not free:
        return None
    most_models = _bound(sum(member.models for member in members) + 1, len(members))
    most_load = max(BUSY_LEAST, SLACK * sum(member.load for member in members) / len(members))
    preferred = order(model, free)
    for replica in preferred:
        if free[replica].models < most_models and free[replica].load <= most_load:
            return replica
    return preferred[0]


def place(copies: Mapping[str, int], replicas: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Replicas of each model, all models at once: `copies` says how many each is to have (one a replica at most).

    No replica gets more than SLACK times the average while another that lacks the model has room. Between a model and
    a replica, the higher of two scores wins; so the answer depends on no order of models or replicas, and one more of
    either moves little.
    """
    wanted = {model: min(count, len(replicas)) for model, count in copies.items()}
    placed: dict[str, list[str]] = {model: [] for model in wanted}
    held = dict.fromkeys(replicas, 0)
    if not replicas:
        return dict.fromkeys(wanted, ())
    most = _bound(sum(wanted.values()), len(replicas))

    def give(model: str, replica: str) -> None:
        placed[model].append(replica)
        held[replica] += 1

    choosing = [model for model, count in wanted.items() if count < len(replicas)]
    for model in wanted.keys() - choosing:  # everywhere: there is nothing to choose
        for replica in replicas:
            give(model, replica)
    for _, model, replica in sorted(((_score(m, r), m, r) for m in choosing for r in replicas), reverse=True):
        if len(placed[model]) < wanted[model] and held[replica] < most:
            give(model, replica)
    for model in sorted(choosing):  # room was left only where they are already
        while len(placed[model]) < wanted[model]:
            left = [replica for replica in order(model, replicas) if replica not in placed[model]]
            give(model, min(left, key=held.__getitem__))
    return {model: order(model, chosen) for model, chosen in placed.items()}


def holds(settings: Iterable[ModelSetting], replicas: Collection[str]) -> dict[str, dict[str, str]]:
    """What each replica is to hold unasked: replica -> model -> why (`pinned`, `copies`), as in wire.hosting.Settings.

    Every replica is a key. With fewer replicas than copies wanted, each has one.
    """
    wanted = {setting.model: setting for setting in settings if setting.least > 0}
    result: dict[str, dict[str, str]] = {replica: {} for replica in replicas}
    for model, chosen in place({model: setting.least for model, setting in wanted.items()}, replicas).items():
        for replica in chosen:
            result[replica][model] = "pinned" if wanted[model].pinned else "copies"
    return result


def _bound(models: int, replicas: int) -> int:
    return ceil(SLACK * models / replicas)

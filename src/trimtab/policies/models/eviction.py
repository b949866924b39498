"""Which models to give up for room: those whose loads cost the least to repeat, for the bytes that they free."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

MIB = 2**20


class Candidate(Struct, frozen=True):
    """A loaded version that may go. `loss` is what its absence costs: seconds of loading, per second."""

    model: str
    version: str
    bytes: int
    loss: float

    @property
    def density(self) -> float:
        """Loss for each byte that it holds."""
        return self.loss / max(self.bytes, 1)


def victims(candidates: Iterable[Candidate], need_bytes: int) -> tuple[Candidate, ...]:
    """Those whose going frees `need_bytes` at little loss, the least valuable first; none when all do not suffice.

    By density until there is room, and then without those that turn out not to be needed; or a single one, where that
    loses less. So one large cold model goes rather than many small hot ones, and never the other way round.
    """
    if need_bytes <= 0:
        return ()
    order = sorted(candidates, key=lambda one: (one.density, one.loss, one.model, one.version))
    taken: list[Candidate] = []
    freed = 0
    for one in order:
        if freed >= need_bytes:
            break
        taken.append(one)
        freed += one.bytes
    if freed < need_bytes:
        return ()
    needed = _without_spares(taken, freed - need_bytes)
    single = min((one for one in order if one.bytes >= need_bytes), key=lambda one: one.loss, default=None)
    if single is not None and single.loss < sum(one.loss for one in needed):
        return (single,)
    return tuple(needed)


def _without_spares(taken: list[Candidate], spare_bytes: int) -> list[Candidate]:
    """Keep the most valuable of those that fit into what is freed beyond the need."""
    kept: set[int] = set()
    for index in sorted(range(len(taken)), key=lambda index: -taken[index].loss):
        if taken[index].bytes <= spare_bytes:
            spare_bytes -= taken[index].bytes
            kept.add(index)
    return [one for index, one in enumerate(taken) if index not in kept]

"""Which models to give up for room: those whose loads cost the least to repeat, for the bytes that they free."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from trimtab.policies.models.memory import Size


class Candidate(Struct, frozen=True):
    """A loaded version that may go. `loss` is what its absence costs: seconds of loading, per second."""

    model: str
    version: str
    size: Size
    loss: float


def victims(candidates: Iterable[Candidate], need: Size) -> tuple[Candidate, ...]:
    """Those whose going frees `need` at little loss, the least valuable first; none when all do not suffice.

    By loss for each byte that is short, until there is room, and then without those that turn out not to be needed. So
    one large cold model goes rather than many small hot ones, and never the other way round. (To take the single model
    that loses least where one suffices loads more in the end: it leaves large cold ones where they are.)
    """
    need = need.lack
    order = sorted(candidates, key=lambda one: (_density(one, need), one.loss, one.model, one.version))
    taken: list[Candidate] = []
    freed = Size()
    for one in order:
        if need.fits(freed):
            break
        taken.append(one)
        freed += one.size
    if not need.fits(freed):
        return ()
    return tuple(_without_spares(taken, freed - need))


def _density(one: Candidate, need: Size) -> float:
    """Loss for what it frees of the kinds of memory that are short, each in shares of the need."""
    share = one.size.bytes / need.bytes if need.bytes else 0.0
    share += one.size.gpu / need.gpu if need.gpu else 0.0
    return one.loss / share if share else float("inf")


def _without_spares(taken: list[Candidate], spare: Size) -> list[Candidate]:
    """Keep the most valuable of those that fit into what is freed beyond the need."""
    kept: set[int] = set()
    for index in sorted(range(len(taken)), key=lambda index: -taken[index].loss):
        if taken[index].size.fits(spare):
            spare -= taken[index].size
            kept.add(index)
    return [one for index, one in enumerate(taken) if index not in kept]

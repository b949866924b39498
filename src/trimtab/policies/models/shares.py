"""Which part of one program's memory is whose, when it holds many models: told by how the whole grows. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from trimtab.policies.models.memory import Size


class Shares:
    """Of a program that holds models itself, so that only its whole can be measured.

    What unloading left behind (an allocator seldom gives all back) is no model's, until one that is loaded later makes
    use of it: as much as that model took before, or its artifact has.
    """

    def __init__(self) -> None:
        self._base = Size()
        self._left = Size()  # beyond the base and all shares, when last measured
        self._shares: dict[Hashable, Size] = {}
        self._known: dict[Hashable, Size] = {}  # of models that were loaded before

    def began(self, whole: Size) -> None:
        """The program is there, and holds nothing."""
        self._base, self._left = whole, Size()
        self._shares.clear()

    def loaded(self, model: Hashable, whole: Size, artifact_bytes: int) -> Size:
        """A model's part, just after its load."""
        over = self._over(whole)
        grown = (over - self._left).lack
        expected = self._known.get(model, Size(artifact_bytes))
        share = grown.most(over.lack.least(expected))
        self._shares[model] = self._known[model] = share
        self._left = (over - share).lack
        return share

    def ended(self, model: Hashable) -> None:
        """It is not loaded any more; what it leaves shows in the next reading."""
        self._left += self._shares.pop(model, Size())

    def measured(self, whole: Size) -> Mapping[Hashable, Size]:
        """Each model's part now. What all together have grown by since their loads is divided by their size."""
        over = self._over(whole).lack
        grown = (over - self._left).lack
        self._left = self._left.least(over)
        all_bytes = sum(share.bytes for share in self._shares.values())
        return {
            model: share + Size(grown.bytes * share.bytes // all_bytes if all_bytes else 0, 0)
            for model, share in self._shares.items()
        }

    def _over(self, whole: Size) -> Size:
        return whole - sum(self._shares.values(), self._base)

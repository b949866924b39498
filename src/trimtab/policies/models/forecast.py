"""How much memory a model will take: from what it took before, or else from its artifact's size and kind."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from trimtab.policies.models.entries import Files
from trimtab.policies.models.memory import MIB, Size

BASE = 6 * MIB  # of a worker with next to nothing in it
RATIO = 1.5  # bytes in memory for each of the artifact, of a kind that was never loaded
SURELY = 0.5  # of an artifact is in memory at the least: what its refusal without a try goes by
SPREADS = 1.5  # standard deviations beyond the mean, of a kind's ratio, that are set aside
REMEMBERED = 65_536  # models


@dataclass(slots=True)
class _Ratio:
    """Mean and variance of bytes in memory for each of the artifact: of one kind, the newest counting most."""

    mean: float
    variance: float = 0.0
    loads: int = 1

    def learn(self, ratio: float) -> None:
        self.loads += 1
        share = max(0.05, 1.0 / self.loads)
        off = ratio - self.mean
        self.mean += share * off
        self.variance = (1.0 - share) * (self.variance + share * off * off)

    @property
    def likely(self) -> float:
        spread = sqrt(self.variance) if self.loads > 1 else 0.25 * self.mean
        return self.mean + SPREADS * spread


class Forecast:
    """Learns from every load, and from every measure of what is loaded."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Size, int]] = {}  # model -> what it took, and bytes of the artifact then
        self._ratios: dict[str, _Ratio] = {}
        self._gpu_ratios: dict[str, _Ratio] = {}

    def size(self, model: str, files: Files) -> Size:
        """What to set aside for it."""
        known = self._known.get(model)
        if known is not None:
            took, of_bytes = known
            return Size(took.bytes + max(0, files.artifact_bytes - of_bytes), took.gpu)
        ratio = self._ratios.get(files.kind)
        gpu = self._gpu_ratios.get(files.kind)
        return Size(
            BASE + int((ratio.likely if ratio is not None else RATIO) * files.artifact_bytes),
            int(gpu.likely * files.artifact_bytes) if gpu is not None else 0,
        )

    def least(self, model: str, files: Files) -> Size:
        """What it surely takes: a model that does not fit with this is refused without a try."""
        known = self._known.get(model)
        if known is not None and known[1] == files.artifact_bytes:
            return known[0]
        return Size(int(SURELY * files.artifact_bytes))

    def loaded(self, model: str, files: Files, took: Size) -> None:
        """A load of it took so much."""
        self._remember(model, files, took)
        if files.artifact_bytes >= MIB // 4:  # of less, the artifact says nothing
            _learn(self._ratios, files, max(0, took.bytes - BASE))
            if took.gpu or files.kind in self._gpu_ratios:
                _learn(self._gpu_ratios, files, took.gpu)

    def grown(self, model: str, files: Files, took: Size) -> None:
        """In use it takes so much."""
        self._remember(model, files, took)

    def short(self, model: str, files: Files, tried: Size, *, gpu: bool) -> Size:
        """It did not get by with `tried`; what to try next. `gpu`: it may have been short of GPU memory, too."""
        wants_gpu = max(tried.gpu * 3 // 2, files.artifact_bytes) if gpu else 0
        more = Size(tried.bytes * 3 // 2, wants_gpu)
        self._remember(model, files, more)
        return more

    def _remember(self, model: str, files: Files, took: Size) -> None:
        self._known.pop(model, None)
        self._known[model] = (took, files.artifact_bytes)
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]


def _learn(ratios: dict[str, _Ratio], files: Files, took_bytes: int) -> None:
    ratio = took_bytes / files.artifact_bytes
    if files.kind in ratios:
        ratios[files.kind].learn(ratio)
    else:
        ratios[files.kind] = _Ratio(ratio)

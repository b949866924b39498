"""How much memory a model will take, before it is loaded: from its artifact's size and kind, then from what it took."""

from __future__ import annotations

MIB = 2**20
LEAST_BYTES = 4 * MIB  # of a worker with nothing in it
REMEMBERED = 65_536  # models


class Forecast:
    """Learns from every load. Deterministic."""

    def __init__(self) -> None:
        self._measured: dict[str, tuple[int, int]] = {}  # model -> bytes that it took, of an artifact of so many
        self._ratios: dict[str, float] = {}

    def bytes(self, model: str, kind: str, artifact_bytes: int) -> int:
        """What to set aside for it."""
        known = self._measured.get(model)
        if known is not None:
            took, of_bytes = known
            return max(LEAST_BYTES, took + max(0, artifact_bytes - of_bytes))
        return LEAST_BYTES + int(self._ratios.get(kind, 1.5) * artifact_bytes)

    def least(self, model: str, kind: str, artifact_bytes: int) -> int:
        """What it surely takes: the bound for refusing it without a try."""
        known = self._measured.get(model)
        if known is not None and known[1] == artifact_bytes:
            return known[0]
        return artifact_bytes // 2

    def learn(self, model: str, kind: str, artifact_bytes: int, took_bytes: int) -> None:
        """A load, or a measure of it later, took so much."""
        self._measured.pop(model, None)
        self._measured[model] = (took_bytes, artifact_bytes)
        if len(self._measured) > REMEMBERED:
            del self._measured[next(iter(self._measured))]
        if artifact_bytes >= MIB:
            ratio = max(0, took_bytes - LEAST_BYTES) / artifact_bytes
            before = self._ratios.get(kind)
            self._ratios[kind] = (
                ratio if before is None else before + (ratio - before) * (0.5 if ratio > before else 0.1)
            )

    def raise_to(self, model: str, kind: str, artifact_bytes: int, needs_bytes: int) -> None:
        """It did not get by with less."""
        known = self._measured.get(model)
        self._measured[model] = (max(needs_bytes, known[0] if known is not None else 0), artifact_bytes)

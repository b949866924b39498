"""How often a model will be asked for, from how often it was."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

HALF_LIFE_S = 600.0


@dataclass(slots=True)
class Use:
    """One model's requests, the older the less."""

    count: float = 0.0
    at_s: float = 0.0

    def note(self, requests: int, now_s: float) -> None:
        """So many more, by now."""
        self.count = self._faded(now_s) + requests
        self.at_s = max(now_s, self.at_s)

    def rate(self, now_s: float) -> float:
        """Requests a second to expect."""
        return self._faded(now_s) * 0.693 / HALF_LIFE_S

    def _faded(self, now_s: float) -> float:
        return self.count * exp(-0.693 * max(0.0, now_s - self.at_s) / HALF_LIFE_S)

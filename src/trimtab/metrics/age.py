"""How old is too old, by a clock that may jump. Pure."""

from __future__ import annotations

from typing import Final

DOUBT_S: Final = 3600.0  # a clock that leaps ahead must stay there for so long before anything is forgotten by it
_SLACK_S: Final = 5.0


class TrustedTime:
    """Wall time for retention: goes back with the wall clock at once, but follows a leap forward only after `DOUBT_S`.

    So a clock that is wrong for some minutes (and is set right again) makes nothing expire. `trusted_s` may be stored
    and given to the next process; 0 trusts the first reading.
    """

    def __init__(self, trusted_s: float = 0.0) -> None:
        self.trusted_s = trusted_s
        self._looked_s: float | None = None
        self._ahead_since_s: float | None = None

    def now_s(self, wall_s: float, monotonic_s: float) -> float:
        """Seconds since the epoch to reckon ages by, given both clocks' readings."""
        passed_s = 0.0 if self._looked_s is None else monotonic_s - self._looked_s
        self._looked_s = monotonic_s
        expected_s = self.trusted_s + passed_s
        if not self.trusted_s or wall_s <= expected_s + _SLACK_S:
            self.trusted_s, self._ahead_since_s = wall_s, None
            return wall_s
        if self._ahead_since_s is None:
            self._ahead_since_s = monotonic_s
        if monotonic_s - self._ahead_since_s >= DOUBT_S:
            self.trusted_s, self._ahead_since_s = wall_s, None
        else:
            self.trusted_s = expected_s
        return self.trusted_s

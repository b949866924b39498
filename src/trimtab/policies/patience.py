"""Patience: whether to look again for what is about to come, or to sleep until it is here.

Waking a sleeping process costs tens of microseconds where the processor has gone idle, most of all on a virtual
machine (measured: docs/decisions/004-request-path.md). Whoever expects the next event sooner than that does better to
look for it. That pays only while requests come one at a time: then nobody else wants the processor. With more of them
at once it would take the processor from those who work on them.
"""

from __future__ import annotations

LOOK_MOST_S = 0.0002
ALONE_IN_A_ROW = 16  # requests that came one at a time, before it is believed that they do
_LONGEST_GAP_S = 0.01  # a pause counts as no more than this, so that looking begins soon after traffic does
_WEIGHT = 1 / 8  # of the newest gap in the average


def look_s(expected_s: float, alone_in_a_row: int) -> float:
    """How many seconds to look for an event that is expected in `expected_s`; 0: sleep at once.

    `alone_in_a_row` counts the latest requests that came when no other was in hand.
    """
    return LOOK_MOST_S if alone_in_a_row >= ALONE_IN_A_ROW and expected_s <= LOOK_MOST_S else 0.0


class Gaps:
    """The average pause between the end of one request and the arrival of the next, in seconds."""

    __slots__ = ("average_s",)

    def __init__(self) -> None:
        self.average_s = _LONGEST_GAP_S

    def observe(self, gap_s: float) -> None:
        """Note one pause. A long one ends looking at once; it takes some thirty quick ones to begin."""
        self.average_s += ((gap_s if gap_s < _LONGEST_GAP_S else _LONGEST_GAP_S) - self.average_s) * _WEIGHT

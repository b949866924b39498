"""How many workers a nursery keeps forked ahead of any order. Pure.

As many as came at once lately, so that the next burst like it finds them; one when nothing has come for long; none
before the first order, and none when memory is short: whoever runs no models pays for no spares.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 8
BURST_S = 2.0  # orders so close together count as one burst
LATELY_S = 600.0  # how long a burst is remembered
SPARE_BYTES = 32 * 2**20  # what one is reckoned at; measured: 6 MB of its own with ONNX, 15 MB with PyTorch learned
_LEAST_LEFT_BYTES = 512 * 2**20
_LEAST_LEFT_SHARE = 0.1  # of all memory: what must stay available beside the spares
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 600.0


def wanted(births_s: Sequence[float], *, waiting: int, now_s: float, available_bytes: int, total_bytes: int) -> int:
    """How many spares there should be, the `waiting` ones included.

    `births_s`: when orders came, oldest first, on the clock of `now_s`; the newest, and those of the last `LATELY_S`,
    are enough. `available_bytes` is what is left beside the spares that wait; when that is too little, they are to go.
    """
    left_bytes = available_bytes - max(_LEAST_LEFT_BYTES, int(total_bytes * _LEAST_LEFT_SHARE))
    if not births_s or left_bytes < 0:
        return 0
    burst = largest_burst([at_s for at_s in births_s if now_s - at_s <= LATELY_S])
    return min(MOST, burst, waiting + left_bytes // SPARE_BYTES)


def largest_burst(births_s: Sequence[float]) -> int:
    """The most orders within `BURST_S`; at least 1."""
    most, first = 1, 0
    for last, at_s in enumerate(births_s):
        while at_s - births_s[first] > BURST_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def pause_s(failures: int) -> float:
    """How long to make none after so many have ended by themselves, one after the other."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16)) if failures > 0 else 0.0

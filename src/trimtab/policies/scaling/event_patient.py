"""For callers who may wait: replicas follow what waits rather than what comes.

A start is paid for, and an idle replica is; a busy one is worth its money, whatever waits behind it. So more replicas
are ordered only where what waits could not be begun in the time that callers are patient for, and as long as anything
waits for it no replica that is ready goes. What is idle may go at once. docs/decisions/018-oracle.md has what that
saves.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from msgspec import Struct

from trimtab.policies.scaling import event_words
from trimtab.policies.scaling.inputs import Load

_ROUNDING: Final = 1e-9


class Need(Struct, frozen=True):
    """Replicas, now: `queue` for what waits to be begun in time, `busy` that have something to do."""

    queue: int
    busy: int


def need(load: Load, work_s: float, together: int, patience_s: float) -> Need:
    """What a variant needs now whose requests cost `work_s` replica-seconds each, and may wait for `patience_s`.

    `together`: requests that a replica was seen to have at a time.
    """
    begun = max(load.now - load.waiting, 0)
    busy = min(ceil(begun / max(together, 1) - _ROUNDING), load.capacity)
    return Need(ceil(load.waiting * work_s / patience_s - _ROUNDING), busy)


def more_words(load: Load, work_s: float, patience_s: float, wanted: int) -> event_words.Said:
    """Why there are to be more."""
    return event_words.queue(load.waiting, work_s, patience_s, wanted)


def less_words(found: Need, kept: int, spare: float, kept_s: float, wanted: int) -> event_words.Said:
    """Why fewer will do: `kept` were busy at a time in the last `kept_s`."""
    return event_words.idle(found.busy, kept, found.queue, spare, kept_s, wanted)

"""How long a cache of models waits for what, and how much it leaves free."""

from __future__ import annotations

from trimtab.policies.models.entries import Copy, Entry
from trimtab.wire.hosting import ModelState

LOAD_BOUND_S = 360.0  # AWS: a load may take so long; then its worker is ended
DRAIN_BOUND_S = 75.0  # a request may take 60 s (AWS): a worker that has not ended by then is ended at once
ROOM_WAIT_S = 60.0  # for models in use to go, until those who wait are told; AWS's bound of a request
FETCH_FOR_S = 20.0  # how long a store that is away is asked again, until those who wait are told
PATIENT_S = 5.0  # a retry that is further away is not waited for
EXPECTED_S = 2.0  # a copy stays for the requests that it was loaded for; gateways tell of them within a second
BUSY_PATIENCE_S = 1.0  # before copies with requests in hand are drained for a model that waits
THRASH_LOADS = 3.0  # loaded again within so many times its load: it was wrong to give it up
EVICTIONS = 4096  # that are remembered for it
LONGEST_STAY_S = 10.0  # of those: as long as the load took, and at most so long
UNUSED_S = 10.0  # without a cache: how long a copy waits for the requests that it was loaded for
SETTLED_S = 60.0  # a crash after that long is no sign of the next one
FORGIVEN_S = 600.0  # nor are failures so long ago
MEMORY_TRIES = 3  # loads that run out of memory, each with more room than the one before
FULL_TRIES = 8  # loads that others were unloaded for, each time twice as much, and it did not help
MARGIN_SHARE = 0.05  # of the bound: what the machine is to have left beside the models


def bound_s(copy: Copy) -> float | None:
    """When a copy that loads or leaves has taken too long; None: it does neither, or was told."""
    if copy.state is ModelState.LOADING:
        return copy.since_s + LOAD_BOUND_S
    if copy.state is ModelState.LEAVING and not copy.hurried:
        return copy.since_s + DRAIN_BOUND_S
    return None


def room_until_s(entry: Entry) -> float:
    """How long one that waits for others to go does so."""
    since_s = max(entry.want_s, entry.short.since_s) if entry.short is not None else entry.want_s
    return since_s + ROOM_WAIT_S


def fetch_again_s(failures: int) -> float:
    """How long to wait before a store that was away is asked again."""
    return min(PATIENT_S, 0.25 * 2.0 ** min(failures - 1, 8))


def beyond_margin(available_bytes: int, memory_bytes: int) -> int | None:
    """What of the machine's memory models may take; negative: they have to give some back; None: not known."""
    return None if available_bytes < 0 else available_bytes - int(memory_bytes * MARGIN_SHARE)

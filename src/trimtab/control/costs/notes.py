"""The ledger's notes in the metrics file: how they are called.

cost/time                                        Mark: when a ledger last looked
cost/variant/ENDPOINT/VARIANT                    VariantCosts
cost/evicted/ENDPOINT/VARIANT/MODEL              a model whose next load is a reload
cost/hour/START/ENDPOINT/VARIANT/VERSION/MODEL   Cell; START has 12 digits, so that names are in order of time
cost/day/START/...                               the same of what is long ago
"""

from __future__ import annotations

from typing import Final

from trimtab.policies.costs.cells import CellKey

LAST: Final = "\U0010ffff"  # behind whatever a name can go on with
TIME: Final = "cost/time"
VARIANTS: Final = "cost/variant/"
EVICTED: Final = "cost/evicted/"
HOURS: Final = "cost/hour/"
DAYS: Final = "cost/day/"


def variant_note(place: tuple[str, str]) -> str:
    """Of an endpoint's variant."""
    return f"{VARIANTS}{place[0]}/{place[1]}"


def place_of(note: str) -> tuple[str, str]:
    """Back from `variant_note`."""
    endpoint, _, variant = note.removeprefix(VARIANTS).partition("/")
    return endpoint, variant


def evicted_note(place: tuple[str, str], model: str) -> str:
    """Of a model that was evicted."""
    return f"{EVICTED}{place[0]}/{place[1]}/{model}"


def evicted_of(note: str) -> tuple[tuple[str, str], str]:
    """Back from `evicted_note`."""
    endpoint, variant, model = note.removeprefix(EVICTED).split("/", 2)
    return (endpoint, variant), model


def cell_note(key: CellKey, prefix: str = HOURS) -> str:
    """Of a cell. Only models' names have slashes, and they come last."""
    return f"{prefix}{key.start_s:012d}/{key.endpoint}/{key.variant}/{key.version}/{key.model}"


def cell_key(note: str) -> CellKey:
    """Back from `cell_note`."""
    _, _, start, endpoint, variant, version, model = note.split("/", 6)
    return CellKey(int(start), endpoint, variant, version, model)


def since(prefix: str, start_s: float) -> str:
    """Where the names of cells begin that are of that time or later."""
    return f"{prefix}{max(0, int(start_s)):012d}"

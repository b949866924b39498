"""What a model host tells its cache policy. Times come with `ModelCache.step`; sizes are bytes, durations seconds."""

from __future__ import annotations

from msgspec import Struct

from trimtab.resources.hosting import ModelSetting


class Asked(Struct, frozen=True):
    """Requests wait for a model somewhere. `why`: asked, hot, gone (wire/hosting.py, Want)."""

    model: str
    why: str = "asked"


class Used(Struct, frozen=True):
    """A gateway has sent so many requests to a model since it last told; `in_hand` of all gateways are with it now."""

    model: str
    requests: int
    in_hand: int


class Fetched(Struct, frozen=True):
    """The artifact is on the local disk, leased. `kind` is worker.artifact's kind, "script", or "" where unknown."""

    model: str
    version: str
    artifact_bytes: int
    kind: str = ""
    took_s: float = 0.0


class FetchFailed(Struct, frozen=True):
    """It is not. `reason` is a Failure.reason."""

    model: str
    reason: str
    message: str
    transient: bool = False


class Loaded(Struct, frozen=True):
    """The worker of a version is ready; so many bytes of memory are its own."""

    model: str
    version: str
    footprint_bytes: int
    took_s: float
    gpu_bytes: int = 0


class LoadFailed(Struct, frozen=True):
    """The worker of a version did not become ready, and is dead. `out_of_memory`: room may help. `full`: the program
    that holds all models has no memory left, whatever the account says: it helps if others go. `died`: its own process
    ended, which may have been killed by others: to try once more harms nobody."""

    model: str
    version: str
    reason: str
    message: str
    out_of_memory: bool = False
    full: bool = False
    died: bool = False


class Measured(Struct, frozen=True):
    """What a loaded version takes now; the most that it took since it was loaded is remembered."""

    model: str
    version: str
    footprint_bytes: int
    gpu_bytes: int = 0


class Ended(Struct, frozen=True):
    """The worker of a version is dead and its memory is back. `crashed`: nobody had told it to end."""

    model: str
    version: str
    crashed: bool = False
    message: str = ""


class Changed(Struct, frozen=True):
    """The object was overwritten, or deleted."""

    model: str
    deleted: bool = False


class Set(Struct, frozen=True):
    """All settings, and what this replica holds unasked (model -> why); they replace the former ones."""

    settings: tuple[ModelSetting, ...]
    hold: dict[str, str]


class Pressure(Struct, frozen=True):
    """What the machine (or the replica's own limit) has left, whatever the models are counted at; -1: not known."""

    available_bytes: int


class Tick(Struct, frozen=True):
    """Time has passed."""


Input = Asked | Used | Fetched | FetchFailed | Loaded | LoadFailed | Measured | Ended | Changed | Set | Pressure | Tick

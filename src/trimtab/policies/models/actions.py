"""What the cache policy of a model host has decided. The host carries each out and reports back with an input."""

from __future__ import annotations

from msgspec import Struct


class FetchModel(Struct, frozen=True):
    """Get its artifact; answered by Fetched or FetchFailed."""

    model: str


class Load(Struct, frozen=True):
    """Start a worker for a version that is on the disk; answered by Loaded or LoadFailed. `why` as ModelEvent.why."""

    model: str
    version: str
    why: str
    forecast_bytes: int


class Unload(Struct, frozen=True):
    """Tell gateways that it is leaving, let the worker finish what it has in hand, and end it; answered by Ended.

    `why` is ModelEvent.why, `text` has the numbers behind it. `at_once`: it has been told before and does not end.
    """

    model: str
    version: str
    why: str
    text: str
    at_once: bool = False


class Forget(Struct, frozen=True):
    """Release the artifact of a version: nothing here reads it any more."""

    model: str
    version: str


class Refuse(Struct, frozen=True):
    """Tell those who wait for a model that it is not loaded, and why. Later askers begin anew."""

    model: str
    reason: str
    message: str


Action = FetchModel | Load | Unload | Forget | Refuse

"""What callers are told of a model that is not loaded. Pure."""

from __future__ import annotations

from typing import Final

from trimtab.errors import Invalid, ModelFailed, ModelOutOfMemory, NoCapacity, NotReady, TrimtabError

AGAIN: Final = "NotReady"  # ModelAt.reason: nothing is wrong, ask again
ELSEWHERE: Final = frozenset({"NoCapacity"})  # reasons that another replica may not have

# AWS answers ValidationError when an artifact cannot be had or read, ModelError when the container fails to load it.
_CALLERS: Final = frozenset({"ArtifactMissing", "ArtifactInvalid", "Invalid"})


def not_loaded(reason: str, message: str) -> TrimtabError:
    """The error for a request whose model failed to load with a `Failure.reason`."""
    if reason in _CALLERS:
        return Invalid(message)
    if reason == "NoCapacity":
        return NoCapacity(message)
    if reason == AGAIN:
        return NotReady(message)
    if reason == "OutOfMemory":
        return ModelOutOfMemory(message, status=507, body=message.encode(), content_type="text/plain")
    return ModelFailed(message, status=500, body=message.encode(), content_type="text/plain")


def late(model: str, waited_s: float) -> NotReady:
    """A request waited as long as it may, and its model is still on its way (AWS: ModelNotReadyException, 429)."""
    return NotReady(
        f"Model {model} was not ready within {waited_s:g} s: it is still being downloaded or loaded. Wait and try your "
        "request again.",
        retry_after_s=5.0,
    )

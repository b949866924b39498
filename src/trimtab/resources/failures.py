"""Failures named after what was raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trimtab.errors import Invalid, NotFound, TooLarge, TrimtabError, Unavailable
from trimtab.resources.replica import Failure

# of the disk, the clock, the installer: not of the artifact
_OWN_REASONS: Final = frozenset({"NoCapacity", "StartTimeout", "RequirementsFailed"})
_ARTIFACT_REASONS: Final[Mapping[type[Exception], str]] = {
    NotFound: "ArtifactMissing",
    Unavailable: "ArtifactMissing",
    TooLarge: "ArtifactInvalid",
    Invalid: "ArtifactInvalid",
    OSError: "ArtifactInvalid",
}


def of_artifact(error: Exception, url: str) -> Failure | None:
    """What getting the artifact at `url` raised. It says its own reason where it knows it. None: a defect of ours."""
    own, tail = str(getattr(error, "reason", "")), str(getattr(error, "tail", ""))
    message = str(getattr(error, "message", "") or error)
    if own.startswith("Artifact") or own in _OWN_REASONS:
        return Failure(reason=own, message=message, tail=tail)
    reason = next((word for kind, word in _ARTIFACT_REASONS.items() if isinstance(error, kind)), "")
    prefix = "" if isinstance(error, TrimtabError) else f"{type(error).__name__}: "
    return Failure(reason=reason, message=f"Could not get {url}: {prefix}{message}") if reason else None

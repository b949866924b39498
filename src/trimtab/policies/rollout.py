"""Whether a deployment under way has failed."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.policies.restart import rounds
from trimtab.resources.deployment import Crash

# Starting the same thing again would fail again: waiting longer would only hide the reason from the caller.
FATAL = frozenset(
    {
        "Invalid",
        "ArtifactMissing",
        "ArtifactInvalid",
        "RequirementsFailed",
        "RuntimeUnknown",
        "RuntimeMissing",
        "ModelLoadFailed",
        "StartTimeout",
        "NoCapacity",
    }
)
MAX_ROUNDS = 3  # of quick crashes: a model server may be unlucky once or twice


def has_failed(crashes: Sequence[Crash], *, count: int) -> bool:
    """Say whether a deployment is hopeless, given a variant's crashes since it began (oldest first) and its size."""
    return any(crash.reason in FATAL for crash in crashes) or rounds(crashes, count=count) >= MAX_ROUNDS

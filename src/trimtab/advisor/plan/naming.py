"""What the endpoints of a plan are called: SageMaker takes letters, digits and hyphens, 63 at most."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from trimtab.resources.names import MAX_NAME, is_name


def name_of(workloads: Sequence[str]) -> str:
    """Of an endpoint that serves these; others have another, also where two names differ by what may not stand in one
    (`card fraud`, `card.fraud`)."""
    if len(workloads) > 1:
        return f"shared-{len(workloads)}-{_digest(*workloads)}"
    (name,) = workloads
    if is_name(name):
        return name
    kept = re.sub("[^a-zA-Z0-9]+", "-", name).strip("-")[: MAX_NAME - 9].rstrip("-")
    return f"{kept or 'endpoint'}-{_digest(name)}"


def _digest(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]

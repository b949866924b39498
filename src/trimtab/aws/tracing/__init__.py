"""OpenTelemetry traces of invocations, off unless an exporter is set by OpenTelemetry's own environment variables.

settings      whether, and whether what it takes is installed; imports nothing of OpenTelemetry
propagation   the caller's context in, the model's context out
spans         one invocation as spans
exporting     spans to whoever collects them: bounded, in a thread of its own
tracing       the three together, as the environment says
edge          the runtime edge that makes traced invocations
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trimtab.aws.tracing.settings import check, exporter_names

if TYPE_CHECKING:
    from trimtab.aws.tracing.tracing import Tracing

__all__ = ["check", "tracing_of"]


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """What the environment asks for; None, and nothing of OpenTelemetry loaded, where it asks for nothing.

    Raises Invalid where it cannot be had.
    """
    if not exporter_names(environment):
        return None
    from trimtab.aws.tracing.tracing import made_by

    return made_by(environment)

"""Which metrics and signals a target's policies are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trimtab.metrics.names import TRIMTAB
from trimtab.resources.scaling import SIGNAL_1S, SIGNAL_10S, SIGNAL_EVENT, ScalableTarget, ScalingPolicy

SIGNALS: Final = (SIGNAL_1S, SIGNAL_10S, SIGNAL_EVENT)


def signals_of(policies: Sequence[ScalingPolicy]) -> tuple[str, ...]:
    """The names of trimtab's signals that they go by."""
    stats = [policy.tracking.stat for policy in policies if policy.tracking is not None]
    stats += [query.stat for p in policies if p.tracking is not None for query in p.tracking.queries]
    named = {stat.name for stat in stats if stat is not None and stat.namespace == TRIMTAB}
    return tuple(name for name in SIGNALS if name in named)


def decides_by_events(policies: Sequence[ScalingPolicy]) -> bool:
    """Whether one of them decides on every change."""
    return any(policy.tracking is not None and policy.tracking.is_event for policy in policies)


def wants_signals(target: ScalableTarget, policies: Sequence[ScalingPolicy]) -> bool:
    """Whether gateways must tell at once what they have in hand: one may have to be woken, or is scaled by that."""
    return target.min_capacity == 0 or bool(signals_of(policies))

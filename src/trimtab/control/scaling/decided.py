"""The metric of what was decided."""

from __future__ import annotations

from trimtab.metrics.names import DIRECTION, ENDPOINT, TRIMTAB, VARIANT
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, MetricStore, Sample
from trimtab.policies.scaling.decisions import Decision
from trimtab.resources.scaling import ScalableTarget


class Decided:
    """`Means.decided`: a decision was carried out."""

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics

    def __call__(self, target: ScalableTarget, decision: Decision) -> None:
        """Count it, in all and by its direction."""
        own = ((ENDPOINT, target.endpoint), (VARIANT, target.variant))
        direction = "Out" if decision.wanted > decision.before else "In"
        start_s = int(decision.at_s)
        self._metrics.record(
            [
                Sample(MetricKey(TRIMTAB, "ScalingDecisions", dimensions), start_s, Sketch.of([1.0]), "Count")
                for dimensions in (own, tuple(sorted((*own, (DIRECTION, direction)))))
            ]
        )

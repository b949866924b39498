"""From charges to samples of `trimtab/Endpoints`: Cost in dollars, whose Sum is what was spent. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.control.replica_metrics import sample_of
from trimtab.metrics.names import PART, TRIMTAB, VERSION
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import Sample
from trimtab.resources.cost import MICRO

Costs = dict[str, dict[str, int]]
"""By version and part, micro-dollars."""

_MINUTE_S = 60


def cost_samples(endpoint: str, variant: str, spent: Mapping[str, Mapping[str, int]], at_s: int) -> list[Sample]:
    """Of a variant; of each of its versions; and of each part. Zeros are not published."""
    samples: list[Sample] = []
    parts: dict[str, int] = {}

    def add(amount: int, more: Mapping[str, str]) -> None:
        if amount:
            sketch = Sketch.of([amount / MICRO])
            samples.append(sample_of(TRIMTAB, "Cost", endpoint, variant, sketch, at_s, more, resolution_s=_MINUTE_S))

    for version, by_part in spent.items():
        add(sum(by_part.values()), {VERSION: version})
        for part, amount in by_part.items():
            parts[part] = parts.get(part, 0) + amount
    for part, amount in parts.items():
        add(amount, {PART: part})
    add(sum(parts.values()), {})
    return samples
